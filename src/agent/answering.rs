//! Our own OCSP responder as a place that staples are published to.
//!
//! Each lineage has an entry, whether a server asks for it or not, so that the planner's policies hold
//! for whoever asks. An entry is a word in memory: it is published the moment it is set, empty at each
//! start and filled from the store before the first client is let in. What a place no longer claims is
//! not withdrawn with it: a server presents the old certificate until it is reloaded.

use std::collections::{BTreeMap, HashMap};

use super::Agent;
use super::model::{Seen, Wanted, add};
use super::status::{Listening, LoopbackStatus};
use super::world::{Deployed, Known, Place, Spot};
use super::writer::What;
use crate::config::Settings;
use crate::config::settings::Listen;
use crate::digest::Fingerprint;
use crate::discover::{Deployment, Scan};
use crate::plan::ServerId;
use crate::serve::responder::{Address, Listener, Responder, Size};

/// The responder and where it is to listen.
#[derive(Default)]
pub(super) struct Answering {
    /// As configured, then what the service manager handed over besides.
    addresses: Vec<Address>,
    given: Vec<Address>,
    responder: Option<Responder>,
    /// Addresses that could not be had, and why.
    failed: Vec<(Address, String)>,
}

impl Answering {
    /// What the configuration asks for; it listens nowhere yet.
    pub(super) fn wanted(settings: &Settings) -> Option<Answering> {
        let addresses = configured(settings);
        (!addresses.is_empty()).then(|| Answering { addresses, ..Answering::default() })
    }

    /// Whether a server that asks `url` asks us.
    fn is_meant_by(&self, url: &str) -> bool {
        self.addresses.iter().any(|address| address.is_meant_by(url))
    }

    fn status(&self, responder: &Responder, size: Size) -> LoopbackStatus {
        let tally = responder.tally();
        let listening = |address: &Address| Listening {
            address: address.to_string(),
            error: self.failed.iter().find(|(one, _)| one == address).map(|(_, e)| e.clone()),
        };
        LoopbackStatus {
            listen: self.addresses.iter().map(listening).collect(),
            certificates: size.certificates,
            answered: size.answered,
            requests: tally.requests,
            unknown: tally.unknown,
            without_staple: tally.without_staple,
            refused: tally.refused,
        }
    }
}

fn configured(settings: &Settings) -> Vec<Address> {
    let address = |listen: &Listen| match listen {
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(path) => Address::Unix(path.clone()),
    };
    let mut addresses = Vec::new();
    settings.responder.iter().for_each(|listen| add(&mut addresses, address(listen)));
    addresses
}

impl Agent {
    /// Takes the sockets; who connects waits until it is known what there is to answer.
    pub(super) fn start_responder(&mut self, given: Vec<Listener>) {
        if given.is_empty() && self.answering.is_none() {
            return;
        }
        let answering = self.answering.get_or_insert_default();
        answering.given = given.iter().map(|listener| listener.address().clone()).collect();
        self.make_responder(given);
        self.responder_configured();
    }

    fn make_responder(&mut self, given: Vec<Listener>) {
        let Some(answering) = &mut self.answering else { return };
        let clock = self.clock.clone();
        match Responder::new(self.world.answers.clone(), move || clock.now().wall) {
            Ok(mut responder) => {
                responder.take_over(given);
                answering.responder = Some(responder);
            }
            Err(error) => self.complain(format!("cannot start the OCSP responder: {error}")),
        }
    }

    /// Listens where the settings now say.
    pub(super) fn responder_configured(&mut self) {
        let mut addresses = configured(&self.settings);
        if self.answering.is_none() && !addresses.is_empty() {
            self.answering = Some(Answering::default());
            self.make_responder(Vec::new());
            self.world.certificates.values().for_each(|known| self.answer_about(known));
        }
        let Some(answering) = &mut self.answering else { return };
        answering.given.iter().for_each(|given| add(&mut addresses, given.clone()));
        answering.addresses = addresses;
        answering.failed.clear();
        if let Some(responder) = &mut answering.responder {
            let failed = responder.listen(&answering.addresses);
            for error in failed {
                tracing::error!("{error}");
                answering.failed.push((error.address.clone(), error.to_string()));
            }
            for address in responder.addresses() {
                tracing::info!(%address, "answers OCSP requests");
            }
        }
        if answering.addresses.is_empty() {
            self.answering = None;
            self.world.answers = Default::default();
        } else if self.scanned {
            self.open_responder();
        }
    }

    /// Answers who has got in already, and nobody else.
    pub(super) async fn close_responder(&mut self) {
        if let Some(responder) = self.answering.take().and_then(|answering| answering.responder) {
            responder.close().await;
        }
    }

    /// Lets clients in.
    pub(super) fn open_responder(&mut self) {
        let Some(answering) = &mut self.answering else { return };
        let failed = answering.responder.as_mut().map(Responder::open).unwrap_or_default();
        for error in failed {
            tracing::error!("{error}");
            answering.failed.push((error.address.clone(), error.to_string()));
        }
    }

    /// The entries that a deployment asks for, if it asks us.
    pub(super) fn want_answers(
        &mut self,
        scan: &Scan,
        (server, at): (ServerId, usize),
        deployment: &Deployment,
        seen: &HashMap<Fingerprint, Seen>,
        wanted: &mut BTreeMap<Spot, Wanted>,
    ) {
        let asks_us = deployment.responder_url().is_some_and(|url| {
            self.answering.as_ref().is_some_and(|answering| answering.is_meant_by(url))
        });
        let presented = deployment.certificates.iter().filter(|_| asks_us);
        for place in presented.filter_map(|one| scan.place(&one.file.ours)) {
            if !seen.contains_key(&place.leaf) {
                continue;
            }
            let spot = Spot::Answered(scan.lineages[place.lineage].path.clone());
            let entry = wanted.entry(spot).or_default();
            add(&mut entry.claimants, place.leaf);
            let leaves = vec![self.world.cert_id(&place.leaf)];
            entry.deployments.push(Deployed { server, at, leaves, barred: false });
        }
    }

    /// A certificate that was found is known to the responder, if its issuer is.
    pub(super) fn answer_about(&self, known: &Known) {
        if let Some(issued) = known.issued.as_ref().filter(|_| self.answering.is_some()) {
            self.world.answers.know(issued);
        }
    }

    /// Answers about the certificates of a place by what it now holds.
    pub(super) fn put_in_answers(&self, place: &Place, what: &What) {
        match what {
            What::Staple(staple) => {
                self.world.answers.answer(staple);
            }
            What::Placeholder | What::Nothing => {
                for id in &place.claimants {
                    self.world.answers.withdraw(self.world.fingerprint(*id));
                }
            }
        }
    }

    /// The responder's part of the status document, where it runs.
    pub(super) fn loopback_status(&self) -> Option<LoopbackStatus> {
        let answering = self.answering.as_ref()?;
        let responder = answering.responder.as_ref()?;
        Some(answering.status(responder, self.world.answers.size()))
    }
}
