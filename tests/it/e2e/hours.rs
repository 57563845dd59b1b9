//! `reload_windows`, with a real nginx: a reload that can wait happens in those hours, an urgent one at once.

use crate::support::agent::PATIENCE;
use crate::support::authority::{now, wait_past};
use crate::support::scene::{Scene, must};

const DAY: i64 = 86_400;

/// The span from one instant (seconds since 1970, whole minutes) to another, as it is written.
fn hours(from: i64, to: i64) -> String {
    let clock = |at: i64| format!("{:02}:{:02}", at % DAY / 3_600, at % 3_600 / 60);
    format!("[schedule]\nreload_windows = [\"{}-{}\"]\n", clock(from), clock(to))
}

/// Has a newer staple published, and nobody told of it.
fn publish_newer(scene: &Scene) -> i64 {
    let shown = scene.handshake("a.test").expect("it is served").this_update.expect("a staple");
    wait_past(shown.max(now()));
    assert_eq!(scene.agent.command(&["refresh", "--no-reload"]).code, 0);
    let published = scene.published("a.test").this_update.expect("a staple");
    assert!(published > shown, "it is newer");
    published
}

#[test]
fn what_can_wait_waits_for_its_hours() {
    let mut scene = Scene::new(3_600, &[must("a.test")], "");
    scene.start();
    let reloads = scene.nginx.reloads();
    let served = |scene: &Scene| scene.handshake("a.test").expect("it is served").this_update;

    // The hours are a minute of this day that has not begun.
    let from = (now() / 60 + 2) * 60;
    scene.configure(&hours(from, from + 60));
    scene.agent.hang_up();
    let newer = publish_newer(&scene);
    scene.agent.wait_until("a reload to be planned for those hours", |now| {
        let server = &now.servers[0];
        let due = server.next_reload.map(|at| at.as_secs());
        server.pending == 1 && due.is_some_and(|due| (from..=from + 60).contains(&due))
    });
    wait_past(from - 5);
    assert!(served(&scene) < Some(newer), "it waits");
    assert_eq!(scene.nginx.reloads(), reloads);
    wait_past(from + 60 + i64::try_from(PATIENCE.as_secs()).expect("not long"));
    assert_eq!(served(&scene), Some(newer), "{}", scene.agent.log());
    assert_eq!(scene.nginx.reloads(), reloads + 1);
    let at = scene.agent.status().expect("it runs").servers[0].last_reload.expect("it was");
    assert!((from..=from + 65).contains(&at.as_secs()), "{at}: {}", scene.agent.log());

    // Half a day from now: who asks for it does not wait.
    let from = now() / 3_600 * 3_600 + DAY / 2;
    scene.configure(&hours(from, from + 3_600));
    scene.agent.hang_up();
    let newer = publish_newer(&scene);
    assert!(served(&scene) < Some(newer), "nobody has told nginx");
    assert_eq!(scene.agent.command(&["refresh"]).code, 0);
    assert!(served(&scene) >= Some(newer), "{}", scene.agent.log());
    assert_eq!(scene.nginx.reloads(), reloads + 2);
}
