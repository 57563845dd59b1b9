//! Asking root's *staplekeeper-reload.path* to have systemd reload a unit, where polkit lets us not.
//!
//! A request is a file `asked/UNIT`: its name is all that root reads, and compares with a list of its
//! own (`packaging/systemd/reload`). Root takes it away, has systemd do it, and writes `answered/UNIT`:
//! which file it took (inode and time of modification), the status of `systemctl reload`, and its words.
//! The folders are root's, so that what lies in them is never a link of ours that root would follow.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{FIRST_PAUSE, LONGEST_PAUSE, ReloadError, systemd};
use crate::files;

/// What the packages' tmpfiles.d makes.
const FOLDER: &str = "/run/staplekeeper-reload";
/// A path unit that watches takes a request at once; a busy machine is given time.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// The script cuts what systemctl says.
const MAX_ANSWER_BYTES: u64 = 8 * 1024;

/// Root's door, as the packages make it.
#[derive(Debug)]
pub(super) struct Door {
    folder: PathBuf,
    taken_within: Duration,
}

impl Door {
    /// Where the packages have it.
    pub(super) fn usual() -> Self {
        Door { folder: FOLDER.into(), taken_within: TAKEN_WITHIN }
    }

    /// Has root reload `unit`, a name of systemd.unit(5), and waits until that is done.
    ///
    /// # Errors
    /// `Forbidden` if there is no such door or nobody behind it; else as root was told.
    pub(super) async fn reload(&self, unit: &str, limit: Duration) -> Result<(), ReloadError> {
        let forbidden = || ReloadError::Forbidden { unit: unit.to_owned() };
        let request = Request::put(self.folder.join("asked").join(unit)).ok_or_else(forbidden)?;
        let answer = self.folder.join("answered").join(unit);
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            // The look at the clock comes first: what is there by then counts.
            let passed = start.elapsed();
            if let Some((status, words)) = request.answered(&answer) {
                return judge(unit, status, &words);
            }
            if passed >= self.taken_within && request.withdraw() {
                return Err(forbidden());
            }
            if passed >= limit {
                return Err(ReloadError::UnitTooLong { unit: unit.to_owned(), limit });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A request, withdrawn with the value.
struct Request {
    path: PathBuf,
    number: String,
}

impl Request {
    /// `None`: the folder is not there, or not for us.
    fn put(path: PathBuf) -> Option<Request> {
        // Left by an agent that was killed; what it asked for is asked anew.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let found = file.and_then(|file| file.metadata());
        let found = found.inspect_err(
            |error| tracing::debug!(%error, path = %path.display(), "cannot ask root"),
        );
        Some(Request { number: number(&found.ok()?), path })
    }

    /// Whether nobody had taken it.
    fn withdraw(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// The status and words of the answer to this request; others' answers may lie there from before.
    fn answered(&self, answer: &Path) -> Option<(i32, String)> {
        let bytes = files::read(answer, MAX_ANSWER_BYTES).ok()??;
        let text = String::from_utf8_lossy(&bytes);
        let (head, words) = text.split_once('\n')?;
        let (number, status) = head.split_once(' ')?;
        (number == self.number).then_some(())?;
        Some((status.parse().ok()?, words.trim().to_owned()))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// As `stat -c %i-%.9Y` prints it. An inode's number alone may be given to the next file.
fn number(found: &fs::Metadata) -> String {
    format!("{}-{}.{:09}", found.ino(), found.mtime(), found.mtime_nsec())
}

fn judge(unit: &str, status: i32, words: &str) -> Result<(), ReloadError> {
    if status == 0 {
        return Ok(());
    }
    let known = systemd::refusal(unit, words);
    // One line, as all that goes into a log.
    let words = words.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Err(known.unwrap_or(ReloadError::ByRoot { unit: unit.to_owned(), words }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::super::Kind;
    use super::*;

    const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
    const UNITS: [&str; 3] = ["good.service", "idle.service", "bad.service"];

    /// The folders as tmpfiles.d makes them, and a `systemctl` that answers as Debian's does.
    fn door(taken_within: Duration) -> (tempfile::TempDir, Door) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().to_owned();
        for name in ["asked", "answered", "bin"] {
            fs::create_dir(path.join(name)).expect("ours");
        }
        let systemctl = path.join("bin/systemctl");
        let text = "#!/bin/sh\necho \"$*\" >>\"${0%/*}/../calls\"\ncase $3 in\n\
                    idle*) echo \"$3 is not active, cannot reload.\" >&2; exit 1 ;;\n\
                    bad*) echo \"Job for $3 failed.\" >&2; exit 1 ;;\nesac\n";
        fs::write(&systemctl, text).expect("ours");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("ours");
        (folder, Door { folder: path, taken_within })
    }

    /// What the service runs, once.
    fn serve(folder: &Path) -> bool {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", folder.join("bin").display());
        let mut script = Command::new("sh");
        script.arg(format!("{PACKAGING}/systemd/reload")).arg(folder).args(UNITS);
        script.env("PATH", path).status().expect("it can be executed").success()
    }

    #[tokio::test]
    async fn root_is_asked_and_says_what_came_of_it() {
        let (folder, door) = door(Duration::from_secs(30));
        let path = folder.path().to_owned();
        // The path unit starts the service while one of its files exists.
        let (done, ended) = (path.join("done"), path.join("done"));
        let served = path.clone();
        let unit = std::thread::spawn(move || {
            while !done.exists() {
                if UNITS.iter().any(|unit| served.join("asked").join(unit).exists()) {
                    serve(&served);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let long = Duration::from_secs(30);
        for _ in 0..2 {
            door.reload("good.service", long).await.expect("it is there");
            let error = door.reload("idle.service", long).await.expect_err("it does not run");
            assert!(matches!(error, ReloadError::UnitInactive { .. }), "{error}");
            let error = door.reload("bad.service", long).await.expect_err("its reload fails");
            assert!(error.to_string().ends_with("Job for bad.service failed."), "{error}");
        }
        fs::write(ended, "").expect("ours");
        unit.join().expect("it ends");
        let calls = fs::read_to_string(path.join("calls")).expect("there were some");
        assert_eq!(calls.lines().count(), 6, "{calls}");
        assert!(calls.lines().all(|call| call.starts_with("--no-ask-password reload ")));
        assert_eq!(fs::read_dir(path.join("asked")).expect("there").count(), 0);
    }

    #[tokio::test]
    async fn nobody_behind_the_door() {
        let (folder, door) = door(Duration::from_millis(50));
        // An answer to somebody else's request is none to this one.
        fs::write(folder.path().join("answered/good.service"), "1-1 0\n").expect("ours");
        let long = Duration::from_secs(30);
        let error = door.reload("good.service", long).await.expect_err("nobody takes it");
        assert!(matches!(error, ReloadError::Forbidden { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path().join("asked")).expect("there").count(), 0);
        let nowhere = Door { folder: folder.path().join("missing"), ..door };
        let error = nowhere.reload("good.service", long).await.expect_err("there is no folder");
        assert!(matches!(error, ReloadError::Forbidden { .. }), "{error}");
    }

    #[test]
    fn root_opens_nothing_and_takes_no_other_name() {
        let (folder, _) = door(Duration::ZERO);
        let (asked, secret) = (folder.path().join("asked"), folder.path().join("secret"));
        fs::write(&secret, "untouched").expect("ours");
        let others =
            ["other.service", "good.service;id", "..", "--now"].map(|name| asked.join(name));
        for path in others.iter().filter(|path| !path.exists()) {
            fs::write(path, "bad.service").expect("ours");
        }
        symlink(&secret, asked.join("good.service")).expect("ours");
        nix::unistd::mkfifo(&asked.join("idle.service"), nix::sys::stat::Mode::S_IRWXU)
            .expect("ours");
        assert!(serve(folder.path()), "a link and a pipe are names like others");
        assert_eq!(fs::read_to_string(&secret).expect("there"), "untouched");
        let calls = fs::read_to_string(folder.path().join("calls")).expect("there were some");
        let units: Vec<_> = calls.lines().filter_map(|call| call.split(' ').nth(2)).collect();
        assert_eq!(units, ["good.service", "idle.service"]);
        assert!(others.iter().all(|path| path.exists()), "what is not on the list stays");
        // What cannot be taken away ends it with an error: systemd's limit of starts ends the loop.
        fs::create_dir(asked.join("bad.service")).expect("ours");
        assert!(!serve(folder.path()));
    }

    /// polkit's rule, the path unit and the service speak of the same units, and of all that we know.
    #[test]
    fn one_list_of_units() {
        let read = |name: &str| {
            fs::read_to_string(format!("{PACKAGING}/{name}")).expect("a file of the project")
        };
        let named = |text: String, around: &[char]| -> BTreeSet<String> {
            let code = text.lines().filter(|line| !line.trim_start().starts_with(['#', '/']));
            let words = code.flat_map(|line| line.split(around));
            let units = words.filter(|word| word.ends_with(".service"));
            units.map(str::to_owned).collect()
        };
        let kinds = [Kind::Nginx, Kind::Apache, Kind::Haproxy, Kind::Lighttpd, Kind::Hitch];
        let known = kinds.iter().flat_map(|kind| kind.units().0);
        let known: BTreeSet<_> = known.map(|unit| (*unit).to_owned()).collect();
        assert_eq!(named(read("polkit/50-staplekeeper.rules"), &['"']), known);
        let waits = read("systemd/staplekeeper-reload.path");
        let (_, waits) = waits.split_once("[Path]").expect("it has one");
        assert_eq!(named(waits.to_owned(), &['/']), known);
        assert_eq!(named(read("systemd/staplekeeper-reload.service"), &[' ']), known);
    }
}
