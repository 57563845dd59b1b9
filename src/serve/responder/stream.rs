//! A client's connection: waited for cheaply, and closed so that the last answer arrives.

use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};

/// How long, and for how many bytes, a client that has been answered may go on talking.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A stream socket.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Waits until there is something to read. Costs no buffer: most of those who flood a server with
    /// connections never say a word.
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Stream for TcpStream {
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.async_io(Interest::READABLE, || peek(self))
    }
}

impl Stream for UnixStream {
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.async_io(Interest::READABLE, || peek(self))
    }
}

/// A new socket counts as readable until somebody has tried.
fn peek(socket: &impl AsRawFd) -> io::Result<()> {
    recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK)?;
    Ok(())
}

/// A stream that listens on for a moment when it is shut down: closed with something unread, TCP would
/// take back even the answer that says why.
pub(super) struct Lingering<S> {
    stream: S,
    until: Option<Pin<Box<Sleep>>>,
    read: usize,
}

impl<S: Stream> Lingering<S> {
    pub(super) fn new(stream: S) -> Lingering<S> {
        Lingering { stream, until: None, read: 0 }
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        ready!(self.poll_drain(context));
        Poll::Ready(Ok(()))
    }
}
