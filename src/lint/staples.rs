//! What lies in the staple files that are named, where naming them is in order.

use std::collections::HashSet;
use std::path::Path;

use super::finding::{Finding, Severity, Step};
use super::nginx;
use super::view::{Block, Leaf, Lying, View};
use crate::discover::{Kind, Origin};
use crate::ocsp::{Rejection, Staple, Status};
use crate::time::{HOUR, format_duration};

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for block in blocks {
        let deployment = block.deployment;
        let (Some(target), Some(file)) = (deployment.target(), &deployment.stapling_file) else {
            continue;
        };
        let [(_, place, leaf)] = block.shows.as_slice() else { continue };
        let odd = deployment.dynamic.is_some()
            || nginx::shares_a_file(block)
            || view.scan.bars_staples(block.model.kind, deployment)
            || view.unwritable.contains_key(&target.ours);
        // The file of several certificates is right for one of them.
        let shared = || {
            let Some(Lying::Response(judged)) = view.staples.get(&target.ours) else {
                return false;
            };
            judged.len() > 1 && judged.iter().any(|(_, outcome)| outcome.is_ok())
        };
        if odd || shared() || !told.insert((target.ours.clone(), place.leaf)) {
            continue;
        }
        let Some(lying) = view.staples.get(&target.ours) else { continue };
        let at = Spot { view, block, leaf, path: &target.ours, origin: &file.origin };
        found.extend(at.judge(lying));
    }
}

/// A staple file and who is served from it.
struct Spot<'a> {
    view: &'a View<'a>,
    block: &'a Block<'a>,
    leaf: &'a Leaf,
    path: &'a Path,
    origin: &'a Origin,
}

