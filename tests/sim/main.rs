//! The planner in a virtual world: weeks and years in seconds, with failing responders, a model nginx,
//! renewals, clock steps and crashes.
//!
//! A scenario is data: a [`Setup`](world::Setup), some [`Change`](world::Change)s at their instants,
//! and what the run must have looked like. What must hold in every run whatever happens is checked
//! by the world itself, see `invariants`.

mod agent;
mod by_hand;
mod events;
mod invariants;
mod measure;
mod monitor;
mod nginx;
mod random;
mod responder;
mod scenarios;
mod themselves;
mod world;
