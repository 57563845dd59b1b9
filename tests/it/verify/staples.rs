//! What a staple says about itself, above all when it ends.

use staplekeeper::digest::Digest;
use staplekeeper::ocsp::{self, Response, Rules, Staple, Status};
use staplekeeper::time::UnixTime;

use super::world::{World, issued};
use crate::support::ca::{CertHash, Claim, DAY, Draft, Forge, HOUR, Identity, Said, Single, der};

fn staple(world: &World, leaf: &Identity, der: &[u8]) -> Staple {
    let response = Response::decode(der).expect("a response");
    let now = UnixTime::from_secs(world.now);
    ocsp::verify(response, &issued(leaf), &Rules::default(), now).expect("it is sound")
}

/// When the staple of this response ends, in seconds from now.
fn end(world: &World, leaf: &Identity, der: &[u8]) -> i64 {
    staple(world, leaf, der).expires().as_secs() - world.now
}

#[test]
fn the_earliest_end_counts() {
    let world = World::new();
    let (leaf, now) = (&world.leaf, world.now);
    let sound = || Forge::new(leaf, now);
    assert_eq!(end(&world, leaf, &sound().der()), 7 * DAY - HOUR, "nextUpdate");
    assert_eq!(end(&world, leaf, &sound().until(None).der()), DAY - HOUR, "the day assumed");
    let late = sound().until(Some(now - 240)).der();
    assert_eq!(end(&world, leaf, &late), -240, "the true end, whatever tolerance let it pass");

    let brief = Draft { not_after: now + 2 * DAY, ..Draft::delegate("Responder") };
    let brief = world.ca.issue(brief);
    assert_eq!(end(&world, leaf, &sound().delegated(&brief).der()), 2 * DAY, "the delegate's");

    let serial = vec![0x10, 0x03];
    let last = Draft { not_after: now + HOUR, serial, ..Draft::leaf("www.example.org") };
    let last = world.ca.issue(last);
    assert_eq!(end(&world, &last, &Forge::new(&last, now).der()), HOUR, "the leaf's");

    let mut pair = sound();
    let claim = Claim::of(leaf, CertHash::Sha256);
    let next_update = Some(der::generalized_time(now + 3 * DAY));
    pair.singles.push(Single { claim, next_update, ..Single::new(leaf, now) });
    assert_eq!(end(&world, leaf, &pair.der()), 3 * DAY, "the other answer's");
}

#[test]
fn facts_for_the_planner_are_the_staples_own() {
    let world = World::new();
    let revoked = Said::Revoked { time: world.now - DAY, reason: Some(4) };
    let der = Forge::new(&world.leaf, world.now).status(revoked).der();
    let staple = staple(&world, &world.leaf, &der);
    let facts = staple.facts();
    assert_eq!((facts.digest, staple.digest()), (Digest::of(&der), Digest::of(&der)));
    assert_eq!((facts.status, staple.status()), (Status::Revoked, Status::Revoked));
    assert_eq!((facts.this_update, facts.expires), (staple.this_update(), staple.expires()));
    assert_eq!(staple.certificate(), Digest::of(&world.leaf.der));
    assert_eq!(staple.produced_at().as_secs(), world.now - HOUR);
    assert_eq!(staple.next_update().map(UnixTime::as_secs), Some(world.now + 7 * DAY - HOUR));
    let revocation = staple.revocation().expect("it was revoked");
    assert_eq!(revocation.time.as_secs(), world.now - DAY);
    assert_eq!(revocation.reason.map(|reason| reason.to_string()).as_deref(), Some("superseded"));
}

#[test]
fn the_placeholder_is_a_refusal() {
    let response = Response::decode(&ocsp::TRY_LATER).expect("a response");
    assert_eq!(response.status(), ocsp::ResponseStatus::TryLater);
    assert!(response.answers().is_empty() && response.produced_at().is_none());
}
