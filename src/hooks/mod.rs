//! The operator's commands, run at events (`[[hook]]`).
//!
//! Each hook has a queue of its own and runs one command at a time, in the order of what happened, so
//! that "down" comes before "up". Nobody waits for it: what does not fit the queue is not told, and
//! said so. A command is run without a shell, has a minute, gets the facts in its environment and the
//! whole happening as one JSON document on standard input; what it says goes to the log, and a failure
//! is told to the agent and stops nothing.

mod occasion;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

pub use occasion::Occasion;

use crate::command::{self, Run};
use crate::happening::Happening;
use crate::time::UnixTime;

/// How long a command may take.
pub const LIMIT: Duration = Duration::from_secs(60);
/// What may wait for one hook.
const QUEUE: usize = 256;
/// Commands of all hooks at the same time.
const AT_ONCE: usize = 4;
/// The version of the document on standard input.
const SCHEMA: u32 = 1;

/// What a hook can be run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A certificate that was never seen before.
    Discovered,
    /// A staple newer than the last.
    Refreshed,
    /// Clients refuse a certificate, or soon will.
    AtRisk,
    /// The CA says revoked.
    Revoked,
    /// The CA's responder says that it knows no such certificate.
    Unknown,
    /// A certificate itself runs out soon.
    Expiring,
    /// A server cannot be reloaded.
    ReloadFailed,
    /// Clients are handed something else than was published.
    ServedMismatch,
    /// The clock cannot be believed.
    ClockSuspect,
    /// A responder is down and matters.
    ResponderDown,
    /// It is back.
    ResponderUp,
}

impl Event {
    /// Every event by its name in the configuration.
    pub const NAMED: [(&'static str, Event); 11] = [
        ("discovered", Event::Discovered),
        ("refreshed", Event::Refreshed),
        ("at-risk", Event::AtRisk),
        ("revoked", Event::Revoked),
        ("unknown", Event::Unknown),
        ("expiring", Event::Expiring),
        ("reload-failed", Event::ReloadFailed),
        ("served-mismatch", Event::ServedMismatch),
        ("clock-suspect", Event::ClockSuspect),
        ("responder-down", Event::ResponderDown),
        ("responder-up", Event::ResponderUp),
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Event::NAMED.iter().find(|(_, event)| event == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

/// No event is called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event is called {0:?}")]
pub struct NotAnEvent(String);

impl FromStr for Event {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Event, NotAnEvent> {
        let named = Event::NAMED.iter().find(|(name, _)| *name == text);
        named.map(|(_, event)| *event).ok_or_else(|| NotAnEvent(text.to_owned()))
    }
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The events it is run at.
    pub on: Vec<Event>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A hook was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// At what.
    pub event: Event,
    /// Its words.
    pub command: String,
    /// What was wrong, if something was, with the command and its last words.
    pub error: Option<String>,
}

/// All hooks, waiting for their events.
#[derive(Debug, Default)]
pub struct Hooks {
    hooks: Vec<Hook>,
}

#[derive(Debug)]
struct Hook {
    on: Vec<Event>,
    queue: mpsc::Sender<Told>,
    missed: Arc<AtomicUsize>,
}

/// What a command is told.
#[derive(Clone, Debug)]
struct Told {
    occasion: Arc<Occasion>,
    document: Arc<[u8]>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    at: UnixTime,
    hook: Event,
    text: &'a str,
    #[serde(flatten)]
    happening: &'a Happening,
}

impl Hooks {
    /// Gets the hooks ready; `ended` is told of each run. What waits for hooks when the value is dropped
    /// is still run.
    pub fn start(
        settings: impl IntoIterator<Item = Settings>,
        ended: impl Fn(Ended) + Clone + Send + 'static,
    ) -> Hooks {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let start = |settings: Settings| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let missed = Arc::new(AtomicUsize::new(0));
            let work = work(settings.command, waiting, missed.clone(), room.clone(), ended.clone());
            tokio::spawn(work);
            Hook { on: settings.on, queue, missed }
        };
        Hooks { hooks: settings.into_iter().map(start).collect() }
    }

    /// Whether any hook is run at `event`.
    pub fn want(&self, event: Event) -> bool {
        self.hooks.iter().any(|hook| hook.on.contains(&event))
    }

    /// Runs what is to be run at this; returns at once. `now` is UTC.
    pub fn observe(&self, happening: &Happening, now: UnixTime) {
        if self.hooks.is_empty() {
            return;
        }
        let Some(occasion) = Occasion::of(happening).filter(|one| self.want(one.event)) else {
            return;
        };
        let (event, text) = (occasion.event, &*occasion.text);
        let document = Document { schema: SCHEMA, at: now, hook: event, text, happening };
        let mut document = serde_json::to_vec(&document).expect("plain data is JSON");
        document.push(b'\n');
        let told = Told { occasion: Arc::new(occasion), document: document.into() };
        for hook in self.hooks.iter().filter(|hook| hook.on.contains(&event)) {
            if hook.queue.try_send(told.clone()).is_err() {
                hook.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Runs one hook's command for each thing it is told, in turn.
async fn work(
    words: Vec<String>,
    mut waiting: mpsc::Receiver<Told>,
    missed: Arc<AtomicUsize>,
    room: Arc<Semaphore>,
    ended: impl Fn(Ended),
) {
    while let Some(Told { occasion, document }) = waiting.recv().await {
        let permit = room.acquire().await.expect("the semaphore is never closed");
        let mut environment = vec![
            ("STAPLEKEEPER_EVENT", occasion.event.to_string()),
            ("STAPLEKEEPER_TEXT", occasion.text.clone()),
        ];
        environment.extend(occasion.facts.iter().cloned());
        let input = document.to_vec();
        let run = Run { words: words.clone(), environment, input, limit: LIMIT };
        let (event, command) = (occasion.event, words.join(" "));
        let error = match command::run(run).await {
            Ok(output) => {
                tracing::info!(%event, command, "a hook was run: {output}");
                None
            }
            Err(error) => Some(error.to_string()),
        };
        ended(Ended { event, command: command.clone(), error });
        drop(permit);
        let lost = missed.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let error = format!(
                "`{command}` is too slow: {lost} events happened while {QUEUE} waited for it, and were \
                 not told"
            );
            ended(Ended { event, command, error: Some(error) });
        }
    }
}
