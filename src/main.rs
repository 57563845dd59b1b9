//! The thin binary: reads the command line, prints the chain of causes, picks the exit status.

use std::process::ExitCode;

use clap::Parser as _;
use staplekeeper::cli::{Cli, complain, failure_status, run, usage_status};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where nobody reads it there is nobody to tell.
            let _ = error.print();
            return usage_status(&error, std::env::args_os());
        }
    };
    match run(cli) {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            failure_status(&error)
        }
    }
}
