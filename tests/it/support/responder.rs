//! A responder that does what the test says: answers, errs, stalls, breaks off, dies and comes back.
//!
//! ```ignore
//! let responder = Responder::start(move |request: &Request| match &request.ocsp {
//!     Some(der) => Reply::ocsp(forge(der)),
//!     None => Reply::html(404),
//! });
//! certificate.ocsp_url(&responder.url());
//! // …
//! responder.script(|_| Reply::Hang);        // from the next request on
//! responder.kill();                         // connection refused, same port kept
//! responder.restart();
//! assert_eq!(responder.requests(), 3);
//! ```
//! It runs on a thread of its own and is gone when the value is dropped. The file stands alone, so that
//! examples can take it in by `#[path = "../tests/it/support/responder.rs"] mod responder;`.

#![allow(dead_code, reason = "each user of this file needs another part of it")]

use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::socket::{Shutdown, shutdown};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc as channel;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::port::free_port;

/// One HTTP request, as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query, still encoded.
    pub target: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Of a POST.
    pub body: Vec<u8>,
    /// The OCSPRequest (DER) in body or path, where there is one.
    pub ocsp: Option<Vec<u8>>,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What the responder does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers over HTTP.
    Http { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Writes these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Never answers.
    Hang,
    /// Breaks the connection off (RST).
    Reset,
    /// Waits first.
    After(Duration, Box<Reply>),
}

impl Reply {
    /// 200 with an OCSP response (DER), or with whatever is given for one.
    pub fn ocsp(der: impl Into<Vec<u8>>) -> Reply {
        Reply::http(200, "application/ocsp-response", der)
    }

    /// An HTML page.
    pub fn html(status: u16) -> Reply {
        Reply::http(status, "text/html", "<html><body>Something else lives here.</body></html>")
    }

    /// A body of so many bytes.
    pub fn huge(bytes: usize) -> Reply {
        Reply::http(200, "application/ocsp-response", vec![0x30; bytes])
    }

    /// On to another URL.
    pub fn redirect(status: u16, to: &str) -> Reply {
        Reply::html(status).with("Location", to)
    }

    /// Any status, type and body.
    pub fn http(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Reply::Http { status, headers, body: body.into() }
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        if let Reply::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With another HTTP status.
    pub fn status(mut self, code: u16) -> Reply {
        if let Reply::Http { status, .. } = &mut self {
            *status = code;
        }
        self
    }

    /// The same, later.
    pub fn after(self, delay: Duration) -> Reply {
        Reply::After(delay, Box::new(self))
    }
}

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

struct Shared {
    script: Mutex<Script>,
    log: Mutex<Vec<Request>>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    tls: Option<TlsAcceptor>,
}

enum Command {
    Kill(mpsc::Sender<()>),
    Restart(mpsc::Sender<()>),
}

/// How many requests the log keeps; beyond that they are only counted.
const LOGGED: usize = 10_000;

/// A running responder.
pub struct Responder {
    port: u16,
    shared: Arc<Shared>,
    /// Dropped first: that ends the thread.
    commands: Option<channel::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts one on a free loopback port; `script` sees every request.
    pub fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Responder {
        Responder::start_with(None, Box::new(script))
    }

    /// The same over TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Responder {
        Responder::start_with(Some(config.into()), Box::new(script))
    }

    fn start_with(tls: Option<TlsAcceptor>, script: Script) -> Responder {
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            log: Mutex::default(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            tls,
        });
        let (commands, receiver) = channel::unbounded_channel();
        let (told, port) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = bound(free_port()).listen(1024).expect("it is bound");
                told.send(listener.local_addr().expect("it is bound").port()).expect("it waits");
                run(listener, receiver, for_thread).await;
            });
        });
        let port = port.recv().expect("the thread tells its port");
        Responder { port, shared, commands: Some(commands), thread: Some(thread) }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT/`, or `https://localhost:PORT/`.
    pub fn url(&self) -> String {
        match self.shared.tls {
            None => format!("http://127.0.0.1:{}/", self.port),
            Some(_) => format!("https://localhost:{}/", self.port),
        }
    }

    /// Another script from the next request on.
    pub fn script(&self, script: impl FnMut(&Request) -> Reply + Send + 'static) {
        *self.shared.script.lock().expect("scripts do not panic") = Box::new(script);
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections have come.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The requests that have come, oldest first.
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().expect("scripts do not panic").clone()
    }

    /// Breaks every connection off and refuses new ones. The port stays reserved.
    pub fn kill(&self) {
        self.command(Command::Kill);
    }

    /// Listens again on the same port.
    pub fn restart(&self) {
        self.command(Command::Restart);
    }

    fn command(&self, command: fn(mpsc::Sender<()>) -> Command) {
        let (done, wait) = mpsc::channel();
        let commands = self.commands.as_ref().expect("taken only by drop");
        commands.send(command(done)).unwrap_or_else(|_| panic!("the responder's script panicked"));
        wait.recv().expect("the responder obeys");
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bound and not yet listening: nobody else gets the port, and connections are refused.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR is known everywhere");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("the port is free");
    socket
}

