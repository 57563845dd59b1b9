//! The planner: decides what to ask, publish, reload and confirm, and when.
//!
//! A pure state machine: [`Event`]s and the instant go in, [`Action`]s come out. It reads no clock,
//! file or socket and knows facts and digests only, so that a virtual year runs in a test in seconds.

mod action;
mod event;
mod facts;

pub use action::{About, Action, Ask, Memory, Notice, Why};
pub use event::{Answer, Event, FetchFault, PublishFault, ReloadFault, Served, Sighting, Want};
pub use facts::{
    Attempts, Bare, CertId, Certificate, Content, Delivery, Facts, Loaded, OnExpired, OnRevoked,
    Policy, ResponderId, Server, ServerId, Target, TargetId,
};
