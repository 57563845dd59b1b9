//! `staplekeeper status [NAME…] [--format table|json]`.

use std::process::ExitCode;

use anyhow::bail;
use comfy_table::{Table, presets};

use super::client::{Client, Line};
use super::say;
use crate::agent;
use crate::agent::status::{CertificateStatus, Document, LoopbackStatus, Served, Severity, State};
use crate::config::Settings;
use crate::pki::printable;
use crate::time::{UnixTime, format_duration};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names of certificates; none: all of them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A way to print the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

pub(super) async fn run(args: Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let mut document: Document = match Client::call(&settings).await? {
        Line::Agent(client) => client.status().await?,
        Line::Nobody => {
            say::note("no agent runs; this is what the files say");
            agent::look(settings).await?
        }
    };
    for name in &args.names {
        if !document.certificates.iter().any(|one| one.name == *name) {
            bail!("there is no certificate called {name:?}; `staplekeeper status` lists them");
        }
    }
    if !args.names.is_empty() {
        document.certificates.retain(|one| args.names.contains(&one.name));
    }
    match args.format {
        Format::Json => say::json(&document)?,
        Format::Table => print(&document),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(document: &Document) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "MUST-STAPLE", "STATE", "SLACK", "NEXT", "SERVED", ""]);
    for certificate in &document.certificates {
        table.add_row(row(certificate, document.at).map(|cell| printable(&cell)));
    }
    say::page(format!("{table}\n"));
    for server in &document.servers {
        let running = if server.running { "running" } else { "not running" };
        let config = server.config.as_deref().unwrap_or_default();
        let mut line = format!("{} {config}: {running}", server.kind);
        if let (Some(at), Some(why)) = (server.next_reload, &server.next_reload_reason) {
            line += &format!(", reload in {} ({why})", until(at, document.at));
        }
        if let Some(error) = &server.last_error {
            line += &format!(", {error}");
        }
        say::line(line);
    }
    for responder in document.responders.iter().filter(|responder| responder.down) {
        say::line(format!("{}: down, {} failures in a row", responder.url, responder.failures));
    }
    if let Some(loopback) = &document.loopback {
        print_loopback(loopback);
    }
    for problem in &document.problems {
        // A problem has its hint on a line of its own.
        say::problem(problem);
    }
}

fn print_loopback(loopback: &LoopbackStatus) {
    let (working, failed): (Vec<_>, Vec<_>) =
        loopback.listen.iter().partition(|listening| listening.error.is_none());
    let addresses: Vec<&str> = working.iter().map(|one| &*one.address).collect();
    say::line(format!(
        "responder {}: answers about {} of {} certificates, {} requests so far",
        if addresses.is_empty() { "nowhere".to_owned() } else { addresses.join(", ") },
        loopback.answered,
        loopback.certificates,
        loopback.requests,
    ));
    for error in failed.iter().filter_map(|one| one.error.as_deref()) {
        say::line(error);
    }
}

fn row(certificate: &CertificateStatus, now: UnixTime) -> [String; 7] {
    let slack = certificate.slack_seconds.map(|seconds| match u64::try_from(seconds) {
        Ok(seconds) => format_duration(std::time::Duration::from_secs(seconds)),
        Err(_) => "none left".to_owned(),
    });
    let state = match certificate.state {
        State::Good => "good",
        State::Revoked => "REVOKED",
        State::Expired => "EXPIRED",
        State::Waiting => "waiting",
        State::NoOcspUrl => "no OCSP URL",
        State::NoIssuer => "no issuer",
    };
    let served = certificate.served.map(|served| match served {
        Served::Match => "as published",
        Served::Unproven => "unproven",
        Served::Mismatch => "OTHER",
    });
    let reason = (certificate.severity != Severity::Ok).then(|| certificate.reason.clone());
    // A failure shows before it hurts: while it is only a failure there is time to mend it.
    let note: Vec<String> = reason.into_iter().chain(certificate.last_error.clone()).collect();
    let note = note.join(": ");
    [
        certificate.name.clone(),
        (if certificate.must_staple { "yes" } else { "-" }).to_owned(),
        state.to_owned(),
        slack.unwrap_or_else(|| "-".to_owned()),
        certificate.next_attempt.map_or_else(|| "-".to_owned(), |at| until(at, now)),
        served.unwrap_or("-").to_owned(),
        note,
    ]
}

fn until(at: UnixTime, now: UnixTime) -> String {
    if at <= now { "now".to_owned() } else { format_duration(at.since(now)) }
}
