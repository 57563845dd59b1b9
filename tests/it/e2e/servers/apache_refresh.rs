//! How soon `refresh` is content with an Apache that asks by itself.

use std::time::{Duration, Instant};

use super::Server;
use super::apache_ssl::Apache;
use super::host::Host;

const LONG: i64 = 3_600;

/// Looking at it may have begun before there was the staple that it is handed: that one is right too. Where it
/// was handed the one before, it asks again after two seconds, and that is waited for.
#[test]
fn one_that_has_just_started_is_not_looked_at_for_what_is_no_longer_published() {
    let mut host = Host::<Apache<2>>::new(LONG, "");
    host.agent.start();
    host.agent.wait_until("the first staples", |now| {
        now.certificates.iter().all(|one| one.this_update.is_some())
    });
    host.server.start();
    let begun = Instant::now();
    let refresh = host.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    // Patience with one look is ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
