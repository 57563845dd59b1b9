//! Has a server take up its files, and sees to it that it did.
//!
//! `kill -HUP` succeeds whatever nginx makes of it: with a broken configuration or a bad staple the old
//! workers stay, and only the error log says so (facts/servers.md 4). So the outcome of
//! [`Reloader::reload`] is what became of the workers. [`Watch`] sees the reloads of others.

mod asked;
#[cfg(feature = "dbus")]
mod bus;
mod error;
mod kind;
mod mode;
mod process;
mod sight;
mod systemd;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::command::{self, CommandError, Run};

pub use error::ReloadError;
pub use kind::Kind;
pub use mode::{Mode, NotAMode, default_mode};
pub use process::{NotASnapshot, Snapshot, Stopped, Unseen};
pub use sight::{Watch, compare};

/// Between two looks at the workers: a small server has new ones within milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// From the first new worker to the last.
const ALL_MADE: Duration = Duration::from_millis(200);

/// What is to be reloaded, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The kind of server.
    pub kind: Kind,
    /// How; `None`: [`default_mode`] at each reload.
    pub mode: Option<Mode>,
    /// Where its master writes its process id, as we see it; from the server's configuration.
    pub pid_file: Option<PathBuf>,
    /// Its main configuration file, as we see it: tested first where a reload with a bad one would
    /// end the server.
    pub config: Option<PathBuf>,
    /// How long new workers may take to appear; 500 TLS hosts take half a second.
    pub proof_within: Duration,
    /// How long a command, or systemd's job, may take.
    pub ends_within: Duration,
}

impl Settings {
    /// With the usual limits.
    pub fn new(kind: Kind, mode: Option<Mode>, pid_file: Option<PathBuf>) -> Self {
        let (proof_within, ends_within) = (Duration::from_secs(10), Duration::from_secs(60));
        Settings { kind, mode, pid_file, config: None, proof_within, ends_within }
    }
}

/// Reloads one server.
#[derive(Clone, Debug)]
pub struct Reloader {
    settings: Settings,
}

/// A server took up its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// From the request to the proof.
    pub took: Duration,
    /// What the success is known by.
    pub proof: Proof,
    /// The server when it was proved, where it can be seen.
    pub server: Option<Snapshot>,
}

/// How a reload is known to have succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its workers are new.
    Workers,
    /// The command, or systemd, said so; the server's processes cannot be seen from here.
    Told,
}

impl Reloader {
    /// For the server that the settings describe.
    pub fn new(settings: Settings) -> Self {
        Reloader { settings }
    }

    /// How it will be done.
    pub fn mode(&self) -> Mode {
        let Settings { kind, mode, pid_file, .. } = &self.settings;
        mode.clone().unwrap_or_else(|| default_mode(*kind, pid_file.as_deref()))
    }

