//! The status file, and how others see from it that the agent is alive.
//!
//! The file is written when something changes. In between nothing happens, for hours, and the document
//! stays true: what in it changes by itself (a staple that grows late) wakes the planner. So that a
//! monitor can tell calm from a process that is stuck, the loop that does the work moves the file's
//! time of modification forward each minute, which costs a system call; writing 10,000 certificates
//! anew would cost a hundred thousand times that. Whoever reads it looks at two things: that the
//! process is there, and that the file is not older than it says it may be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::status::{AgentStatus, Document};
use super::watched::touch;
use super::{Agent, STATUS_EVERY};
use crate::files;
use crate::time::{MINUTE, UnixTime};

/// The status file's name inside the runtime directory.
pub const STATUS_FILE: &str = "status.json";
/// Between two signs of life.
pub(super) const BEAT: Duration = MINUTE;
/// Without one for so long the file is old: a busy machine may be late for some, not for five.
pub const VALID_FOR: Duration = MINUTE.saturating_mul(5);

impl Agent {
    fn status_file(&self) -> PathBuf {
        self.settings.runtime_dir.join(STATUS_FILE)
    }

    /// Writes the status file, for monitors that look without the control socket.
    pub(super) fn write_status(&mut self) {
        self.status_due = None;
        let begun = Instant::now();
        let briefs = self.briefs();
        self.say_status(&briefs);
        let document = self.told(&briefs);
        let written = files::replace_by(&self.status_file(), 0o644, &|file| {
            Ok(serde_json::to_writer(file, &document)?)
        });
        drop(briefs);
        self.status_stale = written.is_err();
        if let Err(error) = written {
            self.complain(error.to_string());
        }
        self.textfile_due();
        self.remember_told();
        // With very many certificates the document takes its time: it must not take all of ours.
        self.status_pause = STATUS_EVERY.max(begun.elapsed() * 20);
    }

    /// A sign of life.
    pub(super) fn beat(&mut self) {
        if self.status_stale {
            // No sign of life for what is not true any more.
            return self.write_status();
        }
        self.beat_textfile();
        if touch(&self.status_file()).is_err() {
            // Somebody took it away, or it could not be written.
            self.status_due.get_or_insert_with(Instant::now);
        }
    }
}

/// Whether a status file comes from an agent that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does, as far as can be seen.
    Lives,
    /// There is no such process any more.
    Gone,
    /// The process is there and has given no sign of life for this long.
    Silent(Duration),
}

impl Life {
    /// Judges a document and when its file was last modified.
    pub fn of(document: &Document, modified: UnixTime, now: UnixTime) -> Life {
        let Some(pid) = document.agent.pid else { return Life::Gone };
        if is_our_namespace(&document.agent) && !is_there(pid, document.agent.process_start) {
            return Life::Gone;
        }
        let valid_for = document.agent.valid_for_seconds.map_or(VALID_FOR, Duration::from_secs);
        // A time to come is as old: the clock was put back, and nobody has noticed.
        let silent = now.since(modified).max(modified.since(now));
        if silent > valid_for { Life::Silent(silent) } else { Life::Lives }
    }
}

/// The number of the namespace that this process' number is of, where the kernel tells.
pub(super) fn pid_namespace() -> Option<u64> {
    let link = std::fs::read_link(Path::new("/proc/self/ns/pid")).ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// A container's agent has another number out here, or none.
fn is_our_namespace(agent: &AgentStatus) -> bool {
    let ours = pid_namespace();
    ours.is_none() || agent.pid_namespace.is_none() || agent.pid_namespace == ours
}

/// When a process began, in ticks since the machine started; `None` where /proc tells nothing of it, or
/// that it has ended and its parent has not looked yet.
pub(super) fn process_start(pid: u32) -> Option<u64> {
    let (state, start) = stat(pid)?;
    (!has_ended(&state)).then_some(start)
}

/// State and start of a process (proc_pid_stat(5), fields 3 and 22).
fn stat(pid: u32) -> Option<(String, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them is in brackets and may have blanks and brackets in it.
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Killed and not yet waited for: its number is taken, and nobody works.
fn has_ended(state: &str) -> bool {
    matches!(state, "Z" | "X" | "x")
}

/// Looks in /proc; where that hides the processes of others, the kernel still tells whether the number
/// is taken. `began`: when the process that is meant began.
fn is_there(pid: u32, began: Option<u64>) -> bool {
    if let Some((state, start)) = stat(pid) {
        return !has_ended(&state) && began.is_none_or(|began| began == start);
    }
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_has_ended_or_is_another_is_not_there() {
        let own = std::process::id();
        let began = process_start(own).expect("we are running");
        assert!(is_there(own, Some(began)) && is_there(own, None));
        assert!(!is_there(own, Some(began + 1)), "the number was given out again");

        let mut child = Command::new("sleep").arg("600").spawn().expect("there is a sleep");
        let pid = child.id();
        assert!(is_there(pid, process_start(pid)));
        child.kill().expect("it is our own");
        // Not waited for, so it stays in the table: `kill` with no signal still finds it.
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while is_there(pid, None) {
            assert!(std::time::Instant::now() < until, "it was killed");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(kill(Pid::from_raw(i32::try_from(pid).expect("small")), None).is_ok());
        assert_eq!(process_start(pid), None);
        child.wait().expect("it is our own");
        assert!(!is_there(pid, None));
    }
}
