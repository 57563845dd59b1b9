//! `staplekeeper hook`: what ACME clients run after a renewal and before they reload a server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::client::{Client, Line, Refused, Stuck};
use super::say;
use crate::agent::{self, Progress, StartError};
use crate::config::Settings;
use crate::files;
use crate::pki::Certificate;
use crate::pki::pem::read_certificates;
use crate::serve::control::{Hook, SOCKET};
use crate::store::StoreError;
use crate::time::{format_duration, parse_duration};

/// The longest file that may hold a certificate, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// How long an agent that has gone in the midst of it has to come back: it may be being upgraded.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(60);
/// An agent that is started cannot work while this process does, so it looks whether there is one.
const HERE_FOR: Duration = Duration::from_secs(8);
/// How long after the deadline the agent may take to say so: it may have to end a look at the files first.
const GRACE: Duration = Duration::from_secs(10);
/// Between two calls meanwhile.
const CALLS_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// After a renewal, before the reload: wait until the new certificate's staple is published
///
/// Run it from the ACME client's deploy hook, before whatever reloads the server: certificate and
/// staple are then taken up together. The agent looks at once, and asks again every few seconds
/// while the CA's responder does not know the certificate yet, which takes some CAs 15 minutes.
///
/// Exit status: 0 the staple is published, or there is nothing to staple; 1 the deadline has passed
/// without it, or the certificate is revoked; 2 used or configured wrongly.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folders of renewed certificates (certbot's RENEWED_LINEAGE), or their files
    #[arg(value_name = "DIR", required = true)]
    paths: Vec<PathBuf>,
    /// Give up after this long ("90s", "5m", at most 24h); default: 20m with Must-Staple, else 30s
    #[arg(long, value_name = "D", value_parser = deadline)]
    deadline: Option<Duration>,
}

/// Waits through the running agent, or looks and asks in this process where none runs.
pub(super) async fn run(args: Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let leaves = leaves(&args.paths)?;
    let mut order = Hook {
        paths: args.paths.iter().map(absolute).collect::<Result<_, _>>()?,
        leaves: leaves.iter().map(|leaf| leaf.fingerprint()).collect(),
        deadline_seconds: args.deadline.map(|deadline| deadline.as_secs()),
        waited_seconds: 0,
    };
    let must_staple = leaves.iter().any(|leaf| leaf.must_staple());
    let patience = order.patience(must_staple);
    let mut tally = Tally::default();
    // An agent that is stopped, or hangs, holds up whoever reloads no longer than a healthy one.
    let waits = wait(&mut order, &settings, begun, patience, &mut tally);
    let ended = tokio::time::timeout(patience + GRACE, waits).await;
    match ended {
        Ok(ended) => {
            ended?;
            Ok(tally.end(&leaves))
        }
        Err(_) => {
            let waited = begun.elapsed();
            say::note(match tally.busy {
                Some(reason) => format!("{reason}, for {} now; try again", format_duration(waited)),
                None => silence(&settings, waited, must_staple),
            });
            Ok(ExitCode::from(1))
        }
    }
}

/// Why nothing is known when all time is over, and what follows from that.
fn silence(settings: &Settings, waited: Duration, must_staple: bool) -> String {
    let socket = settings.runtime_dir.join(SOCKET);
    let risk = match must_staple {
        true => "whoever reloads a server now may lock out clients",
        false => "clients may connect without a staple until it comes",
    };
    format!(
        "the agent behind {} has not said within {} that the staple is published: it is stopped, or hangs; \
         see `systemctl status staplekeeper`, and restart it if it does not answer; {risk}",
        socket.display(),
        format_duration(waited)
    )
}

