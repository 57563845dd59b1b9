//! The agent for one command: a refresh without a running agent, or a look that changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::refreshing::Progress;
use super::status::Document;
use super::{Agent, StartError};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::happening::Happening;
use crate::serve::control::{Hook, Refresh};

/// Refreshes in this process, under the lock, and hands every line of progress to `said`.
///
/// # Errors
/// [`StartError`], or what `said` returns.
pub async fn refresh_here(
    settings: Settings,
    order: &Refresh,
    mut said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut agent = Agent::new(settings, Arc::new(SystemClock))?;
    agent.rescan();
    let (replies, mut lines) = mpsc::unbounded_channel();
    let mut replies = Some(replies);
    loop {
        agent.step().await;
        agent.follow_up();
        // The first scan shows what there is; issuers that had to be fetched come with the second.
        if agent.scanned
            && !agent.scan_is_under_way()
            && let Some(replies) = replies.take()
        {
            let (names, no_reload) = (order.names.clone(), order.no_reload);
            let uid = Some(nix::unistd::getuid().as_raw());
            agent.observe(Happening::RefreshAsked { uid, names, no_reload, more: 0 });
            agent.refresh(order, replies);
            agent.follow_up();
        }
        while let Ok(line) = lines.try_recv() {
            said(&serde_json::from_slice(&line)?)?;
        }
        if replies.is_none() && !agent.is_refreshing() {
            return Ok(());
        }
    }
}

/// Takes a response in this process, under the lock, and hands every line of progress to `said`.
///
/// # Errors
/// [`StartError`], or what `said` returns.
pub async fn import_here(
    settings: Settings,
    response: &[u8],
    mut said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut agent = Agent::new(settings, Arc::new(SystemClock))?;
    agent.rescan();
    while !agent.scanned || agent.scan_is_under_way() {
        agent.step().await;
        agent.follow_up();
    }
    let (replies, mut lines) = mpsc::unbounded_channel();
    agent.import(response, Some(nix::unistd::getuid().as_raw()), replies);
    loop {
        agent.follow_up();
        while let Ok(line) = lines.try_recv() {
            said(&serde_json::from_slice(&line)?)?;
        }
        if !agent.is_refreshing() {
            return Ok(());
        }
        agent.step().await;
    }
}

/// Waits in this process, under the lock, until what was renewed has its staple, or for `within`, and hands
/// every line of progress to `said`; the last one is [`Progress::Done`] unless time was up.
///
/// # Errors
/// [`StartError`], or what `said` returns.
pub async fn hook_here(
    settings: Settings,
    order: Hook,
    within: Duration,
    mut said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut agent = Agent::new(settings, Arc::new(SystemClock))?;
    let (replies, mut lines) = mpsc::unbounded_channel();
    let (uid, paths) = (Some(nix::unistd::getuid().as_raw()), order.paths.clone());
    agent.observe(Happening::HookCalled { uid, paths, more: 0 });
    agent.hook(order, replies);
    let end = Instant::now() + within;
    while agent.is_hooking() {
        if timeout_at(end, agent.step()).await.is_err() {
            return Ok(());
        }
        agent.follow_up();
        while let Ok(line) = lines.try_recv() {
            said(&serde_json::from_slice(&line)?)?;
        }
    }
    Ok(())
}

/// What the files and servers say, without asking, writing or reloading anything.
///
/// # Errors
/// [`StartError`].
pub async fn look(settings: Settings) -> Result<Document, StartError> {
    let mut agent = Agent::with(settings, Arc::new(SystemClock), None)?;
    agent.rescan();
    while !agent.scanned {
        agent.step().await;
    }
    agent.look_at_expiry();
    Ok(agent.document())
}
