//! Settings as text again: every key with its value, readable as a configuration file.

use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::settings::{CertIdHashChoice, IssuerProfile, Listen, Nonce, Server, Settings};
use crate::discover::Watch;
use crate::fetch::Method;
use crate::hooks;
use crate::ocsp::{CertIdHash, MissingNextUpdate};
use crate::plan::{OnExpired, OnRevoked, Policy};
use crate::reload::Mode;

/// Prints `settings` as TOML: reading the text again gives the same settings.
pub fn show(settings: &Settings) -> String {
    let mut root = table([
        ("state_dir", path(&settings.state_dir)),
        ("runtime_dir", path(&settings.runtime_dir)),
        ("schedule", schedule(&settings.policy, settings)),
        ("policy", policy(&settings.policy)),
        ("expiry", expiry(settings)),
    ]);
    let mut add = |key: &str, value: Value| root.insert(key.to_owned(), value);
    if let Some(servers) = &settings.servers {
        add("server", list(servers, server));
    }
    if let Some(watches) = &settings.watches {
        add("watch", list(watches, watch));
    }
    if !settings.issuers.is_empty() {
        add("issuer", list(&settings.issuers, issuer));
    }
    if !settings.responder.is_empty() {
        let listen = table([("listen", list(&settings.responder, listen))]);
        add("responder", listen.into());
    }
    let metrics: Table = [
        ("listen", settings.metrics_listen.as_ref().map(listen)),
        ("textfile", settings.metrics_textfile.as_deref().map(path)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect();
    if !metrics.is_empty() {
        add("metrics", metrics.into());
    }
    if !settings.hooks.is_empty() {
        add("hook", list(&settings.hooks, hook));
    }
    root.to_string()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn list<T>(items: &[T], show: fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(show).collect())
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn path(path: &Path) -> Value {
    text(path.to_string_lossy())
}

/// The largest unit that says the length exactly.
fn duration(length: Duration) -> Value {
    let secs = length.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| secs >= *size && secs.is_multiple_of(*size))
        .unwrap_or((1, "s"));
    text(format!("{}{unit}", secs / size))
}

fn strings(words: &[String]) -> Value {
    Value::Array(words.iter().map(text).collect())
}

fn schedule(policy: &Policy, settings: &Settings) -> Value {
    let schedule = table([
        ("reload_at_most_every", duration(policy.reload_at_most_every)),
        ("urgent_below", duration(policy.urgent_below)),
        ("adopt_renewed_after", duration(policy.adopt_renewed_after)),
        ("max_age", duration(policy.max_age)),
        ("reload_windows", strings(&settings.reload_windows)),
        ("rescan_every", duration(settings.rescan_every)),
    ]);
    schedule.into()
}

fn policy(policy: &Policy) -> Value {
    let on_revoked = match policy.on_revoked {
        OnRevoked::Publish => "publish",
        OnRevoked::KeepLastGood => "keep-last-good",
        OnRevoked::Withdraw => "withdraw",
    };
    let on_expired = match policy.on_expired {
        OnExpired::Auto => "auto",
        OnExpired::Keep => "keep",
        OnExpired::Withdraw => "withdraw",
    };
    let policy = table([
        ("on_revoked", text(on_revoked)),
        ("on_expired", text(on_expired)),
        ("placeholder", policy.placeholder.into()),
    ]);
    policy.into()
}

fn expiry(settings: &Settings) -> Value {
    let mut expiry = table([("warn_below", duration(settings.expiry_warn_below))]);
    if !settings.renew.is_empty() {
        expiry.insert("renew".to_owned(), strings(&settings.renew));
    }
    expiry.into()
}

fn server(server: &Server) -> Value {
    let mut shown =
        table([("kind", text(server.kind.to_string())), ("probe", server.probe.into())]);
    if let Some(config) = &server.config {
        shown.insert("config".to_owned(), path(config));
    }
    if let Some(reload) = &server.reload {
        let reload = match reload {
            Mode::Command(words) => strings(words),
            mode => text(mode.to_string()),
        };
        shown.insert("reload".to_owned(), reload);
    }
    if !server.path_map.is_empty() {
        let entries = server.path_map.iter();
        let map: Table =
            entries.map(|(seen, ours)| (seen.to_string_lossy().into_owned(), path(ours))).collect();
        shown.insert("path_map".to_owned(), map.into());
    }
    shown.into()
}

fn watch(watch: &Watch) -> Value {
    table([("path", path(&watch.path)), ("staple", text(&watch.staple))]).into()
}

fn issuer(profile: &IssuerProfile) -> Value {
    let criteria = [
        ("ocsp_host", &profile.matches.ocsp_host),
        ("issuer", &profile.matches.issuer),
        ("key_id", &profile.matches.key_id),
    ];
    let matches: Table = criteria
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), text(value.as_deref()?))))
        .collect();
    let mut shown = table([
        ("match", matches.into()),
        (
            "method",
            text(match profile.method {
                Method::Auto => "auto",
                Method::Get => "get",
                Method::Post => "post",
            }),
        ),
        (
            "cert_id_hash",
            text(match profile.cert_id_hash {
                CertIdHashChoice::Auto => "auto",
                CertIdHashChoice::Only(CertIdHash::Sha1) => "sha1",
                CertIdHashChoice::Only(CertIdHash::Sha256) => "sha256",
            }),
        ),
        (
            "nonce",
            text(match profile.nonce {
                Nonce::Never => "never",
                Nonce::Try => "try",
                Nonce::Require => "require",
            }),
        ),
        (
            "missing_next_update",
            match profile.missing_next_update {
                MissingNextUpdate::Reject => text("reject"),
                MissingNextUpdate::Assume(life) => duration(life),
            },
        ),
        ("allow_sha1_signatures", profile.allow_sha1_signatures.into()),
        ("max_skew", duration(profile.max_skew)),
    ]);
    let optional = [
        ("responders", profile.responders.as_deref().map(strings)),
        ("proxy", profile.proxy.as_deref().map(text)),
        ("tls_ca", profile.tls_ca.as_deref().map(path)),
        ("trusted_signer", profile.trusted_signer.as_deref().map(path)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            shown.insert(key.to_owned(), value);
        }
    }
    shown.into()
}

fn listen(listen: &Listen) -> Value {
    match listen {
        Listen::Tcp(address) => text(address.to_string()),
        Listen::Unix(path) => text(format!("unix:{}", path.display())),
    }
}

fn hook(hook: &hooks::Settings) -> Value {
    let on: Vec<String> = hook.on.iter().map(ToString::to_string).collect();
    table([("on", strings(&on)), ("command", strings(&hook.command))]).into()
}
