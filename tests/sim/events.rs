//! Events in any order, about things known and unknown: nothing panics, and every answer is whole.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use staplekeeper::digest::Digest;
use staplekeeper::ocsp::Status;
use staplekeeper::plan::{
    Action, Answer, Attempts, Bare, CertId, Certificate, Content, Delivery, Event, Facts,
    FetchFault, Hours, Loaded, OnExpired, OnRevoked, Planner, Policy, PublishFault, ReloadFault,
    ResponderId, Served, Server, ServerId, Sighting, TakesUp, Target, TargetId, Want,
};
use staplekeeper::time::{DAY, Now, UnixTime};

const START: i64 = 1_800_000_000;

fn certs() -> impl Strategy<Value = CertId> {
    prop_oneof![9 => (0..5u32).prop_map(CertId), 1 => any::<u32>().prop_map(CertId)]
}

fn responders() -> impl Strategy<Value = ResponderId> {
    (0..3u32).prop_map(ResponderId)
}

fn targets() -> impl Strategy<Value = TargetId> {
    prop_oneof![9 => (0..5u32).prop_map(TargetId), 1 => any::<u32>().prop_map(TargetId)]
}

fn servers() -> impl Strategy<Value = ServerId> {
    (0..3u32).prop_map(ServerId)
}

fn lengths() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..20u64).prop_map(Duration::from_secs),
        (0..20u64).prop_map(|days| DAY * u32::try_from(days).expect("few")),
        Just(Duration::from_secs(u64::MAX / 4)),
    ]
}

fn instants() -> impl Strategy<Value = UnixTime> {
    prop_oneof![
        8 => (START - 1_000_000..START + 2_000_000).prop_map(UnixTime::from_secs),
        1 => any::<i64>().prop_map(UnixTime::from_secs),
    ]
}

fn digests() -> impl Strategy<Value = Digest> {
    (0..6u8).prop_map(|byte| Digest::from_bytes([byte; 32]))
}

fn facts() -> impl Strategy<Value = Facts> {
    let status = prop_oneof![Just(Status::Good), Just(Status::Revoked), Just(Status::Unknown)];
    (digests(), status, instants(), instants()).prop_map(
        |(digest, status, this_update, expires)| Facts { digest, status, this_update, expires },
    )
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        3 => (certs(), digests()).prop_map(|(cert, digest)| Content::Staple(cert, digest)),
        1 => Just(Content::Placeholder),
        1 => Just(Content::Nothing),
        1 => Just(Content::Foreign),
    ]
}

fn certificates() -> impl Strategy<Value = Certificate> {
    let attempts = (0..40u32, lengths());
    let list = vec(responders(), 0..3);
    (certs(), any::<bool>(), instants(), list, option::of(facts()), attempts).prop_map(
        |(id, must_staple, not_after, responders, held, (failures, wait))| Certificate {
            id,
            identity: Digest::from_bytes([u8::try_from(id.0 % 256).expect("a byte"); 32]),
            must_staple,
            not_after,
            responders,
            held,
            attempts: Attempts { failures, wait },
        },
    )
}

fn loaded() -> impl Strategy<Value = Loaded> {
    (contents(), option::of(certs()), any::<[bool; 2]>(), instants(), instants()).prop_map(
        |(content, leaf, [must_staple, proved], this_update, expires)| Loaded {
            content,
            leaf,
            must_staple,
            this_update,
            expires,
            proved,
        },
    )
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let bare = prop_oneof![Just(Bare::Placeholder), Just(Bare::Nothing), Just(Bare::KeepOld)];
    let takes_up = prop_oneof![
        Just(TakesUp::OnReload),
        lengths().prop_map(|within| TakesUp::ByItself { within }),
    ];
    (any::<[bool; 2]>(), takes_up, lengths(), bare).prop_map(
        |([per_worker, takes_revoked], takes_up, stops_early, bare)| Delivery {
            takes_up,
            per_worker,
            stops_early,
            bare,
            takes_revoked,
        },
    )
}

