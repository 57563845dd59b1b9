//! The configuration as it is meant: defaults filled in, values checked against each other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{self, File, Text};
use super::reader::{Complaints, StringOrStrings};
use super::report::Complaint;
use crate::discover::{Kind, STAPLE_TEMPLATE, Watch};
use crate::fetch::Method;
use crate::hooks;
use crate::ocsp::{CertIdHash, MissingNextUpdate};
use crate::plan;
use crate::reload::Mode;
use crate::time::{DAY, MINUTE};

/// Where state lies unless the configuration says otherwise.
pub const STATE_DIR: &str = "/var/lib/staplekeeper";
/// Where sockets and the status file lie unless the configuration says otherwise.
pub const RUNTIME_DIR: &str = "/run/staplekeeper";

/// Everything the configuration file decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// State that survives restarts.
    pub state_dir: PathBuf,
    /// Sockets and the status file.
    pub runtime_dir: PathBuf,
    /// The servers to serve; `None`: look in the usual places.
    pub servers: Option<Vec<Server>>,
    /// The folders to watch; `None`: the ACME clients' folders that exist.
    pub watches: Option<Vec<Watch>>,
    /// Responder profiles, the first that matches wins.
    pub issuers: Vec<IssuerProfile>,
    /// What the planner obeys (`[schedule]`, `[policy]`).
    pub policy: plan::Policy,
    /// `[schedule] reload_windows` as it is written.
    pub reload_windows: Vec<String>,
    /// Between two full scans.
    pub rescan_every: Duration,
    /// Where the loopback OCSP responder listens.
    pub responder: Vec<Listen>,
    /// Where metrics are served.
    pub metrics_listen: Option<Listen>,
    /// Where metrics are written for node_exporter.
    pub metrics_textfile: Option<PathBuf>,
    /// When a certificate's own expiry is worth a warning.
    pub expiry_warn_below: Duration,
    /// The operator's ACME client; `{name}` stands for the certificate's name.
    pub renew: Vec<String>,
    /// Commands to run at events.
    pub hooks: Vec<hooks::Settings>,
}

/// `[[server]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// What program it is.
    pub kind: Kind,
    /// Its main configuration file; `None`: the usual place.
    pub config: Option<PathBuf>,
    /// How it takes up new files; `None`: found out.
    pub reload: Option<Mode>,
    /// Confirm by handshake.
    pub probe: bool,
    /// Prefixes of paths: as the server sees them, as we see them.
    pub path_map: Vec<(PathBuf, PathBuf)>,
}

/// `[[issuer]]`: how the responders of some certificates are asked and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerProfile {
    /// Which certificates it is for.
    pub matches: IssuerMatch,
    /// Replaces the certificate's own list.
    pub responders: Option<Vec<String>>,
    /// GET or POST.
    pub method: Method,
    /// How the CertID is hashed.
    pub cert_id_hash: CertIdHashChoice,
    /// Whether requests carry a nonce.
    pub nonce: Nonce,
    /// What a response without nextUpdate is worth.
    pub missing_next_update: MissingNextUpdate,
    /// An HTTP proxy.
    pub proxy: Option<String>,
    /// Roots for https responders, PEM.
    pub tls_ca: Option<PathBuf>,
    /// Certificates trusted to sign responses (RFC 6960 §4.2.2.2, case 1), PEM.
    pub trusted_signer: Option<PathBuf>,
    /// Accept SHA-1 signatures.
    pub allow_sha1_signatures: bool,
    /// How far the responder's clock may differ from ours.
    pub max_skew: Duration,
}

impl Default for IssuerProfile {
    /// What certificates without a profile get.
    fn default() -> Self {
        IssuerProfile {
            matches: IssuerMatch::default(),
            responders: None,
            method: Method::Auto,
            cert_id_hash: CertIdHashChoice::Auto,
            nonce: Nonce::Never,
            missing_next_update: MissingNextUpdate::Assume(DAY),
            proxy: None,
            tls_ca: None,
            trusted_signer: None,
            allow_sha1_signatures: false,
            max_skew: 5 * MINUTE,
        }
    }
}

