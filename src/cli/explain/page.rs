//! The page: from the certificate to what clients see now, a paragraph for each link of the chain.

use super::Known;
use crate::agent::status::{CertificateStatus, Published, Served, Severity, State, TargetStatus};
use crate::cli::lint;
use crate::inventory;
use crate::lint::Severity as Grave;
use crate::pki::printable;
use crate::time::{UnixTime, format_duration};

/// The width of the words on the left.
const LEFT: usize = 13;

/// Draws the page.
pub(super) fn page(known: &Known, width: usize) -> String {
    let mut page = Page { text: format!("{}\n\n", printable(&headline(known))) };
    certificate(known, &mut page);
    match &known.status {
        Some(status) => {
            responder(known, status, &mut page);
            staple(known, status, &mut page);
            published(known, status, &mut page);
        }
        None => page.line("agent", "it does not know this certificate yet"),
    }
    presented(known, &mut page);
    clients(known, &mut page);
    next(known, &mut page);
    for finding in &known.findings {
        page.text += &format!("\n{}\n", lint::text(finding, width));
    }
    page.text
}

struct Page {
    text: String,
}

impl Page {
    /// A line under a heading; without one, it goes on with the last.
    fn line(&mut self, heading: &str, words: &str) {
        self.text += format!("{heading:LEFT$}{}", printable(words)).trim_end();
        self.text.push('\n');
    }
}

/// How long ago, or in how long.
fn when(at: UnixTime, now: UnixTime) -> String {
    match at.seconds_since(now) {
        0 => "now".to_owned(),
        1.. => format!("in {}", format_duration(at.since(now))),
        _ => format!("{} ago", format_duration(now.since(at))),
    }
}

/// What there is to say, in a sentence.
fn headline(known: &Known) -> String {
    let name = &known.entry.name;
    let worst = known.findings.first().filter(|finding| finding.severity > Grave::Note);
    let Some(status) = &known.status else {
        return format!("{name} is not known to the agent yet.");
    };
    let stapled = known.entry.deployments.iter().any(|one| one.stapling);
    match (status.severity, status.state, status.served) {
        (Severity::Critical, ..) => {
            format!("{name} turns users away, or is about to: {}", status.reason)
        }
        (_, _, Some(Served::Mismatch)) => {
            format!("{name}: clients are handed something else than what is published.")
        }
        _ if worst.is_some() => {
            let what = worst.map(|finding| finding.what.as_str()).unwrap_or_default();
            let itself = what.starts_with(name.as_str());
            if itself { format!("{what}.") } else { format!("{name}: {what}.") }
        }
        (Severity::Warning, ..) => format!("{name} wants a look: {}", status.reason),
        (_, State::NoOcspUrl, _) => {
            format!("{name} needs no staple: it names no OCSP responder, and clients ask for none.")
        }
        _ if known.entry.deployments.is_empty() => {
            format!("{name} is presented by no server whose configuration is read here.")
        }
        _ if !stapled => {
            format!("{name} is presented without stapling, and nothing demands a staple.")
        }
        (_, State::Good, Some(Served::Match)) => {
            format!("{name} is fine: clients are handed a good staple.")
        }
        (_, State::Good, _) => {
            format!("{name} has a good staple; no handshake has shown yet what clients are handed.")
        }
        (_, State::Waiting, _) => format!("{name} has no staple yet."),
        _ => format!("{name}: {}", status.reason),
    }
}

fn certificate(known: &Known, page: &mut Page) {
    let entry = &known.entry;
    let subject = match (entry.subject.is_empty(), entry.names.first()) {
        (true, Some(name)) => name,
        _ => &entry.subject,
    };
    page.line("certificate", &format!("{subject}, {}, serial {}", entry.key_type, entry.serial));
    entry.files.iter().for_each(|file| page.line("", file));
    let until = entry.not_after;
    page.line("", &format!("ends {} ({until})", when(until, known.at)));
    page.line(
        "",
        match entry.must_staple {
            true => "Must-Staple: clients that obey it refuse the certificate without a staple",
            false => "no Must-Staple: clients do well without a staple",
        },
    );
    let issuer = match entry.issuer_proven {
        true => format!("{} signed it", entry.issuer),
        false => format!("{} is not found: nobody can be asked about it", entry.issuer),
    };
    page.line("issuer", &issuer);
    if let Some(root) = entry.root.as_ref().filter(|root| **root != entry.issuer) {
        page.line("", &format!("below {root}"));
    }
}

fn responder(known: &Known, status: &CertificateStatus, page: &mut Page) {
    let mut heading = "responder";
    for url in &status.responders {
        let sick = known.responders.iter().find(|one| one.url == *url && one.down);
        let state = sick.map(|one| format!(": DOWN, {} failures in a row", one.failures));
        page.line(heading, &format!("{url}{}", state.unwrap_or_default()));
        heading = "";
    }
    if status.responders.is_empty() {
        page.line("responder", "none is named, by it or by a profile");
    }
    if let Some(error) = &status.last_error {
        page.line("", &format!("the last attempt failed ({} in a row): {error}", status.failures));
    }
    if let Some(at) = status.next_attempt {
        page.line("", &format!("asked next {}", when(at, known.at)));
    }
}

fn staple(known: &Known, status: &CertificateStatus, page: &mut Page) {
    page.line("staple", &status.reason);
    if let Some(at) = status.this_update {
        page.line("", &format!("known to be right since {at}, {}", when(at, known.at)));
    }
    // Of a good one the reason says it.
    if let Some(at) = status.effective_expiry.filter(|_| status.state != State::Good) {
        let word = if at > known.at { "believed until" } else { "ran out" };
        page.line("", &format!("{word} {at}, {}", when(at, known.at)));
    }
    if let (Some(_), None) = (status.this_update, status.next_update) {
        page.line("", "it has no nextUpdate: how long it is good is our assumption");
    }
}

