//! `staplekeeper freeze NAME` and `staplekeeper thaw NAME`.

use std::process::ExitCode;

use anyhow::bail;

use super::client::{Client, Line};
use super::say;
use crate::agent::{self, Progress};
use crate::config::Settings;
use crate::serve::control::Freeze;

/// Keep what is published for a certificate, or publish the newest again
///
/// A freeze lasts over restarts, until the thaw or until 5/16 of the closing margin of what is
/// published are left (at a quarter it would be critical, and the reload takes its time); a renewed certificate is not frozen. Not even a revocation
/// undoes it: that is told as ever.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The certificate's name, or one of the names in it
    name: String,
}

/// Freezes, or thaws, through the running agent, or for the next one where none runs.
pub(super) async fn run(args: Args, thaw: bool, settings: Settings) -> anyhow::Result<ExitCode> {
    let order = Freeze { name: args.name, thaw };
    match Client::call(&settings).await? {
        Line::Agent(client) => {
            client.freeze(&order, |line| show(&serde_json::from_slice(line)?)).await?
        }
        Line::Nobody => {
            for verdict in agent::freeze_here(settings, &order).await? {
                say::row(&[&verdict.name, &verdict.text]);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(progress: &Progress) -> anyhow::Result<()> {
    match progress {
        Progress::Refused { reason } => bail!("{reason}"),
        Progress::Certificate(verdict) => say::row(&[&verdict.name, &verdict.text]),
        _ => {}
    }
    Ok(())
}
