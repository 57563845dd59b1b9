//! `attempts`: what was asked of whom, what came of it and how long to wait.
//!
//! One JSON object a line, the newest last; what a line says replaces what earlier ones said:
//!
//! ```text
//! {"boot":"8f0c…"}                  the lines that follow were written since this boot
//! {"attempt":[5061,{"certificate":"ab…","responder":"http://…","failures":3,"wait":240}]}
//! {"settled":"ab…"}                 the last attempt about this certificate succeeded
//! {"answer":[5062,{"certificate":"ab…","responder":"http://…","digest":"cd…","etag":"\"x\"","fresh_for":3600}]}
//! {"habit":{"responder":"http://…","sha256":true,"post":false}}
//! {"forgotten":"ab…"}               nothing is known about this certificate any more
//! ```
//!
//! Waits are lengths, in seconds, and count from the uptime in front of their object. No clock step
//! shortens one; after another boot, when uptimes say nothing, it begins anew. A line is written
//! before its request leaves and not synced: it survives a crash loop of the agent, which is what
//! must not hammer anybody, while a power cut at worst forgets the last seconds. The file is
//! compacted with the first lines after a start, and when it has grown by [`GROWTH`].

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journal::{self, Journal};
use super::{StateDir, Store, StoreError, locked};
use crate::digest::{Digest, Fingerprint};

/// Bytes of new lines before the file is compacted; at least as many as were left the last time.
const GROWTH: u64 = 1 << 20;

/// A line to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A request is about to leave: remembered as if it had failed.
    Attempt(Attempt),
    /// The last attempt about this certificate succeeded.
    Settled(Fingerprint),
    /// A responder answered.
    Answer(Answer),
    /// A responder wants to be asked in a way of its own.
    Habit(Habit),
}

/// Attempts about a certificate that have failed, or may be about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// About which certificate.
    pub certificate: Fingerprint,
    /// The URL that was asked last.
    pub responder: String,
    /// Failures since the last answer that moved something forward.
    pub failures: u32,
    /// How long to wait from the time of writing; when read: how long still. Whole seconds, rounded up.
    #[serde(with = "seconds")]
    pub wait: Duration,
}

/// What came with an answer, for the next request to the same responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// About which certificate.
    pub certificate: Fingerprint,
    /// The URL that answered.
    pub responder: String,
    /// Of the response's DER: validators are of use only while it is held.
    pub digest: Digest,
    /// The ETag header, quotes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The Last-Modified header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// How long the responder asked not to be asked again, from the time of writing; when read: how
    /// long still.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
    pub fresh_for: Option<Duration>,
}

/// How a responder wants to be asked, found out by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habit {
    /// Its URL.
    pub responder: String,
    /// It knows certificates by SHA-256 only.
    pub sha256: bool,
    /// It answers POST only.
    pub post: bool,
}

/// All that the file remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Certificates whose last attempt failed, or was cut short.
    pub attempts: HashMap<Fingerprint, Attempt>,
    /// The last answer of each responder about each certificate.
    pub answers: HashMap<Fingerprint, Vec<Answer>>,
    /// Responders with habits.
    pub habits: HashMap<String, Habit>,
}

/// A line as it is written; numbers are the uptime of writing, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Boot(String),
    Attempt(u64, Attempt),
    Settled(Fingerprint),
    Answer(u64, Answer),
    Habit(Habit),
    Forgotten(Fingerprint),
}

impl StateDir {
    /// Reads what is remembered; waits are what is left of them at `uptime`. Lines that cannot be read
    /// are skipped.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn remembered(&self, uptime: Duration) -> Result<Remembered, StoreError> {
        let bytes = journal::read(&self.root.join("attempts"))?;
        Ok(Remembered::from_lines(&bytes, &boot_id(), uptime))
    }
}

impl Store {
    /// Appends what is to be remembered at `uptime`, in one write. To be called before the requests
    /// leave that it speaks of.
    ///
    /// # Errors
    /// The lines could not be appended; the disk may be full.
    pub fn remember(&self, records: &[Record], uptime: Duration) -> Result<(), StoreError> {
        let lines = records.iter().map(|record| record.line(uptime));
        locked(&self.attempts).append(lines, Some(uptime))
    }

    pub(super) fn forget_attempts(&self, certificates: &[Fingerprint]) -> Result<(), StoreError> {
        let lines = certificates.iter().copied().map(Line::Forgotten);
        locked(&self.attempts).append(lines, None)
    }
}

impl Record {
    fn line(&self, uptime: Duration) -> Line {
        let at = uptime.as_secs();
        match self.clone() {
            Record::Attempt(what) => Line::Attempt(at, what),
            Record::Settled(certificate) => Line::Settled(certificate),
            Record::Answer(what) => Line::Answer(at, what),
            Record::Habit(habit) => Line::Habit(habit),
        }
    }
}