/// Until all is told, by whichever agent.
async fn wait(
    order: &mut Hook,
    settings: &Settings,
    begun: Instant,
    patience: Duration,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    // Where less is waited for, some of it has to be left to look without an agent.
    let comes_back_within = COMES_BACK_WITHIN.min(patience / 2);
    let mut lost: Option<Instant> = None;
    while tally.done.is_none() {
        order.waited_seconds = begun.elapsed().as_secs();
        match Client::call(settings).await? {
            Line::Agent(client) => {
                let said = |line: &[u8]| tally.take(&serde_json::from_slice(line)?);
                match client.hook(order, said).await {
                    Err(error) if error.is::<Refused>() || error.is::<serde_json::Error>() => {
                        return Err(error);
                    }
                    Err(error) if error.is::<Stuck>() => tally.note(&error.to_string()),
                    // It ended in the midst of it: another one is told the same anew.
                    Err(_) | Ok(()) => {}
                }
                lost = Some(Instant::now());
            }
            Line::Nobody if lost.is_none_or(|at| at.elapsed() > comes_back_within) => {
                let said = |progress: &Progress| tally.take(progress);
                let here = agent::hook_here(settings.clone(), order.clone(), HERE_FOR, said).await;
                match here.map_err(|error| error.downcast::<StartError>()) {
                    // An agent is about to answer, or another command is at work.
                    Err(Ok(StartError::Store(StoreError::Locked { .. })))
                        if begun.elapsed() < COMES_BACK_WITHIN => {}
                    Err(Ok(error)) => return Err(error.into()),
                    Err(Err(error)) => return Err(error),
                    Ok(()) => {}
                }
            }
            Line::Nobody => {}
        }
        if tally.done.is_none() {
            tokio::time::sleep(CALLS_AGAIN_AFTER).await;
        }
    }
    Ok(())
}

fn deadline(text: &str) -> anyhow::Result<Duration> {
    let length = parse_duration(text)?;
    ensure!(length <= Hook::LONGEST, "a hook waits a day (24h) at most; name a shorter time");
    Ok(length)
}

/// The certificates that begin the files at `paths`, or in the folders there.
fn leaves(paths: &[PathBuf]) -> anyhow::Result<Vec<Arc<Certificate>>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            let entries = std::fs::read_dir(path);
            let entries = entries.with_context(|| format!("cannot read {}", path.display()))?;
            let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
            found.extend(
                files.filter(|file| is_named_like_one(file)).filter_map(|file| first(&file)),
            );
        } else {
            found.extend(first(path));
        }
        if found.len() == before {
            bail!(
                "{} holds no certificate; name the folder or file that was renewed",
                path.display()
            );
        }
    }
    Ok(found)
}

fn is_named_like_one(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["pem", "crt", "cer", "cert"].iter().any(|one| extension.eq_ignore_ascii_case(one))
}

fn first(path: &Path) -> Option<Arc<Certificate>> {
    let bytes = files::read(path, MAX_BYTES).ok()??;
    read_certificates(&bytes).ok()?.into_iter().next().map(Arc::new)
}

#[derive(Default)]
struct Tally {
    done: Option<(usize, usize)>,
    /// Why the agent would not have it, at the last call.
    busy: Option<String>,
    /// What was printed: another agent says it again.
    shown: BTreeSet<String>,
}

impl Tally {
    /// Says something, once.
    fn note(&mut self, text: &str) {
        if self.shown.insert(text.to_owned()) {
            say::note(text);
        }
    }

    fn take(&mut self, progress: &Progress) -> anyhow::Result<()> {
        self.busy = None;
        match progress {
            Progress::Refused { reason } => bail!(Refused(reason.clone())),
            Progress::Busy { reason } => {
                self.busy = Some(reason.clone());
                if self.shown.insert(reason.clone()) {
                    say::note(format!("{reason}; this one waits for its turn"));
                }
            }
            Progress::Done { good, bad } => self.done = Some((*good, *bad)),
            Progress::Note { text } if self.shown.insert(text.clone()) => {
                say::note(text);
            }
            Progress::Note { .. } => {}
            Progress::Certificate(verdict) => {
                let word = if verdict.good { "ok" } else { "FAILED" };
                let row = [&*verdict.name, word, &*verdict.text];
                if self.shown.insert(row.join("\t")) {
                    say::row(&row);
                }
            }
        }
        Ok(())
    }

    fn end(self, leaves: &[Arc<Certificate>]) -> ExitCode {
        let (good, bad) = self.done.unwrap_or_default();
        if good + bad > 0 {
            return if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
        say::note(
            "no server of this host presents what lies there, and no [[watch]] names it: nothing to wait for",
        );
        let must_staple = leaves.iter().any(|leaf| leaf.must_staple());
        if must_staple { ExitCode::from(1) } else { ExitCode::SUCCESS }
    }
}
