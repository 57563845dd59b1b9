//! `staplekeeper refresh`, also called `--refresh-now`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::bail;

use super::client::{Client, Line};
use super::say;
use crate::agent::{self, Progress};
use crate::config::Settings;
use crate::serve::control::Refresh;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names of certificates; none: all of them
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Leave the servers alone
    #[arg(long)]
    pub(super) no_reload: bool,
}

/// Refreshes through the running agent, or in this process where none runs.
pub(super) async fn run(args: Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let order = Refresh { names: args.names, no_reload: args.no_reload };
    let mut tally = Tally::default();
    match Client::call(&settings).await? {
        Line::Agent(client) => {
            let said = |line: &[u8]| tally.take(&serde_json::from_slice(line)?);
            client.refresh(&order, said).await?;
        }
        Line::Nobody => {
            agent::refresh_here(settings, &order, |progress| tally.take(progress)).await?;
        }
    }
    tally.end()
}

#[derive(Default)]
pub(super) struct Tally {
    done: Option<(usize, usize)>,
    shown: usize,
}

impl Tally {
    pub(super) fn take(&mut self, progress: &Progress) -> anyhow::Result<()> {
        match progress {
            Progress::Refused { reason } | Progress::Busy { reason } => bail!("{reason}"),
            Progress::Note { text } => say::note(text),
            Progress::Done { good, bad } => self.done = Some((*good, *bad)),
            Progress::Certificate(verdict) => {
                self.shown += 1;
                let word = if verdict.good { "ok" } else { "FAILED" };
                if std::io::stdout().is_terminal() {
                    // Only what needs a look stays; the rest is counted on one line.
                    if verdict.good {
                        say::progress(format!("{} settled", self.shown));
                        return Ok(());
                    }
                    say::end_progress();
                }
                say::row(&[&verdict.name, word, &verdict.text]);
            }
        }
        Ok(())
    }

    pub(super) fn end(self) -> anyhow::Result<ExitCode> {
        let Some((good, bad)) = self.done else { bail!("the agent stopped before it was done") };
        if std::io::stdout().is_terminal() {
            say::end_progress();
        }
        say::note(format!("{good} of {} certificates have what they should have", good + bad));
        Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
