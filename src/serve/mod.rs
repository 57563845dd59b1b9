//! What the agent answers on: the control socket, the loopback OCSP responder, metrics and status page.

pub mod control;
pub mod responder;
pub mod web;
