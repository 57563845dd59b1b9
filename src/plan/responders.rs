//! The first machine: who may be asked now.
//!
//! Certificates queue for a responder by urgency; at most [`MOST_IN_FLIGHT`] requests are out at a
//! time. A host in trouble opens its *circuit*: from then on one probe at a time goes out, each for
//! another of the waiting certificates, lest one that the host chokes on keeps the circuit open.
//! The first answer of any kind closes it, and all who wait flow.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::action::About;
use super::agenda::{Item, Slot};
use super::backoff::{self, LONGEST_WAIT};
use super::desk::Desk;
use super::facts::{CertId, ResponderId};
use super::view::ResponderView;
use crate::time::UnixTime;

/// Requests that one responder has to answer at the same time.
const MOST_IN_FLIGHT: usize = 16;
/// So many host faults in a row open the circuit; a Retry-After opens it at once.
const FAULTS_TO_OPEN: u32 = 3;

/// The order in which certificates are asked about; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency(i64);

impl Urgency {
    /// Somebody waits for it, whatever the circuit says.
    pub(super) const FORCED: Urgency = Urgency(i64::MIN);
    /// A Must-Staple certificate without a staple.
    pub(super) const MUST: Urgency = Urgency(i64::MIN + 1);
    /// Another certificate without a staple.
    pub(super) const BARE: Urgency = Urgency(i64::MIN + 2);

    /// Its staple's window closes then.
    pub(super) fn closing(at: UnixTime) -> Urgency {
        Urgency(at.as_secs().max(i64::MIN + 3))
    }
}

/// How a request went, as far as its host is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered, whatever it said.
    Works,
    /// It is in trouble, and may have said until when.
    Faulty(Option<Duration>),
}

/// A certificate that waits behind open circuits only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    pub cert: CertId,
    pub urgency: Urgency,
    /// The middle of its window; `None` without a staple.
    pub middle: Option<UnixTime>,
    /// It wants to be asked about this long after the last probe.
    pub need: Duration,
}

/// All responders that were ever asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Responders {
    table: BTreeMap<ResponderId, Responder>,
}

#[derive(Clone, Debug, Default)]
struct Responder {
    in_flight: BTreeSet<CertId>,
    /// Host faults in a row.
    faults: u32,
    circuit: Option<Circuit>,
    queue: BTreeSet<(Urgency, CertId)>,
    /// Of the parked ones that have a staple, when they are half-way through their windows.
    middles: BTreeSet<(UnixTime, CertId)>,
    slot: Slot,
}

#[derive(Clone, Copy, Debug)]
struct Circuit {
    /// When it opened, or the last probe ended.
    since: Duration,
    /// Failed probes.
    failures: u32,
    probe_at: Duration,
    probing: Option<CertId>,
    /// The last one probed: the next one in the queue follows it.
    probed: Option<(Urgency, CertId)>,
}

impl Responders {
    /// Whether the host is known to be in trouble.
    pub(super) fn is_open(&self, id: ResponderId) -> bool {
        self.table.get(&id).is_some_and(|responder| responder.circuit.is_some())
    }

    /// Lines a certificate up.
    pub(super) fn queue(
        &mut self,
        id: ResponderId,
        urgency: Urgency,
        cert: CertId,
        desk: &mut Desk,
    ) {
        self.table.entry(id).or_default().queue.insert((urgency, cert));
        desk.responders.insert(id);
    }

    /// Lines a certificate up behind every one of its responders, all of which are in trouble.
    pub(super) fn park(&mut self, ids: &[ResponderId], parked: Parked, desk: &mut Desk) {
        for id in ids {
            let responder = self.table.entry(*id).or_default();
            responder.queue.insert((parked.urgency, parked.cert));
            if let Some(middle) = parked.middle {
                responder.middles.insert((middle, parked.cert));
            }
            if let Some(circuit) = &mut responder.circuit {
                circuit.probe_at = circuit.probe_at.min(circuit.since + parked.need);
            }
            desk.responders.insert(*id);
        }
    }