fn published(known: &Known, status: &CertificateStatus, page: &mut Page) {
    // What nobody reads and nobody wrote is of no interest.
    let idle = |one: &&TargetStatus| one.servers.is_empty() && one.published == Published::Nothing;
    let targets: Vec<_> = status.targets.iter().filter(|one| !idle(one)).collect();
    if targets.is_empty() {
        page.line("published", "nowhere");
    }
    for (number, target) in targets.into_iter().enumerate() {
        let heading = if number == 0 { "published" } else { "" };
        page.line(heading, &format!("{}: {}", target.path, holds(target.published)));
        loaded(known, target, page);
    }
}

fn loaded(known: &Known, target: &TargetStatus, page: &mut Page) {
    if target.servers.is_empty() {
        return page.line("", "  read by no server that is known");
    }
    let servers = target.servers.join(", ");
    let until =
        target.loaded_expiry.map(|at| format!(", good until {at} ({})", when(at, known.at)));
    let words = match target.loaded {
        Some(loaded) => {
            format!("  loaded by {servers}: {}{}", holds(loaded), until.unwrap_or_default())
        }
        None => format!("  read by {servers}; what is loaded there is not known"),
    };
    page.line("", &words);
}

fn holds(what: Published) -> &'static str {
    match what {
        Published::Staple => "this staple",
        Published::OlderStaple => "an older staple",
        Published::Placeholder => "the placeholder",
        Published::Nothing => "nothing",
        Published::Foreign => "something else",
    }
}

fn presented(known: &Known, page: &mut Page) {
    let mut heading = "presented";
    for one in &known.entry.deployments {
        let how = match &one.published {
            inventory::Published::File(_) => "stapled from its file",
            inventory::Published::Store(_) => "stapled from mod_md's store",
            inventory::Published::Responder(_) => "stapled by asking a responder here",
            inventory::Published::Itself => "stapled by asking the CA by itself",
            inventory::Published::None => "not stapled",
        };
        let names = match one.names.as_slice() {
            [] => "any name".to_owned(),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        let at = one.listeners.first().cloned().unwrap_or_default();
        page.line(heading, &format!("{} {}:{}: {how}", one.server, one.file, one.line));
        page.line("", &format!("  {names} on {at}"));
        heading = "";
    }
    if known.entry.deployments.is_empty() {
        page.line("presented", "by no server whose configuration is read here");
    }
    let mine =
        |config: &Option<String>| known.entry.deployments.iter().any(|one| one.config == *config);
    for server in known.servers.iter().filter(|server| mine(&server.config)) {
        if known.alive && !server.running {
            page.line("", &format!("  {} does not run", server.kind));
        }
        if let (Some(at), Some(why)) = (server.next_reload, &server.next_reload_reason) {
            page.line("", &format!("  {} is reloaded {} ({why})", server.kind, when(at, known.at)));
        }
        if let (Some(at), Some(why)) = (server.last_reload, &server.last_reload_reason) {
            page.line(
                "",
                &format!("  {} was reloaded {} ({why})", server.kind, when(at, known.at)),
            );
        }
        if let Some(error) = &server.last_error {
            page.line("", &format!("  the last reload failed: {error}"));
        }
    }
}

fn clients(known: &Known, page: &mut Page) {
    let deployed = !known.entry.deployments.is_empty();
    let words = match known.status.as_ref().and_then(|status| status.served) {
        Some(Served::Match) => "what is published, a handshake showed",
        Some(Served::Mismatch) => "SOMETHING ELSE than what is published, a handshake showed",
        _ if !deployed => "nothing of it",
        _ if !known.alive => "not known: no agent runs that could look",
        Some(Served::Unproven) => "not known: no handshake could be made",
        None => "not known: no handshake was made",
    };
    page.line("clients see", words);
    let slack = known.status.as_ref().and_then(|status| status.slack_seconds);
    if let Some(slack) = slack {
        let left = std::time::Duration::from_secs(slack.unsigned_abs());
        let words = match slack {
            0.. => format!("what is loaded is good for another {}", format_duration(left)),
            _ => format!("what is loaded ran out {} ago", format_duration(left)),
        };
        page.line("", &words);
    }
}

/// What the operator is to do now.
fn next(known: &Known, page: &mut Page) {
    let worst = known.findings.first().filter(|finding| finding.severity > Grave::Note);
    if worst.is_some() {
        return page.line("next step", "what stands below as \"fix\", the first one first");
    }
    let Some(status) = &known.status else {
        return page.line("next step", &format!("staplekeeper --refresh-now {}", known.entry.name));
    };
    let words = match status.state {
        State::Revoked => "replace the certificate, with a new key".to_owned(),
        State::NoIssuer => "put the issuer's certificate behind it in its file".to_owned(),
        State::NoOcspUrl if status.must_staple => {
            "have it issued again without Must-Staple, or by a CA that runs OCSP".to_owned()
        }
        State::Expired | State::Waiting => {
            format!("staplekeeper --refresh-now {}", known.entry.name)
        }
        _ if !known.alive => "start the agent: systemctl start staplekeeper".to_owned(),
        _ if status.severity >= Severity::Warning => {
            format!("staplekeeper --refresh-now {}", known.entry.name)
        }
        _ => match status.next_attempt {
            Some(at) => {
                format!("none for you; its responder is asked again {}", when(at, known.at))
            }
            None => "none".to_owned(),
        },
    };
    page.line("next step", &words);
}
