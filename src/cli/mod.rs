//! The commands, a file each.

pub mod probe;
pub mod verify;
