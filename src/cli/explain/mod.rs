//! `staplekeeper explain NAME`.

mod page;

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use super::check;
use super::client::{Client, Line};
use super::lint::gather;
use super::say;
use crate::agent::life::{Life, STATUS_FILE};
use crate::agent::status::{CertificateStatus, Document, ResponderStatus, ServerStatus};
use crate::agent::{self, Survey};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::inventory::{Entry, Inventory};
use crate::lint::{self, Finding};
use crate::time::{UnixTime, format_duration};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of a certificate, or a host name that it is for
    #[arg(value_name = "NAME")]
    name: String,
}

/// All that is known of one certificate.
struct Known {
    at: UnixTime,
    entry: Entry,
    /// As the agent has it; absent where the agent does not know the certificate.
    status: Option<CertificateStatus>,
    /// The responders that it is asked of, as the agent knows them.
    responders: Vec<ResponderStatus>,
    servers: Vec<ServerStatus>,
    /// What `lint` says about it, the worst first.
    findings: Vec<Finding>,
    /// An agent runs; otherwise nothing is known of handshakes.
    alive: bool,
}

pub(super) async fn run(
    args: Args,
    settings: Settings,
    config: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let own = settings.clone();
    let survey = tokio::task::spawn_blocking(move || Survey::take(&own));
    let told = told(&settings).await;
    let survey = survey.await??;
    let inventory = Inventory::of(&survey.scan, survey.at, |issued| survey.responders(issued));
    let entry = find(&inventory, &args.name)?.clone();
    let mut problems = survey.unread.clone();
    let view = gather::view(&survey, &settings, config, Some(entry.fingerprint), &mut problems);
    let is_about =
        |finding: &Finding| finding.certificates.iter().any(|name| entry.lineages.contains(name));
    let findings = lint::lint(&view).into_iter().filter(is_about).collect();
    // With ten thousand certificates a look takes its time: one does for both.
    let (document, alive) = match told? {
        Some(told) => told,
        None => (agent::look_at(settings.clone(), &survey, entry.fingerprint)?, false),
    };
    let of = |one: &&CertificateStatus| one.fingerprint == entry.fingerprint;
    let status = document.certificates.iter().find(of).cloned();
    let urls = status.as_ref().map(|status| status.responders.clone()).unwrap_or_default();
    let mine = |one: &ResponderStatus| urls.contains(&one.url);
    let known = Known {
        at: document.at,
        status,
        responders: document.responders.into_iter().filter(mine).collect(),
        servers: document.servers,
        findings,
        alive,
        entry,
    };
    problems.iter().for_each(say::problem);
    say::page(page::page(&known, super::width()));
    Ok(ExitCode::SUCCESS)
}

/// What the agent says: by its socket, else by the file it writes for everybody. With whether there is an
/// agent that lives; `None`: nobody says anything, and its files have to do.
async fn told(settings: &Settings) -> anyhow::Result<Option<(Document, bool)>> {
    match Client::call(settings).await {
        Ok(Line::Agent(client)) => Ok(Some((client.status().await?, true))),
        Ok(Line::Nobody) => {
            say::note("no agent runs; this is what the files say");
            Ok(None)
        }
        Err(refused) => {
            let path = settings.runtime_dir.join(STATUS_FILE);
            let (document, modified) = match check::read(&path) {
                Ok(read) => read,
                Err(unread) => return Err(refused.context(unread)),
            };
            let life = Life::of(&document, modified, SystemClock.now().wall);
            let told = format_duration(SystemClock.now().wall.since(modified));
            match life {
                Life::Lives => {}
                Life::Gone => say::note(format!(
                    "the agent is gone; this is what its status file said {told} ago"
                )),
                Life::Silent(silent) => say::note(format!(
                    "the agent has given no sign of life for {}; this is what its status file said then",
                    format_duration(silent)
                )),
            }
            Ok(Some((document, life == Life::Lives)))
        }
    }
}

/// The certificate of this name; else the only one that is for this host.
fn find<'a>(inventory: &'a Inventory, name: &str) -> anyhow::Result<&'a Entry> {
    let all = &inventory.certificates;
    if let Some(entry) = all.iter().find(|entry| entry.lineages.iter().any(|own| own == name)) {
        return Ok(entry);
    }
    let host = name.to_ascii_lowercase();
    let hosts: Vec<_> = all.iter().filter(|entry| entry.names.contains(&host)).collect();
    match hosts.as_slice() {
        [entry] => return Ok(entry),
        [] => {}
        several => {
            let names: Vec<&str> = several.iter().map(|entry| &*entry.name).collect();
            bail!("{name} is the host of several certificates: name one of {}", names.join(", "));
        }
    }
    let likely = all.iter().map(|entry| (strsim::jaro_winkler(&entry.name, name), &entry.name));
    let likely = likely.filter(|(likeness, _)| *likeness > 0.8);
    match likely.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((_, meant)) => bail!("there is no certificate called {name:?}; did you mean {meant}?"),
        None => {
            bail!("there is no certificate called {name:?}; `staplekeeper inventory` lists them")
        }
    }
}
