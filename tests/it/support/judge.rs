//! What clients are handed, judged as a strict one would: single looks, and many in the background.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use staplekeeper::confirm::{Address, KeyKind, Look, StartTls, look};
use staplekeeper::digest::{Digest, Fingerprint};
use staplekeeper::ocsp::{self, Rejection, Response, Rules, Status, TRY_LATER};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::UnixTime;

use super::authority::{Authority, now};
use super::ca::Identity;

/// A loopback port to knock at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    pub port: u16,
    /// What is spoken before TLS.
    pub starttls: Option<StartTls>,
    /// Which key the certificate is to have, where there are several.
    pub key: Option<KeyKind>,
}

impl From<u16> for Door {
    fn from(port: u16) -> Door {
        Door { port, starttls: None, key: None }
    }
}

/// What a staple is worth for the certificate it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    Good,
    Revoked,
    /// The server stapled nothing.
    Nothing,
    /// `tryLater`: as good as nothing.
    Placeholder,
    /// Authentic, and its time is over.
    Expired,
    /// Anything else: of another certificate, badly signed, no response.
    Wrong,
}

/// One handshake.
#[derive(Clone, Debug)]
pub struct Shown {
    pub leaf: Fingerprint,
    pub worth: Worth,
    /// Why it is [`Worth::Wrong`].
    pub why: String,
    /// thisUpdate of an authentic staple, seconds since 1970.
    pub this_update: Option<i64>,
    pub staple: Option<Vec<u8>>,
}

/// Judges `staple` for `leaf` at this moment.
pub fn worth(leaf: &Identity, staple: Option<&[u8]>) -> Shown {
    let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
    let leaf_read = read(&leaf.der);
    let shown = |worth| Shown {
        leaf: leaf_read.fingerprint(),
        worth,
        why: String::new(),
        this_update: None,
        staple: staple.map(<[u8]>::to_vec),
    };
    let Some(bytes) = staple else { return shown(Worth::Nothing) };
    if bytes == TRY_LATER {
        return shown(Worth::Placeholder);
    }
    let wrong = |why: String| Shown { why, ..shown(Worth::Wrong) };
    let issued = Issued::prove(leaf_read.clone(), read(&leaf.issuer().der));
    let issued = issued.expect("the toy CA issued it");
    let response = match Response::decode(bytes) {
        Ok(response) => response,
        Err(error) => return wrong(error.to_string()),
    };
    let now = UnixTime::from_secs(now());
    match ocsp::verify(response, &issued, &Rules::default(), now) {
        Ok(staple) => {
            let worth = match staple.status() {
                // The rules leave room for clocks that differ; here there is one clock.
                _ if staple.expires() < now => Worth::Expired,
                Status::Good => Worth::Good,
                Status::Revoked => Worth::Revoked,
                Status::Unknown => return wrong("unknown".to_owned()),
            };
            Shown { this_update: Some(staple.this_update().as_secs()), ..shown(worth) }
        }
        Err(Rejection::Expired { .. }) => shown(Worth::Expired),
        Err(rejection) => wrong(rejection.to_string()),
    }
}

/// SHA-256 of a certificate's DER.
pub fn fingerprint(identity: &Identity) -> Fingerprint {
    Digest::of(&identity.der)
}

/// One handshake with `name` on a loopback port, judged; the error is the handshake's.
///
/// # Errors
/// No handshake, or a certificate that this authority has not issued.
pub fn handshake(
    authority: &Authority,
    door: impl Into<Door>,
    name: &str,
) -> Result<Shown, String> {
    runtime().block_on(seen(authority.leaves(), door.into(), name))
}

async fn seen(leaves: Vec<Identity>, door: Door, name: &str) -> Result<Shown, String> {
    let Door { port, starttls, key } = door;
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let server_name = Some(name.to_owned());
    let wanted = Look { server_name, starttls, key, ..Look::at(address) };
    let seen = look(&wanted).await.map_err(|error| format!("{error}: {error:?}"))?;
    if let Some(why) = seen.broke_off {
        return Err(why);
    }
    let presented = &seen.chain[0];
    let leaf = leaves.iter().find(|leaf| leaf.der == *presented);
    let leaf = leaf.ok_or_else(|| "it presents a certificate of somebody else".to_owned())?;
    Ok(worth(leaf, seen.staple.as_deref()))
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made")
}