/// The file, for the one who writes it.
#[derive(Debug)]
pub(super) struct Attempts {
    path: PathBuf,
    journal: Journal,
    boot: String,
    /// This boot is named in the file.
    introduced: bool,
    compact_at: u64,
}

impl Attempts {
    /// The file at `path`; compacted with the first lines that are appended.
    pub(super) fn open(path: &Path) -> Self {
        let journal = Journal::new(path);
        Attempts {
            path: path.to_owned(),
            journal,
            boot: boot_id(),
            introduced: false,
            compact_at: 0,
        }
    }

    /// Appends lines; where the uptime is known, it may be time to compact.
    fn append(
        &mut self,
        lines: impl Iterator<Item = Line>,
        uptime: Option<Duration>,
    ) -> Result<(), StoreError> {
        if let Some(uptime) = uptime.filter(|_| self.journal.bytes() > self.compact_at) {
            // A full disk refuses the new file, and maybe not yet the next line of the old one.
            if let Err(error) = self.compact(uptime) {
                tracing::warn!(%error, "cannot compact what is remembered of attempts");
                self.compact_at = self.journal.bytes() + GROWTH;
            }
        }
        let boot = (!self.introduced).then(|| Line::Boot(self.boot.clone()));
        let lines: Vec<_> = boot.into_iter().chain(lines).collect();
        self.journal.append(&lines)?;
        self.introduced = true;
        Ok(())
    }

    fn compact(&mut self, uptime: Duration) -> Result<(), StoreError> {
        let remembered = Remembered::from_lines(&journal::read(&self.path)?, &self.boot, uptime);
        let mut lines = vec![Line::Boot(self.boot.clone())];
        lines.extend(remembered.into_records().map(|record| record.line(uptime)));
        self.journal.replace(&lines)?;
        self.introduced = true;
        self.compact_at = self.journal.bytes() + GROWTH.max(self.journal.bytes());
        Ok(())
    }
}

impl Remembered {
    fn from_lines(bytes: &[u8], boot: &str, uptime: Duration) -> Self {
        let mut remembered = Remembered::default();
        let mut same_boot = false;
        let mut unreadable = 0;
        for line in journal::lines(bytes) {
            let passed = |at: u64| match same_boot {
                true => uptime.saturating_sub(Duration::from_secs(at)),
                false => Duration::ZERO,
            };
            match serde_json::from_slice(line) {
                Ok(Line::Boot(of)) => same_boot = of == boot,
                Ok(Line::Attempt(at, mut what)) => {
                    what.wait = what.wait.saturating_sub(passed(at));
                    remembered.attempts.insert(what.certificate, what);
                }
                Ok(Line::Answer(at, mut what)) => {
                    what.fresh_for = what.fresh_for.map(|length| length.saturating_sub(passed(at)));
                    remembered.take_answer(what);
                }
                Ok(Line::Settled(certificate)) => {
                    remembered.attempts.remove(&certificate);
                }
                Ok(Line::Habit(habit)) => {
                    remembered.habits.insert(habit.responder.clone(), habit);
                }
                Ok(Line::Forgotten(certificate)) => {
                    remembered.attempts.remove(&certificate);
                    remembered.answers.remove(&certificate);
                }
                Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(unreadable, "skipped lines of what is remembered of attempts");
        }
        remembered
    }

    fn take_answer(&mut self, answer: Answer) {
        let answers = self.answers.entry(answer.certificate).or_default();
        answers.retain(|known| known.responder != answer.responder);
        answers.push(answer);
    }

    fn into_records(self) -> impl Iterator<Item = Record> {
        let attempts = self.attempts.into_values().map(Record::Attempt);
        let answers = self.answers.into_values().flatten().map(Record::Answer);
        attempts.chain(answers).chain(self.habits.into_values().map(Record::Habit))
    }
}

/// The kernel's id of this boot. Where there is none, every start counts as a new boot.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        "" => format!("unknown, process {}", std::process::id()),
        id => id.to_owned(),
    }
}

/// A length in whole seconds, rounded up.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(length: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(length.as_secs() + u64::from(length.subsec_nanos() > 0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

