//! Loopback ports that nobody else gets while this process lives.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use tokio::net::TcpSocket;

/// Bound, never listening: the kernel hands such a port to nobody, yet a server may listen on it. Of all
/// addresses, since some servers listen on all: a client's connection from another address that has the
/// port would be in their way.
static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 for a server that is about to start; it may stop and start again there.
pub fn free_port() -> u16 {
    let (socket, any) = match TcpSocket::new_v6() {
        Ok(socket) => (socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        Err(_) => {
            let socket = TcpSocket::new_v4().expect("a socket can be made");
            (socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
        }
    };
    // Both sides need SO_REUSEADDR for a bind beside ours; servers set it themselves.
    socket.set_reuseaddr(true).expect("SO_REUSEADDR is known everywhere");
    socket.bind(any).expect("a port is free");
    let port = socket.local_addr().expect("it is bound").port();
    RESERVED.lock().expect("no test panics in here").push(socket);
    port
}
