//! `staplekeeper check [--warning D] [--critical D]`: the monitoring plugin.
//!
//! It reads the status file and nothing else, so that it also works where no agent does, and needs no
//! right to the control socket. Exit status and output are those that Nagios, Icinga, Naemon and
//! Centreon know: `STAPLEKEEPER OK: text | label=value …`, then a line for each detail.

mod judge;
mod output;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use crate::agent::life::{Life, STATUS_FILE};
use crate::agent::status::Document;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::time::{UnixTime, format_duration, parse_duration};
pub use judge::{Grade, Report, Thresholds, judge};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Warn when clients of a certificate have less than this left ("6h", "2d"); without it, at three
    /// quarters of the margin that the schedule keeps, which normal operation never touches
    #[arg(long, short, value_name = "D", value_parser = parse_duration)]
    warning: Option<Duration>,
    /// The same for critical; without it, at a quarter of the margin, and with Must-Staple only
    #[arg(long, short, value_name = "D", value_parser = parse_duration)]
    critical: Option<Duration>,
}

/// Prints one report. Whatever is wrong is said on standard output, where monitors look for it.
pub(super) fn run(args: &Args, settings: anyhow::Result<Settings>) -> ExitCode {
    let now = SystemClock.now().wall;
    let thresholds = Thresholds { warning: args.warning, critical: args.critical };
    let report = match settings {
        Ok(settings) => look(&settings.runtime_dir.join(STATUS_FILE), thresholds, now),
        Err(error) => Report::unknown(format!("{error:#}")),
    };
    super::say::page(&report);
    ExitCode::from(report.grade.exit_status())
}

fn look(path: &Path, thresholds: Thresholds, now: UnixTime) -> Report {
    let (document, modified) = match read(path) {
        Ok(read) => read,
        Err(trouble) => return Report::unknown(trouble),
    };
    match Life::of(&document, modified, now) {
        Life::Lives => judge(&document, thresholds, now),
        Life::Gone => {
            let pid = document.agent.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            Report::unknown(format!(
                "the agent{pid} is gone; start it (systemctl start staplekeeper), and see its log \
                 for why it ended"
            ))
            .with_last_words(&document, now)
        }
        Life::Silent(silent) => Report::unknown(format!(
            "the agent has given no sign of life for {}: it is stuck, or the clock was set back; \
             restart it (systemctl restart staplekeeper)",
            format_duration(silent)
        ))
        .with_last_words(&document, now),
    }
}

/// The document and when its file was last modified.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn read(path: &Path) -> Result<(Document, UnixTime), String> {
    let shown = path.display();
    let cause = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "there is no {shown}: no agent has run here, or its runtime_dir is another; start it \
             (systemctl start staplekeeper)"
        ),
        _ => format!("cannot read {shown}: {error}"),
    };
    let modified = fs::metadata(path).and_then(|found| found.modified()).map_err(cause)?;
    let bytes = fs::read(path).map_err(cause)?;
    let document = serde_json::from_slice(&bytes).map_err(|error| {
        format!("{shown} is no status this version can read: {error}; restart the agent")
    })?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok((document, UnixTime::from_secs(i64::try_from(since).unwrap_or(i64::MAX))))
}