    /// Takes a certificate out of every queue it may stand in.
    pub(super) fn leave(
        &mut self,
        ids: &[ResponderId],
        cert: CertId,
        urgency: Urgency,
        middle: Option<UnixTime>,
        desk: &mut Desk,
    ) {
        for id in ids {
            let Some(responder) = self.table.get_mut(id) else { continue };
            responder.queue.remove(&(urgency, cert));
            if let Some(middle) = middle {
                responder.middles.remove(&(middle, cert));
            }
            desk.responders.insert(*id);
        }
    }

    /// Everyone who waits there.
    pub(super) fn waiting(&self, id: ResponderId) -> Vec<CertId> {
        let queue = self.table.get(&id).map(|responder| responder.queue.iter());
        queue.into_iter().flatten().map(|(_, cert)| *cert).collect()
    }

    /// Who of those waiting there has the least time.
    pub(super) fn pressing(&self, id: ResponderId) -> impl Iterator<Item = CertId> {
        let responder = self.table.get(&id);
        let first = responder.and_then(|responder| responder.queue.first()).map(|(_, cert)| *cert);
        let closing =
            responder.and_then(|responder| responder.middles.first()).map(|(_, cert)| *cert);
        first.into_iter().chain(closing)
    }

    /// The next certificate to ask about there, if a request may leave now; it counts as in flight.
    /// The caller takes it out of the queues.
    pub(super) fn next(&mut self, id: ResponderId, desk: &Desk) -> Option<CertId> {
        let responder = self.table.get_mut(&id)?;
        let (urgency, cert) = *responder.queue.first()?;
        if responder.in_flight.len() >= MOST_IN_FLIGHT {
            return None;
        }
        let cert = match &mut responder.circuit {
            None => cert,
            Some(_) if urgency == Urgency::FORCED => cert,
            Some(circuit) => {
                if circuit.probing.is_some() || circuit.probe_at > desk.now.uptime {
                    return None;
                }
                let after = circuit.probed.map_or(Unbounded, Excluded);
                let next = responder.queue.range((after, Unbounded)).next();
                let probe = *next.or_else(|| responder.queue.first())?;
                circuit.probed = Some(probe);
                circuit.probing = Some(probe.1);
                probe.1
            }
        };
        responder.in_flight.insert(cert);
        Some(cert)
    }

    /// A request ended. Returns whether this opened the circuit: who waits there may go elsewhere.
    ///
    /// `retry_cap` is how long a Retry-After may count for; `needed` is the longest wait that those
    /// who wait there can afford, see [`pressing`](Self::pressing).
    pub(super) fn finish(
        &mut self,
        id: ResponderId,
        cert: CertId,
        health: Health,
        retry_cap: Duration,
        needed: Option<Duration>,
        desk: &mut Desk,
    ) -> bool {
        let Some(responder) = self.table.get_mut(&id) else { return false };
        if !responder.in_flight.remove(&cert) {
            return false;
        }
        desk.responders.insert(id);
        let Health::Faulty(retry_after) = health else {
            responder.faults = 0;
            responder.circuit = None;
            return false;
        };
        responder.faults = responder.faults.saturating_add(1);
        let retry_after = retry_after.map(|length| length.min(retry_cap));
        let was_open = responder.circuit.is_some();
        let (failures, probed) = match &responder.circuit {
            Some(circuit) if circuit.probing == Some(cert) => {
                (circuit.failures + 1, circuit.probed)
            }
            // One of those that were out when the circuit opened, or a forced one.
            Some(_) => return false,
            None if responder.faults >= FAULTS_TO_OPEN || retry_after.is_some() => (1, None),
            None => return false,
        };
        let draw = backoff::draw(desk.policy.seed, u64::from(id.0), u64::from(failures));
        let wait = backoff::wait(failures, LONGEST_WAIT, draw);
        let wait = wait.max(retry_after.unwrap_or_default());
        let since = desk.now.uptime;
        let probe_at = since + needed.map_or(wait, |needed| wait.min(needed));
        responder.circuit = Some(Circuit { since, failures, probe_at, probing: None, probed });
        !was_open
    }

