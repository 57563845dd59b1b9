//! Apache while the CA's responder hangs: it takes connections and never answers.
//!
//! By itself Apache asks at a handshake, and all handshakes for that staple wait (facts/servers.md 30); with
//! the agent it asks the agent, which has an answer.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::apache_ssl::{self, Apache};
use super::ground::Ground;
use super::host::Host;
use crate::support::apache::Apache as Process;
use crate::support::authority::{Answer, Authority};
use crate::support::ca::Draft;
use crate::support::judge;
use crate::support::responder::Reply;

const SITES: &[&str] = &["must.test", "plain.test"];
/// Between two clients.
const EVERY: Duration = Duration::from_millis(40);

/// The lengths of handshakes, sorted.
struct Lengths(Vec<Duration>);

impl Lengths {
    /// Of clients that come one after another, whether those before have been served or not.
    fn measure(authority: &Arc<Authority>, ground: &Ground, lasts: Duration) -> Lengths {
        let (begun, door) = (Instant::now(), ground.door());
        let mut clients = Vec::new();
        for (n, site) in SITES.iter().cycle().enumerate() {
            let due = begun + EVERY * u32::try_from(n).expect("so few");
            if due > begun + lasts {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let authority = authority.clone();
            clients.push(thread::spawn(move || {
                let begun = Instant::now();
                // Slow ones are given up by the client: that is how long it waited.
                let _ = judge::handshake(&authority, door, site);
                begun.elapsed()
            }));
        }
        let lengths = clients.into_iter().map(|one| one.join().expect("no panic"));
        let mut lengths: Vec<_> = lengths.collect();
        lengths.sort_unstable();
        Lengths(lengths)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn told(&self) -> String {
        let (half, most, longest) = (self.at(50), self.at(99), self.at(100));
        format!(
            "{} handshakes, p50 {half:.1?}, p99 {most:.1?}, longest {longest:.1?}",
            self.0.len()
        )
    }
}

/// An Apache that asks the CA's responder, which hangs.
fn alone(timings: &str, lasts: Duration) -> Lengths {
    let ground = Ground::new(SITES, None);
    let authority = Arc::new(Authority::new(3_600));
    let mut process = Process::new(&["ssl", "socache_shmcb"]);
    for site in SITES {
        let leaf = authority.issue(Draft::leaf(site));
        authority.says(&leaf, Answer::Reply(Reply::Hang));
        ground.install(site, &leaf);
    }
    let cache = process.path("stapling").display().to_string();
    let common = format!(
        "Listen 127.0.0.1:{}\nSSLStaplingCache shmcb:{cache}(65536)\nSSLUseStapling on\n{timings}",
        ground.port
    );
    process.hosts(&(common + &apache_ssl::hosts(&ground)));
    process.start(ground.port);
    Lengths::measure(&authority, &ground, lasts)
}

/// The same with the agent, which had one answer before the responder began to hang.
fn beside_the_agent(lasts: Duration) -> Lengths {
    let mut host = Host::<Apache>::new(3_600, "");
    host.start();
    for site in SITES {
        host.authority.says(host.leaf(site), Answer::Reply(Reply::Hang));
    }
    // The agent asks as well, and has to wait.
    let mut refresh = host.agent.program(&["refresh"]);
    let mut refresh = refresh.stdout(std::process::Stdio::null()).spawn().expect("it runs");
    let lengths = Lengths::measure(&host.authority, &host.ground, lasts);
    let _ = refresh.wait();
    host.all_judges_connect();
    lengths
}

#[test]
fn handshakes_keep_their_speed() {
    // A tenth of the time that Apache gives its responder, and failures are kept for a second of 600.
    let timings = "SSLStaplingResponderTimeout 1\nSSLStaplingErrorCacheTimeout 1\n";
    let alone = alone(timings, Duration::from_secs(6));
    let beside = beside_the_agent(Duration::from_secs(6));
    println!("Apache alone, 1 s for its responder: {}", alone.told());
    println!("Apache beside the agent:             {}", beside.told());
    assert!(alone.at(99) >= Duration::from_millis(900), "{}", alone.told());
    assert!(beside.at(99) < Duration::from_millis(500), "{}", beside.told());
}

/// With Apache's own 10 s; our clients give up after 5 s.
#[test]
#[ignore = "takes half a minute and is there for its figures"]
fn handshakes_with_apaches_own_timings() {
    let alone = alone("", Duration::from_secs(25));
    println!("Apache alone, as shipped: {}", alone.told());
    assert!(alone.at(50) > Duration::from_millis(4_900), "{}", alone.told());
}
