//! Where log events go: fields for the journal under systemd, plain lines on standard error otherwise.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Overrides how much is logged, in the words of tracing's `EnvFilter`.
const VARIABLE: &str = "STAPLEKEEPER_LOG";

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// What wants a person.
    Errors,
    /// Every change seen from outside, too.
    Changes,
}

/// Starts logging for the rest of the process.
pub(super) fn start(level: Level) {
    let default = match level {
        Level::Errors => LevelFilter::ERROR,
        Level::Changes => LevelFilter::INFO,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(default.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets this where standard error is the journal already: it takes fields as well.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let plain = fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false);
            registry.with(plain).init();
        }
    }
}
