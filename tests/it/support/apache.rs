//! A real Apache in a folder of its own, on loopback ports, gone when the value is dropped.
//!
//! ```ignore
//! let mut apache = Apache::new(&["ssl", "socache_shmcb"]);
//! apache.write("chain.pem", chain_pem);
//! apache.hosts(&format!("Listen 127.0.0.1:{port}\n<VirtualHost *:{port}>…</VirtualHost>"));
//! apache.start(port);                     // returns when the port answers
//! apache.graceful().expect("its configuration is good");
//! ```
//! Relative paths in the configuration are relative to the folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, geteuid};
use staplekeeper::reload::{Kind, Snapshot};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::program::program;

/// Where Debian keeps modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// How long a graceful restart may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A real Apache (event MPM): a parent and two children.
pub struct Apache {
    daemon: Option<Daemon>,
    folder: TempDir,
    modules: Vec<String>,
}

impl Apache {
    /// A folder with a configuration that has no virtual host yet; nothing runs. `modules` are loaded
    /// besides those that every Apache needs.
    pub fn new(modules: &[&str]) -> Apache {
        let folder = tempfile::Builder::new().prefix("apache-").tempdir().expect("a temp folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("the folder is ours");
        let needed = ["mpm_event", "authz_core"];
        let modules = needed.iter().chain(modules).map(|name| (*name).to_owned()).collect();
        let apache = Apache { daemon: None, folder, modules };
        apache.hosts("");
        apache
    }

    /// The folder: configuration, error log, whatever the test puts there. `ServerRoot`.
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
        self.path("httpd.conf")
    }

    /// The parent's pid file.
    pub fn pid_file(&self) -> PathBuf {
        self.path("httpd.pid")
    }

    /// Makes `text` what the configuration says beyond what every Apache needs: `Listen` and virtual
    /// hosts. A running server takes it up at the next restart.
    pub fn hosts(&self, text: &str) {
        let root = self.folder().display();
        let load = |name: &String| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n");
        let modules: String = self.modules.iter().map(load).collect();
        let user = if geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
        self.write(
            "httpd.conf",
            format!(
                "ServerRoot {root}\n{modules}{user}PidFile httpd.pid\nDefaultRuntimeDir {root}\n\
                 ErrorLog error.log\nLogLevel info\nServerName main.test\nStartServers 2\n\
                 ServerLimit 4\nThreadsPerChild 8\nMaxRequestWorkers 32\nMinSpareThreads 8\n\
                 MaxSpareThreads 32\n{text}\n"
            ),
        );
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    /// How often it restarted gracefully.
    pub fn restarts(&self) -> usize {
        self.error_log().lines().filter(|line| line.contains("AH00493")).count()
    }

    /// Starts it and returns when `port` answers.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    pub fn start(&mut self, port: u16) -> &mut Apache {
        assert!(self.daemon.is_none(), "this Apache runs already");
        // Debian's `apachectl` makes its lock folder in there; a minimal container has none.
        let _ = std::fs::create_dir_all("/run/lock");
        let mut command = self.command();
        let log = self.path("console.log");
        self.daemon = Some(Daemon::start(command.arg("-DFOREGROUND"), &log, port));
        let deadline = Instant::now() + PATIENCE;
        while self.snapshot().is_none_or(|snapshot| snapshot.workers() == 0) {
            assert!(Instant::now() < deadline, "it does not come up:\n{}", self.error_log());
            thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// The parent's pid.
    pub fn parent(&self) -> Pid {
        self.daemon.as_ref().expect("Apache runs").pid()
    }

    /// It ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(Daemon::ended)
    }

    /// As `staplekeeper::reload` sees it; `None` while it does not run.
    pub fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::take(Kind::Apache, &self.pid_file()).expect("it can be seen").ok()
    }

    /// `apache2 -k graceful`, and waits until the configuration was read and new children came.
    ///
    /// # Errors
    /// What it says, when it keeps its old configuration.
    pub fn graceful(&self) -> Result<(), String> {
        let before = self.snapshot().expect("it runs");
        let mut command = self.command();
        let output = command.args(["-k", "graceful"]).stderr(Stdio::piped()).output();
        let output = output.expect("apache2 can be executed");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.snapshot().is_some_and(|now| now.renewed_since(&before)) {
            assert!(Instant::now() < deadline, "it does not restart:\n{}", self.error_log());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// `apache2 -t`.
    ///
    /// # Errors
    /// What it says.
    pub fn test(&self) -> Result<(), String> {
        let mut command = self.command();
        let output = command.arg("-t").stderr(Stdio::piped()).output();
        let output = output.expect("apache2 can be executed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// What `apachectl` is to be told for this one, for `reload = [command]`.
    pub fn graceful_words(&self) -> Vec<String> {
        let words = [program("apachectl"), "-d".into(), self.folder().into(), "-f".into()];
        let words = words.into_iter().chain([self.configuration(), "-k".into(), "graceful".into()]);
        words.map(|word| word.display().to_string()).collect()
    }

    /// Stops it at once; it may be started again.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program("apache2"));
        command.arg("-d").arg(self.folder()).arg("-f").arg(self.configuration());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}
