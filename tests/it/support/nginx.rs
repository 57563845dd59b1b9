//! A real nginx in a folder of its own, on loopback ports, gone when the value is dropped.
//!
//! ```ignore
//! let port = free_port();
//! let mut nginx = Nginx::new();
//! nginx.write("certificate.pem", chain_pem);
//! nginx.http(&Site { port, certificate: "certificate.pem", key: "key.pem",
//!                    staple: Some("staple.der"), ..Site::default() }.to_string());
//! nginx.start();                       // returns when every `listen` answers
//! nginx.reload().expect("it takes up the new staple");
//! ```
//! Relative paths in the configuration are relative to the folder.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::program::program;

/// How long a start, a reload or a stop may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server block that presents a certificate and answers every request with `ok`.
#[derive(Clone, Copy, Default)]
pub struct Site<'a> {
    /// Listens on 127.0.0.1 here.
    pub port: u16,
    /// What stands behind the port in `listen`, such as `default_server` or `proxy_protocol`.
    pub listen: &'a str,
    /// `server_name`; empty: none.
    pub names: &'a str,
    /// Path of the chain, leaf first, PEM.
    pub certificate: &'a str,
    /// Path of its key, PEM.
    pub key: &'a str,
    /// `ssl_stapling on` with this file.
    pub staple: Option<&'a str>,
    /// Further directives of the block.
    pub more: &'a str,
}

impl fmt::Display for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site { port, listen, names, certificate, key, staple, more } = self;
        writeln!(f, "server {{\n  listen 127.0.0.1:{port} ssl {listen};")?;
        if !names.is_empty() {
            writeln!(f, "  server_name {names};")?;
        }
        writeln!(f, "  ssl_certificate {certificate};\n  ssl_certificate_key {key};")?;
        if let Some(staple) = staple {
            writeln!(f, "  ssl_stapling on;\n  ssl_stapling_file {staple};")?;
        }
        writeln!(f, "  {more}\n  location / {{ return 200 ok; }}\n}}")
    }
}

/// A real nginx: a master and two workers.
pub struct Nginx {
    /// Another number of workers, to be set before its configuration is written.
    pub processes: usize,
    folder: TempDir,
    /// Inside `http { … }`.
    http: String,
    master: Option<Child>,
}

impl Nginx {
    /// A folder with a configuration that has no server block yet; nothing runs.
    pub fn new() -> Nginx {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir().expect("a temp folder");
        // Workers run as another user when the master is root, and may have to reach sockets in here.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("the folder is ours");
        let nginx = Nginx { processes: 2, folder, http: String::new(), master: None };
        nginx.write_configuration();
        nginx
    }