    /// Enters the next probe into the agenda and tells a host that has been down for too long.
    pub(super) fn settle(&mut self, id: ResponderId, desk: &mut Desk) {
        let Some(responder) = self.table.get_mut(&id) else { return };
        let mut to = Slot::default();
        let mut down = false;
        if let Some(circuit) = &responder.circuit {
            let first = responder.queue.first();
            if first.is_some() && circuit.probing.is_none() {
                to.uptime = circuit.probe_at;
            }
            let bare = first.is_some_and(|(urgency, _)| *urgency <= Urgency::BARE);
            let middle = responder.middles.first().map_or(UnixTime::MAX, |(middle, _)| *middle);
            down = bare || middle <= desk.now.wall || desk.is_told(About::ResponderDown(id));
            if !down {
                to.wall = middle;
            }
        }
        desk.schedule(Item::Responder(id), &mut responder.slot, to);
        desk.tell(About::ResponderDown(id), down);
    }

    /// As the status shows it.
    pub(super) fn view(&self, id: ResponderId, desk: &Desk) -> Option<ResponderView> {
        let responder = self.table.get(&id)?;
        let circuit = responder.circuit.as_ref();
        Some(ResponderView {
            open: circuit.is_some(),
            in_flight: responder.in_flight.len(),
            waiting: responder.queue.len(),
            faults: responder.faults,
            next_probe: circuit.map(|circuit| circuit.probe_at.saturating_sub(desk.now.uptime)),
            down: desk.is_told(About::ResponderDown(id)),
        })
    }

    /// Every responder that was ever asked.
    pub(super) fn ids(&self) -> impl Iterator<Item = ResponderId> {
        self.table.keys().copied()
    }

