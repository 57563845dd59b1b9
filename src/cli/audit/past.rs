//! `staplekeeper audit --at T`: what was stapled then, to the byte.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::super::format::Format;
use super::super::say;
use super::words;
use crate::audit::{self, FOLDER, Handed, Past, Proof};
use crate::config::Settings;
use crate::happening::Lying;
use crate::ocsp::Response;
use crate::plan::Facts;
use crate::store::StateDir;
use crate::time::UnixTime;

/// The whole as JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    at: UnixTime,
    name: Option<&'a str>,
    trail_intact: bool,
    stapled: Vec<Stapled>,
}

/// What one server handed out for one target.
#[derive(Serialize)]
struct Stapled {
    #[serde(flatten)]
    handed: Handed,
    /// The bytes, where the history has them.
    response: Option<Bytes>,
}

/// A response, as it was received.
#[derive(Serialize)]
struct Bytes {
    path: PathBuf,
    produced_at: Option<UnixTime>,
    /// As the response says it; the staple may be worth less.
    next_update: Option<UnixTime>,
    base64: String,
    #[serde(skip)]
    length: usize,
}

pub(super) fn run(
    settings: &Settings,
    name: Option<&str>,
    at: UnixTime,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let folder = settings.state_dir.join(FOLDER);
    let found = audit::verify(&folder).context("the audit trail cannot be read")?;
    if let (false, Some(since)) = (found.since.is_some_and(|since| since <= at), found.since) {
        bail!("the audit trail begins at {since}");
    }
    let mut past = Past::new(name);
    audit::lines(&folder, |line| {
        if line.time <= at {
            past.read(&line);
        }
        true
    })?;
    if !found.is_intact() {
        say::note("THE TRAIL WAS TAMPERED WITH: `staplekeeper audit --verify` says where");
    }
    if !past.is_known() {
        let whom =
            name.map_or("any certificate".to_owned(), |name| format!("a certificate {name:?}"));
        say::note(format!("the audit trail knows nothing of {whom} at {at}"));
    }
    let history = StateDir::new(&settings.state_dir);
    let stapled: Vec<_> =
        past.handed().into_iter().map(|handed| stapled(handed, &history)).collect();
    match format {
        Format::Json => {
            let trail_intact = found.is_intact();
            let document = Document { schema: 1, at, name, trail_intact, stapled };
            say::json(&document)?;
        }
        Format::Text if !past.is_known() => {}
        Format::Text if stapled.is_empty() => say::line(format!("nothing was stapled at {at}")),
        Format::Text => stapled.iter().for_each(|one| print(one, at)),
    }
    Ok(if past.is_known() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stapled(handed: Handed, history: &StateDir) -> Stapled {
    let response = match &handed.content {
        Lying::Staple { staple, .. } => bytes(staple, history),
        Lying::Placeholder | Lying::Nothing | Lying::Foreign { .. } => None,
    };
    Stapled { handed, response }
}

fn bytes(staple: &Facts, history: &StateDir) -> Option<Bytes> {
    let der = match history.history(staple.digest) {
        Ok(found) => found?,
        Err(error) => {
            say::note(format!("the bytes cannot be had: {error}"));
            return None;
        }
    };
    let response = Response::decode(&der).ok();
    // A response may speak of others, too.
    let answers = response.iter().flat_map(|response| response.answers());
    let mut ours = answers.filter(|answer| answer.this_update == staple.this_update);
    Some(Bytes {
        path: history.past(staple.digest),
        produced_at: response.as_ref().and_then(Response::produced_at),
        next_update: ours.next().and_then(|answer| answer.next_update),
        base64: BASE64_STANDARD.encode(&der),
        length: der.len(),
    })
}

fn print(stapled: &Stapled, at: UnixTime) {
    let Stapled { handed, response } = stapled;
    let fact = |what: &str, value: String| say::line(format!("  {what:<12} {value}"));
    match &handed.content {
        Lying::Staple { certificate, .. } => say::line(format!("{certificate} at {at}")),
        _ => say::line(format!("{} at {at}", handed.target)),
    }
    fact("target", handed.target.clone());
    match &handed.content {
        Lying::Staple { certificate, staple } => {
            fact("certificate", format!("SHA-256 {}", certificate.fingerprint));
            fact("staple", format!("SHA-256 {}", staple.digest));
            fact("verdict", words::status_word(staple.status).to_owned());
            fact("thisUpdate", staple.this_update.to_string());
            let next = response.as_ref().and_then(|one| one.next_update);
            fact("nextUpdate", next.map_or("-".to_owned(), |next| next.to_string()));
            fact("good until", staple.expires.to_string());
        }
        Lying::Placeholder => fact("staple", "none: the placeholder (tryLater)".to_owned()),
        Lying::Nothing => fact("staple", "none".to_owned()),
        Lying::Foreign { sha256 } => {
            let sha256 = sha256.map(|digest| format!(", SHA-256 {digest}")).unwrap_or_default();
            fact("staple", format!("something that nobody has judged{sha256}"));
        }
    }
    fact("published", format!("{} (line {})", handed.published, handed.line));
    let server = handed.server.as_deref().unwrap_or("a server");
    match handed.proof {
        Some(Proof::Handshake { at, line }) => {
            fact("proof", format!("a handshake with {server} showed it at {at} (line {line})"));
        }
        Some(Proof::TakenUp { at, line }) => {
            fact("proof", format!("{server} took up its files at {at} (line {line})"));
        }
        None => fact("proof", "none: no server was seen to have taken it up by then".to_owned()),
    }
    if let Some(Bytes { path, length, .. }) = response {
        fact("bytes", format!("{} ({length} bytes)", path.display()));
        fact("", format!("openssl ocsp -noverify -resp_text -respin {}", path.display()));
    } else if matches!(handed.content, Lying::Staple { .. }) {
        fact("bytes", "not in the history: it was pruned, or the disk was full".to_owned());
    }
}
