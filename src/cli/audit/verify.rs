//! `staplekeeper audit --verify`: whether the trail is as it was written.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::super::format::Format;
use super::super::say;
use crate::audit::{self, Found};

/// The whole as JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    intact: bool,
    #[serde(flatten)]
    found: &'a Found,
}

pub(super) fn run(folder: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let found = match audit::verify(folder) {
        Ok(found) => found,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the audit trail cannot be read");
            super::super::complain(&error);
            return Ok(ExitCode::from(1));
        }
    };
    let intact = found.is_intact();
    match format {
        Format::Json => {
            let document = Document { schema: 1, intact, found: &found };
            say::json(&document)?;
        }
        Format::Text => print(folder, &found),
    }
    Ok(if intact { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(folder: &Path, found: &Found) {
    for fault in &found.faults {
        let place = folder.join(&fault.file);
        match fault.line {
            0 => say::line(format!("{}: {}", place.display(), fault.what)),
            line => say::line(format!("{}:{line}: {}", place.display(), fault.what)),
        }
    }
    if found.more_faults > 0 {
        say::line(format!("and {} more", found.more_faults));
    }
    for note in &found.notes {
        say::note(format!("note: {note}"));
    }
    let (lines, files) = (found.lines, found.files);
    let since = found.since.map(|since| format!(" since {since}")).unwrap_or_default();
    let whole = format!("{lines} lines in {files} files{since}");
    match found.is_intact() {
        true => say::line(format!("the audit trail is intact: {whole}")),
        false => say::note(format!("the audit trail was tampered with: {whole}")),
    }
    if let Some(last) = found.last {
        say::line(format!("last line {}, SHA-256 {}", last.seq, last.sha256));
        say::note(
            "hint: a trail that was made up as a whole looks like this too; the agent told its log \
             which lines there were: journalctl -u staplekeeper -g \"audit trail's last line\" -o json",
        );
    }
}
