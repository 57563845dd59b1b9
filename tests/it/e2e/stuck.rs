//! An agent that is stopped, or hangs: it takes calls and answers none.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::support::agent::{Said, eventually};
use crate::support::authority::Answer;
use crate::support::responder::Reply;
use crate::support::scene::{Scene, must};

/// It says so within seconds, with the process and what to do, and exits by 1.
fn check(scene: &Scene, said: &Said, took: Duration) {
    assert_eq!(said.code, 1, "{said:?}");
    let pid = scene.agent.pid();
    assert!(said.err.contains(&format!("the agent (process {pid}) behind ")), "{said:?}");
    assert!(said.err.contains(&format!("it was stopped; `kill -CONT {pid}`")), "{said:?}");
    assert!((9..40).contains(&took.as_secs()), "{took:?}: {said:?}");
}

#[test]
fn commands_wait_for_no_agent_that_is_stopped() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    kill(scene.agent.pid(), Signal::SIGSTOP).expect("our own child");
    thread::scope(|scope| {
        let words: [&[&str]; 4] =
            [&["status"], &["refresh"], &["freeze", "a.test"], &["explain", "a.test"]];
        for words in words {
            let scene = &scene;
            scope.spawn(move || {
                let begun = Instant::now();
                let said = scene.agent.command(words);
                check(scene, &said, begun.elapsed());
            });
        }
    });
    kill(scene.agent.pid(), Signal::SIGCONT).expect("our own child");
    let said = scene.agent.command(&["status"]);
    assert_eq!(said.code, 0, "it goes on: {said:?}");
}

/// It is stopped while somebody waits for what he asked of it; one that only works is waited for.
#[test]
fn an_agent_that_is_stopped_in_the_midst_of_it() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    let leaf = scene.leaf("a.test").clone();
    scene.authority.says(&leaf, Answer::Reply(Reply::Hang));
    let mut refresh: Command = scene.agent.program(&["refresh"]);
    let begun = Instant::now();
    let refresh = refresh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let refresh = refresh.expect("it can be executed");
    eventually("it to be asked", || scene.agent.log().contains("a refresh was asked for"));
    kill(scene.agent.pid(), Signal::SIGSTOP).expect("our own child");
    let said = Said::from(refresh.wait_with_output().expect("our own child"));
    check(&scene, &said, begun.elapsed());
    kill(scene.agent.pid(), Signal::SIGCONT).expect("our own child");
}
