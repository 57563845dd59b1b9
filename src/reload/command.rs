//! Running a command without a shell: bounded in time, its last words kept.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::ReloadError;

/// How much of the output is kept, from its end.
const KEPT_BYTES: usize = 4 * 1024;
/// How many lines of it go into an error.
const KEPT_LINES: usize = 10;
/// Children that the command leaves behind may hold its output open; they are not waited for.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// What systemd tells this process and no other.
const OURS: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// Runs `words` (program, then arguments); success is exit status 0 within `limit`.
///
/// # Errors
/// It cannot be started, exits otherwise, or is killed with its process group when time is up.
pub(super) async fn run(words: &[String], limit: Duration) -> Result<(), ReloadError> {
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Err(ReloadError::NoCommand);
    };
    let mut prepared = Command::new(program);
    prepared.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepared.process_group(0).kill_on_drop(true);
    OURS.iter().for_each(|name| {
        prepared.env_remove(name);
    });
    let mut child = match prepared.spawn() {
        Ok(child) => child,
        Err(source) => return Err(ReloadError::NotStarted { command, source }),
    };
    let group = child.id();
    let mut words = Vec::new();
    let ended = timeout(limit, listen(&mut child, &mut words)).await;
    let output = last_lines(&words);
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ReloadError::Command { command, status, output }),
        Ok(Err(source)) => Err(ReloadError::NotStarted { command, source }),
        Err(_) => {
            if let Some(group) = group.and_then(|pid| i32::try_from(pid).ok()) {
                // The group is the command's own; it may have ended this instant, which is fine.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = child.wait().await;
            Err(ReloadError::TooLong { command, limit, output })
        }
    }
}

/// Collects both streams into `words` until the command ends.
async fn listen(child: &mut Child, words: &mut Vec<u8>) -> std::io::Result<ExitStatus> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut status = None;
    while out.is_some() || err.is_some() {
        let (mut some, mut more) = ([0; 1024], [0; 1024]);
        tokio::select! {
            read = next(&mut out, &mut some) => keep(words, &some[..read]),
            read = next(&mut err, &mut more) => keep(words, &more[..read]),
            ended = child.wait(), if status.is_none() => status = Some(ended?),
            () = tokio::time::sleep(LAST_WORDS), if status.is_some() => break,
        }
    }
    match status {
        Some(status) => Ok(status),
        None => child.wait().await,
    }
}

/// Reads on; a stream that has ended or failed is put away.
async fn next<S: AsyncRead + Unpin>(stream: &mut Option<S>, buffer: &mut [u8]) -> usize {
    let Some(open) = stream else { return std::future::pending().await };
    let read = open.read(buffer).await.unwrap_or(0);
    if read == 0 {
        *stream = None;
    }
    read
}

/// Appends, and forgets the beginning when it gets too much.
fn keep(words: &mut Vec<u8>, more: &[u8]) {
    words.extend_from_slice(more);
    let excess = words.len().saturating_sub(KEPT_BYTES);
    words.drain(..excess);
}

fn last_lines(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn check(words: &[&str], expected: &str) {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let seen = match run(&words, Duration::from_millis(500)).await {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(seen.contains(expected), "{words:?}: {seen:?}");
    }

    #[tokio::test]
    async fn commands_end_in_their_own_words() {
        check(&["true"], "done").await;
        check(&["sh", "-c", "echo one; echo two >&2; exit 3"], "exit status: 3").await;
        check(&["sh", "-c", "echo broken line 7 >&2; exit 1"], "broken line 7").await;
        check(&["sh", "-c", "kill -9 $$"], "signal: 9").await;
        check(&["/no/such/program"], "cannot run").await;
        check(&[], "no command").await;
        check(&["sh", "-c", "yes | head -c 1000000; echo the end; exit 1"], "the end").await;
        check(&["echo", "$(exit 1)", ";", "false"], "done").await; // no shell reads this
        check(&["sh", "-c", "echo begun; sleep 60"], "after 500ms").await;
        check(&["sh", "-c", "echo begun; sleep 60"], "begun").await;
    }

    #[tokio::test]
    async fn a_child_left_behind_is_not_waited_for() {
        let start = Instant::now();
        check(&["sh", "-c", "sleep 2 & exit 0"], "done").await;
        assert!(start.elapsed() < Duration::from_millis(1500));
    }

    #[tokio::test]
    async fn what_systemd_tells_us_stays_with_us() {
        let words = ["sh", "-c", "env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)_'; exit 1"];
        check(&words, "exit status: 1").await;
    }
}
