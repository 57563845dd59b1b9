//! The thin binary: reads the command line, prints the chain of causes, picks the exit status.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use staplekeeper::cli::{Cli, complain, failure_status, run, usage_status};

/// glibc's own keeps what a scan of thousands of certificates needed for a moment, once for each thread
/// that did: a third of all that the agent has resident.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
