//! Where the responder listens: loopback addresses and unix sockets, its own or handed over by systemd.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{Backlog, listen};

/// Connections that may wait to be taken: after a reload each worker of a server asks at once, and a
/// unix socket whose queue is full turns clients away.
const BACKLOG: i32 = 4096;

/// A place to listen. Prints as in the configuration: `127.0.0.1:8889`, `unix:/run/…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A loopback address and port.
    Tcp(SocketAddr),
    /// A unix socket; every user of this machine may connect.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether a server that was told to ask `url` asks here: `http://127.0.0.1:8889/…`, or nginx's
    /// `http://unix:/run/…:/…`. The path behind it does not matter.
    pub fn is_meant_by(&self, url: &str) -> bool {
        let Some(rest) = strip_scheme(url) else { return false };
        match self {
            Address::Unix(own) => {
                let path = rest.strip_prefix("unix:").map(|rest| rest.split(':').next());
                path.flatten().is_some_and(|path| Path::new(path) == own)
            }
            Address::Tcp(own) => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let authority = authority.rsplit('@').next().unwrap_or_default();
                let with_port = format!("{authority}:80");
                let named = |text: &str| {
                    let port = text.strip_prefix("localhost:").map(str::parse::<u16>);
                    port.is_some_and(|port| port == Ok(own.port()))
                };
                [authority, &with_port].iter().any(|text| text.parse() == Ok(*own) || named(text))
            }
        }
    }
}

fn strip_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    scheme.eq_ignore_ascii_case("http").then_some(rest)
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer OCSP requests on {address}: {cause}; {}", self.hint())]
pub struct BindError {
    /// Which.
    pub address: Address,
    /// What the system says.
    pub cause: io::Error,
}

impl BindError {
    fn hint(&self) -> String {
        let Address::Unix(path) = &self.address else {
            return match self.cause.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program listens there: stop it, or name another port in [responder] \
                     listen"
                        .to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 are root's: name another in [responder] listen".to_owned()
                }
                _ => "name an address of this machine in [responder] listen".to_owned(),
            };
        };
        let folder = path.parent().unwrap_or(path).display();
        match self.cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program answers there: stop it, or name another path in [responder] listen"
                    .to_owned()
            }
            io::ErrorKind::NotFound => format!("make the folder {folder}"),
            io::ErrorKind::PermissionDenied => format!(
                "this user may not make sockets in {folder}: name a path in the runtime directory \
                 in [responder] listen"
            ),
            io::ErrorKind::AlreadyExists => {
                "move away what lies there, or name another path in [responder] listen".to_owned()
            }
            _ => "name another path in [responder] listen".to_owned(),
        }
    }
}

/// A socket that clients can connect to.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket and the address it is known by.
#[derive(Debug)]
pub struct Listener {
    pub(super) address: Address,
    pub(super) socket: Socket,
    given: bool,
    /// The file of a socket that was made here, to be taken away at the end, by its inode.
    made: Option<(PathBuf, u64)>,
}

impl Listener {
    /// Listens on `address`, in place of a unix socket that nobody answers on any more.
    ///
    /// # Errors
    /// What the system says, for this address.
    pub fn bind(address: &Address) -> Result<Listener, BindError> {
        let failed = |cause| BindError { address: address.clone(), cause };
        let bound = match address {
            Address::Tcp(ip) => bind_tcp(*ip).map(|socket| (socket, None)),
            Address::Unix(path) => bind_unix(path).map(|(socket, made)| (socket, Some(made))),
        };
        let (socket, made) = bound.map_err(failed)?;
        Ok(Listener { address: address.clone(), socket, given: false, made })
    }

    /// The sockets that the service manager handed over (`LISTEN_FDS`), whatever they are called; they
    /// outlive this process, and clients that connect while none runs wait. Each is given once.
    pub fn given() -> Vec<Listener> {
        let mut all = listenfd::ListenFd::from_env();
        let mut given = Vec::new();
        for place in 0..all.len() {
            // A socket of another kind is an error, and is left where it is.
            if let Ok(Some(socket)) = all.take_tcp_listener(place) {
                given.extend(Listener::of_tcp(socket));
            } else if let Ok(Some(socket)) = all.take_unix_listener(place) {
                given.extend(Listener::of_unix(socket));
            }
        }
        given
    }

    fn of_tcp(socket: TcpListener) -> Option<Listener> {
        let address = Address::Tcp(socket.local_addr().ok()?);
        Some(Listener { address, socket: Socket::Tcp(socket), given: true, made: None })
    }

    fn of_unix(socket: UnixListener) -> Option<Listener> {
        let address = Address::Unix(socket.local_addr().ok()?.as_pathname()?.to_owned());
        Some(Listener { address, socket: Socket::Unix(socket), given: true, made: None })
    }

    /// Whether the service manager handed it over.
    pub(super) fn is_given(&self) -> bool {
        self.given
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, inode)) = self.made.take()
            && std::fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == inode)
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let listener = TcpListener::bind(address)?;
    lengthen(&listener)?;
    Ok(Socket::Tcp(listener))
}

fn bind_unix(path: &Path) -> io::Result<(Socket, (PathBuf, u64))> {
    make_way(path)?;
    let listener = UnixListener::bind(path)?;
    // Servers' workers run as users of their own; what is answered is public.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    lengthen(&listener)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    Ok((Socket::Unix(listener), (path.to_owned(), inode)))
}

/// Makes way for a socket, if nothing of use is in the way.
pub(in crate::serve) fn make_way(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let text = "something that is no socket lies there";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// A socket may be told to listen again, to lengthen its queue.
fn lengthen(socket: &impl AsFd) -> io::Result<()> {
    listen(socket, Backlog::new(BACKLOG)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_urls_that_lead_here() {
        let check = |listen: &str, url: &str, wanted: bool| {
            let address = match listen.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => Address::Tcp(listen.parse().expect("an address")),
            };
            assert_eq!(address.is_meant_by(url), wanted, "{listen} by {url}");
        };
        check("127.0.0.1:8889", "http://127.0.0.1:8889/", true);
        check("127.0.0.1:8889", "HTTP://127.0.0.1:8889/any/path", true);
        check("127.0.0.1:8889", "http://localhost:8889", true);
        check("127.0.0.1:8889", "http://127.0.0.1:8888/", false);
        check("127.0.0.1:8889", "http://127.0.0.1/", false);
        check("127.0.0.1:80", "http://127.0.0.1/", true);
        check("[::1]:8889", "http://[::1]:8889/", true);
        check("127.0.0.1:8889", "https://127.0.0.1:8889/", false);
        check("unix:/run/s.sock", "http://unix:/run/s.sock:/", true);
        check("unix:/run/s.sock", "http://unix:/run/s.sock:/ocsp/", true);
        check("unix:/run/s.sock", "http://unix:/run/s.sock", true);
        check("unix:/run/s.sock", "http://unix:/run/other.sock:/", false);
        check("unix:/run/s.sock", "http://127.0.0.1:8889/", false);
    }
}
