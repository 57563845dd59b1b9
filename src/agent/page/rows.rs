//! The table of certificates: its order, its leaves, its rows.

use std::fmt::{self, Write as _};

use super::{ON_A_PAGE, Text, left, until, word};
use crate::agent::brief::Brief;
use crate::agent::status::{CertificateStatus, Document, Served, Severity, State, Trouble};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// What presses most first; the document's own order.
    Slack,
    Name,
    State,
    /// The certificate's own end.
    Ends,
}

const COLUMNS: [(&str, &str, Option<Sort>); 7] = [
    ("Certificate", "name", Some(Sort::Name)),
    ("State", "state", Some(Sort::State)),
    ("Slack", "slack", Some(Sort::Slack)),
    ("Clients see", "", None),
    ("Next attempt", "", None),
    ("Certificate ends", "ends", Some(Sort::Ends)),
    ("Why", "", None),
];

/// One page of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) sort: Sort,
    /// Counted from 1.
    number: usize,
}

impl Leaf {
    /// What a query asks for; what it does not say or says wrongly is as usual.
    pub(super) fn of(query: &str) -> Leaf {
        let mut leaf = Leaf { sort: Sort::Slack, number: 1 };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let column = COLUMNS.iter().find(|(_, word, _)| !word.is_empty() && *word == value);
            match (key, column) {
                ("sort", Some((_, _, Some(sort)))) => leaf.sort = *sort,
                ("page", _) => leaf.number = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        leaf
    }

    /// Those of all certificates that are on this page.
    pub(super) fn part<'a>(&self, all: &'a [Brief]) -> &'a [Brief] {
        let number = self.number.min(all.len().div_ceil(ON_A_PAGE)).max(1);
        all.chunks(ON_A_PAGE).nth(number - 1).unwrap_or_default()
    }

    /// Writes this page of the table: the document's certificates, out of so many.
    pub(super) fn table(&self, page: &mut String, document: &Document, all: usize) -> fmt::Result {
        if all == 0 {
            page.push_str("<p>None was found yet.</p>\n");
            return Ok(());
        }
        let last = all.div_ceil(ON_A_PAGE);
        let number = self.number.min(last);
        self.links(page, number, last, all)?;
        page.push_str("<table>\n<thead><tr>");
        for (title, word, sort) in COLUMNS {
            match sort {
                Some(sort) if sort == self.sort => {
                    write!(page, "<th aria-sort=\"ascending\"><b>{title}</b></th>")?;
                }
                Some(_) => {
                    write!(page, "<th><a href=\"/?sort={word}#certificates\">{title}</a></th>")?;
                }
                None => write!(page, "<th>{title}</th>")?,
            }
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        document
            .certificates
            .iter()
            .try_for_each(|certificate| row(page, certificate, document))?;
        page.push_str("</tbody>\n</table>\n");
        self.links(page, number, last, all)
    }

    /// To the other pages, where there are any.
    fn links(&self, page: &mut String, number: usize, last: usize, all: usize) -> fmt::Result {
        if last == 1 {
            return Ok(());
        }
        let column = COLUMNS.iter().find(|(_, _, sort)| *sort == Some(self.sort));
        let word = column.map_or("slack", |(_, word, _)| word);
        let first = (number - 1) * ON_A_PAGE + 1;
        let end = (number * ON_A_PAGE).min(all);
        write!(page, "<nav>{first} to {end} of {all}")?;
        let places = [("first", 1), ("previous", number - 1), ("next", number + 1), ("last", last)];
        for (title, to) in places {
            if to != number && (1..=last).contains(&to) {
                let href = format!("/?sort={word}&amp;page={to}#certificates");
                write!(page, " <a href=\"{href}\">{title}</a>")?;
            }
        }
        page.push_str("</nav>\n");
        Ok(())
    }
}

/// Puts the certificates, which are in the document's order, in this one.
pub(super) fn sort(all: &mut [Brief], sort: Sort) {
    match sort {
        Sort::Slack => {}
        Sort::Name => all.sort_by(|one, other| one.name.cmp(&other.name)),
        Sort::State => all.sort_by_key(|one| (state(one.state), std::cmp::Reverse(one.severity))),
        Sort::Ends => all.sort_by_key(|one| one.not_after),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Revoked => "revoked",
        State::Expired => "staple expired",
        State::Waiting => "no staple yet",
        State::NoOcspUrl => "no OCSP URL",
        State::NoIssuer => "no issuer",
    }
}

/// What is the matter: where the staple itself is good, what is wrong about it, since a colour alone
/// tells some readers nothing.
fn words(certificate: &CertificateStatus) -> &'static str {
    match (certificate.state, certificate.troubles.iter().max()) {
        (State::Good, Some(Trouble::Late)) => "late",
        (State::Good, Some(Trouble::PublishFailed)) => "not written",
        (State::Good, Some(Trouble::AtRisk)) => "at risk",
        (State::Good, Some(Trouble::ServedMismatch)) => "not served",
        (other, _) => state(other),
    }
}

fn row(page: &mut String, certificate: &CertificateStatus, document: &Document) -> fmt::Result {
    let class = word(certificate.severity);
    let must = if certificate.must_staple { " <small>Must-Staple</small>" } else { "" };
    write!(
        page,
        "<tr class=\"{class}\"><th scope=\"row\">{}{must}</th>\
         <td data-is=\"State\"><span class=\"tag {class}\">{}</span></td>",
        Text(&certificate.name),
        words(certificate)
    )?;
    let slack = certificate.slack_seconds.map(left);
    let seen = certificate.served.map(|served| match served {
        Served::Match => "as published",
        Served::Unproven => "unproven",
        Served::Mismatch => "something else",
    });
    let next = certificate.next_attempt.map(|at| until(at, document.at));
    let cells =
        [("Slack", slack.as_deref()), ("Clients see", seen), ("Next attempt", next.as_deref())];
    for (title, value) in cells {
        match value {
            Some(value) => write!(page, "<td data-is=\"{title}\">{value}</td>")?,
            None => page.push_str("<td class=\"none\"></td>"),
        }
    }
    let ends = certificate.not_after.to_string();
    let day = ends.split('T').next().unwrap_or_default();
    write!(page, "<td data-is=\"Ends\"><time datetime=\"{ends}\">{day}</time></td>")?;
    let why = (certificate.severity != Severity::Ok).then_some(certificate.reason.as_str());
    let why: Vec<&str> = why.into_iter().chain(certificate.last_error.as_deref()).collect();
    match why.is_empty() {
        true => writeln!(page, "<td class=\"none\"></td></tr>"),
        false => writeln!(page, "<td class=\"why\">{}</td></tr>", Text(&why.join(": "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_any_kind_lead_to_a_page() {
        let cases = [
            ("", Sort::Slack, 1),
            ("sort=name", Sort::Name, 1),
            ("sort=ends&page=3", Sort::Ends, 3),
            ("page=0", Sort::Slack, 1),
            ("page=-1&sort=", Sort::Slack, 1),
            ("sort=<script>&page=99999999999999999999999", Sort::Slack, 1),
        ];
        for (query, sort, number) in cases {
            assert_eq!(Leaf::of(query), Leaf { sort, number }, "{query}");
        }
    }
}
