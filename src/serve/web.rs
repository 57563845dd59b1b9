//! Metrics and the status page over HTTP, for whoever is on this machine.
//!
//! A visitor says which of the two it wants; the agent answers with bytes that are ready. Everything is
//! bounded: GET and HEAD only, a few visitors at a time, each with little time. Over TCP only the names
//! of this machine's loopback are answered to: a web page of somebody else's that has its own name
//! resolve to 127.0.0.1 (DNS rebinding) learns nothing.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::responder::{Address, make_way};

/// Visitors at a time; further ones wait to be let in.
const MOST_VISITORS: usize = 16;
/// Pieces of an answer that wait for a slow reader; the rest has not been made yet.
const MOST_PIECES: usize = 2;
/// How long a visitor may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a visit may last altogether: megabytes to a slow reader.
const VISIT: Duration = Duration::from_secs(30);

/// No script, no frame, nothing from elsewhere; one style sheet from here.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What a visitor wants to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Metrics: OpenMetrics 1.0, or the older text format 0.0.4.
    Metrics {
        /// The visitor understands OpenMetrics.
        open: bool,
    },
    /// The status page, with the query of its address.
    Page {
        /// What stands behind the question mark.
        query: String,
    },
    /// The page's style sheet.
    Style,
}

impl Wanted {
    /// Its media type.
    fn media_type(&self) -> &'static str {
        match self {
            Wanted::Metrics { open: true } => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
            Wanted::Metrics { open: false } => "text/plain; version=0.0.4; charset=utf-8",
            Wanted::Page { .. } => "text/html; charset=utf-8",
            Wanted::Style => "text/css; charset=utf-8",
        }
    }
}

/// A visitor, waiting.
#[derive(Debug)]
pub struct Visit {
    /// For this.
    pub wanted: Wanted,
    /// Takes it, in pieces; dropping it ends the answer.
    pub reply: mpsc::Sender<Bytes>,
}

/// A place that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics on {address}: {cause}; stop what is there, or name another place in [metrics] listen"
)]
pub struct OpenError {
    /// Which.
    pub address: Address,
    /// What the system says.
    pub cause: io::Error,
}

/// The open door; dropping it closes it.
#[derive(Debug)]
pub struct Web {
    address: Address,
    task: JoinHandle<()>,
    made: Option<PathBuf>,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Web {
    /// Lets visitors in at `address`, to say what they want to `visits`.
    ///
    /// # Errors
    /// When the place is taken or may not be used.
    pub fn open(address: &Address, visits: mpsc::Sender<Visit>) -> Result<Web, OpenError> {
        let failed = |cause| OpenError { address: address.clone(), cause };
        let (door, made) = bind(address).map_err(failed)?;
        let task = tokio::spawn(admit(door, visits));
        Ok(Web { address: address.clone(), task, made })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(address: &Address) -> io::Result<(Door, Option<PathBuf>)> {
    match address {
        Address::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((Door::Tcp(TcpListener::from_std(listener)?), None))
        }
        Address::Unix(path) => {
            make_way(path)?;
            let listener = UnixListener::bind(path)?;
            // Like the status file: whoever is on this machine may look.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
            Ok((Door::Unix(listener), Some(path.clone())))
        }
    }
}

async fn admit(door: Door, visits: mpsc::Sender<Visit>) {
    let seats = Arc::new(Semaphore::new(MOST_VISITORS));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let (visits, seat) = (visits.clone(), Some(seat));
        let admitted = match &door {
            Door::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(converse(stream, visits, true, seat));
            }),
            Door::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(converse(stream, visits, false, seat));
            }),
        };
        if let Err(error) = admitted {
            // Out of descriptors: accepting again at once would spin.
            tracing::warn!(%error, "cannot let a visitor of the metrics in");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Serves one visitor; `seat` is free again afterwards.
async fn converse<S, T>(stream: S, visits: mpsc::Sender<Visit>, by_name: bool, seat: T)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, visits.clone(), by_name));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(VISIT, served).await {
        Ok(Err(error)) => tracing::debug!(%error, "a visitor of the metrics left early"),
        Err(_) => tracing::debug!("a visitor of the metrics took too long"),
        Ok(Ok(())) => {}
    }
    drop(seat);
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    visits: mpsc::Sender<Visit>,
    by_name: bool,
) -> Result<Reply, Infallible> {
    let wanted = match wanted(&request, by_name) {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(*refusal),
    };
    let media_type = wanted.media_type();
    let (reply, mut ready) = mpsc::channel(MOST_PIECES);
    // The agent may be stopping; whoever waits is told so.
    let sent = visits.send(Visit { wanted, reply }).await;
    let body = match (sent, ready.recv().await) {
        (Ok(()), Some(first)) => Told { first: Some(first), rest: ready }.boxed(),
        _ => return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".into())),
    };
    let mut response = Response::new(body);
    describe(response.headers_mut(), media_type);
    Ok(response)
}

