//! The thin binary: reads the command line, prints the chain of causes, picks the exit status.

use std::process::ExitCode;

use clap::Parser as _;
use staplekeeper::cli::{Cli, complain, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}
