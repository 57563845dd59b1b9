//! The status page: what a person with five minutes sees of the status document.
//!
//! HTML without script: sorting and leafing are links, colours follow the reader's, and on a narrow
//! screen each certificate becomes a card. Names, reasons and URLs come from certificates and from
//! servers elsewhere: everything goes through [`Text`], which escapes it.

mod rows;

use std::fmt::{self, Write as _};

use super::Agent;
use super::brief::Brief;
use super::status::{Document, ResponderStatus, ServerStatus, Severity};
use crate::time::{UnixTime, format_duration};
use rows::{Leaf, sort};

/// The page's style sheet.
pub(super) const STYLE: &str = include_str!("style.css");
/// Certificates on one page.
const ON_A_PAGE: usize = 200;
/// Problems that are shown; the log has them all.
const MOST_PROBLEMS: usize = 20;

/// Text from anywhere, safe between tags and in quoted attributes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() => f.write_char('\u{fffd}'),
            // Marks that turn the direction of text could make a name read as another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}'),
            c => f.write_char(c),
        })
    }
}

/// The words for a severity; the first is the style's too.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// What the page shows.
#[derive(Debug)]
pub(super) struct Page {
    /// With the certificates of one leaf.
    document: Document,
    /// All certificates, in the order that is wanted.
    all: Vec<Brief>,
    leaf: Leaf,
}

impl Agent {
    /// The page as of now, as `query` wants it sorted and opened.
    pub(super) fn page(&self, query: &str) -> Page {
        let leaf = Leaf::of(query);
        let mut all = self.briefs();
        sort(&mut all, leaf.sort);
        let shown = leaf.part(&all).iter().filter_map(|brief| self.certificate_status(brief.id));
        Page { document: self.document_of(shown.collect()), all, leaf }
    }
}

impl Page {
    /// As HTML.
    pub(super) fn render(&self) -> String {
        let mut page = String::new();
        // A string takes whatever is written.
        let _ = write(&mut page, self);
        page
    }
}

fn write(page: &mut String, Page { document, all, leaf }: &Page) -> fmt::Result {
    let worst = worst(document, all);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>staplekeeper: {}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n",
        word(worst)
    )?;
    header(page, document, all, worst)?;
    attention(page, document)?;
    page.push_str("<main>\n<h2 id=\"certificates\">Certificates</h2>\n");
    leaf.table(page, document, all.len())?;
    page.push_str("</main>\n");
    servers(page, document)?;
    responders(page, &document.responders)?;
    write!(
        page,
        "<footer>staplekeeper {}, process {}. <a href=\"/metrics\">Metrics</a>. Times are UTC. \
         In a terminal: <code>staplekeeper status</code>, <code>staplekeeper explain NAME</code>.\
         </footer>\n</body>\n</html>\n",
        Text(&document.agent.version),
        document.agent.pid.unwrap_or_default(),
    )
}

fn worst(document: &Document, all: &[Brief]) -> Severity {
    let certificates = all.iter().map(|one| one.severity);
    let servers = document.servers.iter().map(|one| one.severity);
    let responders = document.responders.iter().map(|one| one.severity);
    let clock = if document.agent.clock_suspect { Severity::Warning } else { Severity::Ok };
    let worst = certificates.chain(servers).chain(responders).max().unwrap_or_default();
    // What is worth knowing is no reason to look.
    let worst = if worst == Severity::Info { Severity::Ok } else { worst };
    worst.max(clock)
}

fn header(page: &mut String, document: &Document, all: &[Brief], worst: Severity) -> fmt::Result {
    let of = |severity| all.iter().filter(|one| one.severity == severity).count();
    let sentence = match worst {
        Severity::Critical => "Clients break, or soon will",
        Severity::Warning => "Something will hurt if nobody looks",
        Severity::Ok | Severity::Info if !document.agent.ready => "The first pass is under way",
        Severity::Ok | Severity::Info => "All is well",
    };
    let class = word(worst);
    write!(
        page,
        "<header class=\"{class}\">\n<h1>{sentence}</h1>\n<p>{}, as of <time>{}</time></p>\n<ul>\n",
        match all.len() {
            1 => "1 certificate".to_owned(),
            number => format!("{number} certificates"),
        },
        document.at
    )?;
    for severity in [Severity::Critical, Severity::Warning, Severity::Info, Severity::Ok] {
        let (number, class) = (of(severity), word(severity));
        if number > 0 {
            writeln!(page, "<li class=\"{class}\"><b>{number}</b> {class}</li>")?;
        }
    }
    let must = all.iter().filter(|one| one.must_staple).count();
    if must > 0 {
        writeln!(page, "<li><b>{must}</b> Must-Staple</li>")?;
    }
    let deployed = all.iter().filter(|one| one.placed);
    let least = deployed.filter_map(|one| Some((one.slack_seconds?, &one.name))).min();
    if let Some((slack, name)) = least {
        writeln!(page, "<li><b>{}</b> least slack ({})</li>", left(slack), Text(name))?;
    }
    page.push_str("</ul>\n</header>\n");
    Ok(())
}

