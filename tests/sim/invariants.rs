//! What must hold in every run, whatever happens; and what a scenario may ask of its run.

use std::time::Duration;

use staplekeeper::plan::{About, Action, CertId, Facts, Lead, Window};
use staplekeeper::time::{DAY, MINUTE};

use crate::agent::is_good;
use crate::nginx::{File, Presented, Way};
use crate::world::{GRACE, World};

impl World {
    /// The planner's actions hang together.
    pub(crate) fn check_actions(&mut self, actions: &[Action], is_tick: bool) {
        let wake_ups = actions.iter().filter(|action| matches!(action, Action::WakeAt(_))).count();
        let last = matches!(actions.last(), Some(Action::WakeAt(_)));
        assert!(wake_ups == 1 && last, "one wake-up, and last: {actions:?}");
        if is_tick {
            let spins = self.agent.spin(self.time);
            assert!(spins < 100, "woken for ever at {:?}: {actions:?}", self.time);
        }
    }

    /// Nothing in the store goes backwards, and only a newer good undoes a revocation.
    pub(crate) fn check_kept(&self, cert: CertId, facts: &Facts) {
        if let Some(held) = self.agent.disk.responses.get(&cert) {
            assert!(facts.this_update >= held.this_update, "{cert:?} went back to {facts:?}");
            let undone = !is_good(held) && is_good(facts);
            assert!(!undone || facts.this_update > held.this_update, "{cert:?} revoked no more");
        }
    }

    /// Nothing in a file goes backwards either, and nothing good is thrown away.
    pub(crate) fn check_published(&self, index: usize, file: File) {
        let lineage = &self.lineages[index];
        let (known, since) = lineage.known;
        let wall = self.now().wall;
        match (lineage.file, file) {
            (File::Staple(old, before), File::Staple(new, after)) if old == new => {
                assert!(after.this_update >= before.this_update, "{new:?} went back in its file");
            }
            (File::Staple(old, before), File::Placeholder | File::Missing) if old == known => {
                // Not before a reload needs the time that is left.
                let (policy, lead) = (&self.setup.policy, Lead::default());
                let window = Window::of(before.this_update, before.expires, lead, policy);
                let needed = Duration::from_secs(30).min(window.margin / 2);
                let good = is_good(&before) && before.expires > wall + needed;
                assert!(!good, "{old:?}: a good staple thrown away at {:?}", self.time);
            }
            _ => {}
        }
        if let File::Staple(cert, facts) = file {
            let noticed = since + GRACE < self.time;
            assert!(cert == known || !noticed, "{cert:?} published for {known:?}");
            assert!(facts.expires > wall || noticed, "an expired staple published for {cert:?}");
        }
    }

    /// Our reloads load no staple of another certificate, none that expired while a better one was
    /// there, and no Must-Staple certificate that has none.
    pub(crate) fn check_reload(&self, server: usize, files: &[Presented]) {
        let wall = self.now().wall;
        let nginx = &self.servers[server];
        for (block, presented) in files.iter().enumerate() {
            let lineage = &self.lineages[nginx.blocks[block]];
            let (known, since) = lineage.known;
            if known != presented.leaf || since + GRACE > self.time {
                continue; // renewed this minute
            }
            match presented.file {
                File::Staple(cert, facts) => {
                    assert_eq!(cert, presented.leaf, "the staple of another certificate is loaded");
                    let better = self.agent.disk.responses.get(&cert);
                    let stored = self.agent.disk.stored.get(&cert);
                    let long_ago = stored.is_none_or(|at| *at + GRACE < self.time);
                    let better = better.is_some_and(|held| held.expires > wall) && long_ago;
                    assert!(
                        facts.expires > wall || !better,
                        "{cert:?}: expired, loaded over a better"
                    );
                }
                File::Placeholder | File::Missing if lineage.must_staple => {
                    let new = nginx.memory.get(block).is_none_or(|old| old.leaf != presented.leaf);
                    // Unasked, a server may have more than can be known.
                    let another = !nginx.probed || self.must_staple_closes(server);
                    assert!(!new || another, "{known:?}: Must-Staple loaded without a staple");
                }
                _ => {}
            }
        }
    }

    /// Some Must-Staple deployment of the server is past its close.
    fn must_staple_closes(&self, server: usize) -> bool {
        let wall = self.now().wall;
        let nginx = &self.servers[server];
        nginx.blocks.iter().zip(&nginx.memory).any(|(lineage, presented)| {
            let File::Staple(_, facts) = presented.file else { return false };
            let policy = &self.setup.policy;
            let window = Window::of(facts.this_update, facts.expires, Lead::default(), policy);
            self.lineages[*lineage].must_staple && window.closes <= wall
        })
    }

