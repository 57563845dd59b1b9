//! `staplekeeper run`: the agent, in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::logging::{self, Level};
use crate::agent::{Agent, StartError};
use crate::clock::SystemClock;
use crate::config::{self, Settings};
use crate::serve::responder::Listener;
use crate::store::StoreError;

/// How long a command that works without an agent may keep this one from starting.
const LOCKED_FOR: Duration = Duration::from_secs(15);

pub(super) fn run(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    logging::start(Level::Changes);
    // Where the kernel gives huge pages unasked, a third of what is resident would be empty. One that does
    // not know of this gives none.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let settings = config::load(path)?;
    // It changes the environment: before there is another thread.
    let given = Listener::given();
    // Two workers: signature checks are what takes time, and servers need their cores themselves.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let agent = new(settings).await?;
        agent.run(path.map(PathBuf::from), given).await?;
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn new(settings: Settings) -> Result<Agent, StartError> {
    let begun = Instant::now();
    loop {
        match Agent::new(settings.clone(), Arc::new(SystemClock)) {
            Err(StartError::Store(StoreError::Locked { .. })) if begun.elapsed() < LOCKED_FOR => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            outcome => return outcome,
        }
    }
}
