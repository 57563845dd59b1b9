//! Scenarios by name: what the world is like, what happens in it, and what must have come of it.

use std::time::Duration;

use staplekeeper::plan::{About, CertId, Policy, ResponderId, ServerId, TargetId};
use staplekeeper::time::{DAY, HOUR, MINUTE};

use crate::nginx::File;
use crate::responder::Mood;
use crate::world::{Change, Setup, World, YEAR};

const SECOND: Duration = Duration::from_secs(1);

mod quiet {
    use super::*;

    fn nothing_happens(setup: Setup, length: Duration, reloads_a_day: usize) -> World {
        let mut world = World::new(setup);
        world.run(length).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
        world.reloads_a_day_at_most(reloads_a_day);
        world
    }

    #[test]
    fn a_year_of_seven_day_answers() {
        nothing_happens(Setup { certificates: 40, ..Setup::default() }, YEAR, 1);
    }

    #[test]
    fn twelve_hour_answers() {
        nothing_happens(Setup { life: 12 * HOUR, ..Setup::default() }, 30 * DAY, 10);
    }

    #[test]
    fn many_certificates_at_random_phases() {
        nothing_happens(Setup { certificates: 1_000, ..Setup::default() }, 20 * DAY, 1);
        let setup = Setup { certificates: 1_000, life: 12 * HOUR, ..Setup::default() };
        nothing_happens(setup, 2 * DAY, 10);
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "takes seconds with --release, minutes without")]
    fn a_year_of_ten_thousand_certificates() {
        nothing_happens(Setup { certificates: 10_000, ..Setup::default() }, YEAR, 1);
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "takes seconds with --release, minutes without")]
    fn a_month_of_ten_thousand_twelve_hour_answers() {
        let setup = Setup { certificates: 10_000, life: 12 * HOUR, ..Setup::default() };
        nothing_happens(setup, 30 * DAY, 10);
    }

    /// Each answer is made once a day (or every four days, the most that is allowed for long ones).
    #[test]
    fn answers_made_in_advance() {
        let setup = Setup { signs_every: DAY, ..Setup::default() };
        nothing_happens(setup, 60 * DAY, 2);
        let setup = Setup { life: 10 * DAY, signs_every: 4 * DAY, ..Setup::default() };
        nothing_happens(setup, 60 * DAY, 2);
    }

    /// A new answer comes only when half of the old one's life is over, by the hour.
    #[test]
    fn answers_that_come_late() {
        let setup = Setup { life: 12 * HOUR, signs_every: 6 * HOUR, ..Setup::default() };
        nothing_happens(setup, 20 * DAY, 12);
    }

    #[test]
    fn several_servers_and_responders() {
        let setup = Setup { servers: 3, responders: 4, urls: 2, ..Setup::default() };
        nothing_happens(setup, 60 * DAY, 1);
    }

    #[test]
    fn a_server_that_cannot_be_asked() {
        let setup = Setup { probed: false, ..Setup::default() };
        nothing_happens(setup, 60 * DAY, 1);
    }

    #[test]
    fn a_clean_start_staples_everything_in_seconds() {
        for certificates in [1, 40, 500] {
            let setup = Setup { certificates, warm: false, ..Setup::default() };
            let mut world = World::new(setup);
            world.run(30 * SECOND).nothing_was_told().all_is_well();
            assert!(world.reloads() <= 3, "{} reloads", world.reloads());
            assert_eq!(world.requests(0), certificates as u64);
        }
    }

    #[test]
    fn a_start_with_everything_in_order_does_nothing() {
        let mut world = World::new(Setup { certificates: 500, ..Setup::default() });
        world.run(SECOND).nothing_was_told();
        assert_eq!((world.requests(0), world.reloads()), (0, 0));
        assert!(world.agent.planner.busy().is_idle());
    }

    #[test]
    fn answers_that_live_for_seconds() {
        for seconds in [20, 60, 120] {
            let life = seconds * SECOND;
            let setup = Setup { certificates: 3, life, warm: false, ..Setup::default() };
            let mut world = World::new(setup);
            world.run(HOUR).nobody_saw_an_expired_staple().all_is_well();
        }
    }
}

