//! The threads that answer: each has an event loop of its own and takes connections from all sockets.
//!
//! The agent's own work never stands in their way, nor they in its.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::http::Desk;
use super::listen::Socket;
use super::seats::{Seat, Seats};
use super::stream::{Lingering, Stream};

/// How long a client may take to say what it wants, and may be silent between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Who says nothing for so long, or does not take what it asked for, has to leave.
const SILENT_AT_MOST: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes: paths hold whole OCSP requests.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 32;
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
        let _entered = self.handle.enter();
        let (room, stop) = (room.clone(), stop.clone());
        match socket {
            Socket::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                self.handle.spawn(stop.run_until_cancelled_owned(async move {
                    loop {
                        let accepted = listener.accept().await;
                        let stream = accepted.map(|(stream, _)| stream);
                        // A response is one write: to wait for more would only delay it.
                        let _ = stream.as_ref().map(|stream| stream.set_nodelay(true));
                        room.seat(stream, None).await;
                    }
                }));
            }
            Socket::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                self.handle.spawn(stop.run_until_cancelled_owned(async move {
                    loop {
                        let stream = listener.accept().await.map(|(stream, _)| stream);
                        let peer = stream.as_ref().ok().and_then(|one| one.peer_cred().ok());
                        room.seat(stream, peer.and_then(|peer| peer.pid())).await;
                    }
                }));
            }
        }
        Ok(())
    }

    /// Ends silent connections from time to time.
    pub(super) fn sweep(&self, room: &Arc<Room>) {
        let room = Arc::downgrade(room);
        self.handle.spawn(async move {
            loop {
                tokio::time::sleep(SILENT_AT_MOST / 4).await;
                let Some(room) = room.upgrade() else { return };
                room.seats.sweep(SILENT_AT_MOST);
            }
        });
    }
}

/// What connections share.
pub(super) struct Room {
    pub(super) desk: Desk,
    pub(super) seats: Arc<Seats>,
}

impl Room {
    /// Has a connection answered on this thread; `process` is at the other end, if that can be told.
    async fn seat<S: Stream>(self: &Arc<Self>, accepted: io::Result<S>, process: Option<i32>) {
        match accepted {
            Ok(stream) => {
                let seat = self.seats.take();
                let number = seat.number();
                let task = tokio::spawn(converse(stream, self.clone(), seat, process));
                self.seats.occupy(number, task.abort_handle());
                // The other threads shall have their share.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection to the OCSP responder");
                self.seats.sweep(REST);
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn converse<S: Stream>(stream: S, room: Arc<Room>, seat: Seat, process: Option<i32>) {
    if !matches!(timeout(HEAD_WITHIN, stream.speaks()).await, Ok(Ok(()))) {
        return;
    }
    let bell = seat.bell();
    let service = service_fn(move |request| {
        bell.ring();
        let room = room.clone();
        async move { room.desk.reply(request, process).await }
    });
    // Without `pipeline_flush`: it holds back the refusal of a request that is too long.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .half_close(true)
        .serve_connection(TokioIo::new(Lingering::new(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the OCSP responder left early");
    }
}
