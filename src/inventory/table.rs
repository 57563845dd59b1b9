//! The inventory for people: a headline, a line for each certificate, and below it one for each place that
//! presents it. Fits any width from 80 columns on.

use std::fmt::Write as _;

use super::{Entry, Inventory, Published};
use crate::pki::printable;
use crate::time::{DAY, UnixTime};

/// Columns of fixed width: key, Must-Staple, end, with two blanks behind each.
const FIXED: usize = (8 + 2) + (4 + 2) + (10 + 2);

/// Draws the table, `width` columns wide; lines that name files may be longer, since a path that is cut off
/// is none.
pub fn table(inventory: &Inventory, width: usize) -> String {
    let mut text = headline(inventory);
    if inventory.certificates.is_empty() {
        return text;
    }
    // Name, CA and responder share what is left, two blanks between them.
    let room = width.max(80) - FIXED - 4;
    let longest =
        |tell: &dyn Fn(&Entry) -> usize| inventory.certificates.iter().map(tell).max().unwrap_or(0);
    let ca = longest(&|one| common_name(&one.issuer).chars().count()).clamp(2, room * 3 / 10);
    let ocsp = longest(&|one| responders(one).chars().count()).clamp(4, room * 3 / 10);
    let name = longest(&|one| one.name.chars().count()).clamp(4, room - ca - ocsp);
    let ocsp = room - name - ca;
    let head = ["NAME", "KEY", "MUST", "ENDS", "CA"];
    let _ = writeln!(
        text,
        "\n{:name$}  {:8}  {:4}  {:10}  {:ca$}  OCSP",
        head[0], head[1], head[2], head[3], head[4]
    );
    for entry in &inventory.certificates {
        let _ = writeln!(
            text,
            "{:name$}  {:8}  {:4}  {:10}  {:ca$}  {}",
            cut(&entry.name, name),
            cut(&entry.key_type, 8),
            if entry.must_staple { "yes" } else { "-" },
            day(entry.not_after),
            cut(common_name(&entry.issuer), ca),
            cut(&responders(entry), ocsp),
        );
        for one in &entry.deployments {
            let how = match &one.published {
                Published::File(path) => format!("staple from {path}"),
                Published::Store(path) => format!("staple from mod_md's store {path}"),
                Published::Responder(url) => format!("staple asked of {url}"),
                Published::Itself => "staple asked of the CA by itself".to_owned(),
                Published::None if entry.must_staple => "NO STAPLING".to_owned(),
                Published::None => "no stapling".to_owned(),
            };
            let place = format!("{} {}:{}  {how}", one.server, one.file, one.line);
            let _ = writeln!(text, "  {}", printable(&place));
        }
    }
    text
}

fn headline(inventory: &Inventory) -> String {
    let count = |fits: &dyn Fn(&Entry) -> bool| {
        inventory.certificates.iter().filter(|one| fits(one)).count()
    };
    let all = inventory.certificates.len();
    if all == 0 {
        return "no certificates found\n".to_owned();
    }
    let soon = |one: &Entry| one.not_after.seconds_since(inventory.at) < 21 * seconds_of_day();
    let mut parts = vec![format!("{all} certificate{}", if all == 1 { "" } else { "s" })];
    parts.push(format!("{} presented by servers", count(&|one| !one.deployments.is_empty())));
    parts.push(format!("{} with Must-Staple", count(&|one| one.must_staple)));
    parts.push(format!("{} without OCSP", count(&|one| one.ocsp_urls.is_empty())));
    let ending = count(&soon);
    if ending > 0 {
        parts.push(format!("{ending} that end within 21 days"));
    }
    let lacking = count(&Entry::lacks_staple);
    let mut text = parts.join(", ") + "\n";
    if lacking > 0 {
        let _ = writeln!(
            text,
            "{lacking} with Must-Staple presented WITHOUT a staple: `staplekeeper lint` says what to write"
        );
    }
    text
}

fn seconds_of_day() -> i64 {
    i64::try_from(DAY.as_secs()).expect("a day is short")
}

/// The host of each responder: whose they are matters more than their paths.
fn responders(entry: &Entry) -> String {
    let host = |url: &String| {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest).to_owned()
    };
    match entry.responders.as_slice() {
        [] => "none".to_owned(),
        urls => urls.iter().map(host).collect::<Vec<_>>().join(" "),
    }
}

/// What a name says in its `CN=`, else the whole of it.
fn common_name(name: &str) -> &str {
    let parts = name.split(',').map(str::trim);
    parts.filter_map(|part| part.strip_prefix("CN=")).next().unwrap_or(name)
}

fn day(at: UnixTime) -> String {
    at.to_string().chars().take(10).collect()
}

/// At most `width` characters; a cut is shown.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
