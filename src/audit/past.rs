//! What was stapled at an instant, as far as the trail knows.
//!
//! Three kinds of lines tell: a target was written; a server took up its files (a reload, by us or by
//! others, or a start); a handshake showed a staple. What a server hands out at an instant is what a
//! handshake showed last, or what lay in the target when the server last took up its files, whichever
//! is later. Where neither is known, it is known only what was published.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::line::{Entry, Line};
use crate::digest::{Digest, Fingerprint};
use crate::happening::{Happening, Lying, Sighted, Subject};
use crate::plan::Facts;
use crate::time::UnixTime;

/// How it is known that a server handed something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "proof")]
pub enum Proof {
    /// A handshake showed it.
    Handshake {
        /// When, UTC.
        at: UnixTime,
        /// The line that says so.
        line: u64,
    },
    /// The server took up its files when this lay there.
    TakenUp {
        /// When, UTC.
        at: UnixTime,
        /// The line that says so.
        line: u64,
    },
}

/// What a server handed out for a target, or what lay there for servers that none is known of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Handed {
    /// Where it was published.
    pub target: String,
    /// The server; `None` where none read the target, or none was seen to have taken it up.
    pub server: Option<String>,
    /// What.
    #[serde(flatten)]
    pub content: Lying,
    /// When it was published, UTC.
    pub published: UnixTime,
    /// The line that says so.
    pub line: u64,
    /// Absent: it was published, and nothing shows that it was taken up by then.
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

/// Something that was published.
#[derive(Clone, Debug)]
struct Published {
    at: UnixTime,
    line: u64,
    content: Lying,
}

/// A target, as far as the lines have been read.
#[derive(Debug, Default)]
struct Target {
    /// Oldest first; what nobody can have any more is forgotten.
    published: Vec<Published>,
    servers: Vec<String>,
    /// No server's configuration names it any more.
    unplaced: bool,
    /// What each server hands out: a place in `published`, or a digest that is none of those.
    handed: BTreeMap<String, (Published, Proof)>,
}

/// Reads lines in their order and knows what was stapled after each.
#[derive(Debug, Default)]
pub struct Past {
    /// None: all of them.
    name: Option<String>,
    fingerprints: HashSet<Fingerprint>,
    staples: HashMap<Digest, (Subject, Facts)>,
    targets: BTreeMap<String, Target>,
    /// Certificates that are nowhere to be found.
    removed: HashSet<Fingerprint>,
    /// When a reload of ours began, by server, and how much each target had published by then.
    reloading: HashMap<String, u64>,
}

impl Past {
    /// For the certificates of this name, renewed ones with them, or with this fingerprint; `None`: for all.
    pub fn new(name: Option<&str>) -> Past {
        let fingerprints = name.and_then(|name| name.parse().ok()).into_iter().collect();
        Past { name: name.map(str::to_owned), fingerprints, ..Past::default() }
    }

    /// Whether any line spoke of it.
    pub fn is_known(&self) -> bool {
        !self.fingerprints.is_empty()
    }

    /// Takes in the next line.
    pub fn read(&mut self, line: &Line) {
        let Entry::Happening(happening) = &line.entry else { return };
        match happening {
            Happening::Discovered { certificate, .. } => {
                self.removed.remove(&certificate.fingerprint);
                self.concerns(certificate);
            }
            Happening::Removed { certificate } => {
                self.removed.insert(certificate.fingerprint);
            }
            Happening::Unplaced { target } => {
                if let Some(target) = self.targets.get_mut(target) {
                    target.unplaced = true;
                }
            }
            Happening::Answered { certificate, staple, .. }
            | Happening::Imported { certificate, staple, .. }
                if self.concerns(certificate) =>
            {
                self.staples.insert(staple.digest, (certificate.clone(), *staple));
            }
            Happening::Published { target, servers, content, .. }
            | Happening::Placed { target, servers, content } => {
                self.published(line, target, servers, content);
            }
            Happening::Reloading { server, .. } => {
                self.reloading.insert(server.clone(), line.seq);
            }
            Happening::Reloaded { server } => {
                let begun = self.reloading.remove(server).unwrap_or(line.seq);
                self.taken_up(line, server, begun);
            }
            Happening::Sighted { server, what: Sighted::Started | Sighted::Reloaded } => {
                self.taken_up(line, server, line.seq);
            }
            Happening::Sighted { server, what: Sighted::Stopped } => {
                for target in self.targets.values_mut() {
                    target.handed.remove(server);
                }
            }
            Happening::Confirmed { target, server, matches: Some(matches), staple } => {
                self.seen(line, target, server, *matches, *staple);
            }
            _ => {}
        }
    }

