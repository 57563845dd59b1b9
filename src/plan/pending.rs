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
    /// There is nobody to ask about it.
    pub hopeless: bool,
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
    /// A reload would take up a Must-Staple certificate that has no staple.
    pub blocks: bool,
}

impl Offer<'_> {
    /// A staple of a certificate that claims the target lies there.
    pub(super) fn has_staple(&self) -> bool {
        self.published.cert().is_some_and(|cert| self.claimants.contains(&cert))
    }
}

/// Compares what is published with what the server holds: `None` where nothing is known.
///
/// `asking`: a handshake is about to tell what it holds; `probed`: it could.
pub(super) fn compare(
    offer: &Offer<'_>,
    holds: Option<&Taken>,
    asking: bool,
    probed: bool,
    desk: &Desk,
) -> Pending {
    if !offer.delivery.on_reload {
        return Pending::default();
    }
    let staple = offer.has_staple();
    let waits_for_staple = offer.must_staple && !offer.hopeless && !staple;
    let Some(holds) = holds else {
        return Pending {
            differs: staple || offer.must_staple,
            urgent: (staple && !asking).then_some(Why::First),
            blocks: waits_for_staple && probed,
            ..Pending::default()
        };
    };
    let presents = holds.presents();
    let other_leaf = presents.is_some_and(|leaf| !offer.claimants.contains(&leaf));
    let other_leaf = other_leaf && !offer.claimants.is_empty();
    let known = holds.proved || holds.leaf.is_some();
    let blocks = waits_for_staple && presents != offer.chosen && known;
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
        return pending;
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
    pending
}
