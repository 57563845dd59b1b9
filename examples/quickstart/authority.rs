//! The toy CA of the demonstration, and its responder, whose answers live for seconds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ca::{Draft, Forge, Identity, Question, Said, refusal};
use crate::responder::{Reply, Request, Responder};

/// How long an answer is good: staplekeeper asks again after half of it.
pub const LIFE: Duration = Duration::from_secs(24);

/// Root, intermediate and responder.
pub struct Authority {
    pub root: Identity,
    intermediate: Identity,
    pub responder: Responder,
    register: Arc<Mutex<Vec<Entry>>>,
}

/// A certificate that was issued, and when it was revoked.
struct Entry {
    leaf: Identity,
    revoked: Option<i64>,
}

impl Authority {
    /// A new CA whose responder listens on a free loopback port.
    pub fn new() -> Authority {
        let root = Identity::root("Quickstart Root");
        let intermediate = root.issue(Draft::authority("Quickstart CA"));
        let register = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&register);
        let responder =
            Responder::start(move |request| answer(request, &book.lock().expect("sane")));
        Authority { root, intermediate, responder, register }
    }

    /// A certificate that clients refuse without a staple (RFC 7633).
    pub fn issue_must_staple(&self, name: &str) -> Identity {
        let ocsp_urls = vec![self.responder.url()];
        let draft = Draft { must_staple: true, ocsp_urls, ..Draft::leaf(name) };
        let leaf = self.intermediate.issue(draft);
        self.register.lock().expect("sane").push(Entry { leaf: leaf.clone(), revoked: None });
        leaf
    }

    /// From now on the responder says so.
    pub fn revoke(&self, leaf: &Identity) {
        let mut register = self.register.lock().expect("sane");
        let entry = register.iter_mut().find(|entry| entry.leaf.serial == leaf.serial);
        entry.expect("it was issued here").revoked = Some(now());
    }
}

fn answer(request: &Request, register: &[Entry]) -> Reply {
    let Some(der) = &request.ocsp else { return Reply::html(404) };
    let Question { claim, .. } = Question::of(der);
    let Some(entry) = register.iter().find(|entry| entry.leaf.serial == claim.serial) else {
        return Reply::ocsp(refusal(6));
    };
    let said = match entry.revoked {
        None => Said::Good,
        Some(time) => Said::Revoked { time, reason: Some(1) },
    };
    let now = now();
    let until = now + LIFE.as_secs() as i64;
    let mut response = Forge::new(&entry.leaf, now).from(now).until(Some(until)).status(said);
    response.singles[0].claim = claim;
    Reply::ocsp(response.der())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    since.as_secs() as i64
}
