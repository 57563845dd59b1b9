//! The thread that writes the trail.
//!
//! What happened is handed over without waiting for anything. It is written at once, so that it
//! survives the process, and brought to disk within a second, all that gathered together: a start with ten
//! thousand certificates costs a few waits for the disk, and nobody but this thread waits. Where
//! the trail cannot be written, that is said once, in the log and for the status, lines are counted
//! instead, and the next one that is written tells how many were lost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::known::Known;
use super::left;
use super::line::{Entry, Own};
use super::trail::Trail;
use super::{Settings, TrailError};
use crate::happening::Happening;
use crate::time::{DAY, UnixTime};

/// Lines are on disk so long after they were written, at the latest.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// So many happenings are written at once.
const BATCH: usize = 4_096;
/// So many wait at most: a disk that hangs must not fill the memory.
const QUEUE: usize = 65_536;
/// The file of what is known is written at most this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Something for the thread.
#[derive(Debug)]
enum Note {
    Happened(Happening),
    /// Every certificate there is has been found.
    AllFound,
}

/// What the thread and whoever looks at it share.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Lines that were not even taken.
    refused: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// Takes what happened; all of it is on disk when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    notes: Option<Sender<(UnixTime, Note)>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Starts the thread that writes the trail. Without one nothing is recorded, and all else goes on.
    pub fn start(settings: Settings) -> Recorder {
        Recorder::on(thread::Builder::new().name("audit".to_owned()), settings)
    }

    fn on(thread: thread::Builder, settings: Settings) -> Recorder {
        let (notes, queue) = channel();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        match thread.spawn(move || Writing::new(settings, theirs).run(&queue)) {
            Ok(thread) => Recorder { notes: Some(notes), thread: Some(thread), shared },
            Err(error) => {
                let text = format!(
                    "nothing is recorded in the audit trail until the next start: the system has no \
                     thread to spare: {error}"
                );
                tracing::error!("{text}");
                *shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                Recorder { notes: None, thread: None, shared }
            }
        }
    }

    /// Takes what happened at `time` (UTC); never waits.
    pub fn observe(&self, time: UnixTime, happening: Happening) {
        self.note(time, Note::Happened(happening));
    }

    /// Every certificate there is has been found: those that the trail knows besides have gone.
    pub fn all_found(&self, time: UnixTime) {
        self.note(time, Note::AllFound);
    }

    /// Why the trail cannot be written, while it cannot.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, time: UnixTime, note: Note) {
        let Some(notes) = &self.notes else { return };
        if self.shared.waiting.load(Ordering::Relaxed) >= QUEUE {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread ends before this only if it panicked: the trail is then silent, the agent works.
        let _ = notes.send((time, note));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.notes.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The thread's own.
struct Writing {
    settings: Settings,
    shared: Arc<Shared>,
    known: Known,
    trail: Option<Trail>,
    lost: u64,
    why_lost: String,
    saved: Instant,
    told: Instant,
}

impl Writing {
    fn new(settings: Settings, shared: Arc<Shared>) -> Writing {
        let known = Known::read(&settings.folder);
        let (trail, lost, why_lost) = (None, 0, String::new());
        let (saved, told) = (Instant::now(), Instant::now());
        Writing { settings, shared, known, trail, lost, why_lost, saved, told }
    }

    fn run(mut self, queue: &Receiver<(UnixTime, Note)>) {
        let mut sync_due: Option<Instant> = None;
        loop {
            let left = sync_due.map(|due| due.saturating_duration_since(Instant::now()));
            let first = match left {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(left) => queue.recv_timeout(left),
            };
            match first {
                Ok(first) => {
                    let mut notes = vec![first];
                    notes.extend(queue.try_iter().take(BATCH - 1));
                    self.shared.waiting.fetch_sub(notes.len(), Ordering::Relaxed);
                    self.take(notes);
                    sync_due.get_or_insert_with(|| Instant::now() + SYNC_AFTER);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if sync_due.is_some_and(|due| due <= Instant::now()) {
                self.sync();
                // What is known may be written later than the lines, but is written.
                let unsaved = self.saved.elapsed() < SAVE_EVERY && !self.save_is_due();
                sync_due = unsaved.then(|| self.saved + SAVE_EVERY);
            }
        }
        self.sync();
        self.save();
        self.tell();
    }

    fn take(&mut self, notes: Vec<(UnixTime, Note)>) {
        if self.trail.is_none() || notes.iter().any(|(_, note)| matches!(note, Note::AllFound)) {
            self.take_left();
        }
        let mut entries = Vec::with_capacity(notes.len());
        for (time, note) in notes {
            match note {
                Note::Happened(happening) => {
                    if self.known.is_news(&happening) {
                        entries.push((time, Entry::Happening(happening)));
                    }
                }
                Note::AllFound => {
                    let gone = self.known.gone().into_iter();
                    entries.extend(gone.map(|one| (time, Entry::Happening(one))));
                }
            }
        }
        let Some((now, _)) = entries.first() else { return };
        self.lost += self.shared.refused.swap(0, Ordering::Relaxed);
        if self.lost > 0 {
            let error = match self.why_lost.is_empty() {
                true => "the disk was too slow".to_owned(),
                false => self.why_lost.clone(),
            };
            entries.insert(0, (*now, Entry::Own(Own::LinesLost { lines: self.lost, error })));
        }
        let told_of = std::mem::take(&mut self.lost);
        if let Err((written, error)) = self.append(&entries) {
            // Where the first line was not written, what it told of is still to be told.
            let of_ours = u64::from(told_of > 0 && written == 0);
            self.lost = (entries.len() - written) as u64 - of_ours;
            self.lost += if written == 0 { told_of } else { 0 };
            self.fail(&error);
        }
    }

    /// Puts into the trail what was left beside it.
    fn take_left(&mut self) {
        let (paths, happened) = left::read(&self.settings.folder);
        let entry = |(time, happening)| (time, Entry::Happening(happening));
        let entries: Vec<_> = happened.into_iter().map(entry).collect();
        if paths.is_empty() {
            return;
        }
        let written = self.append(&entries).map_err(|(_, error)| error);
        match written.and_then(|()| self.trail.as_mut().map_or(Ok(()), Trail::sync)) {
            // What cannot be removed is said again.
            Ok(()) => paths.iter().for_each(|path| drop(std::fs::remove_file(path))),
            Err(error) => self.fail(&error),
        }
    }

    fn append(&mut self, entries: &[(UnixTime, Entry)]) -> Result<(), (usize, TrailError)> {
        if self.trail.is_none() {
            let trail = Trail::open(self.settings.clone()).map_err(|error| (0, error))?;
            self.trail = Some(trail);
            self.tell();
        }
        let trail = self.trail.as_mut().expect("it has just been opened");
        trail.append(entries)
    }

    fn sync(&mut self) {
        match self.trail.as_mut().map(Trail::sync) {
            Some(Ok(())) if self.lost == 0 => {
                let mut problem =
                    self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
                if problem.take().is_some() {
                    tracing::info!("the audit trail is being written again");
                }
            }
            Some(Err(error)) => self.fail(&error),
            _ => {}
        }
        if self.told.elapsed() >= DAY {
            self.tell();
        }
        if self.save_is_due() {
            self.save();
        }
    }

    fn save_is_due(&self) -> bool {
        self.saved.elapsed() >= SAVE_EVERY
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        if let Err(error) = self.known.save() {
            tracing::debug!(%error, "the audit trail may repeat itself");
        }
    }

    /// Says once that the trail cannot be written, as long as it cannot.
    fn fail(&mut self, error: &TrailError) {
        self.known.forget();
        self.why_lost = error.words();
        let text = format!("{}; what happens is not recorded, and counted", self.why_lost);
        let mut problem = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.is_none() {
            tracing::error!("{text}");
        }
        *problem = Some(text);
    }

    /// Tells the log where the trail stands: whoever keeps the log elsewhere can tell a trail that was
    /// cut short or made up.
    fn tell(&mut self) {
        self.told = Instant::now();
        let Some(head) = self.trail.as_ref().map(Trail::head) else { return };
        if head.seq == 0 {
            return;
        }
        tracing::info!(seq = head.seq, sha256 = %head.sha256, "the audit trail's last line");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_nothing_is_recorded_and_nobody_waits() {
        let folder = tempfile::tempdir().expect("a temp folder");
        // More than there are addresses: the system refuses.
        let thread = thread::Builder::new().stack_size(1 << 60);
        let recorder = Recorder::on(thread, Settings::new(folder.path()));
        for _ in 0..=QUEUE {
            recorder.observe(UnixTime::from_secs(0), Happening::Stopping);
        }
        let problem = recorder.problem().expect("it says so");
        assert!(problem.contains("no thread to spare"), "{problem}");
        drop(recorder);
        assert_eq!(folder.path().read_dir().expect("ours").count(), 0);
    }
}
