//! A toy CA with its responder, whose answers live as long as the test says.
//!
//! ```ignore
//! let authority = Authority::new(20);                  // answers good for 20 s
//! let leaf = authority.issue(Draft { must_staple: true, ..Draft::leaf("www.test") });
//! authority.says(&leaf, Answer::Unauthorized);         // from the next request on
//! assert_eq!(authority.asked(&leaf), 1);
//! authority.responder.kill();
//! ```

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ca::{Draft, Forge, Identity, Question, Said, nonce_extension, refusal};
use super::responder::{Reply, Request, Responder};

/// Root, intermediate and responder.
pub struct Authority {
    pub root: Identity,
    /// What leaves are issued by.
    pub intermediate: Identity,
    pub responder: Responder,
    book: Arc<Mutex<Book>>,
}

/// What the responder does about a certificate.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Signs this, from now on for the CA's `life`.
    Status(Said),
    /// Signs `good`, with these bounds (seconds since 1970).
    Between(i64, i64),
    /// Unsigned: unauthorized.
    Unauthorized,
    /// Whatever.
    Reply(Reply),
}

struct Book {
    /// How long answers are good, in seconds.
    life: i64,
    entries: Vec<Entry>,
}

struct Entry {
    leaf: Identity,
    answer: Answer,
    asked: usize,
    /// thisUpdate of the last answer.
    last: i64,
}

impl Authority {
    /// A new CA whose responder listens on a free loopback port; its answers are good for `life`
    /// seconds from the second they are asked for, never twice the same thisUpdate.
    pub fn new(life: i64) -> Authority {
        let root = Identity::root("E2E Root");
        let intermediate = root.issue(Draft::authority("E2E CA"));
        let book = Arc::new(Mutex::new(Book { life, entries: Vec::new() }));
        let read = Arc::clone(&book);
        let responder = Responder::start(move |request| answer(request, &mut lock(&read)));
        Authority { root, intermediate, responder, book }
    }

    /// Signs a certificate and answers `good` for it. Without OCSP URLs in the draft it gets the
    /// responder's; [`Authority::issue_as_it_is`] leaves them out.
    pub fn issue(&self, draft: Draft) -> Identity {
        let ocsp_urls = match draft.ocsp_urls.is_empty() {
            true => vec![self.responder.url()],
            false => draft.ocsp_urls.clone(),
        };
        self.issue_as_it_is(Draft { ocsp_urls, ..draft })
    }

    /// Signs a certificate just as drafted.
    pub fn issue_as_it_is(&self, draft: Draft) -> Identity {
        let leaf = self.intermediate.issue(draft);
        let answer = Answer::Status(Said::Good);
        lock(&self.book).entries.push(Entry { leaf: leaf.clone(), answer, asked: 0, last: 0 });
        leaf
    }

    /// From now on the responder does this about `leaf`.
    pub fn says(&self, leaf: &Identity, answer: Answer) {
        let mut book = lock(&self.book);
        let entry = book.entries.iter_mut().find(|entry| entry.leaf.serial == leaf.serial);
        entry.expect("it was issued here").answer = answer;
    }

    /// Answers are good for so many seconds from now on.
    pub fn life(&self, seconds: i64) {
        lock(&self.book).life = seconds;
    }

    /// How often the responder was asked about `leaf`.
    pub fn asked(&self, leaf: &Identity) -> usize {
        let book = lock(&self.book);
        let entry = book.entries.iter().find(|entry| entry.leaf.serial == leaf.serial);
        entry.map_or(0, |entry| entry.asked)
    }

    /// Every certificate issued so far.
    pub fn leaves(&self) -> Vec<Identity> {
        lock(&self.book).entries.iter().map(|entry| entry.leaf.clone()).collect()
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().expect("nobody panics with the book open")
}

fn answer(request: &Request, book: &mut Book) -> Reply {
    let Some(der) = &request.ocsp else { return Reply::html(404) };
    let Question { claim, nonce } = Question::of(der);
    let life = book.life;
    let entry = book.entries.iter_mut().find(|entry| entry.leaf.serial == claim.serial);
    let Some(entry) = entry else { return Reply::ocsp(refusal(6)) };
    entry.asked += 1;
    // Two answers of one second would have one thisUpdate, and neither would be newer.
    let this_update = now().max(entry.last + 1);
    let (said, from, until) = match &entry.answer {
        Answer::Status(said) => (said.clone(), this_update, this_update + life),
        Answer::Between(from, until) => (Said::Good, *from, *until),
        Answer::Unauthorized => return Reply::ocsp(refusal(6)),
        Answer::Reply(reply) => return reply.clone(),
    };
    entry.last = from;
    let mut forge = Forge::new(&entry.leaf, from).from(from).until(Some(until)).status(said);
    forge.singles[0].claim = claim;
    forge.extensions.extend(nonce.as_deref().map(nonce_extension));
    Reply::ocsp(forge.der())
}

/// Waits until that second (since 1970) is over.
pub fn wait_past(second: i64) {
    while now() <= second {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_secs()).expect("it fits")
}
