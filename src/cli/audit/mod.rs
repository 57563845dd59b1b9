//! `staplekeeper audit`: reads the audit trail, looks whether it is as it was written, and says what was
//! stapled at an instant.
//!
//! It reads files only: no agent need run. Exit status: 0; with `--verify` 1 where the trail was
//! tampered with or cannot be read; with `--at` 1 where nothing is known; 2 usage.

mod past;
mod select;
mod verify;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use super::format::Format;
use crate::audit::{self, FOLDER, Line};
use crate::config::Settings;
use crate::pki::printable;
use crate::time::{UnixTime, parse_duration};
use select::Select;

/// Read the audit trail, look whether it was tampered with, or say what was stapled at an instant
///
/// Exit status: 0; --verify: 1 if it is not as it was written; --at: 1 if nothing is known; 2 usage.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what concerns the certificate of this name, or with this fingerprint
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// Only what happened since this instant (RFC 3339), or in the time of this length ("6h", "4d")
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<UnixTime>,
    /// What was stapled at this instant (RFC 3339), with the bytes
    #[arg(long, value_name = "T", conflicts_with = "since")]
    at: Option<UnixTime>,
    /// Find every edited, dropped or reordered line
    #[arg(long, conflicts_with_all = ["name", "since", "at"])]
    verify: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let folder = settings.state_dir.join(FOLDER);
    match (args.verify, args.at) {
        (true, _) => verify::run(&folder, args.format),
        (false, Some(at)) => past::run(settings, args.name.as_deref(), at, args.format),
        (false, None) => {
            let mut select = Select::new(args.name.as_deref());
            let mut out = io::BufWriter::new(io::stdout().lock());
            let mut listing = Listing { out: &mut out, format: args.format, begun: false };
            let mut outcome = Ok(());
            audit::lines(&folder, |line| {
                // What was before tells which targets and servers are the certificate's.
                let concerns = select.takes(&line);
                let late = args.since.is_none_or(|since| line.time >= since);
                if concerns && late {
                    outcome = listing.print(&line);
                }
                outcome.is_ok()
            })?;
            let ended = outcome.and_then(|()| listing.end());
            if let (Some(name), false) = (&args.name, select.is_known()) {
                anyhow::bail!("the audit trail knows no certificate called {name:?}");
            }
            match ended {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                ended => ended?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lines, as they are printed.
struct Listing<'a, W: Write> {
    out: &'a mut W,
    format: Format,
    begun: bool,
}

impl<W: Write> Listing<'_, W> {
    fn print(&mut self, line: &Line) -> io::Result<()> {
        match self.format {
            Format::Text => {
                let words = words::of(&line.entry);
                writeln!(self.out, "{}  {:>6}  {}", line.time, line.seq, printable(&words))
            }
            Format::Json => {
                let before = if self.begun { ",\n" } else { "{\"schema\":1,\"lines\":[\n" };
                self.begun = true;
                self.out.write_all(before.as_bytes())?;
                serde_json::to_writer(&mut *self.out, line).map_err(io::Error::from)
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            let empty = if self.begun { "" } else { "{\"schema\":1,\"lines\":[" };
            writeln!(self.out, "{empty}\n]}}")?;
        }
        self.out.flush()
    }
}

/// An instant, or how long ago it was.
fn since(text: &str) -> Result<UnixTime, String> {
    if let Ok(at) = text.parse::<UnixTime>() {
        return Ok(at);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_err(|error| error.to_string())?.as_secs();
    let now = UnixTime::from_secs(i64::try_from(now).map_err(|error| error.to_string())?);
    match parse_duration(text) {
        Ok(length) => Ok(now - length),
        Err(_) => {
            Err("neither an instant like 2026-11-22T03:12:00Z nor a length like 6h".to_owned())
        }
    }
}
