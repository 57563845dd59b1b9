//! The threads that answer: each has an event loop of its own, and sockets that no other takes from.
//!
//! The agent's own work never stands in their way, nor they in its.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use nix::sys::socket::sockopt::TcpNoDelay;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::brief::{self, FIRST_BYTES};
use super::http::Desk;
use super::listen::Socket;
use super::seats::{Seat, Seats};
use super::stream::{Farewell, Lingering, Stream, first_words};
use super::taken::{Source, Taken};

/// How long a client may take to say what it wants or to take what it asked for, and may be silent
/// between two requests. One clock for all of them: a timer for each would cost as much as the answer.
const SILENT_AT_MOST: Duration = Duration::from_secs(10);
/// How often it is looked who was silent for too long, while anybody is connected.
const SWEEPS: Duration = Duration::from_secs(1);
/// Connections that are taken in a row before those who wait have their share.
const IN_A_ROW: usize = 16;
/// The longest head of a request, in bytes: paths hold whole OCSP requests.
const MAX_HEAD_BYTES: usize = 16 * 1024;
pub(super) const MAX_HEADERS: usize = 32;
/// After an accept that failed: out of descriptors, accepting again at once would spin.
const REST: Duration = Duration::from_millis(100);

/// A thread with an event loop; it ends when this is dropped, and its connections with it.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    _stop: oneshot::Sender<Infallible>,
}

impl Worker {
    pub(super) fn start(number: usize) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<Infallible>();
        thread::Builder::new().name(format!("responder-{number}")).spawn(move || {
            // It ends with an error, that the sender is gone.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Worker { handle, _stop: stop })
    }

    /// Takes connections from a socket until `stop`.
    ///
    /// # Errors
    /// The socket cannot be shared.
    pub(super) fn accept(
        &self,
        socket: &Socket,
        room: &Arc<Room>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        match socket {
            Socket::Tcp(listener) => {
                // A response is one write: to wait for more would only delay it. Connections have it from
                // the socket that they came by.
                nix::sys::socket::setsockopt(listener, TcpNoDelay, &true)?;
                listener.set_nonblocking(true)?;
                self.take_from(listener.try_clone()?, room, stop)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                self.take_from(listener.try_clone()?, room, stop)
            }
        }
    }

    fn take_from<L: Source>(
        &self,
        listener: L,
        room: &Arc<Room>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let _entered = self.handle.enter();
        // What took its place promises in `unsafe` that the descriptor stays what it is; the standard
        // library's listeners, the only sources there are, keep theirs until they are dropped.
        #[expect(deprecated, reason = "the others are unsafe")]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
        let taking = take(listener, room.clone());
        self.handle.spawn(stop.clone().run_until_cancelled_owned(taking));
        Ok(())
    }
}

/// Takes connections for ever, some in a row: meanwhile those who came first say what they want.
async fn take<L: Source>(listener: AsyncFd<L>, room: Arc<Room>) {
    let mut taken = Vec::with_capacity(IN_A_ROW);
    loop {
        let mut failure = None;
        // It fails when the event loop ends.
        let Ok(mut ready) = listener.readable().await else { return };
        while taken.len() < IN_A_ROW && failure.is_none() {
            match ready.try_io(|listener| listener.get_ref().next()) {
                Ok(Ok(connection)) => taken.push(connection),
                Ok(Err(error)) => failure = Some(error),
                Err(_nobody_waits) => break,
            }
        }
        let is_over = taken.len() < IN_A_ROW;
        taken.drain(..).for_each(|connection| room.receive(connection));
        if let Some(error) = failure {
            room.rest(&error).await;
        } else if !is_over {
            tokio::task::yield_now().await;
        }
    }
}

/// What connections share.
pub(super) struct Room {
    pub(super) desk: Desk,
    pub(super) seats: Arc<Seats>,
}

impl Room {
    /// Answers a connection at once, or has it answered on this thread.
    fn receive<T: Taken>(self: &Arc<Self>, connection: T) {
        let process = connection.process();
        let mut room = [0; FIRST_BYTES];
        let Ok(said) = brief::hear(&connection, &mut room) else { return };
        let reply = said.and_then(|said| brief::reply(said, &self.desk, process));
        let begun = match (&reply, said) {
            (Some(reply), _) => match brief::say(&connection, reply) {
                Ok(sent) if sent < reply.len() => Begun::Saying(reply[sent..].to_vec()),
                // All is said, or nobody is there to hear it.
                _ => return,
            },
            (None, said) => Begun::Heard(Bytes::copy_from_slice(said.unwrap_or_default())),
        };
        match connection.watched() {
            Ok(stream) => self.seat(stream, begun, process),
            Err(error) => tracing::warn!(%error, "cannot keep a connection to the OCSP responder"),
        }
    }

