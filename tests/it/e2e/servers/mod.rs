//! Every kind of server, as Debian packages it, with the agent beside it: the same properties asked of each.
//!
//! A kind is a [`Server`]: how it is set up, started, stopped, reloaded by its owner, and what of the
//! list it cannot have by its nature. `every_property!(Kind)` makes a test of each [`Property`]. What the
//! tests found is kept, and printed as a table by
//!
//! ```text
//! cargo test --test it -- --ignored --exact e2e::servers::table --nocapture
//! ```
//!
//! What their clients see when the responder is away until long after staples have run out is another table:
//!
//! ```text
//! cargo test --test it -- --ignored a_day_without_the_responder
//! cargo test --test it -- --ignored --exact e2e::servers::days --nocapture
//! ```

mod apache_hung;
mod apache_md;
mod apache_refresh;
mod apache_ssl;
mod apache_study;
mod day;
mod exim;
mod files;
mod ground;
mod haproxy;
mod haproxy_files;
mod hitch;
mod host;
mod lighttpd;
mod nginx;
mod nginx_dual;
mod properties;
mod record;

use std::time::Instant;

use ground::Ground;
use staplekeeper::confirm::StartTls;

use crate::support::agent::Agent;
use crate::support::ca::Identity;
use crate::support::judge::Worth;

/// What is asked of each server, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// The very first handshake after the server starts carries a good staple.
    FirstHandshake,
    /// New staples are served before the server stops handing out the old ones.
    Rotation,
    /// The responder is away for longer than half of the time a staple serves: no handshake suffers.
    Outage,
    /// A renewed certificate is never presented with the staple of the old one.
    Renewal,
    /// A revocation reaches clients within ten seconds of the fetch that brings it.
    Revocation,
    /// The agent is killed and started again, the server meanwhile too: no handshake suffers.
    AgentRestart,
}

impl Property {
    /// All of them.
    pub(super) const ALL: [Property; 6] = [
        Property::FirstHandshake,
        Property::Rotation,
        Property::Outage,
        Property::Renewal,
        Property::Revocation,
        Property::AgentRestart,
    ];

    /// The head of its column.
    fn title(self) -> &'static str {
        match self {
            Property::FirstHandshake => "first handshake stapled",
            Property::Rotation => "rotated in time",
            Property::Outage => "responder away",
            Property::Renewal => "renewal",
            Property::Revocation => "revocation seen",
            Property::AgentRestart => "agent restarted",
        }
    }
}

/// One kind of server with its sites. It lies in the folder of its [`Ground`], and listens on its port.
pub(super) trait Server: Sized {
    /// The head of its row.
    const NAME: &'static str;
    /// How long the responder's answers live where staples are to run out, in seconds: short, and long
    /// enough for a busy machine.
    const LIFE: i64 = 24;
    /// The server stops handing out a staple so many seconds before nextUpdate.
    const STOPS_EARLY: i64 = 0;
    /// Its sites; those that begin with `must` have Must-Staple certificates.
    const SITES: &'static [&'static str] = &["must.test", "plain.test"];
    /// What is spoken on its port before TLS.
    const STARTTLS: Option<StartTls> = None;

    /// Each site has an RSA certificate besides the one with an elliptic key.
    const TWO_KEYS: bool = false;
    /// Its first clients go without staples, unless somebody comes before them: it is not judged before
    /// [`Server::settle`] returns.
    const WARMED: bool = false;
    /// What clients are handed once a certificate is revoked.
    const REVOKED: Worth = Worth::Revoked;

    /// Each of its reloads may reset connections that wait to be accepted: no matter of staples.
    const RELOADS_RESET: bool = false;

    /// What it cannot have by its nature, and why; with the number in facts/servers.md. The test of
    /// that property sees to it that nothing worse happens.
    fn lacks(_: Property) -> Option<&'static str> {
        None
    }

    /// Writes the configuration; certificates are not there yet, and nothing runs.
    fn new(ground: &Ground) -> Self;

    /// What the agent's configuration says for it: `[[server]]` and whatever else it needs.
    fn tables(&self) -> String;

    /// What the agent is started with besides its configuration.
    fn prepare(&self, _: &mut Agent) {}

    /// Puts a certificate and its key where the configuration has them, as an ACME client's hook does.
    fn install(&self, ground: &Ground, site: &str, leaf: &Identity) {
        ground.install(site, leaf);
    }

    /// Starts it and returns when it takes connections.
    fn start(&mut self);

    /// Stops it at once; it may be started again.
    fn stop(&mut self);

    /// Waits until what the first clients set going would be done, where it is done for them.
    fn settle(&self, _: &mut Agent) {}

    /// Whether a handshake may have gone without a staple then, and nobody can help it.
    fn excuses(&self, _: Instant) -> bool {
        false
    }

    /// Has it take up its files, as its owner does after a renewal; returns when it did.
    ///
    /// # Errors
    /// It keeps what it had, and says this.
    fn reload(&mut self) -> Result<(), String>;
}

/// A test for each property of a kind of server.
macro_rules! every_property {
    ($server:ty) => {
        #[test]
        fn the_first_handshake_after_a_start_is_stapled() {
            crate::e2e::servers::properties::first_handshake::<$server>();
        }

        #[test]
        fn staples_are_rotated_in_time() {
            crate::e2e::servers::properties::rotation::<$server>();
        }

        #[test]
        fn a_responder_that_is_away_goes_unnoticed() {
            crate::e2e::servers::properties::outage::<$server>();
        }

        #[test]
        fn a_renewed_certificate_never_comes_with_the_old_staple() {
            crate::e2e::servers::properties::renewal::<$server>();
        }

        #[test]
        fn a_revocation_is_seen_within_ten_seconds() {
            crate::e2e::servers::properties::revocation::<$server>();
        }

        #[test]
        fn an_agent_that_is_killed_and_started_again_loses_nothing() {
            crate::e2e::servers::properties::agent_restart::<$server>();
        }

        #[test]
        #[ignore = "finds out what is so, and judges little"]
        fn a_day_without_the_responder() {
            crate::e2e::servers::day::day::<$server>();
        }
    };
}
use every_property;

/// Prints what clients saw without a responder, in the last run of each test.
#[test]
#[ignore = "prints what the other tests have found, and is run after them"]
fn days() {
    println!("{}", day::table());
}

/// Prints what the last run of each test found.
#[test]
#[ignore = "prints what the other tests have found, and is run after them"]
fn table() {
    let (table, whole) = record::table();
    println!("{table}");
    assert!(whole, "some properties do not hold, or were not looked at");
}
