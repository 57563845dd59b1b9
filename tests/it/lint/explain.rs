//! `explain` follows the chain from the certificate to what clients see, and says what to do.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::geteuid;

use super::host::Host;
use crate::support::agent::{Said, eventually};
use crate::support::scene::{Scene, must, plain};

/// Some user who is neither root nor of the agent's group.
const NOBODY: u32 = 65_534;

#[test]
fn a_site_that_is_served_well_needs_nobody() {
    let mut scene = Scene::new(3_600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let said = scene.agent.command(&["explain", "a.test"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let page = &said.out;
    assert!(page.starts_with("a.test is fine: clients are handed a good staple."), "{page}");
    let staple = scene.staple("a.test").display().to_string();
    let block = format!("nginx {}:", scene.nginx.configuration().display());
    for words in [
        "Must-Staple: clients that obey it refuse",
        "CN=E2E CA signed it",
        "below CN=E2E Root",
        &scene.authority.responder.url(),
        &format!("{staple}: this staple"),
        "loaded by nginx",
        &block,
        "clients see  what is published, a handshake showed",
        "next step    none for you; its responder is asked again in ",
    ] {
        assert!(page.contains(words), "{words:?} is not in\n{page}");
    }
    assert!(!page.contains("error ") && !page.contains("warning "), "{page}");
    let said = scene.agent.command(&["explain", "a.tset"]);
    assert!(said.err.contains("did you mean a.test?"), "{}", said.err);
    assert_eq!(said.code, 2);
}

#[test]
fn a_fault_is_told_first_with_its_fix() {
    let host = Host::new();
    for (name, first, then) in [
        (
            "bare-must.test",
            "bare-must.test carries Must-Staple and is presented without a staple.",
            "ssl_stapling on;",
        ),
        ("half.test", "half.test: `ssl_stapling_file` is set", "ssl_stapling on;"),
        (
            "bare.test",
            "bare.test is presented without stapling, and nothing demands",
            "not stapled",
        ),
    ] {
        let said = host.agent.command(&["explain", name]);
        assert!(said.err.contains("no agent runs"), "{}", said.err);
        assert!(said.out.starts_with(first), "{first:?} does not begin\n{}", said.out);
        assert!(said.out.contains(then), "{then:?} is not in\n{}", said.out);
    }
}

/// Whoever may not call the agent reads its status file, which outlives it.
#[test]
fn an_agent_that_is_gone_is_not_shown_as_alive() {
    if !geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    let mut scene = Scene::new(3_600, &[must("a.test")], "");
    scene.start();
    for folder in [scene.agent.folder(), scene.nginx.folder()] {
        let status = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status();
        assert!(status.expect("there is a chmod").success());
    }
    let explain = || -> Said {
        let mut command = scene.agent.program(&["explain", "a.test"]);
        command.uid(NOBODY).gid(NOBODY).output().expect("it can be executed").into()
    };
    let said = explain();
    assert!(!said.err.contains("the agent is gone"), "{said:#?}");
    assert!(!said.out.contains("start the agent"), "{said:#?}");
    kill(scene.agent.pid(), Signal::SIGKILL).expect("it is our own child");
    // It is not waited for: only its state tells that it has ended.
    eventually("it to be missed", || explain().err.contains("the agent is gone"));
    let said = explain();
    assert!(said.out.contains("start the agent: systemctl start staplekeeper"), "{said:#?}");
}
