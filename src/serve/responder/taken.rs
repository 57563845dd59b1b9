//! Sockets and connections as the system has them, before the event loop knows of them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::sockopt::PeerCredentials;

use super::stream::Stream;

/// A socket that connections are taken from.
pub(super) trait Source: AsRawFd + Send + Sync + 'static {
    /// What it gives.
    type Taken: Taken;

    /// The next connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nobody waits, where the socket is one that does not block.
    fn next(&self) -> io::Result<Self::Taken>;
}

/// A connection that was taken.
pub(super) trait Taken: AsRawFd + Send + 'static {
    /// The same with the event loop's help.
    type Stream: Stream;

    /// Which process is at the other end, where that can be told.
    fn process(&self) -> Option<i32>;

    /// Has the event loop look after it.
    ///
    /// # Errors
    /// It cannot: no descriptor or memory is left for it.
    fn watched(self) -> io::Result<Self::Stream>;
}

impl Source for TcpListener {
    type Taken = TcpStream;

    fn next(&self) -> io::Result<TcpStream> {
        self.accept().map(|(connection, _)| connection)
    }
}

impl Taken for TcpStream {
    type Stream = tokio::net::TcpStream;

    fn process(&self) -> Option<i32> {
        None
    }

    fn watched(self) -> io::Result<Self::Stream> {
        self.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(self)
    }
}

impl Source for UnixListener {
    type Taken = UnixStream;

    fn next(&self) -> io::Result<UnixStream> {
        self.accept().map(|(connection, _)| connection)
    }
}

impl Taken for UnixStream {
    type Stream = tokio::net::UnixStream;

    fn process(&self) -> Option<i32> {
        nix::sys::socket::getsockopt(self, PeerCredentials).ok().map(|peer| peer.pid())
    }

    fn watched(self) -> io::Result<Self::Stream> {
        self.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(self)
    }
}
