//! The commands, one file each; the words of the command line are here.
//!
//! Human words go to standard error, data to standard output. Exit statuses are each command's own;
//! 2 is always "used or configured wrongly".

mod adopt;
mod audit;
pub mod check;
mod client;
mod completions;
mod config;
mod explain;
mod format;
mod freeze;
mod hook;
mod import;
mod inventory;
mod lint;
mod logging;
pub mod probe;
mod refresh;
mod run;
mod say;
mod status;
pub mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::config as settings;

/// Keeps every OCSP staple of a web server fresh, verified and served.
#[derive(Debug, Parser)]
#[command(name = "staplekeeper", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; the default one may be absent
    #[arg(long, global = true, value_name = "FILE", env = "STAPLEKEEPER_CONFIG")]
    config: Option<PathBuf>,

    /// The same as the command refresh: all certificates, or those named
    #[arg(long, num_args = 0.., value_name = "NAME")]
    refresh_now: Option<Vec<String>>,

    /// With --refresh-now: leave the servers alone
    #[arg(long, requires = "refresh_now")]
    no_reload: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Command {
    /// Keep every staple fresh: the agent, in the foreground
    Run,
    /// Fetch, publish, reload and confirm at once, whatever max-age, back-off and circuits say
    Refresh(refresh::Args),
    /// Show how every certificate stands
    Status(status::Args),
    Hook(hook::Args),
    /// List every certificate: its CA, its end, its responder, where it is presented and how it is stapled
    Inventory(inventory::Args),
    /// Name what in the servers' configuration puts users at risk, with the fix
    Lint(lint::Args),
    /// Tell why a certificate is, or is not, stapled, and what to do about it
    Explain(explain::Args),
    /// Monitoring plugin: 0 OK, 1 warning, 2 critical, 3 unknown; reads the status file only
    Check(check::Args),
    Probe(probe::Args),
    Verify(verify::Args),
    /// As root: make targets in folders of root's links into the folder of staples
    Adopt(adopt::Args),
    Audit(audit::Args),
    Freeze(freeze::Args),
    /// Publish the newest staple of a certificate that was frozen
    Thaw(freeze::Args),
    Import(import::Args),
    /// Check the configuration, or show what it means
    #[command(subcommand)]
    Config(config::Action),
    /// Print completions for a shell
    Completions(completions::Args),
}

/// Does what the command line says.
///
/// # Errors
/// What stops a command from doing its work; the caller prints the chain of causes.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let path = cli.config.as_deref();
    let command = match (cli.refresh_now, cli.command) {
        (Some(names), None) => {
            Some(Command::Refresh(refresh::Args { names, no_reload: cli.no_reload }))
        }
        (Some(_), Some(_)) => bail!("--refresh-now is a command itself: name no other beside it"),
        (None, command) => command,
    };
    match command {
        Some(Command::Run) => run::run(path),
        Some(Command::Refresh(args)) => {
            logging::start(logging::Level::Errors);
            block_on(refresh::run(args, settings::load(path)?))
        }
        Some(Command::Status(args)) => {
            logging::start(logging::Level::Errors);
            block_on(status::run(args, settings::load(path)?))
        }
        Some(Command::Check(args)) => {
            Ok(check::run(&args, settings::load(path).map_err(Into::into)))
        }
        Some(Command::Inventory(args)) => {
            logging::start(logging::Level::Errors);
            inventory::run(&args, &settings::load(path)?)
        }
        Some(Command::Lint(args)) => {
            logging::start(logging::Level::Errors);
            lint::run(&args, &settings::load(path)?, path)
        }
        Some(Command::Explain(args)) => {
            logging::start(logging::Level::Errors);
            block_on(explain::run(args, settings::load(path)?, path))
        }
        Some(Command::Adopt(args)) => adopt::run(args, path),
        Some(Command::Hook(args)) => {
            logging::start(logging::Level::Errors);
            block_on(hook::run(args, settings::load(path)?))
        }
        Some(Command::Freeze(args)) => {
            logging::start(logging::Level::Errors);
            block_on(freeze::run(args, false, settings::load(path)?))
        }
        Some(Command::Thaw(args)) => {
            logging::start(logging::Level::Errors);
            block_on(freeze::run(args, true, settings::load(path)?))
        }
        Some(Command::Import(args)) => {
            logging::start(logging::Level::Errors);
            block_on(import::run(args, settings::load(path)?))
        }
        Some(Command::Audit(args)) => audit::run(&args, &settings::load(path)?),
        Some(Command::Config(action)) => config::run(&action, path),
        Some(Command::Completions(args)) => Ok(completions::run(&args)),
        Some(Command::Probe(args)) => block_on(probe::run(args)),
        Some(Command::Verify(args)) => verify::run(args),
        None => bail!("nothing to do: name a command, or --refresh-now; `--help` lists them"),
    }
}

/// The exit status where the command line itself is wrong, or asked for help.
pub fn usage_status(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // To a monitor 2 means critical; that the plugin cannot tell is 3.
    let words: Vec<OsString> = arguments.collect();
    let has = |word: &str| words.iter().any(|one| one == word);
    match error.use_stderr() {
        true if has("check") && !has("config") => ExitCode::from(3),
        true => ExitCode::from(2),
        false => ExitCode::SUCCESS,
    }
}

/// How many columns the terminal has; 80 where none is known.
fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// The exit status where a command did not do its work: 2 where it was used or configured wrongly, 1 where the
/// agent that should do the work does not answer.
pub fn failure_status(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.is::<client::Stuck>() { 1 } else { 2 })
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints an error and what caused it on standard error.
pub fn complain(error: &anyhow::Error) {
    let mut chain = error.chain();
    let first = chain.next().map(ToString::to_string).unwrap_or_default();
    // A report of the configuration is whole lines already.
    match first.strip_suffix('\n') {
        Some(report) => say::report(report),
        None => say::note(format!("staplekeeper: {first}")),
    }
    chain.for_each(|cause| say::note(format!("  because: {cause}")));
}