/// An answer that is made while it is sent.
struct Told {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.poll_recv(context),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn describe(headers: &mut HeaderMap, media_type: &'static str) {
    let lines: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in lines {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn wanted<B>(request: &Request<B>, by_name: bool) -> Result<Wanted, Box<Reply>> {
    let refuse = |status, text| Err(Box::new(plain(status, text)));
    if let Some(host) = request.headers().get(HOST)
        && by_name
        && !host.to_str().is_ok_and(is_loopback)
    {
        let text =
            "this answers to localhost only; behind a proxy, have it send \"Host: localhost\"\n";
        return refuse(StatusCode::MISDIRECTED_REQUEST, text.to_owned());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "there is only to look\n".to_owned());
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Err(Box::new(reply));
    }
    match request.uri().path() {
        "/metrics" => {
            let accepted = request.headers().get_all(ACCEPT).iter();
            let mut accepted = accepted.filter_map(|value| value.to_str().ok());
            let open = accepted.any(|value| value.contains("application/openmetrics-text"));
            Ok(Wanted::Metrics { open })
        }
        "/" => Ok(Wanted::Page { query: request.uri().query().unwrap_or_default().to_owned() }),
        "/style.css" => Ok(Wanted::Style),
        _ => refuse(StatusCode::NOT_FOUND, "there is / and /metrics\n".to_owned()),
    }
}

/// Whether a Host header names this machine's loopback, with any port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.split(']').next().and_then(|text| text.parse::<Ipv6Addr>().ok());
            return address.is_some_and(|address| address.is_loopback());
        }
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn plain(status: StatusCode, text: String) -> Reply {
    let mut response = Response::new(Full::from(text).boxed());
    *response.status_mut() = status;
    describe(response.headers_mut(), "text/plain; charset=utf-8");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_the_loopback_only() {
        let cases = [
            ("localhost", true),
            ("LOCALHOST:9819", true),
            ("127.0.0.1:9819", true),
            ("127.8.9.10", true),
            ("[::1]:9819", true),
            ("[::1", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example:9819", false),
            ("localhost.evil.example", false),
            ("192.0.2.1:9819", false),
            ("[2001:db8::1]", false),
            ("", false),
        ];
        for (host, expected) in cases {
            assert_eq!(is_loopback(host), expected, "{host:?}");
        }
    }

    #[test]
    fn knows_what_is_wanted() {
        let check = |method: &str, target: &str, host: &str, expected: &str| {
            let request = Request::builder().method(method).uri(target).header(HOST, host);
            let request = request.header(ACCEPT, "text/plain, application/openmetrics-text;q=0.5");
            let said = match wanted(&request.body(()).expect("a request"), true) {
                Ok(wanted) => format!("{wanted:?}"),
                Err(reply) => reply.status().as_u16().to_string(),
            };
            assert_eq!(said, expected, "{method} {target} of {host}");
        };
        check("GET", "/metrics", "localhost", "Metrics { open: true }");
        check("HEAD", "/", "localhost", "Page { query: \"\" }");
        check("GET", "/?sort=name", "localhost", "Page { query: \"sort=name\" }");
        check("GET", "/style.css", "localhost", "Style");
        check("GET", "/etc/passwd", "localhost", "404");
        check("POST", "/", "localhost", "405");
        check("GET", "/metrics", "evil.example", "421");
    }
}
