//! The threads that answer: each has an event loop of its own and takes connections from all sockets.
//!
//! The agent's own work never stands in their way, nor they in its.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use nix::sys::socket::sockopt::TcpNoDelay;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::http::Desk;
use super::listen::Socket;
use super::seats::{Seat, Seats};
use super::stream::{Farewell, Lingering, Stream};

/// How long a client may take to say what it wants or to take what it asked for, and may be silent
/// between two requests. One clock for all of them: a timer for each would cost as much as the answer.
const SILENT_AT_MOST: Duration = Duration::from_secs(10);
/// How often it is looked who was silent for too long, while anybody is connected.
const SWEEPS: Duration = Duration::from_secs(1);
/// Connections that are taken in a row before the other threads, and those who wait, have their share.
const IN_A_ROW: usize = 16;
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
                // A response is one write: to wait for more would only delay it. Connections have it from
                // the socket that they came by.
                nix::sys::socket::setsockopt(&listener, TcpNoDelay, &true)?;
                self.handle.spawn(stop.run_until_cancelled_owned(async move {
                    loop {
                        for _ in 0..IN_A_ROW {
                            let accepted = listener.accept().await;
                            room.seat(accepted.map(|(stream, _)| stream), None).await;
                        }
                        tokio::task::yield_now().await;
                    }
                }));
            }
            Socket::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                self.handle.spawn(stop.run_until_cancelled_owned(async move {
                    loop {
                        for _ in 0..IN_A_ROW {
                            let stream = listener.accept().await.map(|(stream, _)| stream);
                            let peer = stream.as_ref().ok().and_then(|one| one.peer_cred().ok());
                            room.seat(stream, peer.and_then(|peer| peer.pid())).await;
                        }
                        tokio::task::yield_now().await;
                    }
                }));
            }
        }
        Ok(())
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
                if self.seats.begin_sweeping() {
                    tokio::spawn(sweep(self.seats.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection to the OCSP responder");
                self.seats.sweep(REST);
                tokio::time::sleep(REST).await;
            }
        }
    }
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

async fn converse<S: Stream>(stream: S, room: Arc<Room>, seat: Seat, process: Option<i32>) {
    let farewell = Farewell::default();
    let Ok(stream) = Lingering::of(stream, farewell.clone()).await else { return };
    let bell = seat.bell();
    let service = service_fn(move |request| {
        bell.ring();
        let (room, farewell) = (room.clone(), farewell.clone());
        let is_last = is_last(&request);
        async move {
            let reply = room.desk.reply(request, process).await?;
            // Of a request that is refused there may be more to come.
            if is_last && !reply.status().is_client_error() {
                farewell.say();
            }
            Ok::<_, Infallible>(reply)
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

/// Whether the client will ask nothing more (RFC 9112 §9.3).
fn is_last<B>(request: &Request<B>) -> bool {
    let says = |wanted: &[u8]| {
        let all = request.headers().get_all(CONNECTION).iter();
        let mut all = all.flat_map(|one| one.as_bytes().split(|byte| *byte == b','));
        all.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    says(b"close") || request.version() == Version::HTTP_10 && !says(b"keep-alive")
}