    /// Has the server take up its files, and waits until it did.
    ///
    /// # Errors
    /// It does not run, could not be told, or kept its old workers.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let start = Instant::now();
        let server = match self.mode() {
            Mode::Off => return Err(ReloadError::Off),
            Mode::Signal(pid_file) => self.by_signal(&pid_file).await?,
            Mode::Systemd(unit) => {
                let request = systemd::reload(&unit, self.settings.ends_within);
                self.by_request(request).await?
            }
            Mode::Command(words) => {
                self.is_there_for(&words)?;
                self.by_request(command(words, self.settings.ends_within)).await?
            }
        };
        let proof = if server.is_some() { Proof::Workers } else { Proof::Told };
        Ok(Reloaded { took: start.elapsed(), proof, server })
    }

    async fn by_signal(&self, pid_file: &Path) -> Result<Option<Snapshot>, ReloadError> {
        let kind = self.settings.kind;
        let Some(signal) = kind.signal() else { return Err(ReloadError::NoSignal) };
        let before = Snapshot::take(kind, pid_file)??;
        if let Some(words) = self.settings.config.as_deref().and_then(|path| kind.test(path)) {
            command(words, self.settings.ends_within).await?;
        }
        let pid = before.master();
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => self.await_new_workers(pid_file, &before).await,
            Err(Errno::EPERM) => Err(ReloadError::NotPermitted { pid }),
            // It ended this instant.
            Err(_) => Err(Stopped::NoProcess(pid_file.to_owned(), pid).into()),
        }
    }

    /// `apachectl graceful` starts an Apache that does not run, and nobody asked for that.
    fn is_there_for(&self, words: &[String]) -> Result<(), ReloadError> {
        let program = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
        let own = ["apachectl", "apache2ctl", "apache2", "httpd"].contains(&program);
        let pid_file = self.settings.pid_file.as_deref();
        match pid_file.filter(|_| own && self.settings.kind == Kind::Apache) {
            Some(path) => Ok(Snapshot::take(Kind::Apache, path)?.map(drop)?),
            None => Ok(()),
        }
    }

    /// Lets somebody else tell the server, and looks at the outcome if it can be seen from here.
    async fn by_request(
        &self,
        request: impl Future<Output = Result<(), ReloadError>>,
    ) -> Result<Option<Snapshot>, ReloadError> {
        let pid_file = self.settings.pid_file.as_deref();
        let kind = self.settings.kind;
        let seen = pid_file.filter(|_| kind != Kind::Other);
        let seen = seen.and_then(|path| Some((path, Snapshot::take(kind, path).ok()?)));
        match (request.await, seen) {
            (Ok(()), Some((path, Ok(before)))) => self.await_new_workers(path, &before).await,
            (Ok(()), _) => Ok(None),
            // `nginx -s reload` fails for a server that does not run, as it should.
            (Err(ReloadError::Command(CommandError::Failed { .. })), Some((_, Err(stopped)))) => {
                Err(stopped.into())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Where any new worker tells of a reload, the last of them must not be taken for another one's.
    async fn settled(&self, pid_file: &Path, proved: Snapshot) -> Snapshot {
        let kind = self.settings.kind;
        if !kind.keeps_old_workers() {
            return proved;
        }
        sleep(ALL_MADE).await;
        let now = Snapshot::take(kind, pid_file).ok().and_then(Result::ok);
        now.filter(|now| now.same_master(&proved)).unwrap_or(proved)
    }

    async fn await_new_workers(
        &self,
        pid_file: &Path,
        before: &Snapshot,
    ) -> Result<Option<Snapshot>, ReloadError> {
        let limit = self.settings.proof_within;
        if before.workers() == 0 && self.settings.kind == Kind::Lighttpd {
            // Nothing about it can be seen from here that a reload would change.
            return Ok(Some(before.clone()));
        }
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        loop {
            // A restart instead of a reload makes the pid file vanish for a moment.
            let late = Instant::now() >= deadline;
            match Snapshot::take(self.settings.kind, pid_file)? {
                Ok(now) if now.reloaded_since(before, self.settings.kind) => {
                    return Ok(Some(self.settled(pid_file, now).await));
                }
                Ok(now) if late && now.mostly_renewed_since(before) => return Ok(Some(now)),
                Ok(_) if late => {
                    return Err(ReloadError::Unchanged { pid: before.master(), limit });
                }
                Err(stopped) if late => return Err(stopped.into()),
                _ => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Runs a command that reloads or tests.
async fn command(words: Vec<String>, limit: Duration) -> Result<(), ReloadError> {
    command::run(Run { words, limit, ..Run::default() }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ReloadFault;

    #[tokio::test]
    async fn what_is_off_or_unknown_says_so() {
        let told = async |kind, mode: &str| {
            let mode = Some(mode.parse().expect("a mode"));
            let outcome = Reloader::new(Settings::new(kind, mode, None)).reload().await;
            outcome.expect_err("it cannot be done")
        };
        assert!(matches!(told(Kind::Nginx, "none").await, ReloadError::Off));
        assert!(matches!(told(Kind::Other, "signal:/run/x.pid").await, ReloadError::NoSignal));
        let stopped = told(Kind::Nginx, "signal:/nowhere/nginx.pid").await;
        assert_eq!(stopped.to_string(), "the server does not run: /nowhere/nginx.pid is missing");
        assert_eq!(stopped.fault(), ReloadFault::Inactive);
    }
}
