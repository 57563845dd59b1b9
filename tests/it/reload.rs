//! Reloads of a real nginx: proved by its workers, refused, and noticed when others do it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use staplekeeper::plan::{ReloadFault, Sighting};
use staplekeeper::reload::{
    Kind, Mode, Proof, ReloadError, Reloader, Settings, Snapshot, Watch, default_mode,
};

use crate::support::apache::Apache;
use crate::support::nginx::Nginx;
use crate::support::port::free_port;
use crate::support::program::program;

/// A running nginx without TLS: reloading is the same.
fn nginx() -> Nginx {
    let mut nginx = Nginx::new();
    nginx.http(&block("one")).start();
    nginx
}

fn block(word: &str) -> String {
    format!("server {{ listen 127.0.0.1:{}; return 200 {word}; }}", free_port())
}

fn reloader(nginx: &Nginx, mode: Mode) -> Reloader {
    let mut settings = Settings::new(Kind::Nginx, Some(mode), Some(nginx.pid_file()));
    settings.proof_within = Duration::from_secs(2);
    Reloader::new(settings)
}

fn by_signal(nginx: &Nginx) -> Reloader {
    reloader(nginx, Mode::Signal(nginx.pid_file()))
}

fn by_command(nginx: &Nginx) -> Reloader {
    let words = [program("nginx"), "-p".into(), nginx.folder().into(), "-c".into()];
    let words = words.into_iter().chain([nginx.configuration(), "-s".into(), "reload".into()]);
    reloader(nginx, Mode::Command(words.map(|word| word.display().to_string()).collect()))
}

fn snapshot(nginx: &Nginx) -> Snapshot {
    Snapshot::take(Kind::Nginx, &nginx.pid_file()).expect("it can be seen").expect("it runs")
}

#[tokio::test]
async fn new_workers_prove_a_reload() {
    let nginx = nginx();
    for reloader in [by_signal(&nginx), by_command(&nginx)] {
        let before = snapshot(&nginx);
        assert_eq!((before.workers(), before.master()), (2, nginx.master().as_raw()));
        let reloaded = reloader.reload().await.expect("its configuration is good");
        assert_eq!(reloaded.proof, Proof::Workers);
        let after = snapshot(&nginx);
        assert!(after.renewed_since(&before) && after.same_master(&before), "{before} -> {after}");
    }
}

