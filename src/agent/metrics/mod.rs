//! What Prometheus is told: counters of what happened, and how things stand when it asks.
//!
//! [`Counters`] are kept from what happens and are few: per responder and per server. How things stand
//! is read from the planner at each scrape, into [`snapshot::Snapshot`], and kept nowhere. Certificates
//! have two labels, name and short id, and instants are timestamps, which do not change while nothing
//! does. Names begin with `staplekeeper_`.

mod certificates;
mod snapshot;
mod text;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::happening::{Happening, Lying};
use crate::time::UnixTime;
pub(super) use snapshot::Snapshot;
pub(super) use text::render;

/// What all names begin with.
const PREFIX: &str = "staplekeeper";
/// Certificates name their responders, and customers bring certificates: more than this many are
/// counted as one.
const MOST_RESPONDERS: usize = 500;
/// Upper ends of the buckets of a request's duration, in seconds; after ten it is given up.
const DURATIONS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    responder: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponderLabel {
    responder: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What has happened since the agent began.
#[derive(Debug)]
pub(super) struct Counters {
    registry: Registry,
    fetches: Family<FetchLabels, Counter>,
    durations: Family<ResponderLabel, Histogram, fn() -> Histogram>,
    successes: Family<ResponderLabel, Gauge>,
    publishes: Family<ResultLabel, Counter>,
    reloads: Family<ServerLabels, Counter>,
    confirmations: Family<ServerLabels, Counter>,
    responders: Mutex<HashSet<String>>,
}

impl Counters {
    /// Everything is zero.
    pub(super) fn new() -> Counters {
        let mut registry = Registry::with_prefix(PREFIX);
        let counters = Counters {
            fetches: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            successes: Family::default(),
            publishes: Family::default(),
            reloads: Family::default(),
            confirmations: Family::default(),
            responders: Mutex::default(),
            registry: Registry::default(),
        };
        let fetches = counters.fetches.clone();
        registry.register("fetch", "Requests to responders, by what came of them", fetches);
        let durations = counters.durations.clone();
        let help = "How long requests to responders took";
        registry.register("fetch_duration_seconds", help, durations);
        let help = "When a responder last gave an answer that was accepted";
        let successes = counters.successes.clone();
        registry.register("responder_last_success_timestamp_seconds", help, successes);
        let help = "Writes to the places that servers read staples from, by what was written";
        registry.register("publish", help, counters.publishes.clone());
        let help = "Reloads of servers by the agent, by what came of them";
        registry.register("reload", help, counters.reloads.clone());
        let help = "Handshakes after a change, by what they showed";
        registry.register("confirm", help, counters.confirmations.clone());
        Counters { registry, ..counters }
    }

    /// Counts what happened at `now`.
    pub(super) fn observe(&self, happening: &Happening, now: UnixTime) {
        match happening {
            Happening::Answered { responder, unchanged, .. } => {
                let responder = self.responder(responder);
                let result = if *unchanged { "unchanged" } else { "new" };
                let label = ResponderLabel { responder: responder.clone() };
                self.successes.get_or_create(&label).set(now.as_secs());
                self.fetches.get_or_create(&FetchLabels { responder, result }).inc();
            }
            Happening::NotAnswered { responder, .. } => {
                let responder = self.responder(responder);
                self.fetches.get_or_create(&FetchLabels { responder, result: "failed" }).inc();
            }
            Happening::Published { written: true, content, .. } => {
                let result = match content {
                    Lying::Staple { .. } => "staple",
                    Lying::Placeholder => "placeholder",
                    Lying::Nothing => "nothing",
                    Lying::Foreign { .. } => "foreign",
                };
                self.publishes.get_or_create(&ResultLabel { result }).inc();
            }
            Happening::NotPublished { .. } => {
                self.publishes.get_or_create(&ResultLabel { result: "failed" }).inc();
            }
            Happening::Reloaded { server } => self.reloaded(server, "done"),
            Happening::NotReloaded { server, put_off, .. } => {
                self.reloaded(server, if *put_off { "put_off" } else { "failed" });
            }
            Happening::Confirmed { server, matches, .. } => {
                let result = match matches {
                    Some(true) => "match",
                    Some(false) => "mismatch",
                    None => "unproven",
                };
                let labels = ServerLabels { server: server.clone(), result };
                self.confirmations.get_or_create(&labels).inc();
            }
            _ => {}
        }
    }

    /// A request to a responder took so long, whatever came of it.
    pub(super) fn took(&self, responder: &str, length: Duration) {
        let label = ResponderLabel { responder: self.responder(responder) };
        self.durations.get_or_create(&label).observe(length.as_secs_f64());
    }

    fn reloaded(&self, server: &str, result: &'static str) {
        let server = server.to_owned();
        self.reloads.get_or_create(&ServerLabels { server, result }).inc();
    }

    fn responder(&self, url: &str) -> String {
        let mut known = self.responders.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(url) {
            if known.len() >= MOST_RESPONDERS {
                return "others".to_owned();
            }
            known.insert(url.to_owned());
        }
        url.to_owned()
    }
}
