//! The configuration as it is written: every key of `config.toml` with its place in the text.
//!
//! Types are checked here (a length of time is one, a choice is a known one); what the values mean
//! together is `settings`' matter.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::reader::{Complaints, Reader, StringOrStrings};
use super::report::Complaint;
use super::settings::{CertIdHashChoice, Nonce};
use crate::discover::Kind;
use crate::fetch::Method;
use crate::ocsp::CertIdHash;
use crate::plan::{OnExpired, OnRevoked};

/// A string and where it stands.
pub(super) type Text = Spanned<String>;

#[derive(Default)]
pub(super) struct File {
    pub(super) state_dir: Option<Text>,
    pub(super) runtime_dir: Option<Text>,
    pub(super) servers: Option<Vec<Server>>,
    pub(super) watches: Option<Vec<Watch>>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) schedule: Schedule,
    pub(super) policy: Policy,
    pub(super) responder: Vec<Text>,
    pub(super) metrics: Metrics,
    pub(super) expiry: Expiry,
    pub(super) hooks: Vec<Hook>,
}

pub(super) struct Server {
    pub(super) place: Range<usize>,
    pub(super) kind: Option<Kind>,
    pub(super) config: Option<Text>,
    pub(super) reload: Option<StringOrStrings>,
    pub(super) probe: Option<bool>,
    pub(super) path_map: Vec<(String, Text)>,
}

pub(super) struct Watch {
    pub(super) path: Option<Text>,
    pub(super) staple: Option<Text>,
}

