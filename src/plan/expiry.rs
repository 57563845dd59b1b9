//! Which certificates run out themselves, and when the operator's ACME client is run for them.
//!
//! A machine of its own beside the [`Planner`](super::Planner): certificates, outcomes and the instant go
//! in, [`ExpiryAction`]s come out, and no clock is read. A certificate's *renewal window* is its last
//! `warn_below`, or the last third of its life where that is less. The command is run once for an
//! attempt, one at a time on the whole host (ACME clients lock each other out), the one that runs out
//! first before the others. Success is that the certificate is replaced; until then attempts wait hours,
//! also over restarts: CAs limit failures by the hour and the week.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backoff;
use super::facts::CertId;
use crate::digest::Fingerprint;
use crate::time::{DAY, HOUR, MINUTE, UnixTime};

/// The longest wait between two attempts.
const LONGEST: Duration = HOUR.saturating_mul(12);
/// The shortest that little time left can make it.
const SHORTEST: Duration = MINUTE.saturating_mul(10);
/// The first attempt is put off by up to this share of the window, lest hosts come in step.
const SPREAD: u32 = 10;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryPolicy {
    /// When a certificate's own expiry is worth a warning.
    pub warn_below: Duration,
    /// There is a command that renews.
    pub renews: bool,
    /// What jitter is derived from.
    pub seed: u64,
}

/// Attempts to renew a certificate: what has to survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenewalAttempts {
    /// How often the command was run.
    pub made: u32,
    /// It is not run again before this, UTC.
    pub next: UnixTime,
}

/// A certificate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// SHA-256 of its DER.
    pub identity: Fingerprint,
    /// notBefore, UTC.
    pub not_before: UnixTime,
    /// notAfter, UTC.
    pub not_after: UnixTime,
    /// What earlier processes did about it.
    pub attempts: RenewalAttempts,
}

/// Something the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryAction {
    /// The certificate runs out soon; told once.
    Begins(CertId),
    /// It is gone, or there is time again.
    Ends(CertId),
    /// Remember these attempts durably, then run the command; its end is told by [`Expiry::ended`].
    Renew(CertId, RenewalAttempts),
}

/// The lives of all certificates.
#[derive(Clone, Debug)]
pub struct Expiry {
    policy: ExpiryPolicy,
    table: BTreeMap<CertId, Entry>,
    /// When to look at each again.
    agenda: BTreeSet<(UnixTime, CertId)>,
    /// Those whose attempt is due, by notAfter.
    ready: BTreeSet<(UnixTime, CertId)>,
    running: Option<CertId>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    life: Life,
    /// It was told that it runs out.
    told: bool,
    /// Where it stands in the agenda.
    at: UnixTime,
}

impl Expiry {
    /// No certificate is known yet.
    pub fn new(policy: ExpiryPolicy) -> Self {
        Expiry {
            policy,
            table: BTreeMap::new(),
            agenda: BTreeSet::new(),
            ready: BTreeSet::new(),
            running: None,
        }
    }

    /// The policy is this from now on.
    pub fn configured(&mut self, policy: ExpiryPolicy) {
        self.policy = policy;
        self.ready.clear();
        let ids: Vec<CertId> = self.table.keys().copied().collect();
        ids.into_iter().for_each(|id| self.enter_first(id));
    }

    /// A certificate was found.
    pub fn found(&mut self, id: CertId, life: Life) {
        if self.table.get(&id).is_some_and(|known| known.life.identity == life.identity) {
            return;
        }
        self.table.insert(id, Entry { life, told: false, at: UnixTime::MAX });
        self.enter_first(id);
    }

    /// A certificate is nowhere to be found any more: renewed, or removed.
    pub fn gone(&mut self, id: CertId) -> Option<ExpiryAction> {
        let entry = self.table.remove(&id)?;
        self.agenda.remove(&(entry.at, id));
        self.ready.remove(&(entry.life.not_after, id));
        entry.told.then_some(ExpiryAction::Ends(id))
    }

    /// The command for this certificate has ended, however.
    pub fn ended(&mut self, id: CertId) {
        self.running = self.running.filter(|running| *running != id);
    }

    /// Whether a certificate runs out soon.
    pub fn is_expiring(&self, id: CertId) -> bool {
        self.table.get(&id).is_some_and(|entry| entry.told)
    }

    /// When [`Expiry::tick`] has something to do next, UTC.
    pub fn wakes_at(&self) -> UnixTime {
        self.agenda.first().map_or(UnixTime::MAX, |(at, _)| *at)
    }

