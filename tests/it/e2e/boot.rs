//! A machine starts: before its servers, without a network, everything that they need lies there.

use std::fs;
use std::time::{Duration, Instant};

use staplekeeper::ocsp::TRY_LATER;

use crate::support::judge::Worth;
use crate::support::scene::{Scene, must, plain, replace};

/// What the boot unit runs; it never fails, and never takes long.
fn ensure(scene: &Scene) -> String {
    let begun = Instant::now();
    let said = scene.agent.command(&["adopt", "--ensure"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "a boot waits: {:?}", begun.elapsed());
    said.out + &said.err
}

#[test]
fn a_boot_without_a_network_finds_the_last_staples() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test"), must("c.test")], "");
    scene.start();
    scene.agent.stop();
    scene.nginx.stop();
    scene.authority.responder.kill();

    let untouched = fs::metadata(scene.staple("c.test")).expect("there").modified().ok();
    let of_b = fs::read(scene.staple("b.test")).expect("there");
    fs::remove_file(scene.staple("a.test")).expect("there");
    replace(&scene.staple("b.test"), &fs::read(scene.staple("c.test")).expect("there"));
    assert!(scene.nginx.test().is_err(), "a missing file stops every site");
    let said = ensure(&scene);
    assert!(said.contains("put the staple that was kept into"), "{said}");
    assert_eq!(scene.published("a.test").worth, Worth::Good, "{said}");
    assert_eq!(fs::read(scene.staple("b.test")).expect("there"), of_b, "not another's: {said}");
    assert_eq!(fs::metadata(scene.staple("c.test")).expect("there").modified().ok(), untouched);
    scene.nginx.start();
    assert_eq!(scene.handshake("a.test").expect("a handshake").worth, Worth::Good);
    scene.nginx.stop();

    // The trail is told: root leaves word, and the agent writes it down.
    let left = |scene: &Scene| {
        let names = fs::read_dir(scene.agent.state_dir().join("audit")).expect("there").flatten();
        names.filter(|one| one.file_name().to_string_lossy().starts_with("left-")).count()
    };
    assert_eq!(left(&scene), 1);
    assert_eq!(scene.agent.command(&["audit", "--verify"]).code, 0);
    scene.agent.start().stop();
    assert_eq!(left(&scene), 0);
    let trail = scene.agent.command(&["audit"]).out;
    let uid = nix::unistd::getuid();
    let told = format!("uid {uid} ran \"adopt --ensure\" without an agent");
    let behind = &trail[trail.find(&told).expect("who did it")..];
    let put = |name: &str| format!("{name}: published to {}: good", scene.staple(name).display());
    assert!(behind.contains(&put("a.test")) && behind.contains(&put("b.test")), "{trail}");
    assert!(!behind.contains(&put("c.test")) && behind.contains("the agent started"), "{trail}");
    assert_eq!(scene.agent.command(&["audit", "--verify"]).code, 0);

    // A placeholder gives way, and a certificate that came meanwhile gets none of the old one's.
    replace(&scene.staple("a.test"), &TRY_LATER);
    scene.renew("b.test");
    let said = ensure(&scene);
    assert_eq!(scene.published("a.test").worth, Worth::Good, "{said}");
    assert_eq!(fs::read(scene.staple("b.test")).expect("there"), TRY_LATER, "{said}");
    assert_eq!(scene.nginx.test(), Ok(()));
}

#[test]
fn a_boot_goes_on_whatever_is_wrong() {
    let scene = Scene::new(3600, &[must("a.test")], "");
    // Nothing was ever kept: no state directory, no staple.
    let said = ensure(&scene);
    assert_eq!(fs::read(scene.staple("a.test")).expect("put there"), TRY_LATER, "{said}");
    assert_eq!(scene.authority.asked(scene.leaf("a.test")), 0, "a boot asks nobody");
    fs::write(scene.agent.config(), "[[server]]\nkind = \"ngnix\"\n").expect("ours");
    assert!(ensure(&scene).contains("unknown server kind"));
}
