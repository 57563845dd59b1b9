//! Whether and when a server has to reload for one target: what was published compared with what the
//! server is known to hold.

use std::time::Duration;

use super::action::Why;
use super::desk::Desk;
use super::facts::{CertId, Delivery};
use super::holding::{Holding, Taken};
use crate::time::UnixTime;

/// What a target has for its servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub published: &'a Holding,
    pub claimants: &'a [CertId],
    /// Whose staple belongs there.
    pub chosen: Option<CertId>,
    /// The chosen certificate carries Must-Staple.
    pub must_staple: bool,
    /// Somebody waits for its first staple, to reload then.
    pub awaited: bool,
    /// There is nobody to ask about it.
    pub hopeless: bool,
    /// What lies there is wrong and is being replaced.
    pub swapping: bool,
    pub delivery: Delivery,
    /// When it was put there, by uptime.
    pub since: Duration,
}

/// How a target of a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// The server holds something else, or presents another leaf: a reload takes it up.
    pub differs: bool,
    /// It goes at once.
    pub urgent: Option<Why>,
    /// What the server holds closes then; it must have the new one by then.
    pub closes: Option<UnixTime>,
    /// The server presents another certificate than the one that was renewed to; its owner's reload
    /// is waited for.
    pub renewed: bool,
    /// What closes is presented with a Must-Staple certificate.
    pub must_staple: bool,
    /// A reload would take up a Must-Staple certificate, or one whose owner waits, without its staple.
    pub blocks: bool,
    /// Without any reload the server has taken it up by this uptime.
    pub takes_up: Option<Duration>,
}

/// What is known of a server, apart from what it holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// A handshake is about to tell what it holds.
    pub asking: bool,
    /// Handshakes can tell.
    pub probed: bool,
    /// It was seen not to take up by itself what it should have.
    pub fails: bool,
    /// The last uptime at which it was seen to hold something else.
    pub differed: Duration,
}

impl Offer<'_> {
    /// A staple of a certificate that claims the target lies there.
    pub(super) fn has_staple(&self) -> bool {
        self.published.cert().is_some_and(|cert| self.claimants.contains(&cert))
    }

    /// What lies there, as a server takes it up.
    pub(super) fn taken(&self, proved: bool) -> Taken {
        Taken {
            holding: *self.published,
            leaf: self.chosen,
            must_staple: self.must_staple,
            proved,
            older: UnixTime::MAX,
        }
    }

    /// No reload may take up what lies there: a Must-Staple certificate, or one whose owner waits for
    /// it, has no staple yet, or what lies there belongs to another certificate, which is worse than
    /// nothing for any.
    fn waits_for_staple(&self) -> bool {
        let others = self.published.cert().is_some() && !self.has_staple();
        let missing = !self.has_staple() && (self.must_staple || self.awaited) || others;
        self.swapping || missing && !self.hopeless
    }
}

