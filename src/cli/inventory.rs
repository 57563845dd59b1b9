//! `staplekeeper inventory [--format table|json|csv]`.

use std::process::ExitCode;

use super::say;
use crate::agent::Survey;
use crate::config::Settings;
use crate::inventory::{self, Inventory};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A way to print the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For spreadsheets: a row for each place that presents a certificate
    Csv,
}

pub(super) fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let survey = Survey::take(settings)?;
    let inventory = Inventory::of(&survey.scan, survey.at, |issued| survey.responders(issued));
    survey.unread.iter().for_each(say::note);
    if args.format != Format::Json {
        inventory.problems.iter().for_each(say::problem);
    }
    match args.format {
        Format::Table => say::page(inventory::table(&inventory, super::width())),
        Format::Json => say::json(&inventory)?,
        Format::Csv => say::page(inventory::csv(&inventory)?),
    }
    Ok(ExitCode::SUCCESS)
}
