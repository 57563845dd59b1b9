//! Reads staples back from disk and judges them again, on every core: what a start waits for.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use super::profiles::Profile;
use super::world::{Place, World};
use crate::digest::{Digest, Fingerprint};
use crate::ocsp::{self, Response, Staple, verify_again};
use crate::pki::Issued;
use crate::pki::signature::Checked;
use crate::plan::{CertId, Content, Facts, TargetId};
use crate::publish::{self, Stamp, What};
use crate::store::StateDir;
use crate::time::UnixTime;

/// What lies in a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) content: Content,
    pub(super) facts: Option<Facts>,
    /// Of the file, from before it was read.
    pub(super) stamp: Option<Stamp>,
}

/// The places whose files are others than when they were last read.
pub(super) fn changed<'a>(places: impl Iterator<Item = (TargetId, &'a Place)>) -> Vec<TargetId> {
    let unchanged = |place: &Place| {
        place.stamp.is_some() && place.stamp == place.written().and_then(publish::stamp)
    };
    places.filter(|(_, place)| !unchanged(place)).map(|(id, _)| id).collect()
}

/// The staples in the store that still prove something at `now`.
pub(super) fn load(
    dir: &StateDir,
    jobs: &[(Issued, Arc<Profile>)],
    now: UnixTime,
    checked: &Checked,
) -> HashMap<Fingerprint, Staple> {
    let load = |(issued, profile): &(Issued, Arc<Profile>)| {
        let bytes = dir.load(issued.fingerprint());
        let bytes =
            bytes.inspect_err(|error| tracing::warn!(%error, "a response is lost")).ok()??;
        judge(&bytes, issued, profile, now, checked)
    };
    let staples = on_every_core(jobs, load);
    staples.into_iter().flatten().map(|staple| (staple.certificate(), staple)).collect()
}

/// What lies in each place.
pub(super) fn inspect<'a>(
    places: impl Iterator<Item = &'a Place>,
    world: &World,
    now: UnixTime,
) -> Vec<Inspected> {
    let places: Vec<&Place> = places.collect();
    on_every_core(&places, |place| one(place, world, now))
}

fn one(place: &Place, world: &World, now: UnixTime) -> Inspected {
    let Some(target) = place.written() else { return answered(place, world) };
    let stamp = publish::stamp(target);
    let without = |content| Inspected { content, facts: None, stamp };
    let (bytes, entry) = match publish::inspect(target) {
        Ok(What::Missing) => return without(Content::Nothing),
        Ok(What::Placeholder) => return without(Content::Placeholder),
        Ok(What::Bytes(bytes)) => (bytes, None),
        Ok(What::Entry(entry)) => (entry.response.clone(), Some(entry)),
        Err(error) => {
            tracing::debug!(%error, "a target cannot be read");
            return without(Content::Foreign);
        }
    };
    for id in &place.claimants {
        let Some(known) = world.certificates.get(id) else { continue };
        let held = known.held.clone().filter(|held| *held.der() == *bytes);
        let judged =
            || judge(&bytes, known.issued.as_ref()?, &known.profile, now, &Checked::default());
        if let Some(staple) = held.or_else(judged) {
            if entry.as_ref().is_some_and(|entry| !entry.fits(&staple)) {
                tracing::debug!(%target, "the entry's dates are not those of its response");
                break;
            }
            let content = Content::Staple(*id, staple.digest());
            return Inspected { content, facts: Some(staple.facts()), stamp };
        }
    }
    without(Content::Foreign)
}

/// What our own responder says about the certificate of a place.
fn answered(place: &Place, world: &World) -> Inspected {
    let answer = |id: &CertId| Some((*id, world.answers.staple(world.fingerprint(*id))?));
    match place.claimants.iter().find_map(answer) {
        Some((id, staple)) => {
            let content = Content::Staple(id, staple.digest());
            Inspected { content, facts: Some(staple.facts()), stamp: None }
        }
        None => Inspected { content: Content::Nothing, facts: None, stamp: None },
    }
}

/// A staple, if the bytes prove anything about the certificate now, or did when they were made: one
/// that has run out is still a staple, and the planner decides what becomes of it.
pub(super) fn judge(
    bytes: &[u8],
    issued: &Issued,
    profile: &Profile,
    now: UnixTime,
    checked: &Checked,
) -> Option<Staple> {
    let response = Response::decode(bytes).ok()?;
    let made = response.answers().iter().map(|answer| answer.this_update).max()?;
    let judge = |at| verify_again(response.clone(), issued, &profile.rules, at, checked).ok();
    judge(now).or_else(|| judge(made.min(now)))
}

/// What the signatures are known by that prove these pairs, and the staples held about them.
pub(super) fn signatures(known: &[(Issued, Option<Staple>)]) -> Vec<Digest> {
    let of_staple = |issued: &Issued, staple: &Option<Staple>| -> Vec<Digest> {
        staple.iter().flat_map(|staple| ocsp::signatures(staple, issued)).collect()
    };
    let each = |(issued, staple): &(Issued, Option<Staple>)| {
        let mut found = of_staple(issued, staple);
        found.push(issued.signature());
        found
    };
    known.iter().flat_map(each).collect()
}

pub(super) fn on_every_core<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // A thread costs as much as some signature checks.
    let share = items.len().div_ceil(cores).max(16);
    if items.len() <= share {
        return items.iter().map(work).collect();
    }
    thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().map(&work).collect::<Vec<R>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("the work does not panic")).collect()
    })
}
