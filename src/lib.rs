//! staplekeeper keeps every OCSP staple of a web server fresh, verified and served.

pub mod agent;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confirm;
pub mod digest;
pub mod discover;
pub mod fetch;
pub mod files;
pub mod ocsp;
pub mod pki;
pub mod plan;
pub mod publish;
pub mod reload;
pub mod serve;
pub mod store;
pub mod time;