/// Which certificates an issuer profile is for; what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerMatch {
    /// The host of the certificate's OCSP URL.
    pub ocsp_host: Option<String>,
    /// The issuer's name as `staplekeeper inventory` prints it, or one part of it (`CN=…`).
    pub issuer: Option<String>,
    /// The issuer's subject key identifier, hex.
    pub key_id: Option<String>,
}

/// `cert_id_hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertIdHashChoice {
    /// SHA-1, then SHA-256 where that is not answered; remembered.
    #[default]
    Auto,
    /// Always this one.
    Only(CertIdHash),
}

/// `nonce` (RFC 9654).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonce {
    /// None is sent.
    #[default]
    Never,
    /// One is sent; an answer without it is taken.
    Try,
    /// One is sent and must come back.
    Require,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Settings {
    /// Gives `file` its meaning; what is wrong with it gathers in `complaints`.
    pub(super) fn of(file: File, complaints: &Complaints) -> Settings {
        let complain = |complaint| complaints.borrow_mut().push(complaint);
        let state_dir = absolute(file.state_dir, STATE_DIR, &complain);
        let runtime_dir = absolute(file.runtime_dir, RUNTIME_DIR, &complain);
        let listen = |text: &Text| listen(text, &runtime_dir, &complain);
        Settings {
            servers: file
                .servers
                .map(|all| all.into_iter().filter_map(|one| server(one, &complain)).collect()),
            watches: file
                .watches
                .map(|all| all.into_iter().filter_map(|one| watch(one, &complain)).collect()),
            issuers: file.issuers.into_iter().map(|one| issuer(one, &complain)).collect(),
            policy: policy(&file.schedule, &file.policy, &complain),
            reload_windows: file
                .schedule
                .reload_windows
                .into_iter()
                .map(Text::into_inner)
                .collect(),
            rescan_every: file.schedule.rescan_every.unwrap_or(15 * MINUTE),
            responder: file.responder.iter().filter_map(listen).collect(),
            metrics_listen: file.metrics.listen.as_ref().and_then(listen),
            metrics_textfile: file.metrics.textfile.map(|text| path(text, &complain)),
            expiry_warn_below: file.expiry.warn_below.unwrap_or(21 * DAY),
            renew: file.expiry.renew.map(plain).unwrap_or_default(),
            hooks: file.hooks.into_iter().map(|one| hook(one, &complain)).collect(),
            state_dir,
            runtime_dir,
        }
    }
}

type Complain<'a> = &'a dyn Fn(Complaint);

fn plain(texts: Vec<Text>) -> Vec<String> {
    texts.into_iter().map(Text::into_inner).collect()
}

fn absolute(text: Option<Text>, default: &str, complain: Complain<'_>) -> PathBuf {
    text.map_or_else(|| PathBuf::from(default), |text| path(text, complain))
}

/// A path, which has to be absolute: the agent runs in `/` and the operator's shell elsewhere.
fn path(text: Text, complain: Complain<'_>) -> PathBuf {
    if !Path::new(text.get_ref()).is_absolute() {
        complain(
            Complaint::new(text.span(), format!("{:?} is not an absolute path", text.get_ref()))
                .hint("write the whole path, beginning with \"/\""),
        );
    }
    PathBuf::from(text.into_inner())
}

fn server(file: file::Server, complain: Complain<'_>) -> Option<Server> {
    let kind = file.kind?;
    if kind == Kind::Files && file.config.is_some() {
        let place = file.config.as_ref().map_or(file.place, Text::span);
        complain(Complaint::new(place, "a server of kind \"files\" has no configuration to read"));
    }
    Some(Server {
        kind,
        config: file.config.map(|text| path(text, complain)),
        reload: file.reload.and_then(|value| reload(value, kind, complain)),
        probe: file.probe.unwrap_or(true),
        path_map: file
            .path_map
            .into_iter()
            .map(|(seen, ours)| (PathBuf::from(seen), path(ours, complain)))
            .collect(),
    })
}

