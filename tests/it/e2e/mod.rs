//! The built agent against a real nginx, from the certificate on disk to the client's handshake.

mod acme;
mod boot;
mod commands;
mod crash;
mod hook;
mod hosts;
mod hours;
mod profiles;
mod renewal;
mod responders;
mod revocation;
mod servers;
mod serving;
mod shown;
mod stuck;
mod study;
mod warming;