    /// A staple may have expired in a server's memory: by now it should have been replaced.
    pub(crate) fn check_expiries(&mut self, server: usize, load: u64) {
        let now = self.true_time();
        let nginx = &self.servers[server];
        if nginx.loads != load || !nginx.running {
            return;
        }
        for (lineage, presented) in nginx.blocks.iter().zip(&nginx.memory) {
            if matches!(presented.file, File::Staple(_, facts) if facts.expires == now) {
                self.agent.expired.push((self.time, *lineage));
            }
        }
        self.watch_expiries(server);
    }

    /// What a client of a server that comes by its staples in another way than by files is handed.
    pub(crate) fn check_client(&mut self, server: usize, block: usize, seen: Option<Presented>) {
        let now = self.true_time();
        let nginx = &self.servers[server];
        let index = nginx.blocks[block];
        let Some(seen) = seen else { return };
        let (known, since) = self.lineages[index].known;
        match seen.file {
            File::Staple(cert, facts) => {
                assert_eq!(cert, seen.leaf, "the staple of another certificate is handed out");
                if facts.expires <= now {
                    self.agent.expired.push((self.time, index));
                }
            }
            File::Placeholder | File::Missing => {
                // Servers remember for ten minutes that nobody answered.
                // Unasked, nobody meets a worker's first handshake in the clients' stead.
                let asked = nginx.probed || nginx.way != Way::Workers;
                // Nor is it known whether a renewed certificate has been taken up.
                let asked = asked && (nginx.probed || since + 2 * DAY < self.time);
                let agent =
                    asked && self.agent.running && self.agent.since + 11 * MINUTE < self.time;
                let settled = nginx.loaded_at + GRACE < self.time && since + GRACE < self.time;
                let stored = self.agent.disk.stored.get(&known);
                // By a wrong clock a staple has run out for agent and server alike.
                let clock = self.offset == 0 && self.stepped + 11 * MINUTE < self.time;
                let settled = clock && settled && stored.is_none_or(|at| *at + GRACE < self.time);
                let held = self.agent.disk.responses.get(&known);
                let good = held.is_some_and(|held| held.expires > now + 10 * MINUTE);
                if agent && settled && good && seen.leaf == known {
                    self.agent.bare.push((self.time, index));
                }
            }
        }
    }

    /// No client was ever handed nothing while there was a staple.
    pub(crate) fn nobody_went_without(&self) -> &Self {
        let bare = &self.agent.bare;
        assert!(bare.is_empty(), "went without: {:?}", &bare[..bare.len().min(5)]);
        self
    }

    /// No client was ever handed an expired staple.
    pub(crate) fn nobody_saw_an_expired_staple(&self) -> &Self {
        let expired = &self.agent.expired;
        assert!(
            expired.is_empty(),
            "handed out past expiry: {:?}",
            &expired[..expired.len().min(5)]
        );
        self
    }

    /// Nothing was told at all.
    pub(crate) fn nothing_was_told(&self) -> &Self {
        let told = &self.agent.told;
        assert!(told.is_empty(), "told: {:?}", &told[..told.len().min(5)]);
        self
    }

    /// These conditions were told, in the order they first began, and all have ended.
    pub(crate) fn was_told_and_ended(&self, expected: &[About]) -> &Self {
        let mut begun: Vec<About> = Vec::new();
        for (_, told) in &self.agent.told {
            if told.begins && !begun.contains(&told.about) {
                begun.push(told.about);
            }
        }
        assert_eq!(begun, expected, "told: {:?}", self.agent.told);
        self.nothing_is_told()
    }

    /// No condition is left.
    pub(crate) fn nothing_is_told(&self) -> &Self {
        assert!(self.agent.holds.is_empty(), "still told: {:?}", self.agent.holds);
        self
    }

    /// The agent reloaded a server at most so often on any day.
    pub(crate) fn reloads_a_day_at_most(&self, most: usize) -> &Self {
        for (index, server) in self.servers.iter().enumerate() {
            for (first, begins) in server.ours.iter().enumerate() {
                let day = server.ours[first..].iter().take_while(|at| **at < *begins + DAY).count();
                assert!(day <= most, "server {index}: {day} reloads in the day from {begins:?}");
            }
        }
        self
    }

    /// Every server hands out a good staple of the right certificate for everything.
    pub(crate) fn all_is_well(&self) -> &Self {
        for server in &self.servers {
            for (lineage, presented) in server.blocks.iter().zip(&server.memory) {
                let leaf = self.lineages[*lineage].leaf;
                assert_eq!(presented.leaf, leaf, "lineage {lineage} was renewed");
                let File::Staple(cert, facts) = presented.file else {
                    panic!("lineage {lineage} has {:?}", presented.file)
                };
                assert_eq!(cert, leaf, "lineage {lineage} has another's staple");
                assert!(facts.expires > self.true_time(), "lineage {lineage} has expired");
            }
        }
        self
    }

    /// How many requests a responder has had.
    pub(crate) fn requests(&self, responder: usize) -> u64 {
        self.responders[responder].requests
    }

    /// Reloads by the agent.
    pub(crate) fn reloads(&self) -> usize {
        self.servers.iter().map(|server| server.ours.len()).sum()
    }
}