fn reload(value: StringOrStrings, kind: Kind, complain: Complain<'_>) -> Option<Mode> {
    let text = match value {
        StringOrStrings::Many(place, words) if words.is_empty() => {
            complain(Complaint::new(place, "the reload command is empty"));
            return None;
        }
        StringOrStrings::Many(_, words) => return Some(Mode::Command(plain(words))),
        StringOrStrings::One(text) => text,
    };
    let mode = text.get_ref().parse::<Mode>();
    if mode.is_err() {
        complain(
            Complaint::new(text.span(), format!("unknown way to reload {:?}", text.get_ref()))
                .hint(
                    "reload is \"systemd:UNIT\", \"signal:/path/to/pid\", \"none\" or a command as \
                     a list: [\"program\", \"argument\"]",
                ),
        );
    }
    if kind == Kind::Apache && matches!(mode, Ok(Mode::Signal(_))) {
        let message =
            "Apache is not reloaded by a bare signal: with a broken configuration it ends it";
        complain(Complaint::new(text.span(), message).hint(
            "write \"systemd:apache2.service\", or [\"apachectl\", \"graceful\"], which test first; \
             or leave reload out",
        ));
    }
    mode.ok()
}

fn watch(file: file::Watch, complain: Complain<'_>) -> Option<Watch> {
    let staple = file.staple.map_or_else(
        || STAPLE_TEMPLATE.to_owned(),
        |text| {
            let absolute =
                text.get_ref().starts_with('/') || text.get_ref().starts_with("{state_dir}/");
            if !absolute || !text.get_ref().contains("{name}") {
                let message = format!("{:?} is no pattern for staples", text.get_ref());
                complain(Complaint::new(text.span(), message).hint(format!(
                    "it is an absolute path with {{name}} in it, such as {STAPLE_TEMPLATE:?}"
                )));
            }
            text.into_inner()
        },
    );
    Some(Watch { path: path(file.path?, complain), staple })
}

fn issuer(file: file::Issuer, complain: Complain<'_>) -> IssuerProfile {
    let default = IssuerProfile::default();
    let matches = IssuerMatch {
        ocsp_host: file.ocsp_host.map(Text::into_inner),
        issuer: file.issuer.map(Text::into_inner),
        key_id: file.key_id.map(|text| key_id(text, complain)),
    };
    if matches == IssuerMatch::default() {
        complain(
            Complaint::new(file.place, "this issuer matches no certificate: match is missing")
                .hint("add match = { ocsp_host = \"ocsp.example\" }, or issuer, or key_id"),
        );
    }
    for responder in file.responders.iter().flatten() {
        let url = responder.get_ref();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            complain(Complaint::new(responder.span(), format!("{url:?} is not an http(s) URL")));
        }
    }
    let life = file.missing_next_update_life.map(MissingNextUpdate::Assume);
    let reject = file.missing_next_update.is_some_and(|text| text.get_ref() == "reject");
    IssuerProfile {
        matches,
        responders: file.responders.map(plain),
        method: file.method.unwrap_or(default.method),
        cert_id_hash: file.cert_id_hash.unwrap_or(default.cert_id_hash),
        nonce: file.nonce.unwrap_or(default.nonce),
        missing_next_update: match life {
            _ if reject => MissingNextUpdate::Reject,
            Some(life) => life,
            None => default.missing_next_update,
        },
        proxy: file.proxy.map(Text::into_inner),
        tls_ca: file.tls_ca.map(|text| path(text, complain)),
        trusted_signer: file.trusted_signer.map(|text| path(text, complain)),
        allow_sha1_signatures: file.allow_sha1_signatures.unwrap_or(false),
        max_skew: file.max_skew.unwrap_or(default.max_skew),
    }
}

fn key_id(text: Text, complain: Complain<'_>) -> String {
    let digits: String = text.get_ref().chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        let message = format!("key_id is hex digits, found {:?}", text.get_ref());
        complain(Complaint::new(text.span(), message));
    }
    digits.to_lowercase()
}