impl Spot<'_> {
    fn judge(&self, lying: &Lying) -> Option<Finding> {
        // Only an old staple hurts where none can be had.
        if !self.leaf.is_answered() {
            return match lying {
                Lying::Response(judged) => self.response(judged),
                _ => None,
            };
        }
        match lying {
            Lying::Missing if self.path.to_string_lossy().contains('$') => None,
            Lying::Missing => Some(self.missing()),
            Lying::Unusable(why) => {
                let why = format!("it {why}; {}", self.without(true));
                Some(self.finding("staple-unreadable", self.grave(true), "holds no staple", why))
            }
            Lying::Placeholder(age) if *age >= HOUR || self.leaf.must() => {
                let age = format_duration(*age);
                let what = format!("holds the placeholder, for {age}");
                Some(self.finding(
                    "staple-placeholder",
                    self.grave(false),
                    &what,
                    self.without(false),
                ))
            }
            Lying::Placeholder(_) | Lying::Hidden(_) => None,
            Lying::Response(judged) => self.response(judged),
        }
    }

    fn response(
        &self,
        judged: &[(crate::digest::Fingerprint, Result<Staple, Rejection>)],
    ) -> Option<Finding> {
        let own = self.leaf.certificate.fingerprint();
        let (_, outcome) = judged.iter().find(|(leaf, _)| *leaf == own)?;
        match outcome {
            Ok(staple) if staple.status() == Status::Revoked => {
                let mut finding = self.finding(
                    "staple-revoked",
                    Severity::Error,
                    "says that the certificate is revoked",
                    "every client that looks at staples refuses it".to_owned(),
                );
                finding.fix = vec![Step::act(format!(
                    "have {} issued again with a new key, and find out why it was revoked",
                    self.leaf.name
                ))];
                Some(finding)
            }
            Ok(staple) if staple.expires() <= self.view.at => {
                Some(self.expired(&staple.expires().to_string()))
            }
            Ok(_) => None,
            Err(Rejection::Expired { next_update, .. }) => {
                Some(self.expired(&next_update.to_string()))
            }
            Err(error) if is_about_another(error) => {
                let mut finding = self.finding(
                    "staple-of-another",
                    Severity::Error,
                    "holds the staple of another certificate",
                    format!(
                        "it {error}; strict clients (curl, GnuTLS) refuse it, Must-Staple or not"
                    ),
                );
                if !self.leaf.is_answered() {
                    finding.fix = self.lost();
                }
                Some(finding)
            }
            Err(error) => {
                let why = format!("it {error}; strict clients refuse it");
                Some(self.finding("staple-refused", Severity::Error, "holds no valid staple", why))
            }
        }
    }

    fn expired(&self, until: &str) -> Finding {
        let why = match self.block.model.kind {
            Kind::Nginx => {
                "nginx hands out what it finds for ever; strict clients refuse an expired staple"
            }
            Kind::Exim => "every TLS connection to exim fails",
            _ => "it is not stapled any more, and Must-Staple certificates are refused",
        };
        let what = format!("holds a staple that ran out at {until}");
        self.finding("staple-expired", self.grave(self.turns_away()), &what, why.to_owned())
    }

    fn missing(&self) -> Finding {
        if self.block.model.kind == Kind::Haproxy {
            let why =
                "HAProxy staples only for certificates that had an .ocsp file when it started"
                    .to_owned();
            let what = "does not exist";
            return self.finding("haproxy-without-ocsp-file", self.grave(false), what, why);
        }
        self.finding("staple-missing", self.grave(true), "does not exist", self.without(true))
    }

    /// What a server does without a staple in the file it names.
    fn without(&self, stops: bool) -> String {
        let must = self.leaf.must();
        match self.block.model.kind {
            Kind::Nginx if stops => "nginx neither starts nor reloads, all of its sites",
            Kind::Hitch => "hitch neither starts nor reloads",
            Kind::Exim => "every TLS connection to exim fails",
            _ if must => "clients that obey Must-Staple refuse the certificate",
            _ => "clients are handed no staple",
        }
        .to_owned()
    }

    /// An expired staple in the file turns clients away: nginx hands it out, exim serves nobody.
    fn turns_away(&self) -> bool {
        matches!(self.block.model.kind, Kind::Nginx | Kind::Exim)
    }

    fn grave(&self, stops: bool) -> Severity {
        let fatal = matches!(self.block.model.kind, Kind::Nginx | Kind::Hitch | Kind::Exim);
        if self.leaf.must() || (stops && fatal) { Severity::Error } else { Severity::Warning }
    }

    fn finding(&self, rule: &'static str, severity: Severity, what: &str, why: String) -> Finding {
        let name = &self.leaf.name;
        Finding {
            what: format!("{}, the staple file of {name}, {what}", self.path.display()),
            why,
            certificates: vec![name.to_string()],
            server: Some(self.block.model.kind.to_string()),
            fix: vec![Step::run(format!("staplekeeper --refresh-now {name}"))],
            ..Finding::at(rule, severity, self.origin)
        }
    }

    /// The certificate before this one had a responder, and this one has none.
    fn lost(&self) -> Vec<Step> {
        let directives: &[&str] = match self.block.model.kind {
            Kind::Nginx => &["ssl_stapling_file"],
            Kind::Lighttpd => &["ssl.stapling-file"],
            Kind::Hitch => &["ocsp-resp-file"],
            Kind::Exim => &["tls_ocsp_file"],
            _ => &[],
        };
        let mut steps: Vec<_> =
            directives.iter().map(|directive| Step::remove(self.origin, directive)).collect();
        let stapling = self.block.deployment.stapling.as_ref();
        if let Some(stapling) = stapling.filter(|_| self.block.model.kind == Kind::Nginx) {
            steps.push(Step::remove(&stapling.origin, "ssl_stapling"));
        }
        if directives.is_empty() {
            steps.push(Step::run(format!("rm {}", self.path.display())));
        }
        steps
    }
}

fn is_about_another(error: &Rejection) -> bool {
    matches!(
        error,
        Rejection::OtherSerial { .. }
            | Rejection::NotAnswered { .. }
            | Rejection::OtherIssuerName { .. }
            | Rejection::OtherIssuerKey { .. }
    )
}