    /// The folder: configuration, error log, whatever the test puts there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file into the folder, by temporary name and rename.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.new"));
        fs::write(&temporary, contents).expect("the folder is ours");
        fs::rename(&temporary, &path).expect("the folder is ours");
        path
    }

    /// The configuration file, for `[[server]] config = …`.
    pub fn configuration(&self) -> PathBuf {
        self.path("nginx.conf")
    }

    /// The master's pid file, for `reload = "signal:…"`.
    pub fn pid_file(&self) -> PathBuf {
        self.path("nginx.pid")
    }

    /// Makes `blocks` the contents of `http { … }`. A running server takes it up at the next reload.
    pub fn http(&mut self, blocks: &str) -> &mut Nginx {
        blocks.clone_into(&mut self.http);
        self.write_configuration();
        self
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    /// How often somebody had it reload, whether it took anything up or not.
    pub fn reloads(&self) -> usize {
        self.error_log().lines().filter(|line| line.contains("(SIGHUP) received")).count()
    }

    /// Starts it and waits until every `listen` of the configuration answers.
    ///
    /// # Panics
    /// With the error log, when it does not come up.
    pub fn start(&mut self) -> &mut Nginx {
        assert!(self.master.is_none(), "this nginx runs already");
        let child = self.command().spawn().expect("nginx can be executed");
        self.master = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !(self.workers().len() == self.processes
            && self.listeners().iter().all(Listener::answers))
        {
            let child = self.master.as_mut().expect("it was just started");
            let ended = child.try_wait().expect("our own child can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                panic!("nginx does not come up ({ended:?}):\n{}", self.error_log());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// The master's pid.
    pub fn master(&self) -> Pid {
        let child = self.master.as_ref().expect("nginx runs");
        Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"))
    }

    /// The pids of its workers, those that are shutting down left out.
    pub fn workers(&self) -> Vec<Pid> {
        let master = self.master().to_string();
        let mut workers = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse() else { continue };
            // "12 (nginx) S 11 …": the name may hold blanks, so count from its closing bracket.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            let title = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if parent == Some(master.as_str()) && title.starts_with("nginx: worker process\0") {
                workers.push(Pid::from_raw(pid));
            }
        }
        workers
    }

    /// Sends HUP and waits for new workers.
    ///
    /// # Errors
    /// The `[emerg]` lines, when it keeps its old configuration.
    pub fn reload(&self) -> Result<(), String> {
        let (before, logged) = (self.workers(), self.error_log().len());
        kill(self.master(), Signal::SIGHUP).expect("the master is ours");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let workers = self.workers();
            if workers.len() == self.processes
                && workers.iter().all(|worker| !before.contains(worker))
            {
                return Ok(());
            }
            let log = self.error_log();
            let emergencies: Vec<_> =
                log[logged..].lines().filter(|line| line.contains("[emerg]")).collect();
            if !emergencies.is_empty() {
                return Err(emergencies.join("\n"));
            }
            assert!(Instant::now() < deadline, "nginx neither reloads nor complains:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `nginx -t`.
    ///
    /// # Errors
    /// What it says.
    pub fn test(&self) -> Result<(), String> {
        let mut command = self.command();
        let output =
            command.arg("-t").stderr(Stdio::piped()).output().expect("nginx can be executed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// Stops it at once; it may be started again.
    pub fn stop(&mut self) {
        if let Some(mut master) = self.master.take() {
            let pid = Pid::from_raw(i32::try_from(master.id()).expect("a pid fits"));
            let deadline = Instant::now() + PATIENCE;
            let mut ended = kill(pid, Signal::SIGTERM).is_err();
            while !ended && Instant::now() < deadline {
                ended = !matches!(master.try_wait(), Ok(None));
                thread::sleep(Duration::from_millis(2));
            }
            if !ended {
                let _ = master.kill();
                let _ = master.wait();
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program("nginx"));
        command.arg("-p").arg(self.folder()).arg("-c").arg(self.configuration());
        command.arg("-e").arg(self.path("error.log")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn write_configuration(&self) {
        let (http, processes) = (&self.http, self.processes);
        let user = if nix::unistd::geteuid().is_root() { "user nobody nogroup;" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {name}_temp;\n"))
            .concat();
        self.write(
            "nginx.conf",
            format!(
                "daemon off;\n{user}\nworker_processes {processes};\npid nginx.pid;\n\
                 error_log error.log notice;\nevents {{ worker_connections 512; }}\n\
                 http {{\n  access_log off;\n{temporary}{http}\n}}\n"
            ),
        );
    }

    /// Every `listen` of the configuration that names loopback, a bare port or a unix socket.
    fn listeners(&self) -> Vec<Listener> {
        let mut words = self.http.split(|c: char| c.is_whitespace() || c == ';');
        let mut listeners = Vec::new();
        while let Some(word) = words.next() {
            if word != "listen" {
                continue;
            }
            let address = words.find(|word| !word.is_empty()).unwrap_or_default();
            listeners.extend(Listener::parse(address));
        }
        listeners
    }
}

impl Default for Nginx {
    fn default() -> Self {
        Nginx::new()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

enum Listener {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listener {
    fn parse(text: &str) -> Option<Listener> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Listener::Unix(path.into()));
        }
        let text = text
            .strip_prefix("localhost")
            .map_or(text.to_owned(), |rest| format!("127.0.0.1{rest}"));
        let bare = text.parse().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
        bare.ok().or_else(|| text.parse().ok()).map(Listener::Tcp)
    }

    fn answers(&self) -> bool {
        match self {
            Listener::Tcp(address) => TcpStream::connect(address).is_ok(),
            Listener::Unix(path) => UnixStream::connect(path).is_ok(),
        }
    }
}

mod tests {
    use super::*;
    use crate::support::port::free_port;

    #[test]
    fn starts_reloads_complains_and_stops() {
        let port = free_port();
        let mut nginx = Nginx::new();
        let block =
            |word: &str| format!("server {{ listen 127.0.0.1:{port}; return 200 {word}; }}");
        nginx.http(&block("one")).start();
        assert_eq!(nginx.test(), Ok(()));
        nginx.http(&block("two"));
        assert_eq!(nginx.reload(), Ok(()));
        nginx.http("nonsense;");
        let complaint = nginx.reload().expect_err("it keeps its old configuration");
        assert!(complaint.contains("unknown directive \"nonsense\""), "{complaint}");
        assert!(nginx.test().is_err());
        nginx.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        nginx.http(&block("three")).start();
    }
}
