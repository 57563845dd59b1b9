//! Who runs: a server's master by its pid file, and the workers under it, read from /proc.
//!
//! nginx names its processes: `nginx: master process …`, `nginx: worker process`, and `nginx: worker
//! process is shutting down` once a reload has replaced it. So new workers are the proof that the
//! master took up its files, and the only one that needs no handshake (facts/servers.md 4).
//!
//! Apache's processes look all alike, and come and go by load. But its parent writes the pid file anew each
//! time it has read its configuration, at graceful restarts too: that, and a new child, are the proof.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Kind;
use crate::files;

/// Longer than any pid file.
const MAX_PID_FILE_BYTES: u64 = 64;

/// A running server: its master and the workers that take connections.
///
/// Printed and parsed as one line of text, so that a restarted agent knows the server again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The kernel's id of this boot.
    boot: String,
    master: i32,
    /// When the master started, in clock ticks since boot: pids are used again.
    started: u64,
    /// Of servers that tell by it: when the pid file was written, in nanoseconds since 1970 UTC.
    written: Option<i128>,
    /// Process ids, without those that are known to be shutting down; of a server of one process, its
    /// pipes.
    workers: BTreeSet<i64>,
}

/// Why there is no server to look at. It is nobody's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A running nginx always has one.
    #[error("{} is missing", .0.display())]
    NoPidFile(PathBuf),
    /// `nginx -t` leaves an empty one behind where there was none (facts/servers.md 19).
    #[error("{} is empty", .0.display())]
    EmptyPidFile(PathBuf),
    /// It holds something else than a number.
    #[error("{} holds {:?}, which is no process id", .0.display(), .1)]
    NotAPid(PathBuf, String),
    /// The process it names has ended.
    #[error("process {} of {} does not run", .1, .0.display())]
    NoProcess(PathBuf, i32),
}

/// Why a server cannot be looked at, though it may run.
#[derive(Debug, thiserror::Error)]
pub enum Unseen {
    /// The pid file names something that is not the server's master.
    #[error("{} names process {pid}, which is no {wanted} but {found:?}", pid_file.display())]
    OtherProcess {
        /// The file.
        pid_file: PathBuf,
        /// What should run there.
        wanted: &'static str,
        /// What it says.
        pid: i32,
        /// The command line of that process.
        found: String,
    },
    /// /proc does not show it (`hidepid`, `ProtectProc=`).
    #[error("process {pid} of {} runs, but /proc does not show it to us", pid_file.display())]
    Hidden {
        /// The file.
        pid_file: PathBuf,
        /// What it says.
        pid: i32,
    },
    /// The pid file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] files::FileError),
}

impl Snapshot {
    /// Looks at the server of this kind whose master wrote `pid_file`.
    ///
    /// # Errors
    /// It may run but cannot be seen.
    pub fn take(kind: Kind, pid_file: &Path) -> Result<Result<Snapshot, Stopped>, Unseen> {
        // Looked at before the processes: what was written since then is news at the next look.
        let written = if kind == Kind::Apache { written_at(pid_file) } else { None };
        let master = match read_pid(pid_file)? {
            Ok(master) => master,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let Some(started) = start_of(master) else { return gone(pid_file, master) };
        let title = command_line(master);
        let (wanted, is_it) = match kind {
            Kind::Apache => ("Apache", is_apache(&title)),
            Kind::Nginx => ("nginx master", is(&title, "master process")),
            _ => (kind.programs().first().copied().unwrap_or("server"), is_program(master, kind)),
        };
        if !is_it {
            let pid_file = pid_file.to_owned();
            return Err(Unseen::OtherProcess { pid_file, wanted, pid: master, found: title });
        }
        let takes = |child: &i32| match kind {
            Kind::Apache => start_of(*child).is_some(),
            Kind::Nginx => takes_connections(*child),
            _ => is_program(*child, kind),
        };
        let workers = children(master).into_iter().filter(takes).map(i64::from);
        let mut workers: BTreeSet<i64> = workers.collect();
        if workers.is_empty() && kind == Kind::Lighttpd {
            workers = pipes(master);
        }
        Ok(Ok(Snapshot { boot: boot_id(), master, started, written, workers }))
    }

    /// The master's process id.
    pub fn master(&self) -> i32 {
        self.master
    }

    /// How many workers take connections.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The process ids of those workers.
    pub fn worker_pids(&self) -> impl Iterator<Item = i32> {
        self.workers.iter().filter_map(|pid| i32::try_from(*pid).ok())
    }

    /// Whether both are the same master process.
    pub fn same_master(&self, other: &Snapshot) -> bool {
        (self.master, self.started, &self.boot) == (other.master, other.started, &other.boot)
    }

    /// Whether the files were read since `before` was taken: every worker that takes connections is
    /// new, or, where the server tells, it has read them and made one. One worker that crashed and was
    /// replaced does not make it so.
    pub fn renewed_since(&self, before: &Snapshot) -> bool {
        let renewed = match self.written {
            Some(_) => self.written != before.written && !self.workers.is_subset(&before.workers),
            None => self.workers.is_disjoint(&before.workers),
        };
        (renewed || !self.same_master(before)) && !self.workers.is_empty()
    }

    /// Whether the server has taken up its files since `before` was taken, as its kind shows it.
    pub(super) fn reloaded_since(&self, before: &Snapshot, kind: Kind) -> bool {
        let new = !self.workers.is_subset(&before.workers);
        self.renewed_since(before) || kind.keeps_old_workers() && new
    }

    /// As many new workers as there were old ones, even if an old one does not let go.
    pub fn mostly_renewed_since(&self, before: &Snapshot) -> bool {
        let new = self.workers.difference(&before.workers).count();
        self.written == before.written && new > 0 && new >= before.workers.len()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { boot, master, started, written, workers } = self;
        write!(f, "{boot} {master} {started}")?;
        written.iter().try_for_each(|at| write!(f, " @{at}"))?;
        workers.iter().try_for_each(|worker| write!(f, " {worker}"))
    }
}

/// The text is no [`Snapshot`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no snapshot of a server: {0:?}")]
pub struct NotASnapshot(String);

impl FromStr for Snapshot {
    type Err = NotASnapshot;