/// What is not about one certificate.
fn attention(page: &mut String, document: &Document) -> fmt::Result {
    let mut lines: Vec<(Severity, String)> = Vec::new();
    if document.agent.clock_suspect {
        let line = "The clock cannot be believed: nothing is withdrawn until it can. See to time \
                    synchronisation.";
        lines.push((Severity::Warning, line.to_owned()));
    }
    for one in document.responders.iter().filter(|one| one.down) {
        let line = format!(
            "Responder {} is down: {} failures in a row, {} certificates wait for it.",
            one.url, one.failures, one.waiting
        );
        lines.push((one.severity, line));
    }
    for one in &document.servers {
        if let Some(error) = &one.last_error {
            lines.push((one.severity.max(Severity::Info), format!("{}: {error}", label(one))));
        }
    }
    lines.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let problems = document.problems.iter().take(MOST_PROBLEMS);
    lines.extend(problems.map(|problem| (Severity::Info, problem.clone())));
    if lines.is_empty() {
        return Ok(());
    }
    page.push_str("<section>\n<h2>To look at</h2>\n<ul class=\"lines\">\n");
    for (severity, line) in &lines {
        let class = word(*severity);
        writeln!(page, "<li><span class=\"tag {class}\">{class}</span> {}</li>", Text(line))?;
    }
    let more = document.problems.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        writeln!(page, "<li>and {more} more in the log</li>")?;
    }
    page.push_str("</ul>\n</section>\n");
    Ok(())
}

fn label(server: &ServerStatus) -> String {
    match &server.config {
        Some(config) => format!("{} ({config})", server.kind),
        None => server.kind.clone(),
    }
}

fn servers(page: &mut String, document: &Document) -> fmt::Result {
    if document.servers.is_empty() {
        return Ok(());
    }
    page.push_str("<section>\n<h2>Servers</h2>\n<ul class=\"lines\">\n");
    for server in &document.servers {
        let running = if server.running { "running" } else { "not running" };
        write!(page, "<li>{}: {running}", Text(&label(server)))?;
        if let (Some(at), Some(why)) = (server.next_reload, &server.next_reload_reason) {
            write!(page, ", reload in {} ({})", until(at, document.at), Text(why))?;
        }
        if let (Some(at), Some(why)) = (server.last_reload, &server.last_reload_reason) {
            write!(page, ", last reloaded {at} ({})", Text(why))?;
        }
        page.push_str("</li>\n");
    }
    page.push_str("</ul>\n</section>\n");
    Ok(())
}

fn responders(page: &mut String, responders: &[ResponderStatus]) -> fmt::Result {
    if responders.is_empty() {
        return Ok(());
    }
    page.push_str("<section>\n<h2>Responders</h2>\n<ul class=\"lines\">\n");
    for one in responders.iter().take(ON_A_PAGE) {
        let state = if one.down { "down" } else { "answers" };
        writeln!(page, "<li>{}: {state}</li>", Text(&one.url))?;
    }
    page.push_str("</ul>\n</section>\n");
    Ok(())
}

/// Slack for people.
fn left(slack: i64) -> String {
    match u64::try_from(slack) {
        Ok(slack) => format_duration(std::time::Duration::from_secs(slack)),
        Err(_) => "none left".to_owned(),
    }
}

fn until(at: UnixTime, now: UnixTime) -> String {
    if at <= now { "now".to_owned() } else { format_duration(at.since(now)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_anywhere_stays_text() {
        let cases = [
            ("www.example", "www.example"),
            ("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
            ("\" onload=\"x", "&quot; onload=&quot;x"),
            ("a&b\nc", "a&amp;b\u{fffd}c"),
            ("pay\u{202e}lap", "pay\u{fffd}lap"),
        ];
        for (text, expected) in cases {
            assert_eq!(Text(text).to_string(), expected);
        }
    }
}
