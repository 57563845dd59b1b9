//! What the tests lean on: real programs, free ports, scripted peers.

#![allow(unreachable_pub, dead_code, reason = "helpers are written for tests yet to come")]

pub mod ca;
pub mod disk;
pub mod nginx;
pub mod port;
pub mod program;
pub mod responder;
pub mod staples;
