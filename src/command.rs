//! Running a command without a shell: bounded in time, its last words kept, its process group gone with
//! it when time is up.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

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

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It exited with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// Its words.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it said.
        output: String,
    },
    /// It took too long and was killed.
    #[error("`{command}` was killed after {limit:?}: {output}")]
    TooLong {
        /// Its words.
        command: String,
        /// The time it had.
        limit: Duration,
        /// The last lines it said.
        output: String,
    },
    /// It could not be run.
    #[error("cannot run `{command}`: {cause}")]
    NotStarted {
        /// Its words.
        command: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The list of words is empty.
    #[error("no command is given")]
    NoCommand,
}

/// A program, what it is given, and how long it may take.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The program, then its arguments.
    pub words: Vec<String>,
    /// Variables beside those of this process.
    pub environment: Vec<(&'static str, String)>,
    /// Its standard input; a command need not read it.
    pub input: Vec<u8>,
    /// After this long it is killed, with its process group.
    pub limit: Duration,
}

/// Runs a command; success is exit status 0 in time, and gives the last lines that it said.
///
/// What systemd tells this process (`NOTIFY_SOCKET`, `WATCHDOG_*`, `LISTEN_*`) is kept from it.
///
/// # Errors
/// [`CommandError`].
pub async fn run(run: Run) -> Result<String, CommandError> {
    let Run { words, environment, input, limit } = run;
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Err(CommandError::NoCommand);
    };
    let mut prepared = Command::new(program);
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    prepared.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepared.process_group(0).kill_on_drop(true).envs(environment);
    OURS.iter().for_each(|name| {
        prepared.env_remove(name);
    });
    let mut child = match prepared.spawn() {
        Ok(child) => child,
        Err(cause) => return Err(CommandError::NotStarted { command, cause }),
    };
    let group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
    let mut words = Vec::new();
    let stdin = child.stdin.take();
    let work = async {
        let told = async {
            if let Some(mut stdin) = stdin {
                // Whoever does not read it does not want to know.
                let _ = stdin.write_all(&input).await;
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            ended = listen(&mut child, &mut words) => ended,
            () = told => unreachable!("it is pending for ever"),
        }
    };
    let ended = timeout(limit, work).await;
    let output = last_lines(&words);
    match ended {
        Ok(Ok(status)) => {
            group.let_go();
            match status.success() {
                true => Ok(output),
                false => Err(CommandError::Failed { command, status, output }),
            }
        }
        Ok(Err(cause)) => Err(CommandError::NotStarted { command, cause }),
        Err(_) => {
            drop(group);
            let _ = child.wait().await;
            Err(CommandError::TooLong { command, limit, output })
        }
    }
}

/// A command's process group, killed with the value: also where its run is given up.
struct Group(Option<i32>);

impl Group {
    /// What it leaves behind may stay.
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this instant, which is fine.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
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
        let limit = Duration::from_millis(500);
        let seen = match run(Run { words, limit, ..Run::default() }).await {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(seen.contains(expected), "{expected:?}: {seen:?}");
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
    async fn what_it_is_given_and_what_it_says() {
        let words = ["sh", "-c", "read line; echo \"$FACT and $line\""].map(str::to_owned).to_vec();
        let environment = vec![("FACT", "this".to_owned())];
        let input = b"that\n".to_vec();
        let limit = Duration::from_secs(10);
        let said = run(Run { words, environment, input, limit }).await;
        assert_eq!(said.expect("it ends well"), "this and that");
        // One that reads nothing of much.
        let words = vec!["true".to_owned()];
        let input = vec![b'x'; 1 << 20];
        let said = run(Run { words, input, limit, ..Run::default() }).await;
        assert_eq!(said.expect("it ends well"), "");
    }

    #[tokio::test]
    async fn what_systemd_tells_us_stays_with_us() {
        let words = ["sh", "-c", "env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)_'; exit 1"];
        check(&words, "exit status: 1").await;
    }
}
