//! What people read: all that commands say goes through here. What files are called, what certificates
//! hold and what others answered is shown by a terminal so, and never obeyed.

use std::fmt::Display;

use serde::Serialize;

use crate::pki::printable;

/// One line of data, whatever is in it.
pub(super) fn line(text: impl Display) {
    anstream::println!("{}", printable(&text.to_string()));
}

/// One line of data in columns, a tab between them.
pub(super) fn row(cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| printable(cell)).collect();
    anstream::println!("{}", cells.join("\t"));
}

/// Data that has its line ends and its colours already, and nothing else that a terminal obeys.
pub(super) fn page(text: impl Display) {
    anstream::print!("{text}");
}

/// A JSON document. Its strings escape what has to be escaped; a reader gets names as they are.
pub(super) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    anstream::println!("{}", serde_json::to_string_pretty(document)?);
    Ok(())
}

/// One line on standard error, whatever is in it.
pub(super) fn note(text: impl Display) {
    anstream::eprintln!("{}", printable(&text.to_string()));
}

/// A problem on standard error, its hint below. Any other line in it is of a name, and set in: nobody takes
/// it for a line of ours.
pub(super) fn problem(text: impl Display) {
    let text = text.to_string();
    for (at, line) in text.lines().enumerate() {
        let ours = at == 0 || line.starts_with("hint: ");
        note(if ours { line.to_owned() } else { format!("  {line}") });
    }
}

/// A report on standard error, whose lines are all ours.
pub(super) fn report(text: impl Display) {
    text.to_string().lines().for_each(note);
}

/// How far things are, on a line of standard error that is written over by the next one.
pub(super) fn progress(text: impl Display) {
    anstream::eprint!("\r{}", printable(&text.to_string()));
}

/// Takes that line away again.
pub(super) fn end_progress() {
    anstream::eprint!("\r\x1b[K");
}