fn places() -> impl Strategy<Value = Target> {
    let known = vec((servers(), loaded()), 0..3);
    let named = vec(servers(), 0..3);
    let published = (contents(), option::of(facts()));
    (named, vec(certs(), 0..3), deliveries(), published, known).prop_map(
        |(servers, claimants, delivery, (published, published_facts), loaded)| Target {
            servers,
            claimants,
            delivery,
            published,
            published_facts,
            loaded,
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    let revoked = prop_oneof![
        Just(OnRevoked::Publish),
        Just(OnRevoked::KeepLastGood),
        Just(OnRevoked::Withdraw)
    ];
    let expired =
        prop_oneof![Just(OnExpired::Auto), Just(OnExpired::Keep), Just(OnExpired::Withdraw)];
    let limits = [lengths().boxed(), lengths().boxed(), lengths().boxed(), lengths().boxed()];
    (any::<bool>(), revoked, expired, limits, lengths()).prop_map(
        |(placeholder, on_revoked, on_expired, limits, max_skew)| Policy {
            reload_windows: Hours::default(),
            placeholder,
            on_revoked,
            on_expired,
            urgent_below: limits[0],
            max_age: limits[1],
            reload_at_most_every: limits[2],
            adopt_renewed_after: limits[3],
            max_skew,
            seed: 5,
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let answer = (facts(), option::of(lengths()))
        .prop_map(|(facts, fresh_for)| Ok(Answer { facts, fresh_for }));
    let outcome = prop_oneof![
        3 => answer,
        1 => Just(Err(FetchFault::Certificate)),
        1 => Just(Err(FetchFault::Expired)),
        2 => option::of(lengths()).prop_map(|retry_after| Err(FetchFault::Host { retry_after })),
    ];
    let written = prop_oneof![Just(Err(PublishFault::Failed)), contents().prop_map(Ok)];
    let sighting =
        prop_oneof![Just(Sighting::Started), Just(Sighting::Stopped), Just(Sighting::Reloaded)];
    let hook = lengths().prop_map(|until| Want::Hook { until });
    let want = prop_oneof![Just(Want::Refresh), Just(Want::RefreshWithoutReload), hook];
    let reload = prop_oneof![
        3 => Just(Ok(())),
        1 => Just(Err(ReloadFault::Failed)),
        1 => Just(Err(ReloadFault::Inactive)),
    ];
    let seen = (option::of(certs()), contents())
        .prop_map(|(leaf, content)| Served::Seen { leaf, content });
    let served = prop_oneof![3 => seen, 1 => Just(Served::Unproven)];
    let server = any::<[bool; 3]>().prop_map(|[running, reloads, probed]| Server {
        running,
        reloads,
        probed,
    });
    prop_oneof![
        4 => Just(Event::Tick),
        1 => policies().prop_map(Event::Configured),
        1 => any::<bool>().prop_map(Event::ClockSynchronised),
        4 => certificates().prop_map(Event::Found),
        1 => certs().prop_map(Event::Gone),
        1 => certs().prop_map(Event::Frozen),
        1 => certs().prop_map(Event::Thawed),
        1 => (certs(), facts()).prop_map(|(cert, facts)| Event::Brought { cert, facts }),
        2 => (servers(), server).prop_map(|(id, server)| Event::Served(id, server)),
        1 => servers().prop_map(Event::Unserved),
        4 => (targets(), places()).prop_map(|(id, target)| Event::Placed(id, target)),
        1 => targets().prop_map(Event::Unplaced),
        2 => (servers(), sighting).prop_map(|(id, sighting)| Event::Sighted(id, sighting)),
        2 => (vec(certs(), 0..4), want).prop_map(|(certs, want)| Event::Wanted(certs, want)),
        4 => (certs(), responders(), outcome)
            .prop_map(|(cert, from, outcome)| Event::Fetched { cert, from, outcome }),
        2 => certs().prop_map(|cert| Event::Kept { cert, outcome: Ok(()) }),
        2 => (targets(), written)
            .prop_map(|(target, outcome)| Event::Published { target, outcome }),
        2 => (servers(), reload).prop_map(|(server, outcome)| Event::Reloaded { server, outcome }),
        2 => (targets(), servers(), served)
            .prop_map(|(target, server, served)| Event::Confirmed { target, server, served }),
    ]
}

/// What the world does next: something of its own, or the end of something the planner began.
#[derive(Clone, Debug)]
enum Next {
    Happens(Event),
    Ends(usize, Event),
}

fn nexts() -> impl Strategy<Value = Next> {
    prop_oneof![
        events().prop_map(Next::Happens),
        (any::<usize>(), events()).prop_map(|(which, event)| Next::Ends(which, event)),
    ]
}

/// An outcome for `action`, borrowed from `like` where that is one of its kind.
fn ends(action: &Action, like: &Event) -> Option<Event> {
    Some(match (action, like) {
        (Action::Fetch { cert, from, .. }, Event::Fetched { outcome, .. }) => {
            Event::Fetched { cert: *cert, from: *from, outcome: *outcome }
        }
        (Action::Fetch { cert, from, .. }, _) => {
            let outcome = Err(FetchFault::Host { retry_after: None });
            Event::Fetched { cert: *cert, from: *from, outcome }
        }
        (Action::Keep { cert, .. }, _) => Event::Kept { cert: *cert, outcome: Ok(()) },
        (Action::Publish { target, .. }, Event::Published { outcome: Err(fault), .. }) => {
            Event::Published { target: *target, outcome: Err(*fault) }
        }
        (Action::Publish { target, content }, _) => {
            Event::Published { target: *target, outcome: Ok(*content) }
        }
        (Action::Reload { server, .. }, Event::Reloaded { outcome, .. }) => {
            Event::Reloaded { server: *server, outcome: *outcome }
        }
        (Action::Reload { server, .. }, _) => Event::Reloaded { server: *server, outcome: Ok(()) },
        (Action::Confirm { target, server, .. }, Event::Confirmed { served, .. }) => {
            Event::Confirmed { target: *target, server: *server, served: *served }
        }
        (Action::Confirm { target, server, expect }, _) => {
            let content = expect[0];
            let leaf = match content {
                Content::Staple(cert, _) => Some(cert),
                _ => None,
            };
            let served = Served::Seen { leaf, content };
            Event::Confirmed { target: *target, server: *server, served }
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_in_any_order_are_taken_politely(
        steps in vec((nexts(), lengths(), -100_000..100_000i64), 1..120)
    ) {
        let mut now = Now { wall: UnixTime::from_secs(START), uptime: Duration::from_secs(1_000) };
        let mut planner = Planner::new(Policy::default(), now);
        let mut begun: Vec<Action> = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        for (next, length, step) in steps {
            let length = length.min(3 * DAY);
            now.uptime += length;
            let drift = if step % 10 == 0 { step } else { 0 };
            now.wall = UnixTime::from_secs(now.wall.as_secs() + length.as_secs() as i64 + drift);
            let event = match next {
                Next::Happens(event) => event,
                Next::Ends(_, event) if begun.is_empty() => event,
                Next::Ends(which, like) => {
                    let action = begun.swap_remove(which % begun.len());
                    ends(&action, &like).unwrap_or(Event::Tick)
                }
            };
            let mut actions = planner.handle(event.clone(), now);
            let Some(Action::WakeAt(mut wake)) = actions.pop() else { panic!("no wake-up last") };
            if wake.wall <= now.wall || wake.uptime <= now.uptime {
                // The clock went back over something; that must not go on for ever.
                actions.extend(planner.handle(Event::Tick, now));
                let Some(Action::WakeAt(again)) = actions.pop() else { panic!("no wake-up last") };
                wake = again;
            }
            prop_assert!(wake.wall > now.wall && wake.uptime > now.uptime, "{wake:?} at {now:?} after {event:?}");
            for action in &actions {
                let early = matches!(action, Action::WakeAt(_));
                prop_assert!(!early, "one wake-up, and last");
                let foreign =
                    matches!(action, Action::Publish { content: Content::Foreign, .. });
                prop_assert!(!foreign, "nothing foreign is ever written");
                if let Action::Tell(notice) = action {
                    let changed = if notice.begins { told.insert(notice.about) } else { told.remove(&notice.about) };
                    prop_assert!(changed, "told twice: {notice:?}");
                }
            }
            begun.extend(actions.into_iter().filter(|action| ends(action, &Event::Tick).is_some()));
            // Reading must not panic either.
            planner.certificates().count();
            planner.targets().count();
            planner.servers().count();
            planner.responders().count();
            planner.settled(&[CertId(0), CertId(77)]);
            planner.busy();
        }
    }
}
