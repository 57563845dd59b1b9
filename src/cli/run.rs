//! `staplekeeper run`: the agent, in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::logging::{self, Level};
use crate::agent::Agent;
use crate::clock::SystemClock;
use crate::config;
use crate::serve::responder::Listener;

pub(super) fn run(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    logging::start(Level::Changes);
    let settings = config::load(path)?;
    // It changes the environment: before there is another thread.
    let given = Listener::given();
    // Two workers: signature checks are what takes time, and servers need their cores themselves.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let agent = Agent::new(settings, Arc::new(SystemClock))?;
        agent.run(path.map(PathBuf::from), given).await?;
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
