//! staplekeeper stands beside a web server and keeps every OCSP staple fresh, verified and served.
//!
//! This page is the guided tour: how a staple travels, which module does what, what is never done,
//! and where each rule of the RFCs is kept.
//!
//! # The way of a staple
//!
//! ```text
//! discover -> plan -> fetch -> verify -> store -> publish -> reload -> confirm
//!    ^          |                                                        |
//!    |          +---- the planner is told of every outcome --------------+
//!    files, nginx/Apache configuration, inotify
//! ```
//!
//! The core decides, the shell acts. [`plan::Planner`] is a pure state machine: a [`plan::Event`] and
//! the instant go in, [`plan::Action`]s come out. [`agent`] performs them and feeds back what
//! happened. Waiting is an action too, so a year of refreshes runs in a test within seconds.
//!
//! # Where things are
//!
//! | module | kind | what |
//! | --- | --- | --- |
//! | [`time`], [`digest`] | core | instants and lengths of time; SHA-256 digests |
//! | [`pki`] | core | certificates, who issued whom, TLS feature, AIA |
//! | [`ocsp`] | core | requests, responses and `verify`: encode, decode, judge |
//! | [`plan`] | core | windows, back-off, when to reload; the planner |
//! | [`happening`] | core | what happened, for the log, the record, metrics and hooks |
//! | [`discover`] | shell | servers' configuration, certificate folders, watching |
//! | [`fetch`] | shell | HTTP to responders, with bounds |
//! | [`store`] | shell | what survives a restart |
//! | [`publish`] | shell | staples, placed where servers read them |
//! | [`reload`] | shell | systemd, signals, commands; noticing others' reloads |
//! | [`confirm`] | shell | handshakes that show what is served |
//! | [`serve`] | shell | the control socket, the loopback OCSP responder, metrics and status page |
//! | [`hooks`] | shell | the operator's commands, run at events |
//! | [`audit`] | shell | the append-only record of what happened, and what was stapled when |
//! | [`clock`], [`files`], [`command`] | shell | the machine's clocks; files that appear whole or not at all; commands without a shell |
//! | [`config`] | | the configuration file and what it means |
//! | [`lint`] | | rules: what in configurations and on disk will hurt users, and what to write instead |
//! | [`inventory`] | | what there is, for people, programs and spreadsheets |
//! | [`agent`] | | the loop that performs what the planner decides |
//! | [`cli`] | | the commands |
//!
//! # What holds
//!
//! `tests/it/tidy.rs` reads the sources to see that this stays so.
//!
//! - Core modules import no shell module, no tokio, no files, sockets or environment, and no clock: the
//!   instant is an argument. `plan` knows no staples, paths or server names, only facts and digests.
//! - Shell modules import core modules (and `files` and `command`) only; `agent` and `cli` alone bring them together.
//! - Shell modules import core modules (and `files`) only; `agent` and `cli` alone bring them together.
//! - `lint` and `inventory` judge what `discover` found, and touch nothing themselves.
//! - Only [`ocsp::verify`] makes a [`ocsp::Staple`]. `store` keeps nothing else; `publish` writes a
//!   staple, the `tryLater` placeholder, or nothing. Bytes read back from disk are verified again;
//!   of what was verified before, only the arithmetic of a signature is passed over, by the digest of
//!   everything it depends on ([`pki::signature::Checked`]).
//! - A failed scan removes nothing; a failed fetch replaces nothing; a full disk stops no publishing.
//! - A file that a server reads is the old one or the new one, never part of one, and never missing.
//! - Private keys are skipped while PEM is read, kept nowhere and logged never.
//! - `discover` uses no network; the loopback sockets the operator configured are all that is opened.
//!
//! # The RFCs
//!
//! | rule | where |
//! | --- | --- |
//! | RFC 6960 §3.2, acceptance of a response | [`ocsp::verify`] |
//! | RFC 6960 §4.1, RFC 9654, requests and nonces | [`ocsp::request`], [`ocsp::Request`] |
//! | RFC 6960 §4.2, responses | [`ocsp::Response`] |
//! | RFC 6960 appendix A, RFC 9919 §6-7, HTTP and caching | [`fetch`], [`serve::responder`] |
//! | RFC 7633, Must-Staple | [`pki::TlsFeature`] |
//! | RFC 8446 §4.4.2.1, RFC 6066 §8, staples in handshakes | [`confirm`] |
//!
//! Departures that real responders force on us: `doc/relaxed-validation.md`.

pub mod agent;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod confirm;
pub mod digest;
pub mod discover;
pub mod fetch;
pub mod files;
pub mod happening;
pub mod hooks;
pub mod inventory;
pub mod lint;
pub mod ocsp;
pub mod pki;
pub mod plan;
pub mod publish;
pub mod reload;
pub mod serve;
pub mod store;
pub mod time;
