//! The built binary at work: the agent in the foreground, and commands beside it.
//!
//! ```ignore
//! let mut agent = Agent::new();
//! agent.configure("watch = []\nserver = []\n");
//! agent.start();                                    // returns when it says `ready`
//! agent.wait_until("a staple", |now| now.certificates[0].state == State::Good);
//! let said = agent.command(&["refresh", "www"]);    // exit status, standard output, standard error
//! agent.kill();                                     // SIGKILL; `start` goes on with the same state
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use staplekeeper::agent::status::{CertificateStatus, Document, ServerStatus};
use tempfile::TempDir;

/// How long anything may take before the test fails: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The agent with a state directory, a runtime directory and a configuration of its own.
pub struct Agent {
    folder: TempDir,
    child: Option<Child>,
    /// For the agent and for commands.
    environment: Vec<(String, String)>,
    /// Runs both as another user: `setpriv` words before the program.
    wrapper: Vec<String>,
    /// Listening sockets that it is started with, as a service manager hands them over: one or two.
    sockets: Vec<OwnedFd>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit status; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Agent {
    /// Nothing runs yet; the configuration names the directories only.
    pub fn new() -> Agent {
        let folder = tempfile::Builder::new().prefix("agent-").tempdir().expect("a temp folder");
        let open = |path: &Path| {
            fs::create_dir_all(path).expect("the folder is ours");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, mode).expect("the folder is ours");
        };
        open(folder.path());
        open(&folder.path().join("run"));
        let environment = Vec::new();
        let (wrapper, sockets) = (Vec::new(), Vec::new());
        let agent = Agent { folder, child: None, environment, wrapper, sockets };
        agent.configure("");
        agent
    }

