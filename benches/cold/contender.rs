//! Who does the work: the agent, the floor, and the peers that are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::floor;
use crate::support::corpus::Corpus;
use crate::support::process::{Process, Readiness, find};
use crate::support::responder::Responder;
use crate::support::workspace;

/// Somebody who gets a response for each certificate, from a cold start.
#[derive(Clone, Debug, PartialEq)]
pub enum Contender {
    Staplekeeper,
    Floor,
    /// The floor that also writes a file for each certificate and syncs the disk once.
    FloorWithFiles,
    Caddy {
        path: PathBuf,
        version: String,
    },
    Haproxy {
        path: PathBuf,
        version: String,
    },
}

/// What a cold start cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From the start of the process to the last response.
    pub answered: Duration,
    /// To the last staple published; none for those who publish nothing.
    pub published: Option<Duration>,
    /// User and system, by then.
    pub cpu: Duration,
    pub resident_kib: u64,
    pub requests: usize,
    pub connections: usize,
}

impl Contender {
    /// Caddy, and HAProxy where it knows `ocsp-update` (2.8), if they are installed.
    pub fn peers() -> Vec<Contender> {
        let caddy = version("caddy", "version", |said| said.split_whitespace().next());
        let haproxy = version("haproxy", "-v", |said| said.split_whitespace().nth(2));
        let knows_ocsp_update = |version: &str| {
            let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
            (numbers.next(), numbers.next()) >= (Some(2), Some(8))
        };
        let caddy = caddy.map(|(path, version)| Contender::Caddy { path, version });
        let haproxy = haproxy.filter(|(_, version)| knows_ocsp_update(version));
        let haproxy = haproxy.map(|(path, version)| Contender::Haproxy { path, version });
        caddy.into_iter().chain(haproxy).collect()
    }

    pub fn name(&self) -> String {
        match self {
            Contender::Staplekeeper => "staplekeeper".to_owned(),
            Contender::Floor => "floor".to_owned(),
            Contender::FloorWithFiles => "floor + files, one sync".to_owned(),
            Contender::Caddy { version, .. } => format!("Caddy {version}"),
            Contender::Haproxy { version, .. } => format!("HAProxy {version}"),
        }
    }

    /// Starts it where there is nothing yet, and stops it when it has everything.
    ///
    /// # Panics
    /// With its log, when it does not come to an end.
    pub fn run(&self, corpus: &Corpus, responder: &Responder, delay: Duration) -> Cost {
        responder.answer(corpus, delay);
        let folder = workspace::folder("cold");
        let log = folder.join("log");
        let mut process = match self {
            Contender::Staplekeeper => {
                let home = Home::new(&folder, &corpus.chains());
                Process::start(&mut home.command(), &log)
            }
            Contender::Floor => {
                let mut command = floor::command(&corpus.chains(), &responder.url(), None);
                Process::start(&mut command, &log)
            }
            Contender::FloorWithFiles => {
                let url = responder.url();
                let mut command = floor::command(&corpus.chains(), &url, Some(&folder));
                Process::start(&mut command, &log)
            }
            Contender::Caddy { path, .. } => caddy(path, &folder, corpus, &log),
            Contender::Haproxy { path, .. } => haproxy(path, &folder, corpus, &log),
        };
        let patience = Duration::from_secs(120);
        let answered = responder.complete(patience).unwrap_or_else(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            panic!("{} has not asked for everything in {patience:?}:\n{log}", self.name())
        });
        let mut end = answered;
        let published = matches!(self, Contender::Staplekeeper).then(|| {
            end = published(&folder.join("state/staples"), &corpus.names, patience);
            end - process.started
        });
        let (cpu, resident_kib) = match self {
            Contender::Floor | Contender::FloorWithFiles => {
                end = ended(&process);
                (process.cpu(), 0)
            }
            _ => (process.cpu(), process.resident_kib()),
        };
        let whole = matches!(self, Contender::Floor | Contender::FloorWithFiles);
        let answered = if whole { end } else { answered } - process.started;
        process.stop();
        let (requests, connections) = (responder.requests(), responder.connections());
        Cost { answered, published, cpu, resident_kib, requests, connections }
    }
}