    fn from_str(text: &str) -> Result<Self, NotASnapshot> {
        let wrong = || NotASnapshot(text.to_owned());
        let mut words = text.split(' ');
        let boot = words.next().ok_or_else(wrong)?.to_owned();
        let master = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let started = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let mut words = words.peekable();
        let written = words.next_if(|word| word.starts_with('@'));
        let written = written.map(|word| word[1..].parse().map_err(|_| wrong())).transpose()?;
        let workers = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        Ok(Snapshot { boot, master, started, written, workers })
    }
}

/// The systemd service that a process belongs to, by its control group.
pub(super) fn service_of(pid: i32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    service_in(&groups).map(str::to_owned)
}

/// `0::/system.slice/nginx.service`, or the `name=systemd` line of the older layout.
fn service_in(groups: &str) -> Option<&str> {
    let paths = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers) = (parts.next()?, parts.next()?);
        (number == "0" || controllers == "name=systemd").then(|| parts.next())?
    });
    paths.filter_map(|path| path.rsplit('/').next()).find(|unit| unit.ends_with(".service"))
}

fn read_pid(pid_file: &Path) -> Result<Result<i32, Stopped>, Unseen> {
    let Some(bytes) = files::read(pid_file, MAX_PID_FILE_BYTES)? else {
        return Ok(Err(Stopped::NoPidFile(pid_file.to_owned())));
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(match text.trim() {
        "" => Err(Stopped::EmptyPidFile(pid_file.to_owned())),
        // Signals to 0, 1 and negative numbers reach process groups, init and everything.
        text => match text.parse::<i32>() {
            Ok(pid) if pid > 0 => Ok(pid),
            _ => Err(Stopped::NotAPid(pid_file.to_owned(), text.to_owned())),
        },
    })
}

/// /proc shows no such process: it has ended, or is hidden from us.
fn gone(pid_file: &Path, pid: i32) -> Result<Result<Snapshot, Stopped>, Unseen> {
    let pid_file = pid_file.to_owned();
    match kill(Pid::from_raw(pid), None) {
        Err(Errno::EPERM) => Err(Unseen::Hidden { pid_file, pid }),
        _ => Ok(Err(Stopped::NoProcess(pid_file, pid))),
    }
}

/// When a process started, in clock ticks since boot; `None` if it has ended.
fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_in(&stat)
}

/// proc(5): state is the first field behind the parenthesised name, starttime the twentieth.
fn start_in(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    match fields.first()? {
        &"Z" | &"X" => None,
        _ => fields.get(19)?.parse().ok(),
    }
}

/// When a file got its content; each time it is another one by rename.
fn written_at(pid_file: &Path) -> Option<i128> {
    let found = fs::metadata(pid_file).ok()?;
    Some(i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()))
}

/// The arguments of a process, as it was started with or as it has changed them.
pub(super) fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// A process's arguments, joined by spaces; nginx overwrites them with its title.
fn command_line(pid: i32) -> String {
    arguments(pid).join(" ")
}

/// Whether a process runs the program of a kind of server.
fn is_program(pid: i32, kind: Kind) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    kind.programs().contains(&name.trim())
}

/// The pipes a process has made for itself, by their numbers; none where we may not look.
fn pipes(pid: i32) -> BTreeSet<i64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let pipes = entries.filter_map(|entry| {
        let end = fs::read_link(entry.path()).ok()?;
        end.to_str()?.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok()
    });
    pipes.collect()
}

fn takes_connections(pid: i32) -> bool {
    let title = command_line(pid);
    is(&title, "worker process") && !title.contains("is shutting down")
}

/// nginx's descendants put their own name first, and keep the rest.
fn is(title: &str, role: &str) -> bool {
    let own = title.split_once(": ");
    own.is_some_and(|(name, rest)| ["nginx", "angie"].contains(&name) && rest.starts_with(role))
}