/// The same, of a length that may be missing.
mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => super::seconds::serialize(length, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    const RESPONDER: &str = "http://ocsp.example/";

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn fingerprint(number: u32) -> Fingerprint {
        Digest::of(&number.to_be_bytes())
    }

    fn attempt(number: u32, failures: u32, wait: u64) -> Attempt {
        let (certificate, responder) = (fingerprint(number), RESPONDER.to_owned());
        Attempt { certificate, responder, failures, wait: secs(wait) }
    }

    fn answer(number: u32, responder: &str, fresh_for: u64) -> Answer {
        Answer {
            certificate: fingerprint(number),
            responder: responder.to_owned(),
            digest: fingerprint(number + 1000),
            etag: Some("\"x\"".to_owned()),
            last_modified: None,
            fresh_for: Some(secs(fresh_for)),
        }
    }

    struct State {
        _folder: tempfile::TempDir,
        settings: Settings,
        store: Store,
    }

    fn state() -> State {
        let folder = tempfile::tempdir().expect("a temp folder");
        let settings = Settings { state_dir: folder.path().to_owned() };
        let store = Store::open(&settings).expect("ours");
        State { _folder: folder, settings, store }
    }

    impl State {
        fn remember(&self, records: &[Record], uptime: u64) {
            self.store.remember(records, secs(uptime)).expect("room is left");
        }

        fn remembered(&self, uptime: u64) -> Remembered {
            self.store.dir().remembered(secs(uptime)).expect("readable")
        }

        fn path(&self) -> PathBuf {
            self.settings.state_dir.join("attempts")
        }
    }

    #[test]
    fn what_was_remembered_comes_back_with_what_is_left_of_waits() {
        let state = state();
        assert_eq!(state.remembered(10), Remembered::default());
        let records = [
            Record::Attempt(attempt(1, 3, 100)),
            Record::Attempt(attempt(2, 1, 100)),
            Record::Answer(answer(1, RESPONDER, 500)),
        ];
        state.remember(&records, 1000);
        state.remember(&[Record::Settled(fingerprint(2))], 1001);
        state.remember(&[Record::Answer(answer(1, "http://second.example/", 900))], 1010);
        let habit = Habit { responder: RESPONDER.to_owned(), sha256: true, post: false };
        state.remember(&[Record::Habit(habit.clone())], 1010);
        let seen = state.remembered(1030);
        assert_eq!(seen.attempts, HashMap::from([(fingerprint(1), attempt(1, 3, 70))]));
        let answers = [answer(1, RESPONDER, 470), answer(1, "http://second.example/", 880)];
        assert_eq!(seen.answers[&fingerprint(1)], answers);
        assert_eq!(seen.habits[RESPONDER], habit);
        assert_eq!(state.remembered(5000).attempts[&fingerprint(1)].wait, Duration::ZERO);
        state.store.forget(&[fingerprint(1)]).expect("room is left");
        let seen = state.remembered(1030);
        assert!(seen.attempts.is_empty() && seen.answers.is_empty());
    }

    #[test]
    fn after_another_boot_waits_begin_anew() {
        let state = state();
        state.remember(&[Record::Attempt(attempt(1, 3, 100))], 1000);
        let text = fs::read_to_string(state.path()).expect("there");
        fs::write(state.path(), text.replacen(&boot_id(), "another", 1)).expect("ours");
        assert_eq!(state.remembered(5000).attempts[&fingerprint(1)], attempt(1, 3, 100));
        // The next agent compacts: from then on the wait runs.
        let State { _folder, settings, store } = state;
        drop(store);
        let store = Store::open(&settings).expect("ours");
        store.remember(&[], secs(20)).expect("room is left");
        let seen = store.dir().remembered(secs(50)).expect("readable");
        assert_eq!(seen.attempts[&fingerprint(1)], attempt(1, 3, 70));
    }

    #[test]
    fn torn_lines_cost_only_themselves() {
        let state = state();
        state.remember(&[Record::Attempt(attempt(1, 1, 10))], 1);
        let mut torn = fs::read(state.path()).expect("there");
        torn.extend_from_slice(b"{\"attempt\":{\"certificate\":\"ab");
        fs::write(state.path(), &torn).expect("ours");
        assert_eq!(state.remembered(1).attempts.len(), 1);
        let State { _folder, settings, store } = state;
        drop(store);
        let store = Store::open(&settings).expect("ours");
        // Nothing is compacted here: the new line must stand beside the torn one.
        store.forget(&[fingerprint(1)]).expect("room is left");
        assert!(store.dir().remembered(secs(1)).expect("readable").attempts.is_empty());
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let state = state();
        for round in 0..60 {
            let records: Vec<_> = (0..200).map(|n| Record::Attempt(attempt(n, round, 5))).collect();
            state.remember(&records, 1000 + u64::from(round));
            let size = fs::metadata(state.path()).expect("there").len();
            assert!(size < 3 * GROWTH / 2, "{size} bytes in round {round}");
        }
        let seen = state.remembered(1059);
        assert_eq!(seen.attempts.len(), 200);
        assert_eq!(seen.attempts[&fingerprint(7)], attempt(7, 59, 5));
    }
}
