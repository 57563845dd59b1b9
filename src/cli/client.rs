//! Speaks to the running agent over its control socket.
//!
//! An agent that is stopped or hangs takes calls and answers none: nobody waits for that. Work that somebody
//! asked for takes as long as it takes; while nothing is heard of it, the agent is asked whether it is there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::config::Settings;
use crate::serve::control::{Freeze, Hook, Import, Refresh, SOCKET};

/// An agent that works answers within a second, with ten thousand certificates on a busy machine in some.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The agent's end of the line.
pub(super) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    /// Of the agent, where the kernel says.
    pid: Option<i32>,
}

/// What a call may find.
pub(super) enum Line {
    /// An agent answers.
    Agent(Client),
    /// No agent runs.
    Nobody,
}

impl Client {
    /// Calls the agent that serves `settings`.
    ///
    /// # Errors
    /// When an agent runs and may not be called by this user, or takes no calls ([`Stuck`]).
    pub(super) async fn call(settings: &Settings) -> anyhow::Result<Line> {
        let path = settings.runtime_dir.join(SOCKET);
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => {
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                Ok(Line::Agent(Client { http: http(&path)?, socket: path, pid }))
            }
            // Callers wait in line already, as many as the kernel lets.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Stuck { socket: path, pid: None }.into())
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error)
                .with_context(|| {
                    format!(
                        "the agent's socket {} is for root and the group staplekeeper: run this as \
                         root, or join the group",
                        path.display()
                    )
                }),
            Err(_) => Ok(Line::Nobody),
        }
    }

    /// The agent's status document.
    pub(super) async fn status<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let request = self.http.get("http://agent/status");
        let answer = async { request.send().await?.error_for_status()?.bytes().await };
        let bytes = self.in_time(answer).await?;
        serde_json::from_slice(&bytes).context("the agent's status could not be read")
    }

    /// Has the agent refresh, and hands each line it says to `said`.
    pub(super) async fn refresh(
        &self,
        refresh: &Refresh,
        said: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.post("refresh", refresh, said).await
    }

    /// Has the agent wait for staples, and hands each line it says to `said`.
    pub(super) async fn hook(
        &self,
        hook: &Hook,
        said: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.post("hook", hook, said).await
    }

    /// Has the agent freeze or thaw, and hands each line it says to `said`.
    pub(super) async fn freeze(
        &self,
        freeze: &Freeze,
        said: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.post("freeze", freeze, said).await
    }

    /// Brings the agent a response, and hands each line it says to `said`.
    pub(super) async fn import(
        &self,
        import: &Import,
        said: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.post("import", import, said).await
    }

    async fn post(
        &self,
        what: &str,
        order: &impl Serialize,
        mut said: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (body, url) = (serde_json::to_vec(order)?, format!("http://agent/{what}"));
        let mut response = self.in_time(self.http.post(url).body(body).send()).await?;
        if !response.status().is_success() {
            // Of one that is ending, the next may take the order.
            ensure!(response.status() != StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping");
            let said = response.text().await?;
            bail!(Refused(format!("the agent refused: {}", said.trim_end())));
        }
        let mut rest = Vec::new();
        loop {
            let Ok(chunk) = timeout(ANSWERS_WITHIN, response.chunk()).await else {
                self.is_alive().await?;
                continue;
            };
            let Some(chunk) = chunk.context("the agent stopped answering")? else { break };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                said(&line)?;
            }
        }
        Ok(())
    }
}

impl Client {
    /// Looks whether the agent still works. One of another version need not know the question.
    async fn is_alive(&self) -> anyhow::Result<()> {
        let request = self.http.get("http://agent/alive");
        let answer = async { request.send().await?.bytes().await };
        self.in_time(answer).await.map(drop)
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> anyhow::Result<T> {
        match timeout(ANSWERS_WITHIN, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Stuck { socket: self.socket.clone(), pid: self.pid }.into()),
        }
    }
}

/// An agent runs and does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(super) struct Stuck {
    socket: PathBuf,
    pid: Option<i32>,
}

impl Stuck {
    fn text(&self) -> String {
        let who = self.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let (socket, within) = (self.socket.display(), ANSWERS_WITHIN.as_secs());
        let what = format!("the agent{who} behind {socket} has not answered for {within} s");
        match self.pid.filter(|pid| is_stopped(*pid)) {
            Some(pid) => format!(
                "{what}: it was stopped; `kill -CONT {pid}` lets it go on, \
                 `systemctl restart staplekeeper` starts another one"
            ),
            None => format!(
                "{what}: it hangs, or the machine is very busy; see `journalctl -u staplekeeper`, and \
                 `systemctl restart staplekeeper` if it goes on"
            ),
        }
    }
}

/// By a signal, or by a debugger (proc_pid_stat(5), field 3).
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it is in brackets and may have anything in it.
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with(['T', 't']))
}

/// The agent will not have it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

fn http(path: &Path) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().unix_socket(path).build()?)
}
