//! `staplekeeper import RESPONSE`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::client::{Client, Line};
use super::refresh::Tally;
use crate::agent;
use crate::config::Settings;
use crate::serve::control::Import;

/// Longer responses are never taken.
const MAX_BYTES: u64 = 64 * 1024;

/// Verify and publish a response that came by another way
///
/// Which certificate it is about, it says itself. It is published if it is newer than what is held,
/// as an answer would be. Exit status: 0 published and, where a server is configured, loaded; 1 not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The response: DER; - reads standard input
    response: PathBuf,
}

/// Imports through the running agent, or in this process where none runs.
pub(super) async fn run(args: Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let response = read(&args.response).with_context(|| args.response.display().to_string())?;
    let order = Import::of(&response);
    let mut tally = Tally::default();
    let outcome = match Client::call(&settings).await? {
        Line::Agent(client) => {
            client.import(&order, |line| tally.take(&serde_json::from_slice(line)?)).await
        }
        Line::Nobody => {
            agent::import_here(settings, &response, |progress| tally.take(progress)).await
        }
    };
    match outcome {
        Ok(()) => tally.end(),
        Err(error) => {
            super::complain(&error.context(format!("{} was not taken", args.response.display())));
            Ok(ExitCode::from(1))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match path == Path::new("-") {
        true => io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
        false => File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
    };
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes"))),
        false => Ok(bytes),
    }
}