async fn run(
    listener: TcpListener,
    mut commands: channel::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
) {
    let port = listener.local_addr().expect("it is bound").port();
    let mut listener = Some(listener);
    let mut reserved = None;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(listener.as_ref()) => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connection(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
            command = commands.recv() => match command {
                None => return,
                Some(Command::Kill(done)) => {
                    connections.shutdown().await;
                    // A child that a test is about to execute holds a copy of it for a moment.
                    if let Some(listener) = listener.take() {
                        let fd = listener.as_raw_fd();
                        shutdown(fd, Shutdown::Both).expect("it listens");
                    }
                    reserved.get_or_insert_with(|| bound(port));
                    let _ = done.send(());
                }
                Some(Command::Restart(done)) => {
                    if let Some(socket) = reserved.take() {
                        listener = Some(TcpSocket::listen(socket, 1024).expect("it is bound"));
                    }
                    let _ = done.send(());
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.expect("the listener is sound").0,
        None => pending().await,
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("TCP_NODELAY is known everywhere");
    let _ = match &shared.tls {
        None => serve(stream, &shared).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, &shared).await,
            Err(_) => None,
        },
    };
}

/// A stream that can be broken off.
trait Breakable: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self);
}

impl Breakable for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().expect("SO_LINGER is known everywhere");
    }
}

impl Breakable for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// Requests one after another on one connection; `None` ends it.
async fn serve<S: Breakable>(mut stream: S, shared: &Shared) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        let mut reply = {
            shared.requests.fetch_add(1, Ordering::SeqCst);
            let mut log = shared.log.lock().expect("scripts do not panic");
            if log.len() < LOGGED {
                log.push(request.clone());
            }
            drop(log);
            (shared.script.lock().expect("scripts do not panic"))(&request)
        };
        while let Reply::After(delay, then) = reply {
            tokio::time::sleep(delay).await;
            reply = *then;
        }
        match reply {
            Reply::Http { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                for (name, value) in &headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let keep = request.header("connection") != Some("close")
                    && request.version == "HTTP/1.1"
                    && !headers.iter().any(|(_, value)| value == "close");
                // RFC 9110 §6.4.1: these two have no content.
                if status != 304 && status != 204 {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                let mut bytes = head.into_bytes();
                bytes.extend_from_slice(&body);
                stream.write_all(&bytes).await.ok()?;
                if !keep {
                    return stream.shutdown().await.ok();
                }
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Reply::Hang => pending().await,
            Reply::Reset => {
                stream.reset();
                return None;
            }
            Reply::After(..) => unreachable!("waited for above"),
        }
    }
}

async fn read_request<S: Breakable>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut request = Request { method, target, version, headers, body: Vec::new(), ocsp: None };
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    let end = head_end + length.unwrap_or(0);
    while buffer.len() < end {
        more(stream, buffer).await?;
    }
    request.body = buffer[head_end..end].to_vec();
    buffer.drain(..end);
    request.ocsp = match request.method.as_str() {
        "POST" => Some(request.body.clone()),
        _ => {
            let decoded = percent_decode_str(&request.target).decode_utf8_lossy();
            // The base64 may hold slashes of its own, so the longest tail that decodes to a SEQUENCE.
            let starts = decoded.match_indices('/').map(|(at, _)| at + 1);
            let mut tails = starts.filter_map(|at| STANDARD.decode(&decoded[at..]).ok());
            tails.find(|der| der.first() == Some(&0x30))
        }
    };
    Some(request)
}

async fn more<S: Breakable>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}
