//! A server that runs in the foreground and listens on a loopback port.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a start or a stop may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stopped when the value is dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    port: Option<u16>,
}

impl Daemon {
    /// Starts `command` and returns when `port` answers; what it says goes to the end of `log`.
    ///
    /// # Panics
    /// With the log, when it does not come up.
    pub fn start(command: &mut Command, log: &Path, port: u16) -> Daemon {
        let mut daemon = Daemon::launch(command, log);
        daemon.port = Some(port);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = daemon.ended();
            let late = Instant::now() > deadline;
            assert!(!ended && !late, "it does not come up (ended: {ended}):\n{}", daemon.log());
            thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// Starts `command` and returns at once.
    pub fn launch(command: &mut Command, log: &Path) -> Daemon {
        let file = || File::options().create(true).append(true).open(log).expect("ours");
        command.stdin(Stdio::null()).stdout(file()).stderr(file());
        let child = command.spawn().expect("it can be executed");
        Daemon { child, log: log.to_owned(), port: None }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it is our own child");
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_some()
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.ended() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The pids of its children.
    pub fn children(&self) -> Vec<i32> {
        let pid = self.pid();
        let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let pids = pids.unwrap_or_default();
        pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Sends a signal and waits until it says `done`, or one of `refused`.
    ///
    /// # Errors
    /// What it has said since, when that is a refusal.
    pub fn signal_until(&self, signal: Signal, done: &str, refused: &str) -> Result<(), String> {
        let before = self.log().len();
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let since = log[before..].to_owned();
            if since.contains(refused) {
                return Err(since);
            }
            if since.contains(done) {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "it neither reloads nor refuses:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        if !self.wait_for_end() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Its children may take a connection or two when it is gone already.
        let deadline = Instant::now() + PATIENCE;
        let answers = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        while self.port.is_some_and(answers) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