/// Makes full handshakes with some names, one after another, until it is asked for the counts.
pub struct Clients {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
    thread: Option<JoinHandle<()>>,
}

/// Where clients go again and again.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What it is counted under.
    label: String,
    site: String,
    door: Door,
}

impl Visit {
    /// Visits to `site`, counted under `label`.
    pub fn new(label: &str, site: &str, door: Door) -> Visit {
        Visit { label: label.to_owned(), site: site.to_owned(), door }
    }
}

/// What the handshakes showed, per name.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_name: BTreeMap<String, BTreeMap<Worth, usize>>,
    /// thisUpdate of every good staple.
    staples: BTreeMap<String, BTreeSet<i64>>,
    /// Handshakes that failed.
    pub failed: usize,
    /// When the server stapled nothing.
    pub bare: Vec<Instant>,
    /// The first of what was wrong or failed, in words.
    pub notes: Vec<String>,
}

impl Counts {
    /// How often `name` showed a staple of this worth.
    pub fn of(&self, name: &str, worth: Worth) -> usize {
        let of_name = self.by_name.get(name);
        of_name.and_then(|worths| worths.get(&worth)).copied().unwrap_or_default()
    }

    /// How often any name did.
    pub fn all(&self, worth: Worth) -> usize {
        self.by_name.keys().map(|name| self.of(name, worth)).sum()
    }

    /// How many handshakes with `name` succeeded.
    pub fn total(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, |worths| worths.values().sum())
    }

    /// How many good staples of `name` were seen, one after another.
    pub fn staples(&self, name: &str) -> usize {
        self.staples.get(name).map_or(0, BTreeSet::len)
    }

    /// How many handshakes there were that a strict client would not go on after.
    pub fn not_good(&self) -> usize {
        let all: usize = self.by_name.keys().map(|name| self.total(name)).sum();
        all - self.all(Worth::Good) + self.failed
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < 20 {
            self.notes.push(text);
        }
    }
}

impl Clients {
    /// One thread for all names; `pause` between handshakes.
    pub fn start(
        authority: &Arc<Authority>,
        door: impl Into<Door>,
        names: &[&str],
        pause: Duration,
    ) -> Clients {
        let door = door.into();
        let visits = names.iter().map(|name| Visit::new(name, name, door));
        Clients::visiting(authority, visits.collect(), pause)
    }

    /// One thread for all visits; `pause` between handshakes.
    pub fn visiting(authority: &Arc<Authority>, visits: Vec<Visit>, pause: Duration) -> Clients {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Counts>>::default());
        let (told, book, authority) = (stop.clone(), counts.clone(), authority.clone());
        let thread = thread::spawn(move || {
            let runtime = runtime();
            for Visit { label: name, site, door } in visits.iter().cycle() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                let shown = runtime.block_on(seen(authority.leaves(), *door, site));
                let mut counts = book.lock().expect("nobody panics with it");
                match shown {
                    Ok(shown) => {
                        let worth = shown.worth;
                        *counts
                            .by_name
                            .entry(name.clone())
                            .or_default()
                            .entry(worth)
                            .or_default() += 1;
                        if let (Worth::Good, Some(at)) = (worth, shown.this_update) {
                            counts.staples.entry(name.clone()).or_default().insert(at);
                        }
                        if worth == Worth::Nothing {
                            counts.bare.push(Instant::now());
                        }
                        if worth != Worth::Good {
                            counts.note(format!("{} {name}: {worth:?} {}", now(), shown.why));
                        }
                    }
                    Err(error) => {
                        counts.failed += 1;
                        counts.note(format!("{} {name}: {error}", now()));
                    }
                }
                drop(counts);
                thread::sleep(pause);
            }
        });
        Clients { stop, counts, thread: Some(thread) }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Counts {
        self.counts.lock().expect("nobody panics with it").clone()
    }

    /// Waits until the counts are as wanted, and gives them.
    ///
    /// # Panics
    /// With the counts, after `patience`.
    pub fn wait_until(&self, patience: Duration, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let deadline = Instant::now() + patience;
        loop {
            let counts = self.so_far();
            if wanted(&counts) {
                return counts;
            }
            assert!(Instant::now() < deadline, "not within {patience:?}: {counts:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the thread; gives the counts.
    pub fn end(mut self) -> Counts {
        self.join();
        self.so_far()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the clients' thread panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.join();
    }
}
