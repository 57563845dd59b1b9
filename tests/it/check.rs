//! `staplekeeper check` as a monitor runs it: exit status, one line with figures, details below; judged
//! by the parser of Perl's Monitoring::Plugin.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use staplekeeper::agent::status::Severity;

use crate::support::agent::{Agent, Said, eventually};
use crate::support::scene::{Host, Scene, must, plain};

/// The figures behind the bar, one a line as `label value unit warning critical`, as Monitoring::Plugin
/// reads them; it leaves out what it cannot read.
const PARSER: &str = r#"
    use Monitoring::Plugin::Performance;
    my ($line) = split /\n/, join '', <STDIN>;
    my ($text, $figures) = $line =~ /^STAPLEKEEPER (?:OK|WARNING|CRITICAL|UNKNOWN): ([^|]+?)(?: \| ([^|]+))?$/
        or die "no plugin output: $line\n";
    for my $one (Monitoring::Plugin::Performance->parse_perfstring($figures // '')) {
        print join(' ', $one->label, $one->value, $one->uom || '-', $one->warning || '-', $one->critical || '-'), "\n";
    }
"#;

fn figures(said: &Said) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temp folder");
    let file = folder.path().join("output");
    fs::write(&file, &said.out).expect("the folder is ours");
    let output = Command::new("perl")
        .args(["-e", PARSER])
        .stdin(fs::File::open(file).expect("just written"))
        .output()
        .expect("perl with Monitoring::Plugin: apt-get install libmonitoring-plugin-perl");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}: {said:#?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Runs it, sees that a parser takes the output, and that this is what it says.
fn check(agent: &Agent, arguments: &[&str], code: i32, begins: &str) -> Said {
    let said = agent.command(&[&["check"], arguments].concat());
    assert_eq!((said.code, &*said.err), (code, ""), "{said:#?}");
    assert!(said.out.starts_with(begins), "{begins:?} is not how this begins: {said:#?}");
    assert!(figures(&said).len() >= 7 || code == 3, "{said:#?}");
    said
}

#[test]
fn all_is_well() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    eventually("the file to say so", || {
        scene.agent.command(&["check"]).out.contains("2 certificates (1 Must-Staple)")
    });
    let said = check(&scene.agent, &[], 0, "STAPLEKEEPER OK: 2 certificates (1 Must-Staple), ");
    assert_eq!(said.out.lines().count(), 1, "{said:#?}");
    let all = figures(&said);
    let counts = ["certificates 2 - - -", "must_staple 1 - - -", "without_staple 0 - - -"];
    counts.iter().for_each(|count| assert!(all.iter().any(|one| one == count), "{all:?}"));
    assert_eq!(all.len(), 8, "{all:?}");

    // By hand: slack is a little less than an hour.
    check(&scene.agent, &["--warning", "30m", "--critical", "10m"], 0, "STAPLEKEEPER OK: ");
    let said = check(&scene.agent, &["--warning", "2h", "-c", "10m"], 1, "STAPLEKEEPER WARNING: ");
    assert!(figures(&said).last().expect("slack").ends_with(" s 7200: 600:"), "{said:#?}");
    assert_eq!(said.out.lines().count(), 3, "one line a certificate: {said:#?}");
    check(&scene.agent, &["--critical", "2h"], 2, "STAPLEKEEPER CRITICAL: ");
}

#[test]
fn an_agent_that_is_gone_or_silent_is_unknown() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    let unknown = |scene: &Scene, words: &str| {
        let said = check(&scene.agent, &[], 3, "STAPLEKEEPER UNKNOWN: ");
        assert!(said.out.contains(words), "{words:?} is not in {said:#?}");
    };
    unknown(&scene, "status.json: no agent has run here");
    scene.start();
    eventually("all to be well", || scene.agent.command(&["check"]).code == 0);

    // Stopped in its tracks, as systemd's watchdog would find it: the file says when.
    kill(scene.agent.pid(), Signal::SIGSTOP).expect("it is our own child");
    let status = scene.agent.runtime_dir().join("status.json");
    let file = fs::File::options().write(true).open(&status).expect("it is there");
    let modify = |at| file.set_modified(at).expect("the file is ours");
    modify(SystemTime::now() - Duration::from_secs(290));
    check(&scene.agent, &[], 0, "STAPLEKEEPER OK: ");
    modify(SystemTime::now() - Duration::from_secs(310));
    unknown(&scene, "no sign of life for 5m");
    modify(SystemTime::now() + Duration::from_secs(3600));
    unknown(&scene, "or the clock was set back");
    modify(SystemTime::now());
    check(&scene.agent, &[], 0, "STAPLEKEEPER OK: ");

    scene.agent.kill();
    unknown(&scene, "is gone; start it");
    unknown(&scene, "staples in use last for 5");
    fs::write(&status, b"{}").expect("the folder is ours");
    unknown(&scene, "no status this version can read");
}

#[test]
fn a_wrong_command_line_or_configuration_is_unknown() {
    let agent = Agent::new();
    assert_eq!(agent.command(&["check", "--warning", "soon"]).code, 3);
    assert_eq!(agent.command(&["config", "check", "--now"]).code, 2);
    agent.configure("colour = \"red\"\n");
    let said = check(&agent, &[], 3, "STAPLEKEEPER UNKNOWN: ");
    assert!(said.out.contains("config.toml:3:1: "), "{said:#?}");
    assert_eq!(said.out.lines().count(), 1, "{said:#?}");
}

/// The file's time moves while nothing happens.
#[test]
fn an_idle_agent_gives_signs_of_life() {
    let mut agent = Agent::new();
    agent.configure("watch = []\nserver = []\n");
    agent.start();
    let status = agent.runtime_dir().join("status.json");
    eventually("the file", || agent.command(&["check"]).code == 0);
    let old = SystemTime::now() - Duration::from_secs(3600);
    let open = || fs::File::options().write(true).open(&status).expect("it is there");
    open().set_modified(old).expect("the file is ours");
    let modified = || fs::metadata(&status).and_then(|found| found.modified());
    let patience = std::time::Instant::now() + Duration::from_secs(100);
    while !modified().is_ok_and(|at| at > old + Duration::from_secs(3000)) {
        assert!(std::time::Instant::now() < patience, "no sign of life");
        std::thread::sleep(Duration::from_millis(200));
    }
    check(&agent, &[], 0, "STAPLEKEEPER OK: 0 certificates");
}

/// Thirty certificates, one responder: one line.
#[test]
fn a_sick_responder_is_one_line() {
    let hosts: Vec<Host> = (0..30).map(|n| must(&format!("h{n}.test"))).collect();
    let mut scene = Scene::new(20, &hosts, "");
    scene.start();
    scene.authority.responder.kill();
    let document = scene.agent.wait_until("all to be at risk", |now| {
        now.certificates.iter().all(|one| one.severity == Severity::Critical)
            && now.responders.iter().all(|one| one.severity == Severity::Warning)
    });
    let url = &document.responders[0].url;
    eventually("the file to say so", || scene.agent.command(&["check"]).code == 2);
    let begins = format!("STAPLEKEEPER CRITICAL: responder {url} is down, ");
    let said = check(&scene.agent, &[], 2, &begins);
    assert!(said.out.contains("; 30 of them are late, h"), "{said:#?}");
    assert_eq!(said.out.lines().count(), 1, "{said:#?}");
}
