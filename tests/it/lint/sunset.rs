//! CAs that end OCSP: what lost its URL at a renewal is told, and how to undo what hangs on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::narrow::{lint, rules};
use crate::support::agent::Agent;
use crate::support::authority::Authority;
use crate::support::ca::Draft;
use crate::support::port::free_port;
use crate::support::program::program;
use crate::support::scene::{Scene, plain};

/// How ACME clients lay out what they keep: the folder, the old file, the new one, and the link to it.
const LAYOUTS: [(&str, &str, &str, &str); 2] = [
    (
        "certbot",
        "archive/www/fullchain1.pem",
        "archive/www/fullchain2.pem",
        "live/www/fullchain.pem",
    ),
    (
        "dehydrated",
        "certs/www/fullchain-1700000000.pem",
        "certs/www/fullchain-1800000000.pem",
        "certs/www/fullchain.pem",
    ),
];

/// Takes away the lines that the fix of a finding says, which are all to be removed.
fn carry_out(finding: &Value) {
    let steps = finding["fix"].as_array().expect("steps");
    assert!(!steps.is_empty() && steps.iter().all(|step| step["do"] == "remove"), "{finding:#}");
    for step in steps {
        let file = step["file"].as_str().expect("a file");
        let at = usize::try_from(step["line"].as_u64().expect("a line")).expect("it fits");
        let text = fs::read_to_string(file).expect("ours");
        let kept = (1..).zip(text.lines()).map(|(number, line)| match number == at {
            true => {
                assert!(line.starts_with(step["directive"].as_str().expect("a word")), "{line}");
                ""
            }
            false => line,
        });
        fs::write(file, kept.collect::<Vec<_>>().join("\n")).expect("ours");
    }
}

fn check(layout: (&str, &str, &str, &str), must_staple: bool) {
    let (client, old, new, link) = layout;
    let authority = Authority::new(7 * 86_400);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in [old, new, link] {
        fs::create_dir_all(path(name).parent().expect("a folder")).expect("ours");
    }
    let draft = Draft { must_staple, ..Draft::leaf("www.test") };
    let before = authority.issue(draft.clone());
    let now = authority.issue_as_it_is(draft);
    fs::write(path(old), before.chain_pem()).expect("ours");
    fs::write(path(new), now.chain_pem()).expect("ours");
    fs::write(path("www.key"), now.key_pem()).expect("ours");
    symlink(path(new), path(link)).expect("ours");
    let (root, port) = (folder.path().display(), free_port());
    let config = path("nginx.conf");
    let text = format!(
        "pid {root}/nginx.pid;\nerror_log {root}/nginx.log;\nevents {{\n}}\nhttp {{\naccess_log off;\n\
         server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name www.test;\nssl_certificate {root}/{link};\n\
         ssl_certificate_key {root}/www.key;\nssl_stapling on;\n}}\n}}\n"
    );
    fs::write(&config, text).expect("ours");
    let agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"none\"\n",
        config.display()
    ));
    let (code, found) = lint(&agent);
    let [finding] = &*found else { panic!("{client}: {found:#?}") };
    let why = finding["why"].as_str().expect("words");
    let url = authority.responder.url();
    assert!(why.contains("lost its OCSP URL") && why.contains(&url), "{client}: {why}");
    if must_staple {
        // Its clients are refused: that is what it is called.
        assert_eq!((code, &finding["rule"]), (2, &"must-staple-without-responder".into()));
        return;
    }
    assert_eq!((code, &finding["rule"]), (0, &"ocsp-url-lost".into()), "{client}");
    let said = agent.command(&["explain", "www"]);
    assert!(said.out.contains("ocsp-url-lost"), "{}", said.out);
    carry_out(finding);
    assert_eq!(lint(&agent), (0, Vec::new()));
    takes(&config);
}

/// nginx itself has no objection.
fn takes(config: &Path) {
    let test = Command::new(program("nginx")).arg("-t").arg("-c").arg(config).output();
    let test = test.expect("it runs");
    assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr));
}

#[test]
fn acme_clients_keep_what_was_before() {
    for layout in LAYOUTS {
        check(layout, false);
    }
    check(LAYOUTS[0], true);
}

/// Where nobody keeps the old certificate, the agent remembers what it was.
#[test]
fn the_agent_remembers_what_was_before() {
    let mut scene = Scene::new(3_600, &[plain("a.test"), plain("b.test")], "");
    scene.start();
    let told = |scene: &Scene| {
        let (_, found) = lint(&scene.agent);
        let lost: Vec<_> = found.iter().filter(|one| one["rule"] == "ocsp-url-lost").collect();
        let names = lost.iter().filter_map(|one| one["certificate"].as_str());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&scene), Vec::<String>::new());
    let silent = scene.authority.issue_as_it_is(Draft::leaf("a.test"));
    scene.install("a.test", &silent);
    scene.agent.wait_until("the renewal", |now| {
        now.certificates.iter().any(|one| one.name == "a.test" && one.responders.is_empty())
    });
    assert_eq!(told(&scene), ["a.test"]);
    // Over restarts, and whether or not an agent runs.
    scene.agent.kill();
    assert_eq!(told(&scene), ["a.test"]);
    scene.agent.start();
    assert_eq!(told(&scene), ["a.test"]);
    // It has one again.
    let answered = scene.authority.issue(Draft::leaf("a.test"));
    scene.install("a.test", &answered);
    scene.agent.wait_until("the next renewal", |now| {
        now.certificates.iter().all(|one| !one.responders.is_empty())
    });
    assert_eq!(told(&scene), Vec::<String>::new());
    let kept =
        fs::read_to_string(scene.agent.state_dir().join("lost.json")).expect("it was written");
    assert!(!kept.contains("a.test"), "{kept}");
    assert!(rules(&lint(&scene.agent).1).is_empty());
}
