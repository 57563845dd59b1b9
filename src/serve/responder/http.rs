//! One HTTP request, answered from the table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::answer::{Answer, http_date};
use super::asked;
use super::counts::Counts;
use super::table::{Found, Table};
use crate::ocsp::{self, MALFORMED_REQUEST, MAX_REQUEST_BYTES, TRY_LATER, UNAUTHORIZED};
use crate::time::UnixTime;

/// How long a client may take to send the body it announced.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer is held back until there is something to say. A server that was reloaded in the same
/// breath as its certificate was renewed asks before the agent has the staple, and after a refusal nginx
/// goes without for five minutes.
const HELD_FOR: Duration = Duration::from_secs(4);
/// How often it is looked meanwhile.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: HeaderValue = HeaderValue::from_static("application/ocsp-response");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// UTC, whole seconds.
pub(super) type Now = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// What every connection answers from.
pub(super) struct Desk {
    pub(super) table: Arc<Table>,
    pub(super) counts: Counts,
    now: Now,
    /// The second that was written last, as `Date` has it.
    date: Mutex<(UnixTime, HeaderValue)>,
}

/// An answer, but for what HTTP says about the connection.
pub(super) type Reply = Response<Bytes>;

impl Desk {
    pub(super) fn new(table: Arc<Table>, now: Now) -> Desk {
        let never = UnixTime::from_secs(0);
        let date = Mutex::new((never, http_date(never)));
        Desk { table, counts: Counts::default(), now, date }
    }

    /// `Date` of what is said now.
    pub(super) fn date(&self) -> HeaderValue {
        let now = (self.now)();
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if date.0 != now {
            *date = (now, http_date(now));
        }
        date.1.clone()
    }

    /// Answers a plain GET, if there is a staple to answer it with.
    pub(super) fn at_once(&self, path: &str, process: Option<i32>) -> Option<Reply> {
        let now = (self.now)();
        match self.first_known(&asked::readings(path), now)? {
            Found::Answer(answer) => {
                self.note(process, &answer);
                let reply = described(StatusCode::OK, &answer, answer.body.clone(), now);
                self.counts.replied(reply.status());
                Some(reply)
            }
            Found::Unknown | Found::Nothing => None,
        }
    }

    /// Answers; `process` is who asks, where that can be told.
    pub(super) async fn reply(&self, request: Request<Incoming>, process: Option<i32>) -> Reply {
        let reply = match *request.method() {
            Method::GET | Method::HEAD => self.get(&request, process).await,
            Method::POST => self.post(request, process).await,
            _ => {
                let mut reply = refusal(StatusCode::METHOD_NOT_ALLOWED, "ask by GET or POST\n");
                let methods = HeaderValue::from_static("GET, HEAD, POST");
                reply.headers_mut().insert(ALLOW, methods);
                reply
            }
        };
        self.counts.replied(reply.status());
        reply
    }

    async fn get(&self, request: &Request<Incoming>, process: Option<i32>) -> Reply {
        let readings = asked::readings(request.uri().path());
        match self.find(&readings, process).await {
            Some(Found::Answer(answer)) => {
                self.note(process, &answer);
                let now = (self.now)();
                let headers = request.headers();
                let (tags, since) = (headers.get(IF_NONE_MATCH), headers.get(IF_MODIFIED_SINCE));
                match answer.is_held_by(tags, since) {
                    true => described(StatusCode::NOT_MODIFIED, &answer, Bytes::new(), now),
                    false => described(StatusCode::OK, &answer, answer.body.clone(), now),
                }
            }
            other => self.without(other),
        }
    }

    async fn post(&self, request: Request<Incoming>, process: Option<i32>) -> Reply {
        if !is_ocsp(request.headers()) {
            let text = "send a DER OCSPRequest as application/ocsp-request\n";
            return closing(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let too_long = || {
            let text = format!("an OCSP request has at most {MAX_REQUEST_BYTES} bytes here\n");
            closing(refusal(StatusCode::PAYLOAD_TOO_LARGE, text))
        };
        let announced = request.body().size_hint().lower();
        if announced > MAX_REQUEST_BYTES as u64 {
            return too_long();
        }
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
        let body = match tokio::time::timeout(BODY_WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_long(),
            Ok(Err(_)) => return closing(malformed()),
            Err(_) => {
                let text = "the request did not arrive in time\n";
                return closing(refusal(StatusCode::REQUEST_TIMEOUT, text));
            }
        };
        match self.find(&[body], process).await {
            Some(Found::Answer(answer)) => {
                self.note(process, &answer);
                described(StatusCode::OK, &answer, answer.body.clone(), (self.now)())
            }
            other => self.without(other),
        }
    }

    /// What is known about the first certificate that is known at all; `None`: nothing was asked. A process
    /// that is known, so one at a unix socket, is nginx: no client of it waits while it does.
    async fn find(&self, readings: &[impl AsRef<[u8]>], process: Option<i32>) -> Option<Found> {
        let look = || self.first_known(readings, (self.now)());
        let mut found = look();
        let until = Instant::now() + HELD_FOR;
        while let Some(Found::Unknown | Found::Nothing) = found
            && process.is_some()
            && Instant::now() < until
        {
            sleep(LOOKS_EVERY).await;
            found = look();
        }
        found
    }

    fn first_known(&self, readings: &[impl AsRef<[u8]>], now: UnixTime) -> Option<Found> {
        let mut found = None;
        let requests = readings.iter().map(AsRef::as_ref).map(ocsp::Request::decode);
        for request in requests.filter_map(Result::ok) {
            for question in request.questions() {
                match self.table.find(question, now) {
                    Found::Unknown => found = Some(Found::Unknown),
                    known => return Some(known),
                }
            }
        }
        found
    }

    fn note(&self, process: Option<i32>, answer: &Answer) {
        if let Some(pid) = process {
            let staple = &answer.staple;
            self.table.askers().answered(pid, staple.certificate(), staple.digest());
        }
    }

    fn without(&self, found: Option<Found>) -> Reply {
        let Some(found) = found else { return malformed() };
        let body: &'static [u8] = match found {
            Found::Unknown => {
                self.counts.unknown();
                &UNAUTHORIZED
            }
            _ => {
                self.counts.without_staple();
                &TRY_LATER
            }
        };
        unsigned(StatusCode::OK, body)
    }
}

fn described(status: StatusCode, answer: &Answer, body: Bytes, now: UnixTime) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(7);
    headers.insert(CONTENT_TYPE, OCSP_RESPONSE);
    headers.insert(CACHE_CONTROL, answer.cache_control(now));
    headers.insert(ETAG, answer.etag.clone());
    headers.insert(LAST_MODIFIED, answer.last_modified.clone());
    headers.insert(EXPIRES, answer.expires.clone());
    *reply.headers_mut() = headers;
    reply
}

/// One of the unsigned responses: true at this instant only, and to be kept by no cache.
fn unsigned(status: StatusCode, body: &'static [u8]) -> Reply {
    let mut reply = Response::new(Bytes::from_static(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, OCSP_RESPONSE);
    reply.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    reply
}

fn malformed() -> Reply {
    unsigned(StatusCode::BAD_REQUEST, &MALFORMED_REQUEST)
}

/// A refusal for people: no OCSP client reads the body of one.
fn refusal(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(text.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    reply.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    reply
}

/// The rest of the request is not waited for.
fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Whether it says to be an OCSP request, or does not say what it is.
fn is_ocsp(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(OCSP_REQUEST.as_bytes())
    })
}