/// Apache keeps the arguments it was started with.
fn is_apache(title: &str) -> bool {
    let program = title.split(' ').next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    ["apache", "httpd"].iter().any(|own| name.starts_with(own))
}

/// The children of a process that has one thread, as these masters have.
fn children(pid: i32) -> Vec<i32> {
    match fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(pids) => pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // Kernels are built without this file, too (CONFIG_PROC_CHILDREN).
        Err(_) => children_by_parent(pid).unwrap_or_default(),
    }
}

fn children_by_parent(parent: i32) -> io::Result<Vec<i32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if parent_in(&stat) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

fn parent_in(stat: &str) -> Option<i32> {
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if id.trim().is_empty() { "-".to_owned() } else { id.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect(text)
    }

    fn check(before: &str, after: &str, renewed: bool, mostly: bool) {
        let (before, after) = (snapshot(before), snapshot(after));
        assert_eq!(after.renewed_since(&before), renewed, "{before} -> {after}");
        assert_eq!(after.mostly_renewed_since(&before), mostly, "{before} -> {after}");
    }

    #[test]
    fn new_workers_prove_a_reload() {
        check("b 9 100 11 12", "b 9 100 13 14", true, true);
        check("b 9 100 11 12", "b 9 100 11 12", false, false);
        check("b 9 100 11 12", "b 9 100 11 13", false, false); // one crashed
        check("b 9 100 11 12", "b 9 100 11 13 14", false, true); // one does not let go
        check("b 9 100 11 12", "b 9 100", false, false); // new ones have no title yet
        check("b 9 100", "b 9 100 13", true, true);
        check("b 9 100 11", "b 9 222 11", true, false); // restarted, pids used again
        check("b 9 100 11", "c 9 100 11", true, false); // rebooted
        check("b 9 100 @1 11 12", "b 9 100 @2 12 13", true, false); // an old one has a client still
        check("b 9 100 @1 11 12", "b 9 100 @2 11 12", false, false); // no new ones yet
        check("b 9 100 @1 11 12", "b 9 100 @1 13 14", false, true); // by load
    }

    #[test]
    fn snapshots_survive_as_text() {
        for text in ["6f0c4b9e-0000 812 4711 813 814", "6f0c4b9e-0000 812 4711 @17000000004 813"] {
            assert_eq!(snapshot(text).to_string(), text);
        }
        for wrong in
            ["", "boot", "boot 1", "boot 1 x", "boot 1 2 x", "boot 1 2 @x", "boot 1 2 3 @4"]
        {
            assert!(wrong.parse::<Snapshot>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn titles_tell_roles() {
        assert!(is("nginx: master process /usr/sbin/nginx -g daemon on;", "master process"));
        assert!(is("angie: worker process is shutting down", "worker process"));
        assert!(!is("vim nginx: master process", "master process"));
        assert!(!is("nginx: cache manager process", "worker process"));
        for title in ["/usr/sbin/apache2 -k start", "httpd -DFOREGROUND"] {
            assert!(is_apache(title), "{title}");
        }
        assert!(!is_apache("vim /etc/apache2/apache2.conf"));
    }

    #[test]
    fn stat_lines_are_read_behind_the_name() {
        let stat = "812 (a) b) (c) S 1 812 812 0 -1 4194624 9 8 7 6 5 4 3 2 20 0 1 0 4711 11 12";
        assert_eq!((parent_in(stat), start_in(stat)), (Some(1), Some(4711)));
        assert_eq!(start_in(&stat.replace(" S ", " Z ")), None, "a zombie does not run");
        assert_eq!((parent_in(""), start_in("812 (x")), (None, None));
    }

    #[test]
    fn control_groups_name_the_service() {
        let cases = [
            ("0::/system.slice/nginx.service\n", Some("nginx.service")),
            (
                "2:cpu:/x.service\n1:name=systemd:/system.slice/nginx.service\n",
                Some("nginx.service"),
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ];
        for (groups, unit) in cases {
            assert_eq!(service_in(groups), unit, "{groups:?}");
        }
    }

    #[test]
    fn pid_files_are_taken_with_care() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("nginx.pid");
        let see = || match Snapshot::take(Kind::Nginx, &path) {
            Ok(Ok(snapshot)) => snapshot.to_string(),
            Ok(Err(stopped)) => stopped.to_string(),
            Err(unseen) => unseen.to_string(),
        };
        let own = std::process::id().to_string();
        let cases = [
            (None, "is missing"),
            (Some(""), "is empty"),
            (Some("\n"), "is empty"),
            (Some("0\n"), "holds \"0\", which is no process id"),
            (Some("-1"), "holds \"-1\", which is no process id"),
            (Some("soon"), "holds \"soon\", which is no process id"),
            (Some("2147483647\n"), "process 2147483647 of"),
            (Some(own.as_str()), "which is no nginx master but"),
        ];
        for (content, words) in cases {
            if let Some(content) = content {
                fs::write(&path, content).expect("ours");
            }
            assert!(see().contains(words), "{content:?}: {}", see());
        }
    }
}
