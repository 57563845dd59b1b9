//! `import`: a response that came by another way than by asking goes the way of an answer.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Agent;
use super::refreshing::{Progress, say};
use crate::happening::Happening;
use crate::ocsp::{Response, Staple, Status, verify};
use crate::plan::{CertId, Event};

impl Agent {
    /// Takes in a response (DER), tells `replies` what becomes of it.
    pub(super) fn import(
        &mut self,
        response: &[u8],
        uid: Option<u32>,
        replies: mpsc::UnboundedSender<Bytes>,
    ) {
        let taken = self.proven(response).and_then(|(cert, staple)| {
            let facts = staple.facts();
            let certificate = self.subject(cert);
            self.offer(cert, staple)?;
            Ok((cert, certificate, facts))
        });
        match taken {
            Ok((cert, certificate, staple)) => {
                self.observe(Happening::Imported { certificate, uid, staple });
                self.follow(cert, replies);
            }
            Err(error) => {
                self.observe(Happening::NotImported { uid, error: error.clone() });
                say(&replies, &Progress::Refused { reason: error });
            }
        }
    }

    /// The certificate that it is about, by what it says itself, and the proof.
    fn proven(&self, response: &[u8]) -> Result<(CertId, Staple), String> {
        let decoded = Response::decode(response).map_err(|error| error.to_string())?;
        let answers = decoded.answers();
        if answers.is_empty() {
            return Err(format!("it is no answer about a certificate: {}", decoded.status()));
        }
        let now = self.clock.now().wall;
        let mut refused = None;
        let mut issued = self.world.certificates.iter().filter_map(|(id, known)| {
            let issued = known.issued.as_ref()?;
            let ours = answers.iter().any(|answer| answer.serial == known.leaf.serial());
            ours.then_some((*id, known, issued))
        });
        // Two CAs may give one number: whose it is, the rest of its CertID says.
        let staple = issued.find_map(|(id, known, issued)| {
            let response = Response::decode(response).ok()?;
            match verify(response, issued, &known.profile.rules, now) {
                Ok(staple) => Some((id, staple)),
                Err(rejection) => {
                    refused = Some(format!("{}: refused: {rejection}", self.world.name(id)));
                    None
                }
            }
        });
        let about =
            || format!("none of the certificates here has the number {}", answers[0].serial);
        staple.ok_or_else(|| refused.unwrap_or_else(about))
    }

    /// Hands it to the planner, which keeps what is newer.
    fn offer(&mut self, cert: CertId, staple: Staple) -> Result<(), String> {
        let (facts, name) = (staple.facts(), self.world.name(cert));
        if facts.status == Status::Unknown {
            return Err(format!("{name}: it says unknown: that is nothing to staple"));
        }
        let held = self.world.certificates.get(&cert).and_then(|known| known.held.as_ref());
        let held = held.map(|held| held.facts());
        if let Some(known) = self.world.certificates.get_mut(&cert) {
            known.fetched = Some(Box::new(staple));
        }
        self.handle(Event::Brought { cert, facts });
        let known = self.world.certificates.get(&cert);
        let now_held = known.and_then(|known| Some(known.held.as_ref()?.digest()));
        match held {
            Some(held) if held.digest == facts.digest => {
                Err(format!("{name}: it is the one that is held already"))
            }
            _ if now_held == Some(facts.digest) => {
                if let Some(known) = self.world.certificates.get_mut(&cert) {
                    known.last_error = None;
                }
                Ok(())
            }
            Some(held) if held.this_update > facts.this_update => Err(format!(
                "{name}: what is held is newer: thisUpdate {} and not {}",
                held.this_update, facts.this_update
            )),
            Some(held) => Err(format!(
                "{name}: it is no better than what is held: good until {}, and that until {}; or \
                 that is being written this moment: try again",
                facts.expires, held.expires
            )),
            None => Err(format!("{name}: another one is being written this moment: try again")),
        }
    }
}
