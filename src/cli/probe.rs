//! `staplekeeper probe`: would a client that takes Must-Staple seriously connect?
//!
//! Dials like a client, then judges what it was handed: see `judge` for the rules.

mod judge;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, ServerName};

use super::format::Format;
use super::say;
use crate::clock::{Clock, SystemClock};
use crate::confirm::{Address, Look, LookError, Seen, StartTls, look};
use crate::pki;
use crate::time::{UnixTime, format_duration};
use judge::{Finding, Staple, Subject, Verdict, judge};

/// A strict client would not connect.
const REFUSED: u8 = 1;
/// Used wrongly.
const USAGE: u8 = 2;
/// There was nothing to judge.
const NO_CONNECTION: u8 = 5;

/// For connecting and the handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Connect as a strict Must-Staple client would, and say what it sees
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 a strict client would connect, 1 it would not, \
                        2 used wrongly, 5 could not connect")]
pub struct Args {
    /// Whom to ask for: a name or an address; port 443 if none is given
    #[arg(value_name = "HOST[:PORT]")]
    host: Host,

    /// Where to connect instead of resolving HOST: ADDRESS, ADDRESS:PORT, NAME:PORT or unix:PATH
    #[arg(long, value_name = "ADDR")]
    connect: Option<Destination>,

    /// PEM file of the CAs to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// What is spoken before TLS; port 25 if none is given
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    starttls: Option<Protocol>,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A protocol that goes over to TLS when it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Mail transfer
    Smtp,
}

/// `HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

/// `--connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Unix(PathBuf),
    Host(Host),
}

/// Probes and prints.
///
/// # Errors
/// A CA file or system store that is of no use.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let anchors = match &args.ca {
        Some(path) => read_anchors(path),
        None => system_anchors(),
    };
    let anchors = match anchors {
        Ok(anchors) => anchors,
        Err(error) => {
            say::note(format!("staplekeeper: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let (address, seen) = match dial(&args).await {
        Ok(seen) => seen,
        Err(error) => {
            say::note(format!("staplekeeper: {error:#}"));
            return Ok(ExitCode::from(NO_CONNECTION));
        }
    };
    let finding = judge(&seen, &args.host.name, &anchors, SystemClock.now().wall);
    match args.format {
        Format::Text => print_text(&args, &address, &seen, &finding),
        Format::Json => print_json(&args, &address, &seen, &finding)?,
    }
    for reason in &finding.reasons {
        say::note(format!("staplekeeper: a strict client would not connect: {reason}"));
    }
    Ok(match finding.verdict() {
        Verdict::Connects => ExitCode::SUCCESS,
        Verdict::Refuses => ExitCode::from(REFUSED),
    })
}

fn read_anchors(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let name = || path.display().to_string();
    let found = pki::read_certificates(&fs::read(path).with_context(name)?).with_context(name)?;
    Ok(found.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect())
}

fn system_anchors() -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    let none = "no CA certificates on this system; install ca-certificates or use --ca FILE";
    if found.certs.is_empty() {
        return Err(match found.errors.into_iter().next() {
            Some(error) => anyhow::Error::new(error).context(none),
            None => anyhow::Error::msg(none),
        });
    }
    Ok(found.certs)
}

/// Tries the addresses in turn; a server that answers on one of them is not asked on another.
async fn dial(args: &Args) -> anyhow::Result<(Address, Seen)> {
    let named = || format!("{}: no such host", args.host.name);
    let mut refused = None;
    for address in addresses(args).await.with_context(named)? {
        let is_name = matches!(ServerName::try_from(&*args.host.name), Ok(ServerName::DnsName(_)));
        let server_name = is_name.then(|| args.host.name.clone());
        let starttls = args.starttls.map(|Protocol::Smtp| StartTls::Smtp);
        let wanted = Look { server_name, starttls, timeout: TIMEOUT, ..Look::at(address.clone()) };
        match look(&wanted).await {
            Ok(seen) => return Ok((address, seen)),
            Err(error @ LookError::Connect { .. }) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let none = || io::Error::other("it has no address").into();
    Err(refused.map_or_else(none, anyhow::Error::from))
}

async fn addresses(args: &Args) -> io::Result<Vec<Address>> {
    let host = match &args.connect {
        Some(Destination::Unix(path)) => return Ok(vec![Address::Unix(path.clone())]),
        Some(Destination::Host(host)) => host,
        None => &args.host,
    };
    let usual = if args.starttls.is_some() { 25 } else { 443 };
    let port = host.port.or(args.host.port).unwrap_or(usual);
    let found = tokio::net::lookup_host((host.name.as_str(), port)).await?;
    Ok(found.map(Address::Tcp).collect())
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = split(text)?;
        let name = name.trim_end_matches('.');
        match ServerName::try_from(name) {
            Ok(_) => Ok(Host { name: name.to_ascii_lowercase(), port }),
            Err(_) => Err(format!("{name:?} is neither a host name nor an address")),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Destination::Unix(path.into())),
            None => text.parse().map(Destination::Host),
        }
    }
}

/// `name`, `name:port`, `1.2.3.4`, `1.2.3.4:port`, `::1`, `[::1]`, `[::1]:port`.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, port.strip_prefix(':').map(Some).ok_or("a ':' is missing")?),
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let is_port = |port: &str| port.parse().ok().filter(|port| *port > 0);
    match port.map(|port| is_port(port).ok_or_else(|| format!("{port:?} is no port"))) {
        None => Ok((name, None)),
        Some(port) => Ok((name, Some(port?))),
    }
}

