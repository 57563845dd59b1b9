//! `staplekeeper adopt`: root makes root-owned targets links into the folder of staples.
//!
//! With `--ensure` it is what a machine runs as it starts, before its servers: nothing asked of the network,
//! no server touched, done or given up within seconds, and no failure that could hold up a boot.

mod record;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{User, geteuid};

use super::say;
use crate::agent;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Settings};
use crate::discover::{Kind, Names, Scan, Scanner};
use crate::files;
use crate::pki::Issued;
use crate::publish::adopt::{self, AdoptStep, Wanted};
use crate::store::StateDir;

/// The user that the packages make for the agent.
pub(super) const SERVICE_USER: &str = "staplekeeper";
/// A boot is held up no longer: systemd's own limit for the unit is 10 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// No response is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 every target can be written by the agent, 1 some cannot, \
                        2 used or configured wrongly")]
pub(super) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// As the machine starts: also put back staples that are missing or another certificate's;
    /// always exit status 0, and within 10 seconds
    #[arg(long)]
    ensure: bool,
}

pub(super) fn run(args: Args, path: Option<&Path>) -> anyhow::Result<ExitCode> {
    if !args.ensure {
        return adopt(&args, &config::load(path)?);
    }
    let (done, ended) = mpsc::channel();
    let path = path.map(Path::to_owned);
    thread::spawn(move || {
        let outcome = config::load(path.as_deref())
            .map_err(Into::into)
            .and_then(|settings| adopt(&args, &settings));
        // Nobody waits any more where it took too long.
        let _ = done.send(outcome.map(drop));
    });
    match ended.recv_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => super::complain(&error),
        Err(_) => say::note(format!(
            "staplekeeper: not all targets were looked at within {} s; the agent will see to the rest",
            PATIENCE.as_secs()
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn adopt(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let state = StateDir::new(&settings.state_dir);
    let staples = state.staples();
    if !args.dry_run {
        make(&staples).with_context(|| format!("cannot make {}", staples.display()))?;
    }
    let names = state.names()?;
    let mut names = Names::try_from(names)?;
    let (issuers, _) = state.issuers();
    let issuers: Vec<_> = issuers.into_iter().map(Into::into).collect();
    let scan = Scanner::new(agent::scan_settings(settings)).scan(&issuers, &mut names);
    for problem in scan.problems.iter().chain(scan.servers.iter().flat_map(|one| &one.problems)) {
        say::note(problem);
    }
    let shelf = match args.ensure {
        true => Some(agent::Shelf::new(settings, SystemClock.now().wall)?),
        false => None,
    };
    let steps = adopt::plan(&wanted(&scan, shelf.as_ref()), &staples)
        .with_context(|| format!("cannot look at {}", staples.display()))?;
    let mut failed = steps.iter().any(|step| matches!(step, AdoptStep::Refuse { .. }));
    if args.dry_run {
        steps.iter().for_each(say::line);
        return Ok(exit_status(failed));
    }
    let mut done = Vec::new();
    for (step, outcome) in steps.iter().zip(adopt::carry_out(&steps)) {
        match outcome {
            Ok(()) => {
                say::line(step);
                done.push(step);
            }
            Err(error) => {
                failed = true;
                say::note(&error);
                error.hint().iter().for_each(|hint| say::note(format!("hint: {hint}")));
            }
        }
    }
    if let Err(error) = record::leave(args.ensure, settings, &scan, &done) {
        say::note(format!("the audit trail is not told of this: {error}"));
    }
    Ok(exit_status(failed))
}

fn exit_status(failed: bool) -> ExitCode {
    if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// The staple files that configurations name, each once.
pub(super) fn wanted(scan: &Scan, shelf: Option<&agent::Shelf>) -> Vec<Wanted> {
    let (mut wanted, mut seen) = (Vec::new(), HashSet::new());
    let claimants = claimants(scan);
    for (server, deployment) in scan.deployments() {
        let Some(target) = deployment.target() else { continue };
        let path = target.ours.to_path_buf();
        if scan.bars_staples(scan.servers[server].kind, deployment) {
            continue;
        }
        if !seen.insert(path.clone()) {
            continue;
        }
        let place = deployment.certificates.iter().find_map(|one| scan.place(&one.file.ours));
        let name = match place {
            Some(place) => scan.lineages[place.lineage].name.to_string(),
            None => stem(&path),
        };
        let placeholder = scan.servers[server].kind == Kind::Nginx;
        let instead = shelf.and_then(|shelf| {
            let there = files::read(&path, MAX_BYTES).ok()?;
            let claimants = claimants.get(&*path).map(Vec::as_slice).unwrap_or_default();
            shelf.better_than(there.as_deref(), claimants, placeholder)
        });
        wanted.push(Wanted { path, name, placeholder, instead });
    }
    wanted
}

/// The certificates that are presented with each staple; none where one of them is unknown.
fn claimants(scan: &Scan) -> HashMap<&Path, Vec<Issued>> {
    let known = scan.certificates.iter().map(|found| (found.issued.fingerprint(), &found.issued));
    let known: HashMap<_, _> = known.collect();
    let mut claimants: HashMap<&Path, Option<Vec<Issued>>> = HashMap::new();
    for (_, deployment) in scan.deployments() {
        let Some(target) = deployment.target() else { continue };
        let entry = claimants.entry(&target.ours).or_insert_with(|| Some(Vec::new()));
        for presented in &deployment.certificates {
            let place = scan.place(&presented.file.ours);
            let issued = place.and_then(|place| known.get(&place.leaf));
            match (issued, &mut *entry) {
                (Some(issued), Some(all)) => all.push((*issued).clone()),
                _ => *entry = None,
            }
        }
    }
    claimants.into_iter().map(|(path, all)| (path, all.unwrap_or_default())).collect()
}

/// A name for a target whose certificate cannot be read.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().trim_start_matches('.').to_owned()
}

/// Makes the folder of staples before the agent's first start, for the user it will run as.
fn make(staples: &Path) -> anyhow::Result<()> {
    let user = match geteuid().is_root() {
        true => User::from_name(SERVICE_USER)?,
        false => None,
    };
    Ok(adopt::make_staples(staples, user.map(|user| (user.uid, user.gid)))?)
}
