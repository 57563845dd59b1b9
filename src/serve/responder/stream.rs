//! A client's connection: waited for cheaply, and closed so that the last answer arrives.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::brief::FIRST_BYTES;

/// How long, and for how many bytes, a client that has been answered may go on talking.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A stream socket.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + 'static> Stream for S {}

/// Said when a client has asked for the last time and was read to the end: it is not listened to any
/// longer.
#[derive(Clone, Debug, Default)]
pub(super) struct Farewell(Arc<AtomicBool>);

impl Farewell {
    pub(super) fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that listens on for a moment when it is shut down: closed with something unread, TCP would
/// take back even the answer that says why.
pub(super) struct Lingering<S> {
    stream: S,
    /// Read already.
    first: Bytes,
    farewell: Farewell,
    until: Option<Pin<Box<Sleep>>>,
    read: usize,
}

/// Waits until a client says something, and gives that; nothing if it has nothing to say. Costs no buffer
/// until then: most of those who flood a server with connections never say a word.
///
/// # Errors
/// It went away.
pub(super) async fn first_words(stream: &mut impl Stream) -> io::Result<Bytes> {
    poll_fn(|context| {
        let mut room = [0; FIRST_BYTES];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}

impl<S: Stream> Lingering<S> {
    /// `first` has been read from it already.
    pub(super) fn new(stream: S, first: Bytes, farewell: Farewell) -> Lingering<S> {
        Lingering { stream, first, farewell, until: None, read: 0 }
    }

    /// Whether something has come that nobody has read; the end of the stream counts.
    fn has_unread(&mut self, context: &mut Context<'_>) -> bool {
        let mut room = [0; 1];
        Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut room)).is_ready()
    }

    /// Reads and throws away until the client is done, or has had enough time.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut room = [0; 4096];
        loop {
            if until.as_mut().poll(context).is_ready() || self.read > LINGER_BYTES {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut room);
            let ended = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if ended.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            self.read += buffer.filled().len();
        }
    }
}

impl<S: Stream> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            // To close it does all of that, and what a client sends that has said its last is its own.
            if self.farewell.is_said() && !self.has_unread(context) {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        ready!(self.poll_drain(context));
        Poll::Ready(Ok(()))
    }
}