    /// Has a connection answered on this thread; `process` is at the other end, if that can be told.
    fn seat<S: Stream>(self: &Arc<Self>, stream: S, begun: Begun, process: Option<i32>) {
        let seat = self.seats.take();
        let number = seat.number();
        let task = tokio::spawn(converse(stream, begun, self.clone(), seat, process));
        self.seats.occupy(number, task.abort_handle());
        if self.seats.begin_sweeping() {
            tokio::spawn(sweep(self.seats.clone()));
        }
    }

    /// Waits after a connection that could not be taken.
    async fn rest(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot take a connection to the OCSP responder");
        self.seats.sweep(REST);
        tokio::time::sleep(REST).await;
    }
}

/// What has happened on a connection before the event loop knew of it.
enum Begun {
    /// This was heard, if anything.
    Heard(Bytes),
    /// All was heard, and this is left to be said.
    Saying(Vec<u8>),
}

/// Ends silent connections until there are none at all: a responder that is not asked does not wake.
async fn sweep(seats: Arc<Seats>) {
    loop {
        tokio::time::sleep(SWEEPS).await;
        seats.sweep(SILENT_AT_MOST);
        if seats.end_sweeping() {
            return;
        }
    }
}

async fn converse<S: Stream>(
    mut stream: S,
    begun: Begun,
    room: Arc<Room>,
    seat: Seat,
    process: Option<i32>,
) {
    let first = match begun {
        Begun::Heard(first) if first.is_empty() => match first_words(&mut stream).await {
            Ok(first) => first,
            // It went away.
            Err(_) => return,
        },
        Begun::Heard(first) => first,
        Begun::Saying(rest) => return drop(stream.write_all(&rest).await),
    };
    match brief::reply(&first, &room.desk, process) {
        Some(reply) => match brief::say(&stream, &reply) {
            Ok(sent) if sent < reply.len() => drop(stream.write_all(&reply[sent..]).await),
            _ => {}
        },
        None => at_length(stream, first, room, seat, process).await,
    }
}

/// Answers whatever a client asks until it, or we, have had enough; `first` has been read already.
pub(super) async fn at_length<S: Stream>(
    stream: S,
    first: Bytes,
    room: Arc<Room>,
    seat: Seat,
    process: Option<i32>,
) {
    let farewell = Farewell::default();
    let stream = Lingering::new(stream, first, farewell.clone());
    let bell = seat.bell();
    let service = service_fn(move |request| {
        bell.ring();
        let (room, farewell) = (room.clone(), farewell.clone());
        let is_last = is_last(&request);
        async move {
            let reply = room.desk.reply(request, process).await;
            // Of a request that is refused there may be more to come.
            if is_last && !reply.status().is_client_error() {
                farewell.say();
            }
            Ok::<_, Infallible>(reply.map(Full::new))
        }
    });
    // Without `pipeline_flush`: it holds back the refusal of a request that is too long.
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the OCSP responder left early");
    }
}

fn is_last<B>(request: &Request<B>) -> bool {
    let connection = request.headers().get_all(CONNECTION).iter();
    let is_old = request.version() == Version::HTTP_10;
    brief::is_last(is_old, connection.map(|value| value.as_bytes()))
}
