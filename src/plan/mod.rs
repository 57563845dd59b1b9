//! The planner: decides what to ask, publish, reload and confirm, and when.
//!
//! A pure state machine: [`Event`]s and the instant go in, [`Action`]s come out. It reads no clock,
//! file or socket and knows facts and digests only, so that a virtual year runs in a test in seconds.
//!
//! Four small machines stand in a row, and [`Planner::handle`] only routes down the pipe:
//!
//! ```text
//! responders     who may be asked now: slots, circuits, queues by urgency
//! certificates   when each is asked about, which answer is accepted: windows, back-off
//! targets        what each should hold: the table in the design, §7 Publishing
//! servers        when each reloads, and the proof that it did: batching, spacing, snapshots
//! standing       how long clients are safe, and what is told about it
//! ```
//!
//! What all of them share while an event is handled lies on the `desk`, and every instant at which
//! something is to be looked at again stands in the `agenda`: nothing is ever searched for.
//!
//! Apart from it, [`Expiry`] follows when certificates themselves run out.

mod action;
mod agenda;
mod backoff;
mod certificates;
mod desk;
mod event;
mod expiry;
mod facts;
mod holding;
mod hours;
mod pending;
mod planner;
mod responders;
mod servers;
mod standing;
mod table;
mod targets;
mod trust;
mod uptake;
mod view;
mod window;

pub use action::{About, Action, Ask, Memory, Notice, Why};
pub use event::{Answer, Event, FetchFault, PublishFault, ReloadFault, Served, Sighting, Want};
pub use expiry::{Expiry, ExpiryAction, ExpiryPolicy, Life, RenewalAttempts};
pub use facts::{
    Attempts, Bare, CertId, Certificate, Content, Delivery, Facts, Loaded, OnExpired, OnRevoked,
    Policy, ResponderId, Server, ServerId, TakesUp, Target, TargetId,
};
pub use hours::{Hours, NotHours};
pub use planner::Planner;
pub use servers::LastReload;
pub use view::{
    Busy, CertificateState, CertificateView, LoadedView, ResponderView, ServerView, Severity,
    TargetView, Trouble,
};
pub use window::{Lead, Window};
