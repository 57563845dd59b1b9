//! File names that a terminal would obey: whoever may write into a watched folder gives them.

use std::fs;

use crate::support::agent::{Said, eventually};
use crate::support::scene::{Scene, must};

/// Clears a screen, names a window, begins a line, turns text round.
const EVIL: &str = "a\u{1b}[2J\u{1b}]0;owned\u{7}\nINFO \u{9b}31m\u{202e}b";

/// Nothing in it does anything to a terminal, and the name is shown.
fn check(what: &str, text: &str) {
    let obeyed = text.chars().find(|c| c.is_control() && !"\n\t".contains(*c) || *c == '\u{202e}');
    assert_eq!(obeyed, None, "{what}: {text:?}");
    // In quotes, and in the log, the same is written in the language's and the library's way.
    let ways = [r"a\1b[2J", r"a\x1b[2J", r"a\u{1b}[2J"];
    let shown = ways.iter().any(|shown| text.contains(shown));
    assert!(shown, "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("INFO")), "{what}: {text:?}");
}

#[test]
fn file_names_are_shown_and_not_obeyed() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    let folder = scene.path("live");
    fs::create_dir_all(folder.join(EVIL)).expect("ours");
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    fs::write(folder.join(EVIL).join("fullchain.pem"), broken).expect("ours");
    let good = scene.path(EVIL);
    fs::create_dir(&good).expect("ours");
    fs::copy(scene.certificate("a.test"), good.join("cert.pem")).expect("ours");
    let tables = format!("[[watch]]\npath = {:?}\nstaple = \"/nowhere/{{name}}.der\"\n", folder);
    scene.configure(&tables);
    let site = fs::read_to_string(scene.nginx.configuration()).expect("ours");
    let staple = scene.staple("a.test").display().to_string();
    assert!(site.contains(&staple), "{site}");
    let evil = format!("\"{}\"", scene.path(EVIL).join("x.der").display());
    fs::write(scene.nginx.configuration(), site.replace(&staple, &evil)).expect("ours");
    scene.agent.start();

    let command = |words: &[&str]| scene.agent.command(words);
    let all = |said: &Said| format!("{}{}", said.out, said.err);
    for words in [&["inventory"][..], &["lint"], &["status"], &["adopt", "--dry-run"]] {
        check(words[0], &all(&command(words)));
    }
    let path = good.display().to_string();
    let hooked = command(&["hook", &path, "--deadline", "5s"]);
    assert_eq!(hooked.code, 0, "{hooked:?}");
    let refused = command(&["hook", &folder.join(EVIL).display().to_string()]);
    check("hook", &all(&refused));
    let imported = command(&["import", &path]);
    check("import", &all(&imported));
    eventually("the call to be recorded", || {
        command(&["audit"]).out.contains("waits for the staple")
    });
    check("audit", &all(&command(&["audit"])));
    check("the log", &scene.agent.log());

    // Programs get names as they are.
    let lines = command(&["audit", "--format", "json"]).out;
    let lines: serde_json::Value = serde_json::from_str(&lines).expect("JSON");
    let paths = lines["lines"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|line| line["paths"][0].as_str());
    assert_eq!(paths.collect::<Vec<_>>(), [&*path]);

    // Without an agent, what the files say.
    scene.agent.stop();
    check("refresh", &all(&scene.agent.command(&["refresh", EVIL])));
}