    /// Certificates that wait for a request slot or a probe, and requests in flight.
    pub(super) fn load(&self) -> (usize, usize) {
        let in_flight = self.table.values().map(|responder| responder.in_flight.len()).sum();
        let open = |responder: &&Responder| responder.circuit.is_none();
        let queued = self.table.values().filter(open).map(|responder| responder.queue.len()).sum();
        (queued, in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Policy;
    use crate::time::{HOUR, MINUTE, Now};

    const HOST: ResponderId = ResponderId(1);
    const DOWN: Health = Health::Faulty(None);

    fn desk() -> Desk {
        Desk::new(Policy::default(), Now { wall: UnixTime::from_secs(1_000_000), uptime: HOUR })
    }

    /// A responder behind which `number` certificates wait, the first the most pressing.
    fn waiting(number: u32, desk: &mut Desk) -> Responders {
        let mut responders = Responders::default();
        for cert in 0..number {
            let closes = desk.now.wall + MINUTE * (cert + 1);
            responders.queue(HOST, Urgency::closing(closes), CertId(cert), desk);
        }
        responders
    }

    /// Sends what may be sent, as the certificates do: who is asked about leaves the queue.
    fn send(responders: &mut Responders, desk: &mut Desk) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some(cert) = responders.next(HOST, desk) {
            let closes = desk.now.wall + MINUTE * (cert.0 + 1);
            responders.leave(&[HOST], cert, Urgency::closing(closes), None, desk);
            sent.push(cert.0);
        }
        sent
    }

    fn end(responders: &mut Responders, cert: u32, health: Health, desk: &mut Desk) -> bool {
        let opened = responders.finish(HOST, CertId(cert), health, HOUR, None, desk);
        if health != Health::Works {
            let closes = desk.now.wall + MINUTE * (cert + 1);
            responders.queue(HOST, Urgency::closing(closes), CertId(cert), desk);
        }
        opened
    }

    #[test]
    fn sixteen_at_a_time_in_order_of_urgency() {
        let mut desk = desk();
        let mut responders = waiting(20, &mut desk);
        assert_eq!(send(&mut responders, &mut desk), (0..16).collect::<Vec<_>>());
        end(&mut responders, 3, Health::Works, &mut desk);
        assert_eq!(send(&mut responders, &mut desk), [16]);
        end(&mut responders, 3, Health::Works, &mut desk); // it had ended already
        assert_eq!(send(&mut responders, &mut desk), [0; 0]);
    }

    #[test]
    fn three_faults_in_a_row_open_the_circuit_and_an_answer_closes_it() {
        let mut desk = desk();
        let mut responders = waiting(20, &mut desk);
        send(&mut responders, &mut desk);
        let outcomes = [DOWN, DOWN, Health::Works, DOWN, DOWN, DOWN];
        let opened: Vec<bool> = (0..)
            .zip(outcomes)
            .map(|(cert, health)| end(&mut responders, cert, health, &mut desk))
            .collect();
        assert_eq!(opened, [false, false, false, false, false, true]);
        // Those still out are no probes: their faults count for nothing more.
        assert!(!end(&mut responders, 6, DOWN, &mut desk));
        assert_eq!(send(&mut responders, &mut desk), [0; 0]);
        end(&mut responders, 7, Health::Works, &mut desk);
        assert_eq!(send(&mut responders, &mut desk).len(), 8, "8 are still out");
    }

    #[test]
    fn probes_go_one_at_a_time_and_take_turns() {
        let mut desk = desk();
        let mut responders = waiting(3, &mut desk);
        send(&mut responders, &mut desk);
        assert!((0..3).any(|cert| end(&mut responders, cert, DOWN, &mut desk)));
        let mut probed: Vec<u32> = Vec::new();
        let mut waits = Vec::new();
        for _ in 0..5 {
            responders.settle(HOST, &mut desk);
            let next = desk.agenda.next().uptime;
            waits.push(next - desk.now.uptime);
            desk.now.uptime = next;
            let sent = send(&mut responders, &mut desk);
            assert_eq!(sent.len(), 1, "one probe at a time");
            probed.extend(&sent);
            end(&mut responders, sent[0], DOWN, &mut desk);
        }
        assert_eq!(probed, [0, 1, 2, 0, 1], "one that the host chokes on does not keep it open");
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1] * 2), "{waits:?}");
        assert!(waits[0] <= MINUTE && waits[4] >= 8 * MINUTE, "{waits:?}");
    }

    #[test]
    fn one_who_is_forced_asks_whatever_the_circuit_says() {
        let mut desk = desk();
        let mut responders = waiting(3, &mut desk);
        send(&mut responders, &mut desk);
        assert!((0..3).any(|cert| end(&mut responders, cert, DOWN, &mut desk)));
        responders.queue(HOST, Urgency::FORCED, CertId(9), &mut desk);
        assert_eq!(responders.next(HOST, &desk), Some(CertId(9)));
    }

    #[test]
    fn retry_after_is_obeyed_as_far_as_it_may() {
        let cases = [(Some(10 * MINUTE), 10 * MINUTE), (Some(24 * HOUR), HOUR)];
        for (retry_after, expected) in cases {
            let mut desk = desk();
            let mut responders = waiting(1, &mut desk);
            send(&mut responders, &mut desk);
            assert!(end(&mut responders, 0, Health::Faulty(retry_after), &mut desk));
            responders.settle(HOST, &mut desk);
            assert_eq!(desk.agenda.next().uptime - desk.now.uptime, expected);
        }
    }

    #[test]
    fn a_host_is_told_down_once_the_first_window_is_half_over() {
        let mut desk = desk();
        let mut responders = Responders::default();
        responders.queue(HOST, Urgency::closing(UnixTime::MAX), CertId(1), &mut desk);
        responders.next(HOST, &desk);
        responders.finish(HOST, CertId(1), Health::Faulty(Some(HOUR)), HOUR, None, &mut desk);
        let middle = desk.now.wall + HOUR;
        let urgency = Urgency::closing(UnixTime::MAX);
        let parked = Parked { cert: CertId(1), urgency, middle: Some(middle), need: HOUR };
        responders.park(&[HOST], parked, &mut desk);
        responders.settle(HOST, &mut desk);
        assert!(!desk.is_told(About::ResponderDown(HOST)));
        assert_eq!(desk.agenda.next().wall, middle);
        desk.now.wall = middle;
        responders.settle(HOST, &mut desk);
        assert!(desk.is_told(About::ResponderDown(HOST)));
    }
}
