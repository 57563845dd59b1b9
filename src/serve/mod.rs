//! What the agent answers on: the control socket, the loopback OCSP responder.

pub mod control;
pub mod responder;
