//! Loopback ports that nobody else gets while this process lives.

use std::sync::Mutex;

use tokio::net::TcpSocket;

/// Bound, never listening: the kernel hands such a port to nobody, yet a server may listen on it.
static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 for a server that is about to start; it may stop and start again there.
pub fn free_port() -> u16 {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    // Both sides need SO_REUSEADDR for a bind beside ours; servers set it themselves.
    socket.set_reuseaddr(true).expect("SO_REUSEADDR is known everywhere");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a loopback port is free");
    let port = socket.local_addr().expect("it is bound").port();
    RESERVED.lock().expect("no test panics in here").push(socket);
    port
}