    /// What was handed out after the lines that were read.
    pub fn handed(&self) -> Vec<Handed> {
        let mut handed = Vec::new();
        for (path, target) in &self.targets {
            for (server, (what, proof)) in &target.handed {
                let server = Some(server.clone());
                handed.push(entry(path, server, what, Some(*proof)));
            }
            let unread = target.servers.iter().any(|server| !target.handed.contains_key(server));
            let can_be_read = !target.unplaced && (unread || target.servers.is_empty());
            if let (true, Some(last)) = (can_be_read, target.published.last())
                && !is_of(&last.content, &self.removed)
            {
                handed.push(entry(path, None, last, None));
            }
        }
        handed.retain(|one| self.is_ours(&one.content, &one.target));
        handed
    }

    fn concerns(&mut self, certificate: &Subject) -> bool {
        if self.name.as_ref().is_none_or(|name| certificate.name == *name) {
            self.fingerprints.insert(certificate.fingerprint);
        }
        self.fingerprints.contains(&certificate.fingerprint)
    }

    fn published(&mut self, line: &Line, path: &str, servers: &[String], content: &Lying) {
        let ours = match content {
            Lying::Staple { certificate, .. } => self.concerns(certificate),
            Lying::Placeholder | Lying::Nothing | Lying::Foreign { .. } => false,
        };
        if !ours && !self.targets.contains_key(path) {
            return;
        }
        if let Lying::Staple { certificate, staple } = content {
            self.staples.insert(staple.digest, (certificate.clone(), *staple));
        }
        let target = self.targets.entry(path.to_owned()).or_default();
        target.servers = servers.to_vec();
        target.unplaced = false;
        if target.published.last().is_some_and(|last| last.content == *content) {
            // It was put there before.
            return;
        }
        let (at, content) = (line.time, content.clone());
        target.published.push(Published { at, line: line.seq, content });
    }

    fn taken_up(&mut self, line: &Line, server: &str, begun: u64) {
        for target in self.targets.values_mut() {
            if !target.servers.iter().any(|one| one == server) {
                continue;
            }
            let lay = target.published.iter().rev().find(|one| one.line <= begun);
            let Some(lay) = lay.cloned() else { continue };
            if target.unplaced || is_of(&lay.content, &self.removed) {
                // It runs by other files now, or for another certificate.
                target.handed.remove(server);
                continue;
            }
            target.published.retain(|one| one.line >= lay.line);
            let proof = Proof::TakenUp { at: line.time, line: line.seq };
            target.handed.insert(server.to_owned(), (lay, proof));
        }
    }

    fn seen(&mut self, line: &Line, path: &str, server: &str, ok: bool, staple: Option<Digest>) {
        let Some(target) = self.targets.get_mut(path) else { return };
        let is = |one: &&Published| match (&one.content, staple) {
            (Lying::Staple { staple, .. }, Some(seen)) => staple.digest == seen,
            (Lying::Placeholder | Lying::Nothing, None) => ok,
            _ => false,
        };
        let known = target.published.iter().rev().find(is).cloned();
        let known = known.or_else(|| {
            // Handed out, but not from this target: from a file of before, or by the server itself.
            let (certificate, facts) = self.staples.get(&staple?)?;
            let content = Lying::Staple { certificate: certificate.clone(), staple: *facts };
            Some(Published { at: line.time, line: line.seq, content })
        });
        let Some(known) = known else {
            target.handed.remove(server);
            return;
        };
        let proof = Proof::Handshake { at: line.time, line: line.seq };
        target.handed.insert(server.to_owned(), (known, proof));
    }

