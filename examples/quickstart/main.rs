//! staplekeeper at work, in about a minute: `examples/quickstart/run`.
//!
//! A CA whose OCSP answers live for 24 seconds, a Must-Staple certificate, a real nginx and the built
//! agent between them, all in one temporary folder. Fifty strict clients a second watch whether one of
//! them would ever be turned away. Each step is something that goes wrong on real hosts; the program
//! exits with 0 only if every step held. `staplekeeper.toml` and `nginx.conf` beside this file are what
//! an operator would write.

#![allow(unreachable_pub, reason = "a program: nothing of it can be reached from outside")]

#[path = "../../tests/it/support/ca/mod.rs"]
mod ca;
#[path = "../../tests/it/support/port.rs"]
mod port;
#[path = "../../tests/it/support/responder.rs"]
mod responder;

mod agent;
mod authority;
mod client;
mod server;
mod stage;
mod steps;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};
use server::Program;
use stage::Stage;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The site.
const NAME: &str = "www.quickstart.example";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["reload", socket] => server::reload(Path::new(socket)).await,
        [] => play(Program::find()).await,
        ["--without-nginx"] => play(Program::StandIn).await,
        _ => Err(anyhow!("usage: quickstart [--without-nginx]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("   FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays until the end or a signal; leaving the stage clears it either way.
async fn play(program: Program) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stage = Stage::set(program)?;
    tokio::select! {
        outcome = perform(&mut stage) => outcome.inspect_err(|_| stage.show_logs()),
        () = either(&mut interrupt, &mut terminate) => Err(anyhow!("interrupted")),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn perform(stage: &mut Stage) -> Result<()> {
    let begun = Instant::now();
    stage.announce();
    println!(
        "\n1  The staple lies there before the server starts, so its first handshake is stapled"
    );
    show(steps::start(stage).await?);
    println!("\n2  Before an answer runs out, the next one is fetched, loaded and confirmed");
    show(steps::rotate(stage).await?);
    println!("\n3  The responder dies, and the staple survives it");
    show(steps::lose_responder(stage).await?);
    println!(
        "\n4  The certificate is renewed on disk, and nobody meets it with the old one's staple"
    );
    show(steps::renew(stage).await?);
    println!("\n5  The certificate is revoked, and clients learn it");
    show(steps::revoke(stage).await?);
    let took = begun.elapsed().as_secs();
    println!("\nEvery step held, in {took} s. Processes and folder are taken away.");
    Ok(())
}

fn show(evidence: Vec<String>) {
    evidence.iter().for_each(|line| println!("     {line}"));
}
