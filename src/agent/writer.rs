//! The thread that writes: staples into the store and into targets, many at a time.
//!
//! Making a file durable costs milliseconds whether one is written or a hundred, so whatever has
//! gathered while a batch was being written goes out as the next one. Order is kept: what was asked for
//! first is on disk first.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::UnboundedSender;

use super::hung::Hung;
use super::message::Message;
use crate::ocsp::Staple;
use crate::plan::{CertId, Content, Event, PublishFault, TargetId};
use crate::publish::admin::{Pair, Socket, TellError, Told};
use crate::publish::{self, Publishable, Publisher, Target};
use crate::store::Store;

/// What a target is to hold.
#[derive(Clone, Debug)]
pub(super) enum What {
    Staple(Staple),
    Placeholder,
    Nothing,
}

/// Something to be written.
#[derive(Debug)]
pub(super) enum Job {
    /// A staple becomes the one that is held.
    Keep { cert: CertId, staple: Staple },
    /// A target gets its content.
    Publish { target: TargetId, at: Target, content: Content, what: What, running: Vec<Running> },
    /// A running server gets what lies in a target already.
    Tell { staple: Staple, running: Vec<Running> },
    /// The names that were given to certificates, before anything is published under them.
    Names(BTreeMap<String, String>),
    /// What a crash left half-written beside these targets goes, and responses of long ago with it.
    Tidy(Vec<Target>),
}

/// A server that takes staples while it runs, and what to say to it.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) sockets: Arc<[Socket]>,
    pub(super) pair: Pair,
}

/// A batch waits so long for the next job, and at most so long for all of them: answers come in a
/// few at a time, and each batch is a wait for the disk.
const GATHERS: Duration = Duration::from_millis(5);
const GATHERS_AT_MOST: Duration = Duration::from_millis(40);

/// How long every response that was ever published can be looked up.
const HISTORY: Duration = Duration::from_secs(400 * 86_400);

type Outcome = (Event, Option<String>);

/// Takes jobs; the thread behind it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// A thread that writes into `store`, and tells `outbox` what became of it.
    pub(super) fn start(store: Arc<Store>, outbox: UnboundedSender<Message>) -> Writer {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_all(&queue, &store, &outbox))
            .expect("the system has a thread to spare");
        Writer { jobs }
    }

    pub(super) fn write(&self, job: Job) {
        self.jobs.send(job).expect("the thread ends only when this is dropped");
    }
}

fn write_all(queue: &Receiver<Job>, store: &Store, outbox: &UnboundedSender<Message>) {
    let publisher = Publisher::new(publish::Settings {
        staples: store.dir().staples(),
        reserve: store.dir().root().join("reserve"),
    });
    let mut hung = Hung::default();
    while let Ok(first) = queue.recv() {
        let mut keeps = Vec::new();
        let mut publishes = Vec::new();
        for job in gathered(first, queue) {
            match job {
                Job::Keep { cert, staple } => keeps.push((cert, staple)),
                Job::Publish { target, at, content, what, running } => {
                    publishes.push((target, at, content, what, running));
                }
                Job::Tell { staple, running } => {
                    if let Err(error) = tell(&running, &staple, &mut hung) {
                        tracing::warn!("{}", said(&error));
                    }
                }
                Job::Names(names) => {
                    let trouble = store.remember_names(&names).err().map(|error| {
                        format!("{error}; names of certificates may change at the next start")
                    });
                    if let Some(trouble) = &trouble {
                        tracing::warn!("{trouble}");
                    }
                    let _ = outbox.send(Message::NamesKept(trouble));
                }
                Job::Tidy(targets) => tidy(&publisher, store, &targets),
            }
        }
        if keeps.is_empty() && publishes.is_empty() {
            continue;
        }
        let mut outcomes = keep(store, &keeps);
        outcomes.extend(publish(&publisher, &publishes, &mut hung));
        if outbox.send(Message::Written(outcomes)).is_err() {
            return;
        }
    }
}

/// The first job and those that come right behind it.
fn gathered(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let end = Instant::now() + GATHERS_AT_MOST;
    let mut jobs = vec![first];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match queue.recv_timeout(left.min(GATHERS)) {
            Ok(job) => jobs.push(job),
            // The next call of `recv` sees that all is over.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return jobs,
        }
    }
}

fn tidy(publisher: &Publisher, store: &Store, targets: &[Target]) {
    publisher.clean(targets);
    let pruned = SystemTime::now().checked_sub(HISTORY).map(|cutoff| store.prune_history(cutoff));
    if let Some(Err(error)) = pruned {
        tracing::warn!(%error, "old responses stay in the history");
    }
}

fn keep(store: &Store, keeps: &[(CertId, Staple)]) -> Vec<Outcome> {
    let staples: Vec<Staple> = keeps.iter().map(|(_, staple)| staple.clone()).collect();
    let kept = store.keep(&staples);
    let outcomes = keeps.iter().zip(kept).map(|((cert, _), outcome)| {
        let complaint = outcome.as_ref().err().map(ToString::to_string);
        let outcome = outcome.map_err(|error| error.fault());
        (Event::Kept { cert: *cert, outcome }, complaint)
    });
    outcomes.collect()
}

type Publish = (TargetId, Target, Content, What, Vec<Running>);

fn publish(publisher: &Publisher, publishes: &[Publish], hung: &mut Hung) -> Vec<Outcome> {
    let items: Vec<_> = publishes
        .iter()
        .map(|(_, at, _, what, _)| {
            let what = match what {
                What::Staple(staple) => Publishable::Staple(staple),
                What::Placeholder => Publishable::Placeholder,
                What::Nothing => Publishable::Nothing,
            };
            (at.clone(), what)
        })
        .collect();
    let published = publisher.publish(&items);
    let outcomes =
        publishes.iter().zip(published).map(|((target, _, content, what, running), outcome)| {
            let mut complaint = outcome.as_ref().err().map(|error| match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            });
            let mut outcome = outcome.map(|_| *content).map_err(|error| error.fault());
            // The file first: whoever starts or reloads the server in between finds the newest there.
            if let (Ok(_), What::Staple(staple)) = (&outcome, what)
                && let Err(error) = tell(running, staple, hung)
            {
                complaint = Some(said(&error));
                outcome = Err(PublishFault::Failed);
            }
            (Event::Published { target: *target, outcome }, complaint)
        });
    outcomes.collect()
}

/// Tells every server that runs. One that does not reads the file when it starts.
fn tell(running: &[Running], staple: &Staple, hung: &mut Hung) -> Result<(), TellError> {
    for Running { sockets, pair } in running {
        for socket in sockets.iter() {
            match hung.tell(socket, pair, staple.der())? {
                // All sockets of one server lead to the same.
                Told::Taken => break,
                Told::OtherCertificate => {
                    let certificate = pair.certificate.display();
                    tracing::info!(%socket, %certificate, "presents another certificate still");
                    break;
                }
                Told::Absent => {}
            }
        }
    }
    Ok(())
}

fn said(error: &TellError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let hint = match error {
        TellError::Unusable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "; let this user write there: `stats socket … mode 660 group staplekeeper level admin`"
        }
        _ => "; the file beside the certificate is written, a reload of HAProxy takes it up",
    };
    format!("{error}{}{hint}", cause.unwrap_or_default())
}
