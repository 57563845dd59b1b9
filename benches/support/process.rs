//! Processes that are measured: when they are ready, what they cost.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

/// A running process, killed when the value is dropped.
pub struct Process {
    pub child: Child,
    pub started: Instant,
}

impl Process {
    /// Starts `command`; what it says goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let log = fs::File::create(log).expect("the log can be written");
        let other = log.try_clone().expect("a descriptor is free");
        command.stdin(Stdio::null()).stdout(log).stderr(other);
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child, started }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"))
    }

    /// User and system time so far, of all its threads, those that have ended too.
    pub fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).expect("it runs, and it is ours");
        clock.now().expect("a CPU clock can be read").into()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.expect("a running process has resident memory")
    }

    /// How often each of its threads has gone to sleep and been woken, by thread id.
    pub fn wakeups(&self) -> HashMap<String, u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let one = |folder: PathBuf| -> Option<(String, u64)> {
            let status = fs::read_to_string(folder.join("status")).ok()?;
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let thread = folder.file_name()?.to_string_lossy().into_owned();
            Some((thread, line?.trim().parse().ok()?))
        };
        tasks.flatten().filter_map(|task| one(task.path())).collect()
    }

    /// Ends it by SIGTERM, as a service manager does, and waits.
    pub fn stop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket on which a service says that it is ready (sd_notify).
pub struct Readiness {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Readiness {
    pub fn listen(folder: &Path) -> Readiness {
        let path = folder.join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("the folder is ours");
        Readiness { path, socket }
    }

    /// For `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for `READY=1`; none: it did not come in time.
    pub fn wait(&self, patience: Duration) -> Option<Instant> {
        let deadline = Instant::now() + patience;
        let mut message = [0; 4096];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]);
                    if text.lines().any(|line| line == "READY=1") {
                        return Some(Instant::now());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// The path of a program, looked for in `PATH` and the system's own folders.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
