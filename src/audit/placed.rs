//! Which targets the trail knows to be named by servers, so that a start says what changed meanwhile.
//!
//! The agent says of each target at its start who reads it and what lies there. Here it is told apart
//! whether that is news: a path that was given while no agent ran, or that nobody names any more. The file
//! `placed` holds a line for each, `+SERVERS "TARGET"`, with the beginning of a digest of the servers; a
//! change adds a line (`-"TARGET"` for one that is gone), a start writes it anew. Between starts nothing of it
//! is kept in memory.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::files::{self, FileError, Step};
use crate::happening::Happening;

/// The file's name in the trail's folder.
const NAME: &str = "placed";
/// A hundred thousand long paths; what is longer is said again.
const MAX_BYTES: u64 = 64 << 20;

/// What the trail knows of targets.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    /// Until everything has been found: who reads a target, and whether it was found since the start.
    start: Option<HashMap<String, (u64, bool)>>,
    /// That is not what the file says.
    changed: bool,
    /// Lines to be added.
    more: String,
    /// The file is not what the trail says: the next start says all again.
    lost: bool,
}

impl Placed {
    /// What the file in `folder` remembers; nothing where there is none.
    pub(super) fn read(folder: &Path) -> Placed {
        let path = folder.join(NAME);
        let bytes = files::read(&path, MAX_BYTES).ok().flatten().unwrap_or_default();
        let mut known = HashMap::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some((head, target)) = line.split_once(' ') else { continue };
            let Ok(target) = serde_json::from_str::<String>(target) else { continue };
            match head.strip_prefix('+').map(|digits| u64::from_str_radix(digits, 16)) {
                Some(Ok(servers)) => drop(known.insert(target, (servers, false))),
                _ => drop(known.remove(&target)),
            }
        }
        Placed { path, start: Some(known), changed: false, more: String::new(), lost: false }
    }

    /// Whether a target that is named, or is not any more, is worth a line.
    pub(super) fn is_news(&mut self, happening: &Happening) -> bool {
        match happening {
            Happening::Placed { target, servers, .. } => {
                let servers = digest(servers);
                match &mut self.start {
                    Some(known) => {
                        let before = known.insert(target.clone(), (servers, true));
                        let news = before.is_none_or(|(before, _)| before != servers);
                        self.changed |= news;
                        news
                    }
                    None => {
                        self.more += &line(target, servers);
                        true
                    }
                }
            }
            Happening::Unplaced { target } => {
                match &mut self.start {
                    Some(known) => self.changed |= known.remove(target).is_some(),
                    None => self.more += &format!("- {}\n", quoted(target)),
                }
                true
            }
            _ => true,
        }
    }

    /// Everything has been found: the targets that were named before and are not any more; said once.
    pub(super) fn gone(&mut self) -> Vec<Happening> {
        let Some(known) = self.start.take() else { return Vec::new() };
        let (mut text, mut gone) = (String::new(), Vec::new());
        for (target, (servers, found)) in known {
            match found {
                true => text += &line(&target, servers),
                false => gone.push(target),
            }
        }
        gone.sort();
        let unsaved = self.lost || files::replace(&self.path, text.as_bytes(), 0o644).is_err();
        self.lost = unsaved;
        gone.into_iter().map(|target| Happening::Unplaced { target }).collect()
    }

    /// Lines were lost, nobody knows which.
    pub(super) fn forget(&mut self) {
        self.start = None;
        self.lost = true;
    }

    /// Writes what has changed. It need not survive a power cut.
    ///
    /// # Errors
    /// The disk may be full.
    pub(super) fn save(&mut self) -> Result<(), FileError> {
        let fail = |step| {
            let path = self.path.clone();
            move |source| FileError { path, step, source }
        };
        let more = std::mem::take(&mut self.more);
        if self.lost {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(fail(Step::Remove)(error))
                }
                _ => Ok(()),
            };
        }
        if let Some(known) = self.start.as_ref().filter(|_| self.changed) {
            // Where something keeps being unreadable nobody knows whether all has been found.
            self.changed = false;
            let lines: String =
                known.iter().map(|(target, (servers, _))| line(target, *servers)).collect();
            return files::replace(&self.path, lines.as_bytes(), 0o644)
                .inspect_err(|_| self.lost = true);
        }
        if more.is_empty() {
            return Ok(());
        }
        let written = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(more.as_bytes()));
        written.map_err(fail(Step::Write)).inspect_err(|_| self.lost = true)
    }
}

fn line(target: &str, servers: u64) -> String {
    format!("+{servers:016x} {}\n", quoted(target))
}

/// On one line, whatever a path has in it.
fn quoted(target: &str) -> String {
    serde_json::to_string(target).expect("a string is JSON")
}

/// Enough of a digest to tell one set of servers from another.
fn digest(servers: &[String]) -> u64 {
    let digest = Digest::of(servers.join("\n").as_bytes());
    let (first, _) = digest.as_bytes().split_first_chunk().expect("it has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::happening::Lying;

    fn placed(target: &str, server: &str) -> Happening {
        let servers = vec![server.to_owned()];
        Happening::Placed { target: target.to_owned(), servers, content: Lying::Placeholder }
    }

    fn gone(placed: &mut Placed) -> Vec<String> {
        let target = |one| match one {
            Happening::Unplaced { target } => target,
            other => panic!("{other:?}"),
        };
        placed.gone().into_iter().map(target).collect()
    }

    #[test]
    fn what_changed_while_no_agent_ran_is_news() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut known = Placed::read(folder.path());
        for target in ["/a.der", "/b\n\".der", "/c.der"] {
            assert!(known.is_news(&placed(target, "nginx")), "{target:?}");
        }
        assert_eq!(gone(&mut known), [""; 0]);
        let unplaced = Happening::Unplaced { target: "/c.der".to_owned() };
        assert!(known.is_news(&unplaced) && known.is_news(&placed("/d.der", "nginx")));
        known.save().expect("room");

        let mut known = Placed::read(folder.path());
        assert!(!known.is_news(&placed("/a.der", "nginx")));
        assert!(!known.is_news(&placed("/d.der", "nginx")));
        assert!(known.is_news(&placed("/e.der", "nginx")), "it is new");
        assert_eq!(gone(&mut known), ["/b\n\".der"]);
        known.save().expect("room");

        let mut known = Placed::read(folder.path());
        assert!(known.is_news(&placed("/a.der", "haproxy")), "another server reads it");
        known.save().expect("room");
        let mut known = Placed::read(folder.path());
        assert!(!known.is_news(&placed("/a.der", "haproxy")), "though not all was found");
        known.forget();
        known.save().expect("room");
        assert!(Placed::read(folder.path()).is_news(&placed("/d.der", "nginx")), "lines were lost");
    }
}