#[tokio::test]
async fn a_broken_configuration_is_seen() {
    let mut nginx = nginx();
    nginx.http("nonsense;");
    let before = snapshot(&nginx);
    let error = by_signal(&nginx).reload().await.expect_err("HUP alone would not tell");
    assert!(matches!(error, ReloadError::Unchanged { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("nginx -t")));
    let error = by_command(&nginx).reload().await.expect_err("it tests first");
    let words = error.to_string();
    assert!(words.contains("unknown directive \"nonsense\""), "{words}");
    assert_eq!(error.fault(), ReloadFault::Failed);
    assert_eq!(snapshot(&nginx), before, "the old workers serve on");
    nginx.http(&block("two"));
    by_signal(&nginx).reload().await.expect("mended");
}

#[tokio::test]
async fn a_server_that_does_not_run_is_no_failure() {
    let mut nginx = nginx();
    let pid = fs::read(nginx.pid_file()).expect("it runs");
    nginx.stop();
    for content in [None, Some(&b""[..]), Some(b"?"), Some(&pid)] {
        if let Some(content) = content {
            nginx.write("nginx.pid", content);
        }
        for reloader in [by_signal(&nginx), by_command(&nginx)] {
            let error = reloader.reload().await.expect_err("nobody is there");
            assert_eq!(error.fault(), ReloadFault::Inactive, "{content:?}: {error}");
        }
    }
}

#[tokio::test]
async fn no_other_process_gets_the_signal() {
    let nginx = nginx();
    let worker = nginx.workers()[0];
    let own = std::process::id();
    for (pid, words) in [(own.to_string(), "it-"), (worker.to_string(), "nginx: worker process")] {
        let path = nginx.write("wrong.pid", &pid);
        let error = reloader(&nginx, Mode::Signal(path.clone())).reload().await;
        let error = error.expect_err("HUP would end this test");
        let said = error.to_string();
        let expected = [pid.as_str(), words, &path.display().to_string()];
        assert!(expected.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(error.fault(), ReloadFault::Failed);
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    let nginx = nginx();
    let words = ["sh", "-c", "echo begun; sleep 60"].map(str::to_owned).to_vec();
    let mut settings = Settings::new(Kind::Nginx, Some(Mode::Command(words)), None);
    settings.ends_within = Duration::from_millis(300);
    let start = Instant::now();
    let error = Reloader::new(settings).reload().await.expect_err("it hangs");
    assert!(error.to_string().ends_with("begun"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    // Without a pid file the command's word is all there is; a command that does nothing is caught.
    let nothing = |pid_file| {
        let mode = Some(Mode::Command(vec!["true".to_owned()]));
        let mut settings = Settings::new(Kind::Nginx, mode, pid_file);
        settings.proof_within = Duration::from_millis(300);
        Reloader::new(settings)
    };
    let told = nothing(None).reload().await.expect("it says so");
    assert_eq!(told.proof, Proof::Told);
    let error = nothing(Some(nginx.pid_file())).reload().await.expect_err("it does nothing");
    assert!(matches!(error, ReloadError::Unchanged { .. }), "{error}");
}

#[test]
fn what_others_do_is_noticed() {
    let mut nginx = nginx();
    let mut watch = Watch::new(Kind::Nginx, &nginx.pid_file(), None);
    let see = |watch: &mut Watch| watch.look().expect("it can be seen");
    assert_eq!(see(&mut watch), Some(Sighting::Started));
    assert_eq!(see(&mut watch), None);
    nginx.reload().expect("its configuration is good");
    assert_eq!(see(&mut watch), Some(Sighting::Reloaded));
    nginx.reload().expect("its configuration is good");
    watch.rebase(None).expect("it can be seen");
    assert_eq!(see(&mut watch), None, "that one was ours");
    nginx.reload().expect("its configuration is good");
    let ours = snapshot(&nginx);
    nginx.reload().expect("its configuration is good");
    watch.rebase(Some(ours)).expect("it can be seen");
    assert_eq!(see(&mut watch), Some(Sighting::Reloaded), "that one was not");
    let worker = nginx.workers()[0];
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).expect("root or ours");
    let deadline = Instant::now() + Duration::from_secs(10);
    while nginx.workers().len() < 2 || nginx.workers().contains(&worker) {
        assert!(Instant::now() < deadline, "the master replaces it");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(see(&mut watch), None, "one worker crashed, nothing was loaded");
    let last = watch.last().map(|snapshot| snapshot.to_string());
    nginx.stop();
    assert_eq!(see(&mut watch), Some(Sighting::Stopped));
    nginx.start();
    // The agent starts again, with what it remembers from before.
    let last = last.and_then(|text| text.parse().ok());
    assert_eq!(see(&mut Watch::new(Kind::Nginx, &nginx.pid_file(), last)), Some(Sighting::Started));
}

#[test]
fn without_systemd_the_pid_file_is_the_way() {
    let nginx = nginx();
    let mode = default_mode(Kind::Nginx, Some(&nginx.pid_file()));
    assert_eq!(mode, Mode::Signal(nginx.pid_file()), "no service of nginx's started this one");
}

#[tokio::test]
async fn systemd_is_missed_by_name() {
    if Path::new("/run/systemd/system").exists() {
        return eprintln!("skipped: systemd runs here");
    }
    let nginx = nginx();
    let mode = "systemd:nginx".parse().expect("a mode");
    let error = reloader(&nginx, mode).reload().await.expect_err("no systemd here");
    assert_eq!(error.to_string(), "cannot reload nginx.service: systemd does not run here");
    assert!(error.hint().is_some_and(|hint| hint.contains("signal:PIDFILE")));
}

/// A running Apache without TLS: reloading is the same.
fn apache() -> Apache {
    let port = free_port();
    let mut apache = Apache::new(&[]);
    apache.hosts(&format!("Listen 127.0.0.1:{port}\n"));
    apache.start(port);
    apache
}

fn apaches_reloader(apache: &Apache, mode: Option<Mode>) -> Reloader {
    let mut settings = Settings::new(Kind::Apache, mode, Some(apache.pid_file()));
    settings.proof_within = Duration::from_secs(5);
    Reloader::new(settings)
}

#[tokio::test]
async fn apache_is_restarted_gracefully_and_that_is_proved() {
    let apache = apache();
    // What was not configured is found out from the options that it runs with.
    let configured = Mode::Command(apache.graceful_words());
    assert_eq!(default_mode(Kind::Apache, Some(&apache.pid_file())), configured);
    for mode in [None, Some(configured)] {
        let before = apache.snapshot().expect("it runs");
        let reloaded = apaches_reloader(&apache, mode).reload().await;
        let reloaded = reloaded.expect("its configuration is good");
        assert_eq!(reloaded.proof, Proof::Workers);
        let after = apache.snapshot().expect("it runs");
        assert!(after.renewed_since(&before) && after.same_master(&before), "{before} -> {after}");
    }
    assert_eq!(apache.restarts(), 2, "{}", apache.error_log());
}

#[tokio::test]
async fn a_broken_configuration_never_ends_apache() {
    let mut apache = apache();
    let good = fs::read_to_string(apache.configuration()).expect("it was written");
    apache.write("httpd.conf", format!("{good}\nNonsense on\n"));
    let before = apache.snapshot();
    let error = apaches_reloader(&apache, None).reload().await.expect_err("it tests first");
    assert!(error.to_string().contains("Invalid command 'Nonsense'"), "{error}");
    assert_eq!(error.fault(), ReloadFault::Failed);
    let by_signal = Mode::Signal(apache.pid_file());
    let error = apaches_reloader(&apache, Some(by_signal)).reload().await;
    assert!(matches!(error, Err(ReloadError::NoSignal)), "USR1 would end it: {error:?}");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!apache.has_ended());
    let old = |snapshot: Option<Snapshot>| snapshot.map(|snapshot| snapshot.master());
    assert_eq!((apache.restarts(), old(apache.snapshot())), (0, old(before)));
    apache.write("httpd.conf", good);
    apaches_reloader(&apache, None).reload().await.expect("mended");
}

#[tokio::test]
async fn an_apache_that_does_not_run_is_not_started() {
    let mut apache = apache();
    let words = apache.graceful_words();
    apache.stop();
    for mode in [None, Some(Mode::Command(words))] {
        let error = apaches_reloader(&apache, mode).reload().await.expect_err("nobody is there");
        assert_eq!(error.fault(), ReloadFault::Inactive, "{error}");
    }
    assert!(apache.snapshot().is_none(), "apachectl would have started it");
}

#[test]
fn what_others_do_to_apache_is_noticed() {
    let mut apache = apache();
    let mut watch = Watch::new(Kind::Apache, &apache.pid_file(), None);
    let see = |watch: &mut Watch| watch.look().expect("it can be seen");
    assert_eq!(see(&mut watch), Some(Sighting::Started));
    assert_eq!(see(&mut watch), None);
    apache.graceful().expect("its configuration is good");
    assert_eq!(see(&mut watch), Some(Sighting::Reloaded));
    apache.graceful().expect("its configuration is good");
    watch.rebase(None).expect("it can be seen");
    assert_eq!(see(&mut watch), None, "that one was ours");
    // Children come and go without a reload.
    let children = format!("/proc/{0}/task/{0}/children", apache.parent());
    let children = fs::read_to_string(children).expect("it runs");
    for child in children.split_ascii_whitespace() {
        let child = nix::unistd::Pid::from_raw(child.parse().expect("a pid"));
        // One of the old ones may end this instant.
        let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
    }
    let before = apache.snapshot().expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while apache.snapshot().is_none_or(|now| !now.mostly_renewed_since(&before)) {
        assert!(Instant::now() < deadline, "the parent replaces them: {before}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(see(&mut watch), None, "its children crashed, nothing was loaded");
    let last = watch.last().map(|snapshot| snapshot.to_string());
    let port = free_port();
    apache.stop();
    assert_eq!(see(&mut watch), Some(Sighting::Stopped));
    apache.hosts(&format!("Listen 127.0.0.1:{port}\n"));
    apache.start(port);
    let last = last.and_then(|text| text.parse().ok());
    let mut watch = Watch::new(Kind::Apache, &apache.pid_file(), last);
    assert_eq!(see(&mut watch), Some(Sighting::Started));
}
