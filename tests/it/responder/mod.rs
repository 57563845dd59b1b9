//! Our own OCSP responder, asked by real clients: what it answers, and what it puts up with.

mod abuse;
mod answers;
mod brief;
mod client;
mod programs;
mod requests;
mod servers;
mod sockets;
