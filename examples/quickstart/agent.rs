//! The agent: the built binary, run as a service manager runs it.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::{self, Instant};

/// `staplekeeper run`, stopped when the value is dropped.
pub struct Agent {
    program: PathBuf,
    config: PathBuf,
    child: Child,
}

impl Agent {
    /// Starts it with this configuration; its log goes into a file.
    pub fn start(config: &Path, log: &Path) -> Result<Agent> {
        let program = built()?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(config).arg("run");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
        let child = child.spawn().with_context(|| program.display().to_string())?;
        Ok(Agent { program, config: config.to_owned(), child })
    }

    /// What `staplekeeper status --format json` says about the certificate.
    pub async fn status(&self) -> Result<Value> {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(["status", "--format", "json"]);
        let output = command.kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "staplekeeper status: {said}");
        let mut document: Value = serde_json::from_slice(&output.stdout)?;
        Ok(document["certificates"][0].take())
    }

    /// Asks for the status until it is as wanted.
    pub async fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status().await?;
            if wanted(&status) {
                return Ok(status);
            }
            let late = Instant::now() > deadline;
            ensure!(!late, "the agent does not report {what} in {patience:?}, but {status:#}");
            time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Ends a child as a service manager does, and waits for it.
pub fn stop(child: &mut Child) {
    let pid = i32::try_from(child.id()).map(Pid::from_raw).expect("a pid fits");
    // A child that has ended is waited for below: its pid is still its own.
    let _ = kill(pid, Signal::SIGTERM);
    for _ in 0..500 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The binary that cargo put beside the examples.
fn built() -> Result<PathBuf> {
    let example = env::current_exe()?;
    let folder = example.parent().and_then(Path::parent);
    let program = folder.context("examples lie in a folder")?.join("staplekeeper");
    let missing = || anyhow!("{} is missing: run `cargo build` first", program.display());
    program.is_file().then(|| program.clone()).ok_or_else(missing)
}
