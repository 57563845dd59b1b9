//! How things stand at the instant of a scrape, as compact as can be, and as metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;

use super::certificates::{self, Row};
use crate::agent::Agent;
use crate::plan::Severity;
use crate::time::UnixTime;

/// Everything that is read at a scrape.
#[derive(Debug)]
pub(in crate::agent) struct Snapshot {
    started: UnixTime,
    ready: bool,
    clock_suspect: bool,
    problems: usize,
    certificates: Vec<Row>,
    servers: Vec<Server>,
    responders: Vec<Responder>,
}

#[derive(Debug)]
struct Server {
    label: String,
    running: bool,
    pending: usize,
    severity: Severity,
    last_reload: Option<UnixTime>,
}

#[derive(Debug)]
struct Responder {
    url: String,
    open: bool,
    severity: Severity,
    waiting: usize,
}

/// Severity as a number: 0 fine, 1 worth knowing, 2 warning, 3 critical.
pub(super) fn number(severity: Severity) -> i64 {
    match severity {
        Severity::Fine => 0,
        Severity::Info => 1,
        Severity::Warning => 2,
        Severity::Critical => 3,
    }
}

impl Agent {
    /// How things stand now.
    pub(in crate::agent) fn snapshot(&self) -> Snapshot {
        let down = self.planner.responders().filter(|(_, view)| view.down).map(|(id, _)| id);
        let down = down.collect();
        let ids = self.world.certificates.iter();
        let mut certificates: Vec<Row> = ids
            .filter_map(|(id, known)| {
                let view = self.planner.certificate(*id)?;
                let targets = view.targets.iter().filter_map(|id| self.planner.target(*id));
                let loaded: Vec<_> = targets.flat_map(|target| target.loaded).collect();
                Some(Row::of(
                    known.name().clone(),
                    known.leaf.fingerprint(),
                    known.leaf.not_after(),
                    &view,
                    &loaded,
                    &down,
                ))
            })
            .collect();
        // The same order at each scrape compresses better.
        certificates.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let servers = self.world.servers.iter().filter_map(|(id, server)| {
            let view = self.planner.server(*id)?;
            Some(Server {
                label: server.label(),
                running: view.running,
                pending: view.pending,
                severity: view.severity,
                last_reload: server.last_reload.map(|(at, _)| at),
            })
        });
        let responders = self.planner.responders().map(|(id, view)| Responder {
            url: self.world.url(id).to_string(),
            open: view.open,
            severity: if view.down { Severity::Warning } else { Severity::Fine },
            waiting: view.waiting,
        });
        Snapshot {
            started: self.started,
            ready: self.ready,
            clock_suspect: self.planner.clock_is_suspect(),
            problems: self.scan_problems.len() + self.obstacles.len() + self.problems.len(),
            certificates,
            servers: servers.collect(),
            responders: responders.collect(),
        }
    }
}

/// Writes one gauge for everything of a kind that has a value.
pub(super) fn gauges<'a, T: 'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    things: impl IntoIterator<Item = &'a T>,
    labels: impl Fn(&'a T) -> L,
    value: impl Fn(&T) -> Option<i64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for thing in things {
        if let Some(value) = value(thing) {
            metric.encode_family(&labels(thing))?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        info.encode(encoder.encode_descriptor("build", "The version", None, MetricType::Info)?)?;
        let number_of = self.certificates.len();
        let singles = [
            ("start_time_seconds", "When the agent was started", self.started.as_secs()),
            ("ready", "The first pass is done", i64::from(self.ready)),
            (
                "clock_suspect",
                "The clock cannot be believed: nothing is withdrawn",
                i64::from(self.clock_suspect),
            ),
            ("problems", "Things that could not be read or used", count(self.problems)),
            ("certificates", "Certificates that are looked after", count(number_of)),
        ];
        for (name, help, value) in singles {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        self.encode_servers(encoder)?;
        self.encode_responders(encoder)?;
        certificates::encode(encoder, &self.certificates)
    }
}

impl Snapshot {
    fn encode_servers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        fn labels(server: &Server) -> [(&'static str, &str); 1] {
            [("server", &server.label)]
        }
        let all = || self.servers.iter();
        let named = ("server_running", "The server runs");
        gauges(encoder, named, all(), labels, |one| Some(i64::from(one.running)))?;
        let named = ("server_pending", "Staples that the server takes up at its next reload");
        gauges(encoder, named, all(), labels, |one| Some(count(one.pending)))?;
        let named = (
            "server_severity",
            "0: fine; 2: reloads fail; 3: reloads fail while a loaded staple is past its close",
        );
        gauges(encoder, named, all(), labels, |one| Some(number(one.severity)))?;
        let named = ("server_last_reload_timestamp_seconds", "When the agent last reloaded it");
        gauges(encoder, named, all(), labels, |one| one.last_reload.map(UnixTime::as_secs))
    }

    fn encode_responders(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        fn labels(responder: &Responder) -> [(&'static str, &str); 1] {
            [("responder", &responder.url)]
        }
        let all = || self.responders.iter();
        let named = ("responder_up", "The responder answers; 0: it is probed, not asked");
        gauges(encoder, named, all(), labels, |one| Some(i64::from(!one.open)))?;
        let named = (
            "responder_severity",
            "0: fine; 2: down past the middle of the windows of the staples behind it",
        );
        gauges(encoder, named, all(), labels, |one| Some(number(one.severity)))?;
        let named = ("responder_waiting", "Certificates that wait for the responder");
        gauges(encoder, named, all(), labels, |one| Some(count(one.waiting)))
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
