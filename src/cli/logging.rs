//! Where log events go: fields for the journal under systemd, plain lines on standard error otherwise.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::pki::printable;

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
            let plain = fmt::layer().with_writer(|| Shown(io::stderr()));
            let plain = plain.with_ansi(colours).with_target(false);
            registry.with(plain).init();
        }
    }
}

/// Where people read events. What files are called is in them: it is shown, and obeyed by no terminal; a
/// line that is not the event's first is set in, so that nobody takes it for another event.
struct Shown<W>(W);

impl<W: Write> Write for Shown<W> {
    /// Takes a whole event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(shown(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn shown(event: &str) -> String {
    let lines = event.trim_end_matches('\n').split('\n').map(|line| {
        // The formatter's own colours; it has taken this character out of all values.
        let mut parts = line.split('\u{1b}');
        let first = printable(parts.next().unwrap_or_default());
        parts.fold(first, |line, part| line + &coloured(part))
    });
    lines.collect::<Vec<_>>().join("\n  ") + "\n"
}

/// What stood behind an escape character.
fn coloured(part: &str) -> String {
    let figures = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
    match figures {
        Some((figures, rest)) if figures.bytes().all(|c| c.is_ascii_digit() || c == b';') => {
            format!("\u{1b}[{figures}m{}", printable(rest))
        }
        _ => format!("\\1b{}", printable(part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_are_called_is_shown() {
        for (event, expected) in [
            ("INFO ready certificates=2\n", "INFO ready certificates=2\n"),
            ("\u{1b}[32m INFO\u{1b}[0m ready\n", "\u{1b}[32m INFO\u{1b}[0m ready\n"),
            ("WARN /live/a\u{1b}[2J.pem\u{9b}2J\n", "WARN /live/a\\1b[2J.pem\\c2\\9b2J\n"),
            ("WARN /live/a\u{1b}]0;owned\u{7}\n", "WARN /live/a\\1b]0;owned\\07\n"),
            ("WARN a\r\nINFO all is well\n", "WARN a\\0d\n  INFO all is well\n"),
            ("WARN exe\u{202e}gpj\n", "WARN exe\\e2\\80\\aegpj\n"),
        ] {
            assert_eq!(shown(event), expected);
        }
    }
}
