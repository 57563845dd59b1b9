//! Every certificate in a line: what their order and all summaries need, and the status document told
//! one certificate after the other.
//!
//! With ten thousand certificates the whole document is tens of megabytes of small strings. The agent's
//! state does not hold it (a caller of the control socket has its text until it is read): its order is made of briefs, and each certificate is written out as it is asked for.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::Agent;
use super::report::state;
use super::status::{Document, Severity, State};
use super::world::Known;
use crate::plan::CertId;
use crate::time::UnixTime;

/// One certificate, in short; the fields are those of the status document.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    pub(super) id: CertId,
    pub(super) name: Arc<str>,
    pub(super) severity: Severity,
    pub(super) state: State,
    pub(super) slack_seconds: Option<i64>,
    pub(super) not_after: UnixTime,
    pub(super) must_staple: bool,
    /// Its staple is published somewhere.
    pub(super) placed: bool,
}

/// The document's certificates, each made when its turn has come.
pub(super) struct Certificates<'a> {
    agent: &'a Agent,
    order: &'a [Brief],
}

impl Serialize for Certificates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.order.iter();
        serializer.collect_seq(all.filter_map(|brief| self.agent.certificate_status(brief.id)))
    }
}

impl Agent {
    /// All certificates, what hurts first, and without any staple least slack of all.
    pub(super) fn briefs(&self) -> Vec<Brief> {
        let now = self.clock.now().wall;
        let brief = |id: CertId, known: &Known| {
            let view = self.planner.certificate(id)?;
            Some(Brief {
                id,
                name: known.name().clone(),
                severity: view.severity.into(),
                state: state(known, self.effective_expiry(known), now),
                slack_seconds: view.safe_until.map(|until| until.seconds_since(now)),
                not_after: known.leaf.not_after(),
                must_staple: view.must_staple,
                placed: view.targets.iter().any(|id| self.world.places.contains_key(id)),
            })
        };
        let all = self.world.certificates.iter();
        let mut briefs: Vec<Brief> = all.filter_map(|(id, known)| brief(*id, known)).collect();
        briefs.sort_unstable_by(|one, other| {
            let slack = |brief: &Brief| brief.slack_seconds.unwrap_or(i64::MAX);
            let pressing = other.severity.cmp(&one.severity);
            pressing
                .then_with(|| slack(one).cmp(&slack(other)))
                .then_with(|| one.name.cmp(&other.name))
                .then_with(|| one.id.cmp(&other.id))
        });
        briefs
    }

    /// The status document as of now, to be written out.
    pub(super) fn told<'a>(&'a self, order: &'a [Brief]) -> Document<Certificates<'a>> {
        self.document_of(Certificates { agent: self, order })
    }
}
