//! The agent for one command: a refresh without a running agent, or a look that changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::unistd::getuid;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::model::Scanned;
use super::refreshing::Progress;
use super::status::Document;
use super::{Agent, StartError, Survey};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::digest::Fingerprint;
use crate::happening::Happening;
use crate::serve::control::{Hook, Refresh};

/// Refreshes in this process, under the lock, and hands every line of progress to `said`.
///
/// # Errors
/// [`StartError`], or what `said` returns.
pub async fn refresh_here(
    settings: Settings,
    order: &Refresh,
    said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begin = |agent: &mut Agent, uid, replies| {
        let (names, no_reload) = (order.names.clone(), order.no_reload);
        agent.observe(Happening::RefreshAsked { uid, names, no_reload, more: 0 });
        agent.refresh(order, replies);
    };
    work_here(settings, "refresh", begin, said).await
}

/// Takes a response in this process, under the lock, and hands every line of progress to `said`.
///
/// # Errors
/// [`StartError`], or what `said` returns.
pub async fn import_here(
    settings: Settings,
    response: &[u8],
    said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begin = |agent: &mut Agent, uid, replies| agent.import(response, uid, replies);
    work_here(settings, "import", begin, said).await
}

/// Looks at everything, has `begin` set something going for the user who runs this (his uid), and hands
/// what comes of it to `said` until all of it has ended.
async fn work_here(
    settings: Settings,
    command: &str,
    begin: impl FnOnce(&mut Agent, Option<u32>, mpsc::UnboundedSender<Bytes>),
    mut said: impl FnMut(&Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut agent = Agent::new(settings, Arc::new(SystemClock))?;
    agent.observe(Happening::by_hand(command, getuid().as_raw()));
    agent.rescan();
    // The first scan shows what there is; issuers that had to be fetched come with the second.
    while !agent.scanned || agent.scan_is_under_way() {
        agent.step().await;
        agent.follow_up();
    }
    let (replies, mut lines) = mpsc::unbounded_channel();
    begin(&mut agent, Some(getuid().as_raw()), replies);
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
    agent.observe(Happening::by_hand("hook", getuid().as_raw()));
    agent.hook(order, Some(getuid().as_raw()), replies);
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
    Ok(agent.last_look())
}

/// The same about one certificate that `survey` has found, and what shares its staple files.
///
/// # Errors
/// [`StartError`].
pub fn look_at(
    settings: Settings,
    survey: &Survey,
    leaf: Fingerprint,
) -> Result<Document, StartError> {
    let mut agent = Agent::with(settings, Arc::new(SystemClock), None)?;
    let (scanner, names) = agent.scanner.take().expect("nothing has been begun");
    agent.take_in(Scanned { scanner, names, scan: survey.scan.about(leaf) });
    Ok(agent.last_look())
}

impl Agent {
    /// What the document says once everything was looked at. The process ends behind it: ten thousand
    /// certificates are not taken to pieces for that.
    fn last_look(mut self) -> Document {
        self.look_at_expiry();
        let document = self.document();
        std::mem::forget(self);
        document
    }
}