    /// Its folder: `config.toml`, `state/`, `run/`, `log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `state_dir`.
    pub fn state_dir(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// `runtime_dir`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    /// Writes the configuration: the directories, then `text` (top-level keys first).
    pub fn configure(&self, text: &str) {
        let (state, run) = (self.state_dir(), self.runtime_dir());
        let (state, run) = (state.display(), run.display());
        let text = format!("state_dir = \"{state}\"\nruntime_dir = \"{run}\"\n{text}");
        fs::write(self.config(), text).expect("the folder is ours");
    }

    /// Sets a variable for the agent and for commands.
    pub fn environment(&mut self, name: &str, value: &str) -> &mut Agent {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts words before the program: `setpriv --reuid 65534 …`.
    pub fn wrapper(&mut self, words: &[&str]) -> &mut Agent {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Hands a listening socket over to it at each start (`LISTEN_FDS`); it stays open in between.
    pub fn hand_over(&mut self, socket: impl Into<OwnedFd>) -> &mut Agent {
        self.sockets.push(socket.into());
        assert!(self.sockets.len() <= 2, "there are two ways in");
        self
    }

    /// Puts the sockets where a service manager would: at descriptor 3 and behind.
    fn with_sockets(&self, command: Command) -> Command {
        let [first, rest @ ..] = &*self.sockets else { return command };
        let count = self.sockets.len();
        let script = format!(
            "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_FDS={count} LISTEN_PID=$$; \
             exec \"$@\""
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env_remove("STAPLEKEEPER_CONFIG");
        let share =
            |socket: &OwnedFd| Stdio::from(socket.try_clone().expect("a descriptor is free"));
        shell.stdin(share(first)).stdout(rest.first().map_or_else(Stdio::null, share));
        shell
    }

    /// Starts it and returns when it says that it is ready.
    pub fn start(&mut self) -> &mut Agent {
        self.launch();
        self.wait_until("readiness", |document| document.agent.ready);
        self
    }

    /// Starts it and returns at once.
    pub fn launch(&mut self) -> &mut Agent {
        assert!(self.child.is_none(), "this agent runs already");
        let log = File::options().create(true).append(true).open(self.folder().join("log"));
        let mut command = self.program(&["run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut command = self.with_sockets(command);
        command.stderr(log.expect("the folder is ours"));
        self.child = Some(command.spawn().expect("the program can be executed"));
        self
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("the agent runs");
        Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"))
    }

    /// SIGKILL; it may be started again.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(&mut self) {
        let pid = self.pid();
        kill(pid, Signal::SIGTERM).expect("it is our own child");
        let ended = self.wait_for_end();
        assert!(ended.success(), "it ended with {ended}:\n{}", self.log());
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("the agent runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("our own child can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the agent does not end:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("it is our own child");
    }

    /// What it has logged so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Runs another command of the program, with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Said {
        self.program(arguments).output().expect("the program can be executed").into()
    }

    /// A command line of the program, with this configuration, for a test to run as it likes.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_staplekeeper");
        let mut words = self.wrapper.iter().map(String::as_str).chain([binary]);
        let mut command = Command::new(words.next().expect("there is at least the program"));
        command.args(words).arg("--config").arg(self.config()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env_remove("STAPLEKEEPER_CONFIG");
        command
    }

    /// The status document, over the control socket; `None` while nobody answers there.
    pub fn status(&self) -> Option<Document> {
        let mut stream = UnixStream::connect(self.runtime_dir().join("control.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
        stream.write_all(b"GET /status HTTP/1.0\r\nHost: agent\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        serde_json::from_slice(&answer[body..]).ok()
    }

    /// Posts an order to the control socket just as it is written; all lines of the answer.
    ///
    /// # Panics
    /// When nobody answers there.
    pub fn post(&self, what: &str, order: &str) -> String {
        let stream = UnixStream::connect(self.runtime_dir().join("control.sock"));
        let mut stream = stream.expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
        let length = order.len();
        let head = format!("POST /{what} HTTP/1.0\r\nHost: agent\r\nContent-Length: {length}");
        stream.write_all(format!("{head}\r\n\r\n{order}").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers to the end");
        answer
    }

    /// The processor time it has used so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // proc(5): utime and stime are fields 14 and 15; what follows the name's bracket is field 3.
        let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ');
        let ticks: u64 =
            fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// What it has in memory besides its code, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.expect("a running process has resident memory")
    }

    /// Asks for a refresh of everything again and again, from a thread that ends when the agent
    /// does; it gives the number of lines that were answered.
    pub fn keep_refreshing(&self) -> JoinHandle<usize> {
        let socket = self.runtime_dir().join("control.sock");
        let stat = PathBuf::from(format!("/proc/{}/stat", self.pid()));
        let lives = move || {
            let stat = fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        let request = b"POST /refresh HTTP/1.0\r\nHost: agent\r\nContent-Length: 2\r\n\r\n{}";
        thread::spawn(move || {
            let mut lines = 0;
            while lives() {
                let mut answer = Vec::new();
                if let Ok(mut stream) = UnixStream::connect(&socket) {
                    let _ = stream.write_all(request);
                    let _ = stream.read_to_end(&mut answer);
                }
                lines +=
                    answer.split(|byte| *byte == b'\n').filter(|l| l.starts_with(b"{")).count();
                thread::sleep(Duration::from_millis(2));
            }
            lines
        })
    }

    /// Asks for the status until it is as wanted; gives that status.
    ///
    /// # Panics
    /// After [`PATIENCE`], or when the agent ends, with the last status and the log.
    pub fn wait_until(&mut self, what: &str, wanted: impl Fn(&Document) -> bool) -> Document {
        self.wait_at_most(PATIENCE, what, wanted)
    }

    /// The same with another patience.
    pub fn wait_at_most(
        &mut self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Document) -> bool,
    ) -> Document {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if let Some(status) = status.clone().filter(&wanted) {
                return status;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let log = self.log();
                panic!("waited for {what} in vain (ended: {ended:?}): {status:#?}\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Agent::new()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the agent's log:\n{}---", self.log());
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// The certificate of that name.
///
/// # Panics
/// When there is none.
pub fn certificate<'a>(document: &'a Document, name: &str) -> &'a CertificateStatus {
    let found = document.certificates.iter().find(|one| one.name == name);
    found.unwrap_or_else(|| panic!("no certificate is called {name}: {document:#?}"))
}

/// The only server.
pub fn server(document: &Document) -> &ServerStatus {
    assert_eq!(document.servers.len(), 1, "{document:#?}");
    &document.servers[0]
}

/// Waits until `wanted` holds.
///
/// # Panics
/// After [`PATIENCE`].
pub fn eventually(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        thread::sleep(Duration::from_millis(10));
    }
}