mod responders_fail {
    use super::*;

    /// The responder is out for this long, from the tenth day on; who is told what.
    fn outage(setup: Setup, mood: Mood, length: Duration) -> World {
        let mut world = World::new(setup);
        world.at(10 * DAY, Change::Mood(0, mood));
        world.at(10 * DAY + length, Change::Mood(0, Mood::Works));
        world.run(10 * DAY + length + 2 * DAY).all_is_well().nothing_is_told();
        world
    }

    #[test]
    fn an_outage_shorter_than_the_window_hurts_nobody() {
        for mood in [Mood::Down, Mood::Busy(None), Mood::Busy(Some(DAY)), Mood::Unauthorized] {
            for hours in [1, 12, 48] {
                let world = outage(Setup::default(), mood, hours * HOUR);
                world.nobody_saw_an_expired_staple();
            }
        }
    }

    #[test]
    fn an_outage_that_outlasts_the_middle_of_windows_is_told() {
        let world = outage(Setup::default(), Mood::Down, 2 * DAY);
        world.was_told_and_ended(&[About::ResponderDown(ResponderId(0))]);
    }

    #[test]
    fn a_dead_responder_is_not_hammered() {
        for certificates in [1, 30, 500] {
            let setup = Setup { certificates, ..Setup::default() };
            let mut world = World::new(setup);
            world.run(10 * DAY);
            world.responders[0].mood = Mood::Down;
            let before = world.requests(0);
            world.run(17 * DAY);
            let a_day = (world.requests(0) - before) / 7;
            assert!(a_day <= 200, "{certificates}: {a_day} requests a day to a dead responder");
        }
    }

    #[test]
    fn without_must_staple_an_expired_staple_is_withdrawn() {
        let setup = Setup { must_staple_every: 0, ..Setup::default() };
        let mut world = World::new(setup);
        world.at(DAY, Change::Mood(0, Mood::Down));
        world.run(14 * DAY).nobody_saw_an_expired_staple();
        let memory = &world.servers[0].memory;
        let bare = |presented: &&_| {
            let presented: &crate::nginx::Presented = presented;
            presented.file == crate::nginx::File::Placeholder
        };
        assert_eq!(memory.iter().filter(bare).count(), memory.len());
        world.at(15 * DAY, Change::Mood(0, Mood::Works));
        world.run(16 * DAY).all_is_well().nothing_is_told();
    }

    #[test]
    fn with_must_staple_an_expired_staple_is_kept_and_told() {
        let setup = Setup { must_staple_every: 1, certificates: 3, ..Setup::default() };
        let mut world = World::new(setup);
        world.at(DAY, Change::Mood(0, Mood::Down));
        world.run(14 * DAY);
        assert_eq!(world.agent.expired.len(), 3);
        assert!(world.agent.holds.contains(&About::AtRisk(CertId(0))));
        world.at(15 * DAY, Change::Mood(0, Mood::Works));
        world.run(15 * DAY + HOUR).all_is_well().nothing_is_told();
    }

