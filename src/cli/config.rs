//! `staplekeeper config check` and `staplekeeper config show`.

use std::path::Path;
use std::process::ExitCode;

use super::say;
use crate::config;

/// What is to be done with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Say everything that is wrong with it; exit status 2 if anything is
    Check,
    /// Print every setting with the defaults filled in
    Show,
}

pub(super) fn run(action: &Action, path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = config::load(path)?;
    match action {
        Action::Check => {
            let named = path.unwrap_or(Path::new(config::PATH));
            say::note(format!("{}: valid", named.display()));
        }
        Action::Show => say::page(config::show(&settings)),
    }
    Ok(ExitCode::SUCCESS)
}