pub(super) struct Issuer {
    pub(super) place: Range<usize>,
    pub(super) ocsp_host: Option<Text>,
    pub(super) issuer: Option<Text>,
    pub(super) key_id: Option<Text>,
    pub(super) responders: Option<Vec<Text>>,
    pub(super) method: Option<Method>,
    pub(super) cert_id_hash: Option<CertIdHashChoice>,
    pub(super) nonce: Option<Nonce>,
    pub(super) missing_next_update: Option<Text>,
    pub(super) missing_next_update_life: Option<Duration>,
    pub(super) proxy: Option<Text>,
    pub(super) tls_ca: Option<Text>,
    pub(super) trusted_signer: Option<Text>,
    pub(super) allow_sha1_signatures: Option<bool>,
    pub(super) max_skew: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Schedule {
    pub(super) reload_at_most_every: Option<Duration>,
    pub(super) reload_windows: Vec<Text>,
    pub(super) urgent_below: Option<Duration>,
    pub(super) adopt_renewed_after: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) rescan_every: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Policy {
    pub(super) on_revoked: Option<OnRevoked>,
    pub(super) on_expired: Option<OnExpired>,
    pub(super) placeholder: Option<bool>,
}

#[derive(Default)]
pub(super) struct Metrics {
    pub(super) listen: Option<Text>,
    pub(super) textfile: Option<Text>,
}

#[derive(Default)]
pub(super) struct Expiry {
    pub(super) warn_below: Option<Duration>,
    pub(super) renew: Option<Vec<Text>>,
}

pub(super) struct Hook {
    pub(super) place: Range<usize>,
    pub(super) on: Vec<Text>,
    pub(super) command: Vec<Text>,
}

/// Reads the text of a file. Complaints gather in `complaints`; what could be read is returned.
pub(super) fn read(source: &str, complaints: &Complaints) -> File {
    let (table, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        let place = error.span().unwrap_or(0..0);
        let complaint = Complaint::new(place, format!("not TOML: {}", error.message()));
        complaints.borrow_mut().push(complaint);
    }
    if !complaints.borrow().is_empty() {
        return File::default();
    }
    let root = Reader::new(&table, complaints);
    let file = File {
        state_dir: root.string("state_dir"),
        runtime_dir: root.string("runtime_dir"),
        servers: root.tables("server").map(|all| all.into_iter().map(server).collect()),
        watches: root.tables("watch").map(|all| all.into_iter().map(watch).collect()),
        issuers: root.tables("issuer").into_iter().flatten().map(issuer).collect(),
        schedule: root.table("schedule").map(schedule).unwrap_or_default(),
        policy: root.table("policy").map(policy).unwrap_or_default(),
        responder: root.table("responder").map(responder).unwrap_or_default(),
        metrics: root.table("metrics").map(metrics).unwrap_or_default(),
        expiry: root.table("expiry").map(expiry).unwrap_or_default(),
        hooks: root.tables("hook").into_iter().flatten().map(hook).collect(),
    };
    root.finish();
    file
}

fn server(table: Reader<'_>) -> Server {
    let server = Server {
        place: table.place(),
        kind: table
            .required_string("kind")
            .and_then(|text| table.chosen("server kind", &text, &Kind::NAMED)),
        config: table.string("config"),
        reload: table.string_or_strings("reload"),
        probe: table.boolean("probe"),
        path_map: table.string_map("path_map"),
    };
    table.finish();
    server
}

fn watch(table: Reader<'_>) -> Watch {
    let watch = Watch { path: table.required_string("path"), staple: table.string("staple") };
    table.finish();
    watch
}

fn issuer(table: Reader<'_>) -> Issuer {
    let matched = table.table("match");
    let criterion = |key| matched.as_ref().and_then(|table| table.string(key));
    let missing_next_update = table.string("missing_next_update");
    let missing_next_update_life = missing_next_update
        .as_ref()
        .filter(|text| text.get_ref() != "reject")
        .and_then(|text| table.parsed_duration("missing_next_update", text));
    let issuer = Issuer {
        place: table.place(),
        ocsp_host: criterion("ocsp_host"),
        issuer: criterion("issuer"),
        key_id: criterion("key_id"),
        responders: table.strings("responders"),
        method: {
            table.choice(
                "method",
                &[("auto", Method::Auto), ("get", Method::Get), ("post", Method::Post)],
            )
        },
        cert_id_hash: table.choice(
            "cert_id_hash",
            &[
                ("auto", CertIdHashChoice::Auto),
                ("sha1", CertIdHashChoice::Only(CertIdHash::Sha1)),
                ("sha256", CertIdHashChoice::Only(CertIdHash::Sha256)),
            ],
        ),
        nonce: table.choice(
            "nonce",
            &[("never", Nonce::Never), ("try", Nonce::Try), ("require", Nonce::Require)],
        ),
        missing_next_update,
        missing_next_update_life,
        proxy: table.string("proxy"),
        tls_ca: table.string("tls_ca"),
        trusted_signer: table.string("trusted_signer"),
        allow_sha1_signatures: table.boolean("allow_sha1_signatures"),
        max_skew: table.duration("max_skew"),
    };
    if let Some(matched) = matched {
        matched.finish();
    }
    table.finish();
    issuer
}

fn schedule(table: Reader<'_>) -> Schedule {
    let schedule = Schedule {
        reload_at_most_every: table.duration("reload_at_most_every"),
        reload_windows: table.strings("reload_windows").unwrap_or_default(),
        urgent_below: table.duration("urgent_below"),
        adopt_renewed_after: table.duration("adopt_renewed_after"),
        max_age: table.duration("max_age"),
        rescan_every: table.duration("rescan_every"),
    };
    table.finish();
    schedule
}

fn policy(table: Reader<'_>) -> Policy {
    let policy = Policy {
        on_revoked: table.choice(
            "on_revoked",
            &[
                ("publish", OnRevoked::Publish),
                ("keep-last-good", OnRevoked::KeepLastGood),
                ("withdraw", OnRevoked::Withdraw),
            ],
        ),
        on_expired: table.choice(
            "on_expired",
            &[
                ("auto", OnExpired::Auto),
                ("keep", OnExpired::Keep),
                ("withdraw", OnExpired::Withdraw),
            ],
        ),
        placeholder: table.boolean("placeholder"),
    };
    table.finish();
    policy
}

fn responder(table: Reader<'_>) -> Vec<Text> {
    let listen = table.strings("listen").unwrap_or_default();
    table.finish();
    listen
}

fn metrics(table: Reader<'_>) -> Metrics {
    let metrics = Metrics { listen: table.string("listen"), textfile: table.string("textfile") };
    table.finish();
    metrics
}

fn expiry(table: Reader<'_>) -> Expiry {
    let expiry = Expiry { warn_below: table.duration("warn_below"), renew: table.strings("renew") };
    table.finish();
    expiry
}

fn hook(table: Reader<'_>) -> Hook {
    let hook = Hook {
        place: table.place(),
        on: table.strings("on").unwrap_or_default(),
        command: table.strings("command").unwrap_or_default(),
    };
    table.finish();
    hook
}
