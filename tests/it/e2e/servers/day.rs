//! What clients see when the responder hangs for a day: while staples last, and once they have run out.
//!
//! The day is modelled: staples live for seconds, and the responder takes connections and never answers
//! for longer than that.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::Server;
use super::host::Host;
use super::record::{ROWS, day as row, keep_day};
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::Said;
use crate::support::judge::{Clients, Counts, Worth};
use crate::support::responder::Reply;

/// How long clients look at each site once staples have run out.
const LOOKS: Duration = Duration::from_secs(4);

/// Lets the responder hang until long after every staple has run out, and keeps what clients saw.
pub(super) fn day<S: Server>() {
    let mut host = Host::<S>::new(S::LIFE, "");
    host.start();
    let all = host.clients();
    let leaves = S::SITES.iter().flat_map(|site| host.all_leaves(site));
    let leaves: Vec<_> = leaves.collect();
    let before = now();
    for leaf in &leaves {
        host.authority.says(leaf, Answer::Reply(Reply::Hang));
    }
    // What was fetched a moment before may be new, and what is old has half its time left.
    let serves = S::LIFE - S::STOPS_EARLY;
    wait_past(before + serves / 3);
    let lasting = all.end();
    let bare = lasting.bare.iter().filter(|at| host.server.excuses(**at)).count();
    assert_eq!(lasting.not_good(), bare, "staples last still: {lasting:#?}");

    wait_past(before + serves + 3);
    let mut over = String::new();
    let mut slowest = Duration::ZERO;
    for site in S::SITES {
        let begun = Instant::now();
        let _ = host.handshake(site);
        slowest = slowest.max(begun.elapsed());
        let pause = Duration::from_millis(20);
        let clients = Clients::start(&host.authority, host.ground.door(), &[site], pause);
        std::thread::sleep(LOOKS);
        let counts = clients.end();
        assert_eq!(counts.all(Worth::Good) + counts.all(Worth::Wrong), 0, "{counts:#?}");
        let _ = write!(
            over,
            "{}{site}: {}",
            if over.is_empty() { "" } else { "; " },
            told(&counts, site)
        );
    }

    for leaf in &leaves {
        host.authority.says(leaf, Answer::Status(Said::Good));
    }
    let back = Instant::now();
    for site in S::SITES {
        host.wait_until_served(site);
    }
    let back = back.elapsed().as_secs_f32();
    let good: usize = lasting.all(Worth::Good);
    keep_day(
        S::NAME,
        &format!(
            "| {} | {good} handshakes, all good | {over}; a handshake took {slowest:.0?} at most | {back:.1} s |",
            S::NAME
        ),
    );
}

/// What clients of one site were handed.
fn told(counts: &Counts, site: &str) -> String {
    let worths = [
        (Worth::Nothing, "no staple"),
        (Worth::Placeholder, "`tryLater`"),
        (Worth::Expired, "the old staple"),
    ];
    let seen = worths.iter().filter(|(worth, _)| counts.of(site, *worth) > 0);
    let mut words: Vec<&str> = seen.map(|(_, words)| *words).collect();
    if counts.failed > 0 {
        words.push("no TLS connection");
    }
    words.join(", ")
}

/// The table of what was kept.
pub(super) fn table() -> String {
    let mut text = String::from(
        "| server | while staples last | once they have run out | good again after |\n| --- | --- | --- | --- |\n",
    );
    for server in ROWS {
        text += &row(server).unwrap_or_else(|| format!("| {server} | ? | ? | ? |"));
        text.push('\n');
    }
    text
}
