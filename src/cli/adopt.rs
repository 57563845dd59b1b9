//! `staplekeeper adopt`: root makes root-owned targets links into the folder of staples.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use nix::unistd::{User, chown, geteuid};

use crate::agent;
use crate::config::Settings;
use crate::discover::{Kind, Names, Scan, Scanner};
use crate::publish::adopt::{self, AdoptStep, Wanted};
use crate::store::StateDir;

/// The user that the packages make for the agent.
const SERVICE_USER: &str = "staplekeeper";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 every target can be written by the agent, 1 some cannot, \
                        2 used or configured wrongly")]
pub(super) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
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
        anstream::eprintln!("{problem}");
    }
    let steps = adopt::plan(&wanted(&scan), &staples)
        .with_context(|| format!("cannot look at {}", staples.display()))?;
    let mut failed = steps.iter().any(|step| matches!(step, AdoptStep::Refuse { .. }));
    if args.dry_run {
        steps.iter().for_each(|step| anstream::println!("{step}"));
        return Ok(exit_status(failed));
    }
    for (step, outcome) in steps.iter().zip(adopt::carry_out(&steps)) {
        match outcome {
            Ok(()) => anstream::println!("{step}"),
            Err(error) => {
                failed = true;
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                anstream::eprintln!("{error}{hint}");
            }
        }
    }
    Ok(exit_status(failed))
}

fn exit_status(failed: bool) -> ExitCode {
    if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// The staple files that configurations name, each once.
fn wanted(scan: &Scan) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for (server, deployment) in scan.deployments() {
        let Some(target) = deployment.target() else { continue };
        let path = target.ours.to_path_buf();
        if scan.bars_staples(scan.servers[server].kind, deployment) {
            continue;
        }
        if wanted.iter().any(|known| known.path == path) {
            continue;
        }
        let place = deployment.certificates.iter().find_map(|one| scan.place(&one.file.ours));
        let name = match place {
            Some(place) => scan.lineages[place.lineage].name.to_string(),
            None => stem(&path),
        };
        let placeholder = scan.servers[server].kind == Kind::Nginx;
        wanted.push(Wanted { path, name, placeholder });
    }
    wanted
}

/// A name for a target whose certificate cannot be read.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().trim_start_matches('.').to_owned()
}

/// Makes the folder of staples before the agent's first start, for the user it will run as.
fn make(staples: &PathBuf) -> anyhow::Result<()> {
    if staples.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(staples)?;
    if let (true, Some(user)) = (geteuid().is_root(), User::from_name(SERVICE_USER)?) {
        for folder in [staples.parent().unwrap_or(staples), staples] {
            chown(folder, Some(user.uid), Some(user.gid))?;
        }
    }
    Ok(())
}