/// Compares what is published with what the server holds: `None` where nothing is known.
pub(super) fn compare(
    offer: &Offer<'_>,
    holds: Option<&Taken>,
    known: Known,
    desk: &Desk,
) -> Pending {
    let staple = offer.has_staple();
    let waits_for_staple = offer.waits_for_staple();
    let by_itself = offer.takes_up_at(known);
    let Some(holds) = holds else {
        return Pending {
            differs: staple || offer.must_staple,
            urgent: (staple && !known.asking && by_itself.is_none()).then_some(Why::First),
            blocks: waits_for_staple && (known.probed || offer.swapping),
            takes_up: by_itself.filter(|_| staple),
            ..Pending::default()
        };
    };
    let presents = holds.presents();
    let other_leaf = presents.is_some_and(|leaf| !offer.claimants.contains(&leaf));
    let other_leaf = other_leaf && !offer.claimants.is_empty();
    let seen = holds.proved || holds.leaf.is_some();
    let blocks = waits_for_staple && presents != offer.chosen && seen || offer.swapping;
    let must_staple = holds.must_staple;
    let mut pending = Pending { blocks, must_staple, ..Pending::default() };
    if holds.holding.content() == offer.published.content() && !other_leaf {
        return pending;
    }
    pending.differs = true;
    let window = holds.window(offer.delivery.stops_early, &desk.policy);
    let wrong =
        holds.leaf.is_some_and(|leaf| holds.holding.cert().is_some_and(|cert| cert != leaf));
    if other_leaf {
        pending.renewed = !waits_for_staple;
        pending.closes = window.map(|window| window.closes).filter(|_| !waits_for_staple);
        return pending;
    }
    let had_staple = matches!(holds.holding, Holding::Staple(..) | Holding::Unknown(..));
    if !staple {
        // No staple beats a bad one, except for Must-Staple, where none is as bad.
        let bad = had_staple || holds.holding == Holding::Foreign;
        let futile = waits_for_staple && (wrong || holds.holding == Holding::Foreign);
        pending.urgent = (bad && !futile).then_some(Why::Withdrawn);
        pending.differs = bad && !futile;
        return offer.by_itself(pending, by_itself, known, holds, desk);
    }
    match window {
        _ if offer.published.revoked() != holds.holding.revoked() => {
            pending.urgent = Some(Why::Revoked)
        }
        _ if !had_staple || wrong => pending.urgent = Some(Why::First),
        Some(window) => {
            pending.closes = Some(window.closes);
            if window.closes <= desk.now.wall {
                pending.urgent = Some(Why::Closing);
            }
        }
        None => pending.urgent = Some(Why::Closing),
    }
    offer.by_itself(pending, by_itself, known, holds, desk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::ocsp::Status;
    use crate::plan::{Bare, Facts, Policy, TakesUp};
    use crate::time::{DAY, HOUR, Now};

    const OLD: CertId = CertId(1);
    const LEAF: CertId = CertId(2);

    /// At the third day, so that staple 0 has not closed, and 3 is fresh.
    fn desk() -> Desk {
        let now = Now { wall: UnixTime::from_secs(0) + 3 * DAY, uptime: DAY };
        Desk::new(Policy::default(), now)
    }

    /// A seven-day staple made on that day.
    fn staple(cert: CertId, day: i32, status: Status) -> Holding {
        let this_update = UnixTime::from_secs(i64::from(day) * 86_400);
        let digest = Digest::of(format!("{cert:?} {day} {status:?}").as_bytes());
        Holding::Staple(cert, Facts { digest, status, this_update, expires: this_update + 7 * DAY })
    }

    fn holding(text: &str) -> Holding {
        let (cert, text) = match text.strip_prefix("old ") {
            Some(rest) => (OLD, rest),
            None => (LEAF, text),
        };
        match text {
            "placeholder" => Holding::Placeholder,
            "nothing" => Holding::Nothing,
            "foreign" => Holding::Foreign,
            "staple of unknown date" => Holding::Unknown(cert, Digest::of(b"unknown")),
            "revoked" => staple(cert, 2, Status::Revoked),
            day => staple(cert, day.parse().expect("a day"), Status::Good),
        }
    }

    const NGINX: Delivery = Delivery {
        takes_up: TakesUp::OnReload,
        per_worker: false,
        stops_early: Duration::ZERO,
        bare: Bare::Placeholder,
        takes_revoked: true,
    };

    /// What is published; what the server holds and with which leaf; with and without Must-Staple:
    /// what follows.
    fn check(published: &str, holds: &str, leaf: Option<CertId>, expected: [&str; 2]) {
        check_for(TakesUp::OnReload, published, holds, leaf, expected);
    }

    fn check_for(
        takes_up: TakesUp,
        published: &str,
        holds: &str,
        leaf: Option<CertId>,
        expected: [&str; 2],
    ) {
        for (must_staple, expected) in [false, true].into_iter().zip(expected) {
            let published = holding(published);
            let offer = Offer {
                published: &published,
                claimants: &[LEAF],
                chosen: Some(LEAF),
                must_staple,
                awaited: false,
                hopeless: false,
                swapping: false,
                delivery: Delivery { takes_up, ..NGINX },
                since: DAY,
            };
            let taken = (holds != "unknown").then(|| Taken {
                holding: holding(holds),
                leaf,
                must_staple,
                proved: true,
                older: UnixTime::MAX,
            });
            let known = Known { probed: true, ..Known::default() };
            let pending = compare(&offer, taken.as_ref(), known, &desk());
            let found = match pending {
                Pending { blocks: true, .. } => "blocks".to_owned(),
                Pending { urgent: Some(why), .. } => format!("urgent: {why}"),
                Pending { renewed: true, closes: Some(_), .. } => "renewed or by close".to_owned(),
                Pending { renewed: true, .. } => "renewed".to_owned(),
                Pending { closes: Some(_), .. } => "by close".to_owned(),
                Pending { takes_up: Some(_), .. } => "by itself".to_owned(),
                Pending { differs: true, .. } => "differs".to_owned(),
                _ => "-".to_owned(),
            };
            let case = format!("{published:?} over {holds} with {leaf:?}, {must_staple}");
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn the_same_again_needs_no_reload() {
        check("0", "0", Some(LEAF), ["-", "-"]);
        check("placeholder", "placeholder", Some(LEAF), ["-", "-"]);
        check("placeholder", "nothing", Some(LEAF), ["-", "-"]);
    }

    #[test]
    fn a_first_staple_goes_at_once() {
        for holds in ["unknown", "placeholder", "nothing", "foreign"] {
            check("3", holds, Some(LEAF), ["urgent: first", "urgent: first"]);
        }
        check("3", "old 0", Some(LEAF), ["urgent: first", "urgent: first"]);
    }

    #[test]
    fn a_newer_staple_waits_for_the_close() {
        check("3", "0", Some(LEAF), ["by close", "by close"]);
        check("3", "0", None, ["by close", "by close"]);
        check("3", "-4", Some(LEAF), ["urgent: closing", "urgent: closing"]);
        let unknown = "staple of unknown date";
        check("3", unknown, Some(LEAF), ["urgent: closing", "urgent: closing"]);
    }

    #[test]
    fn a_revocation_and_its_end_go_at_once() {
        check("revoked", "0", Some(LEAF), ["urgent: revoked", "urgent: revoked"]);
        check("3", "revoked", Some(LEAF), ["urgent: revoked", "urgent: revoked"]);
    }

    #[test]
    fn what_is_withdrawn_goes_at_once() {
        check("placeholder", "0", Some(LEAF), ["urgent: withdrawn", "urgent: withdrawn"]);
        // With Must-Staple nothing is as bad as a bad one: no reload until there is a staple.
        check("placeholder", "foreign", Some(LEAF), ["urgent: withdrawn", "-"]);
        check("placeholder", "old 0", Some(LEAF), ["urgent: withdrawn", "-"]);
    }

    #[test]
    fn a_renewed_certificate_waits_for_its_owner() {
        check("3", "old 0", Some(OLD), ["renewed or by close", "renewed or by close"]);
        check("3", "old 0", None, ["renewed or by close", "renewed or by close"]);
        check("3", "placeholder", Some(OLD), ["renewed", "renewed"]);
        check("placeholder", "old 0", Some(OLD), ["renewed or by close", "blocks"]);
        check("placeholder", "unknown", None, ["-", "blocks"]);
    }

    #[test]
    fn a_server_that_takes_up_by_itself_reloads_only_for_what_cannot_wait() {
        let hour = TakesUp::ByItself { within: HOUR };
        let slow = |published, holds, expected| {
            check_for(hour, published, holds, Some(LEAF), [expected; 2]);
        };
        slow("3", "0", "by itself");
        slow("3", "placeholder", "urgent: first");
        slow("revoked", "0", "urgent: revoked");
        slow("placeholder", "0", "urgent: withdrawn");
        slow("0", "0", "-");
        check_for(hour, "3", "unknown", None, ["by itself"; 2]);
        check_for(hour, "3", "old 0", Some(OLD), ["renewed or by close"; 2]);
        check_for(hour, "placeholder", "unknown", None, ["-", "blocks"]);
        // It would come too late by itself: after a fortnight in the first case.
        let fortnight = TakesUp::ByItself { within: 14 * DAY };
        check_for(fortnight, "3", "0", Some(LEAF), ["by close"; 2]);
        check_for(hour, "3", "-4", Some(LEAF), ["urgent: closing"; 2]);
        let at_once = TakesUp::ByItself { within: Duration::ZERO };
        for holds in ["-4", "0", "placeholder", "revoked", "old 0"] {
            check_for(at_once, "3", holds, Some(LEAF), ["by itself"; 2]);
        }
    }

    #[test]
    fn one_that_fails_to_is_reloaded_at_the_close() {
        let (published, holds) = (holding("3"), holding("0"));
        let at_once = TakesUp::ByItself { within: Duration::ZERO };
        let offer = Offer {
            published: &published,
            claimants: &[LEAF],
            chosen: Some(LEAF),
            must_staple: true,
            awaited: false,
            hopeless: false,
            swapping: false,
            delivery: Delivery { takes_up: at_once, ..NGINX },
            since: DAY,
        };
        let taken = Taken {
            holding: holds,
            leaf: Some(LEAF),
            must_staple: true,
            proved: true,
            older: UnixTime::MAX,
        };
        let known = Known { probed: true, fails: true, ..Known::default() };
        let pending = compare(&offer, Some(&taken), known, &desk());
        assert_eq!((pending.takes_up, pending.urgent), (None, None));
        assert_eq!(pending.closes, Some(UnixTime::from_secs(0) + 6 * DAY));
    }

    #[test]
    fn the_staple_of_another_certificate_is_never_taken_up() {
        check("old 0", "old 0", Some(OLD), ["blocks", "blocks"]);
    }
}
