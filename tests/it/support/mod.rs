//! What the tests lean on: real programs, free ports, scripted peers.

#![allow(unreachable_pub, dead_code, reason = "helpers are written for tests yet to come")]

pub mod agent;
pub mod apache;
pub mod authority;
pub mod ca;
pub mod clients;
pub mod daemon;
pub mod disk;
pub mod judge;
pub mod nginx;
pub mod pebble;
pub mod port;
pub mod program;
pub mod responder;
pub mod scene;
pub mod socket;
pub mod staples;