    /// What is due at `now`. To be called after every change and when [`Expiry::wakes_at`] has come, and
    /// not while the clock is in doubt.
    pub fn tick(&mut self, now: UnixTime) -> Vec<ExpiryAction> {
        let mut actions = Vec::new();
        while let Some((at, id)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, id));
            let Some(entry) = self.table.get_mut(&id) else { continue };
            entry.at = UnixTime::MAX;
            let (opens, begins) = self.policy.window(&entry.life);
            // The clock was ahead when this was told, or the policy is another.
            if now < opens {
                if std::mem::take(&mut entry.told) {
                    actions.push(ExpiryAction::Ends(id));
                }
                self.enter(id, opens);
                continue;
            }
            if !std::mem::replace(&mut entry.told, true) {
                actions.push(ExpiryAction::Begins(id));
            }
            let next = begins.max(entry.life.attempts.next.min(now + LONGEST));
            // Nobody renews what has been left to rot.
            let over = entry.life.not_after + self.policy.length(&entry.life);
            match self.policy.renews && now < over {
                true if next <= now => {
                    self.ready.insert((entry.life.not_after, id));
                }
                true => self.enter(id, next),
                false => {}
            }
        }
        if self.running.is_none()
            && let Some((_, id)) = self.ready.pop_first()
        {
            self.running = Some(id);
            actions.extend(self.begin(id, now));
        }
        actions
    }

    /// Begins an attempt, written down as if it had failed.
    fn begin(&mut self, id: CertId, now: UnixTime) -> Option<ExpiryAction> {
        let life = &mut self.table.get_mut(&id)?.life;
        life.attempts.made = life.attempts.made.saturating_add(1);
        life.attempts.next = now + self.policy.wait(life, now);
        let attempts = life.attempts;
        self.enter(id, attempts.next);
        Some(ExpiryAction::Renew(id, attempts))
    }

    fn enter_first(&mut self, id: CertId) {
        let Some(entry) = self.table.get(&id) else { return };
        // One that was told is looked at at once: it may be told otherwise now.
        let (opens, _) = self.policy.window(&entry.life);
        let at = if entry.told { UnixTime::from_secs(0) } else { opens };
        self.enter(id, at);
    }

    fn enter(&mut self, id: CertId, at: UnixTime) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        self.agenda.remove(&(entry.at, id));
        entry.at = at;
        self.agenda.insert((at, id));
    }
}

impl ExpiryPolicy {
    fn length(&self, life: &Life) -> Duration {
        self.warn_below.min(life.not_after.since(life.not_before) / 3)
    }

    /// When a certificate's renewal window opens, and when the first attempt is made.
    fn window(&self, life: &Life) -> (UnixTime, UnixTime) {
        let length = self.length(life);
        let opens = life.not_after - length;
        let most = (length / SPREAD).min(DAY);
        (opens, opens + backoff::share(most, backoff::draw(self.seed, identity(life), 0)))
    }

    /// The wait after the last attempt: between half and the whole of an hour, doubling to twelve, and
    /// no more than a quarter of the time that is left.
    fn wait(&self, life: &Life, now: UnixTime) -> Duration {
        let made = life.attempts.made;
        let left = life.not_after.since(now);
        let most = if left.is_zero() { LONGEST } else { (left / 4).clamp(SHORTEST, LONGEST) };
        let whole = (HOUR * (1 << made.saturating_sub(1).min(8))).min(most);
        let draw = backoff::draw(self.seed, identity(life), u64::from(made));
        whole / 2 + backoff::share(whole / 2, draw)
    }
}