/// Folders and configuration of one agent.
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// An agent without a server that watches `chains`; its state lies in `folder`.
    pub fn new(folder: &Path, chains: &Path) -> Home {
        let (here, chains) = (folder.display(), chains.display());
        let config = format!(
            "state_dir = \"{here}/state\"\nruntime_dir = \"{here}/run\"\nserver = []\n\n\
             [[watch]]\npath = \"{chains}\"\n"
        );
        for subfolder in ["state", "run"] {
            fs::create_dir_all(folder.join(subfolder)).expect("the folder is ours");
        }
        fs::write(folder.join("config.toml"), config).expect("the folder is ours");
        Home { folder: folder.to_owned() }
    }

    /// `staplekeeper run`, of the same build as this program.
    pub fn command(&self) -> Command {
        let program = std::env::var_os("STAPLEKEEPER");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_staplekeeper").into());
        let mut command = Command::new(program);
        command.arg("--config").arg(self.folder.join("config.toml")).arg("run");
        command
    }

    /// Starts the agent and waits until it says that it is ready.
    ///
    /// # Panics
    /// With its log, when it does not say so within a minute.
    pub fn start(&self) -> (Process, Duration) {
        let readiness = Readiness::listen(&self.folder);
        let log = self.folder.join("log");
        let mut command = self.command();
        command.env("NOTIFY_SOCKET", readiness.path());
        let process = Process::start(&mut command, &log);
        let Some(ready) = readiness.wait(Duration::from_secs(60)) else {
            let log = fs::read_to_string(&log).unwrap_or_default();
            panic!("staplekeeper is not ready in a minute:\n{log}");
        };
        let took = ready - process.started;
        (process, took)
    }

    pub fn staples(&self) -> PathBuf {
        self.folder.join("state/staples")
    }
}

/// Waits until a staple lies there for every name; gives when that was, to a few milliseconds.
///
/// # Panics
/// When it does not come to that.
pub fn published(folder: &Path, names: &[String], patience: Duration) -> Instant {
    let deadline = Instant::now() + patience;
    for name in names {
        // A placeholder has five bytes.
        let path = folder.join(format!("{name}.der"));
        while fs::metadata(&path).map_or(0, |file| file.len()) <= 5 {
            assert!(Instant::now() < deadline, "{} does not come", path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Instant::now()
}

/// Waits for a process to end and leaves it unreaped, so that its CPU time can still be read.
fn ended(process: &Process) -> Instant {
    let stat = format!("/proc/{}/stat", process.pid());
    loop {
        let text = fs::read_to_string(&stat).unwrap_or_default();
        if text.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z')) {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn version(name: &str, flag: &str, word: fn(&str) -> Option<&str>) -> Option<(PathBuf, String)> {
    let path = find(name)?;
    let output = Command::new(&path).arg(flag).output().ok()?;
    let version =
        word(&String::from_utf8_lossy(&output.stdout))?.trim_start_matches('v').to_owned();
    Some((path, version))
}

/// Loads every bundle, staples at load, writes to its storage.
fn caddy(path: &Path, folder: &Path, corpus: &Corpus, log: &Path) -> Process {
    let config = folder.join("caddy.json");
    let storage = folder.join("storage").display().to_string();
    let text = serde_json::json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "storage": { "module": "file_system", "root": storage },
        "apps": { "tls": { "certificates": { "load_folders": [corpus.bundles()] } } },
    });
    fs::write(&config, text.to_string()).expect("the folder is ours");
    let mut command = Command::new(path);
    command.arg("run").arg("--config").arg(config).env("HOME", folder);
    command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    Process::start(&mut command, log)
}

/// A listener that knows every bundle, `ocsp-update on` for each.
fn haproxy(path: &Path, folder: &Path, corpus: &Corpus, log: &Path) -> Process {
    let list = folder.join("list");
    let bundles = corpus.bundles();
    let lines = corpus
        .names
        .iter()
        .map(|name| format!("{}/{name}.pem [ocsp-update on] {name}\n", bundles.display()));
    fs::write(&list, lines.collect::<String>()).expect("the folder is ours");
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
         frontend site\n bind unix@{here}/site.sock ssl crt-list {here}/list\n \
         http-request return status 200\n",
        here = folder.display()
    );
    fs::write(&config, text).expect("the folder is ours");
    let mut command = Command::new(path);
    command.arg("-db").arg("-f").arg(config);
    Process::start(&mut command, log)
}
