//! Metrics and the status page: visitors are answered, the textfile is kept.
//!
//! What is shown is read in the loop, which alone may, into values of its own; making text of it is done
//! elsewhere, since ten thousand certificates make megabytes.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::message::Message;
use super::metrics::{Counters, Snapshot, render};
use super::pieces::{Left, Pieces};
use super::{Agent, page};
use crate::config::settings::Listen;
use crate::files;
use crate::serve::responder::Address;
use crate::serve::web::{Visit, Wanted, Web};

/// The textfile is written at most this often, and touched by each sign of life.
const TEXTFILE_EVERY: Duration = Duration::from_secs(15);
/// Visitors that may wait for the loop.
const MOST_WAITING: usize = 16;

/// The door for visitors, and what is counted for them.
#[derive(Debug, Default)]
pub(super) struct Watched {
    counters: Option<Arc<Counters>>,
    visits: Option<mpsc::Sender<Visit>>,
    web: Option<Web>,
    /// When the textfile was last written.
    written: Option<Instant>,
    /// Something has changed since.
    stale: bool,
    /// It is being written: one at a time, so that an older text never comes last.
    writing: bool,
}

impl Watched {
    /// What is counted, where anybody asked for metrics.
    pub(super) fn counters(&self) -> Option<&Arc<Counters>> {
        self.counters.as_ref()
    }
}

impl Agent {
    /// Opens the door; gives what visitors come through.
    pub(super) fn open_to_visitors(&mut self) -> mpsc::Receiver<Visit> {
        let (visits, visited) = mpsc::channel(MOST_WAITING);
        self.watched.visits = Some(visits);
        self.metrics_configured();
        visited
    }

    /// Listens where the settings now say.
    pub(super) fn metrics_configured(&mut self) {
        let settings = (&self.settings.metrics_listen, &self.settings.metrics_textfile);
        if let (None, None) = settings {
            self.watched.counters = None;
        } else {
            self.watched.counters.get_or_insert_with(|| Arc::new(Counters::new()));
        }
        let wanted = self.settings.metrics_listen.as_ref().map(|listen| match listen {
            Listen::Tcp(address) => Address::Tcp(*address),
            Listen::Unix(path) => Address::Unix(path.clone()),
        });
        if self.watched.web.as_ref().map(Web::address) == wanted.as_ref() {
            return;
        }
        self.watched.web = None;
        let (Some(address), Some(visits)) = (wanted, self.watched.visits.clone()) else { return };
        match Web::open(&address, visits) {
            Ok(web) => {
                tracing::info!(%address, "shows metrics and a status page");
                self.watched.web = Some(web);
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Answers a visitor.
    pub(super) fn visited(&mut self, visit: Visit) {
        let Visit { wanted, reply } = visit;
        let shown = match wanted {
            Wanted::Metrics { open } => {
                let Some(counters) = self.watched.counters.clone() else { return };
                Shown::Metrics(counters, self.snapshot(), open)
            }
            Wanted::Page { query } => Shown::Page(Box::new(self.page(&query))),
            Wanted::Style => Shown::Style,
        };
        tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces::new(|piece| reply.blocking_send(piece).map_err(|_| Left));
            // Whoever left does not want to know.
            let _ = shown.write(&mut pieces).map(|()| pieces.finish());
        });
    }

    /// Something that metrics show has changed.
    pub(super) fn textfile_due(&mut self) {
        self.watched.stale = true;
        if self.watched.written.is_none_or(|at| at.elapsed() >= TEXTFILE_EVERY) {
            self.write_textfile();
        }
    }

    /// A sign of life for those who read the textfile.
    pub(super) fn beat_textfile(&mut self) {
        if self.watched.stale {
            return self.write_textfile();
        }
        if let Some(path) = &self.settings.metrics_textfile
            && touch(path).is_err()
        {
            self.write_textfile();
        }
    }

    /// Has it written: the disk is a real one, and may take seconds that are not ours.
    fn write_textfile(&mut self) {
        let (Some(path), Some(counters)) =
            (self.settings.metrics_textfile.clone(), self.watched.counters.clone())
        else {
            return;
        };
        if self.watched.writing {
            self.watched.stale = true;
            return;
        }
        self.watched.written = Some(Instant::now());
        (self.watched.stale, self.watched.writing) = (false, true);
        let (snapshot, outbox) = (self.snapshot(), self.outbox.clone());
        tokio::task::spawn_blocking(move || {
            let snapshot = Cell::new(Some(snapshot));
            let written = files::replace_by(&path, 0o644, &|file| {
                let snapshot = snapshot.take().expect("one file is written, once");
                let mut failed = Ok(());
                let mut pieces = Pieces::new(|piece| {
                    file.write_all(&piece).map_err(|error| {
                        failed = Err(error);
                        Left
                    })
                });
                let _ = render(&counters, snapshot, false, &mut pieces).map(|()| pieces.finish());
                failed
            });
            let trouble = written.err();
            // The loop has ended where nobody receives.
            let _ = outbox.send(Message::TextfileWritten(trouble.map(|error| error.to_string())));
        });
    }

    /// It was written, or why it was not: then the next sign of life tries again.
    pub(super) fn textfile_written(&mut self, trouble: Option<String>) {
        self.watched.writing = false;
        if let Some(trouble) = trouble {
            self.watched.stale = true;
            self.complain(trouble);
        }
    }
}

/// What a visitor is shown, read and not yet written.
enum Shown {
    Metrics(Arc<Counters>, Snapshot, bool),
    Page(Box<page::Page>),
    Style,
}

impl Shown {
    fn write(self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Shown::Metrics(counters, snapshot, open) => render(&counters, snapshot, open, out),
            Shown::Page(page) => out.write_str(&page.render()),
            Shown::Style => out.write_str(page::STYLE),
        }
    }
}

/// Moves a file's time of modification to now.
pub(super) fn touch(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    file.set_modified(SystemTime::now())
}
