//! What the agent answers on: the control socket.

pub mod control;
