//! The control socket: how commands speak to the running agent.
//!
//! HTTP/1.1 over a unix socket. `GET /status` answers with the status document, `GET /alive` with nothing. `POST /refresh` takes a
//! [`Refresh`] and `POST /hook` a [`Hook`]; both answer with one JSON document a line while the work goes
//! on. Who may connect is
//! the socket's mode (0660); the caller's uid goes along for the record.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Group, chown, geteuid};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::digest::Fingerprint;

/// The socket's name inside the runtime directory.
pub const SOCKET: &str = "control.sock";

/// Members of this group may call an agent that runs as root; the packages make it.
const GROUP: &str = "staplekeeper";

/// The largest request body that is read, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a caller may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller wants of the agent.
#[derive(Debug)]
pub enum Order {
    /// The status document, once.
    Status,
    /// Nothing but an answer: a caller that has heard nothing for long wants to know whether it is worked on.
    Alive,
    /// Keep what is published, or publish the newest again; a line for each certificate.
    Freeze(Freeze),
    /// Verify and publish a response; a line for its certificate once that is settled.
    Import(Import),
    /// Fetch, publish, reload, confirm; a line for each certificate, then one for the whole.
    Refresh(Refresh),
    /// Wait until what was renewed has its staple; a line for each certificate, then one for the whole.
    Hook(Hook),
}

/// The body of `POST /refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Names of certificates; none: all.
    #[serde(default)]
    pub names: Vec<String>,
    /// Leave the servers alone.
    #[serde(default)]
    pub no_reload: bool,
}

/// The body of `POST /hook`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Files or folders of certificates that were renewed, absolute.
    pub paths: Vec<PathBuf>,
    /// The certificates that lie there, as far as the caller could read them.
    #[serde(default)]
    pub leaves: BTreeSet<Fingerprint>,
    /// How long the caller waits, at most [`Hook::LONGEST`]; unless given, that depends on the
    /// certificate.
    #[serde(default)]
    pub deadline_seconds: Option<u64>,
    /// How much of that is over already.
    #[serde(default)]
    pub waited_seconds: u64,
}

impl Hook {
    /// The longest that anybody may wait.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// How long a hook waits for the staple of a Must-Staple certificate unless it says otherwise: CAs
    /// take up to a quarter of an hour to publish it.
    const USUAL_MUST_STAPLE: Duration = Duration::from_secs(20 * 60);
    /// The same for other certificates, which do well without.
    const USUAL: Duration = Duration::from_secs(30);

    /// How long it waits for the staple of a certificate, with Must-Staple or without. Whatever the
    /// caller wrote, it is no longer than [`Hook::LONGEST`].
    pub fn patience(&self, must_staple: bool) -> Duration {
        let usual = if must_staple { Hook::USUAL_MUST_STAPLE } else { Hook::USUAL };
        self.deadline_seconds.map_or(usual, Duration::from_secs).min(Hook::LONGEST)
    }
}

/// The body of `POST /freeze`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// What the certificate is called.
    pub name: String,
    /// End a freeze instead.
    #[serde(default)]
    pub thaw: bool,
}

/// The body of `POST /import`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// A response, DER in base64.
    pub response: String,
}

impl Import {
    /// To bring this response (DER).
    pub fn of(response: &[u8]) -> Import {
        Import { response: BASE64_STANDARD.encode(response) }
    }

    /// The response (DER).
    ///
    /// # Errors
    /// It is not base64.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        BASE64_STANDARD.decode(&self.response)
    }
}

/// A caller, waiting for lines.
#[derive(Debug)]
pub struct Call {
    /// What it wants.
    pub order: Order,
    /// Who it is, where the kernel says.
    pub uid: Option<u32>,
    /// Takes JSON documents, one a line; dropping it ends the answer.
    pub replies: mpsc::UnboundedSender<Bytes>,
}

/// The control socket, listening.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens on `path`, in place of a socket that nobody answers on any more.
    ///
    /// # Errors
    /// When the folder is missing or may not be written.
    pub fn bind(path: &Path) -> io::Result<Control> {
        // The state directory's lock says that no other agent runs: what lies here is a leftover.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        if let (true, Some(group)) = (geteuid().is_root(), Group::from_name(GROUP)?) {
            chown(path, None, Some(group.gid))?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Control { listener, path: path.to_owned() })
    }

    /// Answers callers until `calls` is closed.
    pub async fn serve(self, calls: mpsc::UnboundedSender<Call>) {
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = calls.closed() => return,
            };
            match stream {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, calls.clone()));
                }
                Err(error) => {
                    // Out of descriptors: accepting again at once would spin.
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A socket that nobody listens on only puzzles callers.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, calls: mpsc::UnboundedSender<Call>) {
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let service = service_fn(move |request| answer(request, uid, calls.clone()));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a caller of the control socket left early");
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    uid: Option<u32>,
    calls: mpsc::UnboundedSender<Call>,
) -> Result<Answer, Infallible> {
    let order = match order(request).await {
        Ok(order) => order,
        Err((status, text)) => return Ok(plain(status, text)),
    };
    let (replies, lines) = mpsc::unbounded_channel();
    if calls.send(Call { order, uid, replies }).is_err() {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".to_owned()));
    }
    let mut response = Response::new(Lines(lines).boxed());
    let json = hyper::header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

/// A body that ends when the agent has nothing more to say.
struct Lines(mpsc::UnboundedReceiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn order(request: Request<Incoming>) -> Result<Order, (StatusCode, String)> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/status") => Ok(Order::Status),
        (&Method::GET, "/alive") => Ok(Order::Alive),
        (&Method::POST, "/hook") => Ok(Order::Hook(body(request).await?)),
        (&Method::POST, "/freeze") => Ok(Order::Freeze(body(request).await?)),
        (&Method::POST, "/import") => Ok(Order::Import(body(request).await?)),
        (&Method::POST, "/refresh") => Ok(Order::Refresh(body(request).await?)),
        (method, _) => Err((StatusCode::NOT_FOUND, format!("nothing answers {method} {path}\n"))),
    }
}

async fn body<T: for<'de> Deserialize<'de>>(
    request: Request<Incoming>,
) -> Result<T, (StatusCode, String)> {
    let unreadable =
        |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let read = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let collected = tokio::time::timeout(PATIENCE, read).await.map_err(|late| unreadable(&late))?;
    let bytes = collected.map_err(|error| unreadable(&error))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))
}

fn plain(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Full::from(text).boxed());
    *response.status_mut() = status;
    response
}