/// The hours in which reloads that can wait may happen.
fn hours(texts: &[Text], complain: Complain<'_>) -> plan::Hours {
    let wrong = |text: &Text, why: String| {
        let hint =
            "write hours of the day in UTC, from and to, like \"02:00-05:00\"; eight at most";
        complain(Complaint::new(text.span(), why).hint(hint));
    };
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':').filter(|(_, minute)| minute.len() == 2)?;
        let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
        (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let mut spans = Vec::new();
    for text in texts {
        let ends = text.get_ref().split_once('-');
        let span = ends.and_then(|(from, to)| Some((minute(from.trim())?, minute(to.trim())?)));
        match span.map(|span| (span, plan::Hours::new(&[span]))) {
            Some((span, Ok(_))) => spans.push(span),
            Some((_, Err(error))) => wrong(text, format!("{:?}: {error}", text.get_ref())),
            None => wrong(text, format!("{:?} are no hours of the day", text.get_ref())),
        }
    }
    plan::Hours::new(&spans).unwrap_or_else(|error| {
        if let Some(last) = texts.last() {
            wrong(last, format!("reload_windows: {error}"));
        }
        plan::Hours::default()
    })
}

fn policy(
    schedule: &file::Schedule,
    policy: &file::Policy,
    complain: Complain<'_>,
) -> plan::Policy {
    let default = plan::Policy::default();
    plan::Policy {
        reload_windows: hours(&schedule.reload_windows, complain),
        reload_at_most_every: schedule.reload_at_most_every.unwrap_or(default.reload_at_most_every),
        urgent_below: schedule.urgent_below.unwrap_or(default.urgent_below),
        adopt_renewed_after: schedule.adopt_renewed_after.unwrap_or(default.adopt_renewed_after),
        max_age: schedule.max_age.unwrap_or(default.max_age),
        on_revoked: policy.on_revoked.unwrap_or(default.on_revoked),
        on_expired: policy.on_expired.unwrap_or(default.on_expired),
        placeholder: policy.placeholder.unwrap_or(default.placeholder),
        ..default
    }
}

fn listen(text: &Text, runtime_dir: &Path, complain: Complain<'_>) -> Option<Listen> {
    if let Some(path) = text.get_ref().strip_prefix("unix:") {
        let path = path.replace("{runtime_dir}", &runtime_dir.to_string_lossy());
        if Path::new(&path).is_absolute() {
            return Some(Listen::Unix(path.into()));
        }
    }
    match text.get_ref().parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(Listen::Tcp(address)),
        Ok(_) => {
            let message = format!("{} is open to other machines", text.get_ref());
            complain(
                Complaint::new(text.span(), message)
                    .hint("listen on a loopback address such as 127.0.0.1, or on a unix socket"),
            );
            None
        }
        Err(_) => {
            let message = format!("{:?} is no place to listen on", text.get_ref());
            complain(
                Complaint::new(text.span(), message)
                    .hint("write \"127.0.0.1:PORT\" or \"unix:/path/to/socket\""),
            );
            None
        }
    }
}

fn hook(file: file::Hook, complain: Complain<'_>) -> hooks::Settings {
    let hint = || {
        let names: Vec<_> = hooks::Event::NAMED.iter().map(|(name, _)| *name).collect();
        format!("the events are {}", names.join(", "))
    };
    if file.command.is_empty() {
        complain(Complaint::new(file.place.clone(), "this hook has no command"));
    }
    if file.on.is_empty() {
        let complaint = Complaint::new(file.place, "this hook never runs: on is missing");
        complain(complaint.hint(hint()));
    }
    let event = |text: &Text| {
        let event = text.get_ref().parse::<hooks::Event>();
        let complaint = || {
            let message = format!("unknown event {:?}", text.get_ref());
            Complaint::new(text.span(), message).hint(hint())
        };
        event.inspect_err(|_| complain(complaint())).ok()
    };
    let on = file.on.iter().filter_map(event).collect();
    hooks::Settings { on, command: plain(file.command) }
}
