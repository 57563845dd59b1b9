//! Speaks to the running agent over its control socket.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Settings;
use crate::serve::control::{Freeze, Hook, Import, Refresh, SOCKET};

/// The agent's end of the line.
pub(super) struct Client {
    http: reqwest::Client,
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
    /// When an agent runs and may not be called by this user.
    pub(super) async fn call(settings: &Settings) -> anyhow::Result<Line> {
        let path = settings.runtime_dir.join(SOCKET);
        match tokio::net::UnixStream::connect(&path).await {
            Ok(_) => Ok(Line::Agent(Client { http: http(&path)? })),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(error)
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
        let response = self.http.get("http://agent/status").send().await?;
        let bytes = response.error_for_status()?.bytes().await?;
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
        let mut response = self.http.post(url).body(body).send().await?;
        if !response.status().is_success() {
            let said = response.text().await?;
            bail!(Refused(format!("the agent refused: {}", said.trim_end())));
        }
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the agent stopped answering")? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                said(&line)?;
            }
        }
        Ok(())
    }
}

/// The agent will not have it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

fn http(path: &Path) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().unix_socket(path).build()?)
}