    #[test]
    fn the_second_url_is_asked_at_once() {
        for mood in [Mood::Down, Mood::Unauthorized, Mood::WrongCertificate] {
            let setup = Setup { responders: 2, urls: 2, ..Setup::default() };
            let mut world = World::new(setup);
            world.at(DAY, Change::Mood(0, mood));
            world.run(60 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
        }
    }

    /// A CDN that alternates between yesterday's answer and today's; one that is stuck for a while.
    #[test]
    fn answers_that_go_backwards_replace_nothing() {
        let world = outage(Setup::default(), Mood::Alternating, 20 * DAY);
        world.nothing_was_told().nobody_saw_an_expired_staple();
        let start = crate::world::START + 10 * DAY;
        outage(Setup::default(), Mood::Stuck(start), 3 * DAY).nobody_saw_an_expired_staple();
    }

    #[test]
    fn a_stuck_responder_is_not_the_last_word() {
        let setup = Setup { responders: 2, urls: 2, ..Setup::default() };
        let mut world = World::new(setup);
        world.at(DAY, Change::Mood(0, Mood::Stuck(crate::world::START + DAY)));
        world.run(60 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
    }

    /// HAProxy #3498: one stuck update blocked all.
    #[test]
    fn one_poisonous_certificate_blocks_nobody() {
        let mut world = World::new(Setup::default());
        world.at(DAY, Change::Poison(0, Some(CertId(7))));
        world.at(DAY, Change::Poison(0, Some(CertId(7))));
        world.run(40 * DAY);
        for (_, told) in &world.agent.told {
            let about = told.about;
            let own = matches!(about, About::Late(CertId(7)) | About::ResponderDown(_));
            assert!(own, "one certificate's trouble told {about:?}");
        }
    }

    #[test]
    fn the_agent_recovers_in_minutes_once_the_responder_does() {
        for certificates in [30, 300] {
            let setup = Setup { certificates, ..Setup::default() };
            let mut world = World::new(setup);
            world.at(10 * DAY, Change::Mood(0, Mood::Down));
            world.at(20 * DAY, Change::Mood(0, Mood::Works));
            world.run(20 * DAY + 10 * MINUTE).all_is_well().nothing_is_told();
        }
    }

    #[test]
    fn a_short_lived_answer_is_there_again_seconds_after_an_outage() {
        let setup = Setup { certificates: 3, life: 20 * SECOND, warm: false, ..Setup::default() };
        let mut world = World::new(setup);
        world.at(60 * SECOND, Change::Mood(0, Mood::Down));
        world.at(180 * SECOND, Change::Mood(0, Mood::Works));
        world.run(195 * SECOND).all_is_well();
    }
}

mod revoked {
    use super::*;

    #[test]
    fn clients_are_told_within_seconds_of_the_answer() {
        let mut world = World::new(Setup { certificates: 1, ..Setup::default() });
        world.at(DAY, Change::Mood(0, Mood::Revoking));
        world.run(6 * DAY);
        assert_eq!(world.agent.holds, [About::Revoked(CertId(0))]);
        let crate::nginx::File::Staple(_, facts) = world.servers[0].memory[0].file else {
            panic!("no staple is loaded")
        };
        assert!(!crate::agent::is_good(&facts));
        let told = world.agent.told[0].0;
        assert!(world.servers[0].ours.iter().any(|at| *at >= told && *at < told + 10 * SECOND));
    }

    #[test]
    fn a_hold_that_is_lifted_is_undone_by_a_newer_good() {
        let mut world = World::new(Setup::default());
        world.at(DAY, Change::Mood(0, Mood::Revoking));
        world.at(20 * DAY, Change::Mood(0, Mood::Works));
        world.run(30 * DAY).all_is_well().nothing_is_told().nobody_saw_an_expired_staple();
    }
}

mod renewals {
    use super::*;

    fn renewed(setup: Setup, owner: Option<Duration>) -> World {
        let mut world = World::new(setup);
        for index in 0..setup.certificates {
            let at = 5 * DAY + 3 * HOUR * u32::try_from(index).expect("few");
            world.at(at, Change::Renew(index, owner));
        }
        world.run(20 * DAY).nobody_saw_an_expired_staple().all_is_well().nothing_is_told();
        world
    }

    #[test]
    fn the_owner_reloads_soon() {
        renewed(Setup::default(), Some(30 * SECOND)).nothing_was_told();
    }

    #[test]
    fn the_owner_reloads_at_once() {
        renewed(Setup::default(), Some(SECOND / 10));
    }

    #[test]
    fn the_owner_never_reloads() {
        renewed(Setup::default(), None).nothing_was_told();
    }

    /// A certificate is renewed and its owner reloads before the staple is there, both while a reload
    /// of the agent's ends: the two reloads look like one.
    #[test]
    fn the_owner_reloads_unseen() {
        for takes in [1, 4, 8, 12, 30] {
            let mut world = World::new(Setup { certificates: 2, ..Setup::default() });
            world.run(DAY);
            let reloads = world.servers[0].ours.len();
            let mut now = DAY;
            while world.servers[0].ours.len() == reloads || world.servers[0].in_progress {
                now += SECOND / 10;
                world.run(now);
            }
            let takes = Duration::from_secs(takes);
            world.at(now + SECOND / 10, Change::Renew(0, None));
            world.at(now + SECOND / 5, Change::ReloadsUnseen(0, takes));
            world.run(now + 2 * MINUTE);
            let presented = world.servers[0].memory[0];
            assert!(
                matches!(presented.file, File::Staple(cert, _) if cert == presented.leaf),
                "{takes:?}: {presented:?}"
            );
        }
    }

    /// The CA publishes the first answer a quarter of an hour after issuance.
    #[test]
    fn the_answer_comes_late() {
        let setup = Setup { publication_gap: 15 * MINUTE, ..Setup::default() };
        renewed(setup, None).nothing_was_told();
        renewed(setup, Some(HOUR)).nothing_was_told();
    }

    /// The owner loads it before there is a staple: Must-Staple clients break, and are told of.
    #[test]
    fn the_owner_does_not_wait_for_the_answer() {
        let setup = Setup { publication_gap: 15 * MINUTE, ..Setup::default() };
        let world = renewed(setup, Some(MINUTE));
        let at_risk = |told: &staplekeeper::plan::Notice| matches!(told.about, About::AtRisk(_));
        assert!(world.agent.told.iter().all(|(_, told)| at_risk(told)));
    }

    #[test]
    fn a_server_that_cannot_be_asked() {
        let setup = Setup { probed: false, ..Setup::default() };
        renewed(setup, None).nothing_was_told();
        renewed(setup, Some(HOUR)).nothing_was_told();
    }

    /// A renewed Must-Staple certificate whose CA never answers holds up reloads, but not those that
    /// another Must-Staple deployment needs.
    #[test]
    fn a_hopeless_renewal_blocks_reloads_until_another_closes() {
        let setup = Setup { must_staple_every: 1, responders: 2, ..Setup::default() };
        let mut world = World::new(setup);
        world.at(DAY, Change::Mood(1, Mood::Unauthorized));
        world.at(DAY, Change::Renew(1, None));
        world.run(6 * DAY);
        world.responders[1].mood = Mood::Works;
        world.run(20 * DAY).all_is_well().nothing_is_told();
    }

    /// An ACME client's hook waits through the publication gap: the staple is there within seconds of
    /// the responder's knowing the certificate, and it is not asked every second for that.
    #[test]
    fn a_hook_has_the_staple_as_soon_as_there_is_one() {
        let setup = Setup { publication_gap: 15 * MINUTE, ..Setup::default() };
        let mut world = World::new(setup);
        let before = world.requests(0);
        world.at(DAY, Change::Renew(0, None));
        world.at(DAY + 2 * SECOND, Change::Event(2));
        world.run(DAY + 16 * MINUTE);
        let leaf = world.lineages[0].leaf;
        let stored = world.agent.disk.stored[&leaf];
        let late = stored - DAY - 15 * MINUTE;
        assert!(late < 20 * SECOND, "{late:?} after it was published");
        let requests = world.requests(0) - before;
        // The others are asked about once, when the hook is told.
        assert!(requests < 130 + 30, "{requests} requests in a quarter of an hour");
        world.nobody_saw_an_expired_staple();
    }

    /// Nor does a reload of our own take the new certificate up before its staple is there or the
    /// caller has given up, Must-Staple or not.
    #[test]
    fn no_reload_of_ours_takes_up_what_a_hook_waits_for() {
        let policy = Policy { adopt_renewed_after: 5 * SECOND, ..Policy::default() };
        let publication_gap = 15 * MINUTE;
        let setup = Setup { publication_gap, policy, must_staple_every: 0, ..Setup::default() };
        let taken_up = |hook: bool, by: Duration| {
            let mut world = World::new(setup);
            world.at(DAY, Change::Renew(0, None));
            if hook {
                world.at(DAY + 2 * SECOND, Change::Event(2));
            }
            world.run(DAY + by);
            world.servers[0].memory[0].leaf == world.lineages[0].leaf
        };
        assert!(taken_up(false, 14 * MINUTE), "as the policy says");
        assert!(!taken_up(true, 14 * MINUTE), "its owner waits for the staple");
        assert!(taken_up(true, 17 * MINUTE), "the staple is there");
        let never = Setup { publication_gap: DAY, ..setup };
        let mut world = World::new(never);
        world.at(DAY, Change::Renew(0, None));
        world.at(DAY + 2 * SECOND, Change::Event(2));
        world.run(DAY + 35 * MINUTE);
        let (held, new) = (world.servers[0].memory[0].leaf, world.lineages[0].leaf);
        assert_eq!(held, new, "the caller has given up: the policy goes on");
    }
}

mod servers {
    use super::*;

    #[test]
    fn reloads_that_fail_are_told_and_tried_again() {
        let mut world = World::new(Setup::default());
        world.at(DAY, Change::Refuses(0, 5));
        world.run(20 * DAY).nobody_saw_an_expired_staple().all_is_well();
        world.was_told_and_ended(&[About::ReloadFailed(ServerId(0))]);
        assert!(world.reloads() < 25, "{} reloads", world.reloads());
    }

    /// The operator mends the server's configuration and refreshes.
    #[test]
    fn a_reload_that_is_asked_for_waits_for_no_back_off() {
        let mut world = World::new(Setup::default());
        world.servers[0].refuses = u32::MAX;
        let mut now = DAY;
        world.run(now);
        // An hour lies between two tries in the end.
        while world.agent.planner.server(ServerId(0)).expect("served").failures < 12 {
            now += HOUR;
            world.run(now);
        }
        world.servers[0].refuses = 0;
        let loads = world.servers[0].loads;
        world.command(0);
        world.run(now + 10 * SECOND);
        assert!(world.servers[0].loads > loads, "it waits");
    }

    #[test]
    fn a_server_that_stands_still_is_left_alone() {
        let mut world = World::new(Setup::default());
        world.at(DAY, Change::Stop(0)).at(9 * DAY, Change::Start(0));
        world.run(9 * DAY);
        assert_eq!(world.reloads(), 0);
        world.run(20 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
    }

    #[test]
    fn reloads_by_others_spare_us_ours() {
        let mut world = World::new(Setup::default());
        for day in 0..60 {
            world.at(day * DAY, Change::OwnerReloads(0));
        }
        world.run(60 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
        assert!(world.reloads() <= 1, "{} reloads of ours", world.reloads());
    }

    /// Say, a container whose paths are mapped wrongly.
    #[test]
    fn a_server_that_reads_another_file_is_told_and_spared() {
        let mut world = World::new(Setup { must_staple_every: 0, ..Setup::default() });
        world.at(DAY, Change::Misplaces(4, true)).at(40 * DAY, Change::Misplaces(4, false));
        world.run(40 * DAY);
        assert!(world.reloads() <= 2 * 40, "{} reloads", world.reloads());
        world.run(60 * DAY).nobody_saw_an_expired_staple().all_is_well();
        world.was_told_and_ended(&[About::Mismatch(TargetId(4), ServerId(0))]);
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_is_lost() {
        let mut world = World::new(Setup { certificates: 1, ..Setup::default() });
        world.at(DAY, Change::DiskFull(true)).at(5 * DAY, Change::DiskFull(false));
        world.run(20 * DAY).nobody_saw_an_expired_staple().all_is_well();
        world.was_told_and_ended(&[About::PublishFailed(TargetId(0))]);
    }

    #[test]
    fn urgent_reloads_keep_apart() {
        let mut world = World::new(Setup { warm: false, certificates: 500, ..Setup::default() });
        world.servers[0].takes = 2 * SECOND;
        world.run(10 * MINUTE).all_is_well();
        let ours = &world.servers[0].ours;
        assert!(ours.windows(2).all(|pair| pair[1] - pair[0] >= 22 * SECOND), "{ours:?}");
    }
}

mod by_hand {
    use super::*;

    #[test]
    fn a_refresh_goes_all_the_way_and_settles() {
        let mut world = World::new(Setup { certificates: 3, ..Setup::default() });
        let all = [CertId(0), CertId(1), CertId(2)];
        world.at(DAY, Change::Event(0));
        world.run(DAY - SECOND);
        let before = world.requests(0);
        world.run(DAY);
        assert!(!world.agent.planner.settled(&all));
        world.run(DAY + 10 * SECOND).all_is_well();
        assert!(world.agent.planner.settled(&all));
        assert_eq!((world.requests(0) - before, world.reloads()), (3, 1));
        for index in 0..3 {
            let crate::nginx::File::Staple(_, facts) = world.servers[0].memory[index].file else {
                panic!("no staple is loaded")
            };
            assert_eq!(facts.this_update, crate::world::START + DAY);
        }
    }

    #[test]
    fn a_refresh_without_reload_only_publishes() {
        let mut world = World::new(Setup { certificates: 3, ..Setup::default() });
        world.at(DAY, Change::Event(1));
        world.run(DAY - SECOND);
        let before = world.requests(0);
        world.run(DAY + 10 * SECOND);
        assert_eq!((world.requests(0) - before, world.reloads()), (3, 0));
        assert!(world.agent.planner.settled(&[CertId(0)]));
    }

    #[test]
    fn a_refresh_asks_whatever_the_circuit_says_and_settles_when_it_fails() {
        let mut world = World::new(Setup { certificates: 3, ..Setup::default() });
        world.at(3 * DAY, Change::Mood(0, Mood::Down));
        world.run(5 * DAY);
        let before = world.requests(0);
        world.at(5 * DAY, Change::Event(0));
        world.run(5 * DAY + 10 * SECOND);
        assert_eq!(world.requests(0) - before, 3);
        assert!(world.agent.planner.settled(&[CertId(0), CertId(1), CertId(2)]));
    }
}

mod clocks {
    use super::*;

    /// The wall clock is put wrong by this much for an hour.
    fn stepped(seconds: i64, setup: Setup) -> World {
        let mut world = World::new(setup);
        world.at(10 * DAY, Change::ClockStep(seconds));
        world.at(10 * DAY + HOUR, Change::ClockStep(-seconds));
        world.run(20 * DAY).nobody_saw_an_expired_staple().all_is_well().nothing_is_told();
        world
    }

    #[test]
    fn a_clock_that_is_wrong_for_an_hour_costs_no_staple() {
        for days in [-30, -1, 1, 5] {
            stepped(days * 86_400, Setup::default());
        }
    }

    #[test]
    fn small_steps_are_nothing() {
        stepped(-100, Setup::default()).nothing_was_told();
        stepped(100, Setup::default()).nothing_was_told();
    }
}

mod crashes {
    use super::*;

    /// The agent dies again and again, at whatever action.
    #[test]
    fn a_crash_loop_hammers_nobody() {
        let setup = Setup { warm: false, certificates: 20, ..Setup::default() };
        let mut world = World::new(setup);
        world.responders[0].mood = Mood::Unauthorized;
        for minute in 0..120 {
            let crash = Change::Crash { after_actions: minute % 7, down: SECOND };
            world.at(minute * MINUTE, crash);
        }
        world.run(2 * HOUR);
        let each = world.requests(0) / 20;
        assert!(each <= 30, "{each} requests a certificate in two hours");
    }

    #[test]
    fn a_pending_reload_survives() {
        let mut world = World::new(Setup::default());
        for hour in 0..20 * 24 {
            let crash = Change::Crash { after_actions: hour % 11, down: MINUTE };
            world.at(hour * HOUR, crash);
        }
        world.run(20 * DAY).nobody_saw_an_expired_staple().all_is_well();
        assert!(world.reloads() <= 40, "{} reloads", world.reloads());
    }
}