fn identity(life: &Life) -> u64 {
    life.identity.as_bytes().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);
    const RENEWS: ExpiryPolicy =
        ExpiryPolicy { warn_below: DAY.saturating_mul(21), renews: true, seed: 7 };

    /// Issued at the start, for so many days.
    fn life(number: u32, days: u32) -> Life {
        Life {
            identity: Digest::of(&number.to_be_bytes()),
            not_before: START,
            not_after: START + DAY * days,
            attempts: RenewalAttempts::default(),
        }
    }

    /// Everything that is done until `end`, commands taking a minute each and never succeeding.
    fn run(expiry: &mut Expiry, from: UnixTime, end: UnixTime) -> Vec<(UnixTime, ExpiryAction)> {
        let (mut now, mut all) = (from, Vec::new());
        while now <= end {
            for action in expiry.tick(now) {
                all.push((now, action));
                if let ExpiryAction::Renew(id, _) = action {
                    now = now + MINUTE;
                    expiry.ended(id);
                }
            }
            now = if expiry.ready.is_empty() { expiry.wakes_at().max(now) } else { now };
        }
        all
    }

    fn renewals(all: &[(UnixTime, ExpiryAction)], of: u32) -> Vec<UnixTime> {
        let is_one =
            |action: &ExpiryAction| matches!(action, ExpiryAction::Renew(id, _) if id.0 == of);
        all.iter().filter(|(_, action)| is_one(action)).map(|(at, _)| *at).collect()
    }

    #[test]
    fn windows_are_three_weeks_or_a_third_of_a_life() {
        for (days, opens) in [(365, 365 * 24 - 21 * 24), (90, 69 * 24), (6, 4 * 24), (45, 30 * 24)]
        {
            let (at, first) = RENEWS.window(&life(1, days));
            assert_eq!(at, START + HOUR * opens, "{days} days");
            assert!(first >= at && first < START + DAY * days - RENEWS.length(&life(1, days)) / 2);
        }
    }

    #[test]
    fn it_is_told_once_and_tried_by_the_hour_until_it_is_replaced() {
        let mut expiry = Expiry::new(RENEWS);
        expiry.found(CertId(1), life(1, 90));
        let all = run(&mut expiry, START, START + DAY * 89);
        let told = all.iter().filter(|(_, action)| *action == ExpiryAction::Begins(CertId(1)));
        assert_eq!(told.count(), 1);
        let renewals = renewals(&all, 1);
        assert!(renewals[0] >= START + DAY * 69 && renewals[0] < START + DAY * 71, "{renewals:?}");
        let waits: Vec<_> = renewals.windows(2).map(|two| two[1].since(two[0])).collect();
        assert!(
            waits.iter().all(|wait| *wait >= HOUR / 2 && *wait <= LONGEST + MINUTE),
            "{waits:?}"
        );
        assert!(waits[10..30].iter().all(|wait| *wait >= LONGEST / 2), "{waits:?}");
        assert!((40..80).contains(&renewals.len()), "{} attempts in three weeks", renewals.len());
        assert_eq!(expiry.gone(CertId(1)), Some(ExpiryAction::Ends(CertId(1))));
        assert_eq!(run(&mut expiry, START + DAY * 89, START + DAY * 200), []);
    }

    #[test]
    fn a_crash_loop_hammers_nobody() {
        let mut known = life(1, 90);
        let (mut now, mut attempts) = (START + DAY * 80, 0);
        // A process a minute for a day, each dying in its attempt.
        for _ in 0..24 * 60 {
            let mut expiry = Expiry::new(RENEWS);
            expiry.found(CertId(1), known);
            for action in expiry.tick(now) {
                if let ExpiryAction::Renew(_, made) = action {
                    (known.attempts, attempts) = (made, attempts + 1);
                }
            }
            now = now + MINUTE;
        }
        assert!((4..=8).contains(&attempts), "{attempts} attempts");
    }

    #[test]
    fn one_at_a_time_and_the_most_pressing_first() {
        let mut expiry = Expiry::new(RENEWS);
        for number in 0..5 {
            expiry.found(CertId(number), life(number, 90 - number));
        }
        let now = START + DAY * 85;
        let begun = |actions: Vec<ExpiryAction>| {
            let renew = |action: &ExpiryAction| match action {
                ExpiryAction::Renew(id, _) => Some(*id),
                _ => None,
            };
            actions.iter().filter_map(renew).collect::<Vec<_>>()
        };
        assert_eq!(begun(expiry.tick(now)), [CertId(4)]);
        assert_eq!(begun(expiry.tick(now + MINUTE)), [], "it runs");
        expiry.ended(CertId(4));
        assert_eq!(begun(expiry.tick(now + MINUTE)), [CertId(3)]);
        expiry.ended(CertId(3));
        assert_eq!(expiry.gone(CertId(2)), Some(ExpiryAction::Ends(CertId(2))));
        assert_eq!(begun(expiry.tick(now + MINUTE)), [CertId(1)]);
    }

    #[test]
    fn short_lives_leave_time_for_several_attempts() {
        let mut expiry = Expiry::new(RENEWS);
        expiry.found(CertId(1), life(1, 6));
        let all = run(&mut expiry, START, START + DAY * 6);
        assert!((8..60).contains(&renewals(&all, 1).len()), "{}", renewals(&all, 1).len());
    }

    #[test]
    fn what_was_left_to_rot_is_told_and_left_alone() {
        let mut expiry = Expiry::new(RENEWS);
        expiry.found(CertId(1), life(1, 90));
        let now = START + DAY * 300;
        assert_eq!(expiry.tick(now), [ExpiryAction::Begins(CertId(1))]);
        assert_eq!(run(&mut expiry, now, now + DAY * 30), []);
        // Nor is anything run where nothing is configured.
        let mut expiry = Expiry::new(ExpiryPolicy { renews: false, ..RENEWS });
        expiry.found(CertId(1), life(1, 90));
        assert_eq!(run(&mut expiry, START, START + DAY * 89).len(), 1);
    }

    #[test]
    fn another_policy_tells_otherwise() {
        let mut expiry = Expiry::new(ExpiryPolicy { renews: false, ..RENEWS });
        expiry.found(CertId(1), life(1, 90));
        let now = START + DAY * 75;
        assert_eq!(expiry.tick(now), [ExpiryAction::Begins(CertId(1))]);
        expiry.configured(ExpiryPolicy { warn_below: DAY, renews: false, seed: 7 });
        assert_eq!(expiry.tick(now), [ExpiryAction::Ends(CertId(1))]);
        assert_eq!(expiry.wakes_at(), START + DAY * 89);
    }
}