fn print_text(args: &Args, address: &Address, seen: &Seen, finding: &Finding) {
    let line = |word: &str, fact: String| say::line(format!("{word:<13}{fact}"));
    let at = |instant: UnixTime| {
        let now = finding.now;
        match instant > now {
            true => format!("{instant} (in {})", format_duration(instant.since(now))),
            false => format!("{instant} ({} ago)", format_duration(now.since(instant))),
        }
    };
    line("host", format!("{} at {address}", args.host.name));
    line("protocol", format!("{}, handshake in {} ms", seen.tls, seen.took.as_millis()));
    if let Some(Subject { subject, issuer, serial, key, not_after, must_staple, .. }) =
        &finding.leaf
    {
        line("certificate", format!("{subject} ({key}, serial {serial})"));
        line("issuer", issuer.clone());
        line("expires", at(*not_after));
        line("must-staple", if *must_staple { "yes" } else { "no" }.to_owned());
    }
    match &finding.staple {
        Staple::None => line("staple", "none".to_owned()),
        Staple::Refusal { status } => line("staple", format!("{status}, which is none")),
        Staple::Refused { reason } => line("staple", format!("refused: {reason}")),
        Staple::Proven(staple) => {
            let since = staple.revoked_at.map(|time| format!(" since {}", at(time)));
            let reason = staple.revocation_reason.as_ref().map(|reason| format!(", {reason}"));
            let revocation = since.into_iter().chain(reason).collect::<String>();
            line("staple", format!("{}{revocation}, {} bytes", staple.status, staple.bytes));
            line("signer", staple.signer.clone());
            line("thisUpdate", at(staple.this_update));
            line("nextUpdate", staple.next_update.map_or("not stated".to_owned(), at));
            line("good until", at(staple.effective_expiry));
        }
    }
    line("verdict", finding.summary());
}

fn print_json(
    args: &Args,
    address: &Address,
    seen: &Seen,
    finding: &Finding,
) -> anyhow::Result<()> {
    let report = serde_json::json!({
        "schema": 1,
        "verdict": finding.verdict(),
        "reasons": finding.reasons,
        "host": args.host.name,
        "address": address.to_string(),
        "tls_version": seen.tls.to_string(),
        "handshake_ms": u64::try_from(seen.took.as_millis())?,
        "chain_length": seen.chain.len(),
        "certificate": finding.leaf,
        "staple": finding.staple,
        "at": finding.now,
    });
    say::json(&report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, name, port) in [
            ("www.example.com", "www.example.com", None),
            ("WWW.example.com.:8443", "www.example.com", Some(8443)),
            ("192.0.2.1:443", "192.0.2.1", Some(443)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:8443", "2001:db8::1", Some(8443)),
        ] {
            let expected = Host { name: name.to_owned(), port };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "a b", "host:", "host:0", "host:65536", "host:https", "[::1]8443", "[::1"]
        {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
        let unix = Destination::Unix("/run/x.sock".into());
        assert_eq!("unix:/run/x.sock".parse(), Ok(unix));
    }
}