    fn is_ours(&self, content: &Lying, target: &str) -> bool {
        match content {
            Lying::Staple { certificate, .. } => {
                self.fingerprints.contains(&certificate.fingerprint)
            }
            _ => self.targets.contains_key(target),
        }
    }
}

/// Whether it is the staple of one of these certificates.
fn is_of(content: &Lying, certificates: &HashSet<Fingerprint>) -> bool {
    match content {
        Lying::Staple { certificate, .. } => certificates.contains(&certificate.fingerprint),
        _ => false,
    }
}

fn entry(path: &str, server: Option<String>, what: &Published, proof: Option<Proof>) -> Handed {
    Handed {
        target: path.to_owned(),
        server,
        content: what.content.clone(),
        published: what.at,
        line: what.line,
        proof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsp::Status;

    const SERVER: &str = "nginx";

    fn subject() -> Subject {
        Subject { name: "www".to_owned(), fingerprint: Digest::of(b"www") }
    }

    fn published(target: &str) -> Happening {
        let staple = Facts {
            digest: Digest::of(b"staple"),
            status: Status::Good,
            this_update: UnixTime::from_secs(0),
            expires: UnixTime::from_secs(1_000),
        };
        Happening::Published {
            target: target.to_owned(),
            written: true,
            servers: vec![SERVER.to_owned()],
            content: Lying::Staple { certificate: subject(), staple },
        }
    }

    fn discovered() -> Happening {
        Happening::Discovered {
            certificate: subject(),
            issuer: String::new(),
            must_staple: false,
            not_after: UnixTime::from_secs(1_000),
            responders: Vec::new(),
        }
    }

    fn taken_up() -> Happening {
        Happening::Sighted { server: SERVER.to_owned(), what: Sighted::Reloaded }
    }

    /// Where it was handed out, and with a proof or not, after each of these.
    fn after(happenings: &[Happening]) -> Vec<Vec<(String, bool)>> {
        let mut past = Past::new(Some("www"));
        let each = happenings.iter().zip(1_u64..).map(|(happening, seq)| {
            let time = UnixTime::from_secs(i64::try_from(seq).expect("few"));
            let entry = Entry::Happening(happening.clone());
            past.read(&Line { seq, time, prev: Digest::of(b""), entry });
            past.handed().into_iter().map(|one| (one.target, one.proof.is_some())).collect()
        });
        each.collect()
    }

    fn handed(what: &[(&str, bool)]) -> Vec<(String, bool)> {
        what.iter().map(|(target, proof)| ((*target).to_owned(), *proof)).collect()
    }

    #[test]
    fn a_path_that_was_given_up_is_handed_out_until_the_next_take_up() {
        let unplaced = Happening::Unplaced { target: "old".to_owned() };
        let steps = after(&[
            published("old"),
            taken_up(),
            published("new"),
            unplaced,
            taken_up(),
            taken_up(),
            published("old"),
            taken_up(),
        ]);
        assert_eq!(steps[1], handed(&[("old", true)]));
        assert_eq!(steps[3], handed(&[("new", false), ("old", true)]));
        assert_eq!(steps[4], handed(&[("new", true)]));
        assert_eq!(steps[5], handed(&[("new", true)]), "it has not come back");
        assert_eq!(steps[7], handed(&[("new", true), ("old", true)]), "it is named again");
    }

    #[test]
    fn a_certificate_that_is_gone_is_handed_out_until_the_next_take_up() {
        let removed = Happening::Removed { certificate: subject() };
        let steps = after(&[
            discovered(),
            published("www.der"),
            taken_up(),
            removed,
            taken_up(),
            discovered(),
            taken_up(),
        ]);
        assert_eq!(steps[2], handed(&[("www.der", true)]));
        assert_eq!(steps[3], handed(&[("www.der", true)]), "it runs with it still");
        assert_eq!(steps[4], handed(&[]));
        assert_eq!(steps[6], handed(&[("www.der", true)]), "it is back");
    }
}
