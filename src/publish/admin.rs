//! HAProxy's admin socket: a running HAProxy takes a staple over it at once, without a reload.
//!
//! It does not read `<certificate>.ocsp` again by itself, and a reload forgets what came over the socket
//! (facts/servers.md 51-54): so the file is written first, then the running process is told.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::time::{TimeVal, TimeValLike};

/// For each step of a command; HAProxy answers within a millisecond.
const WITHIN: Duration = Duration::from_secs(2);
/// Longer answers are cut.
const MAX_ANSWER_BYTES: u64 = 16 * 1024;

/// Where HAProxy takes commands: `stats socket … level admin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// In the file system.
    Unix(PathBuf),
    /// Over TCP.
    Tcp(SocketAddr),
}

/// What the running HAProxy made of a staple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Clients are handed it from now on.
    Taken,
    /// It presents another certificate: the one on disk was renewed, and is taken up by a reload.
    OtherCertificate,
    /// It does not run, or has no such socket: it will read the file when it starts.
    Absent,
}

/// A running HAProxy that could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The socket could not be used; the cause is its source.
    #[error("{socket}: cannot tell HAProxy about a new staple")]
    Unusable {
        /// The socket.
        socket: Socket,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It answered something else than that it took it.
    #[error("{socket}: HAProxy does not take the staple of {}: {answer}", certificate.display())]
    Refused {
        /// The socket.
        socket: Socket,
        /// The certificate file, as HAProxy sees it.
        certificate: PathBuf,
        /// Its words.
        answer: String,
    },
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Socket::Unix(path) => path.display().fmt(f),
            Socket::Tcp(address) => address.fmt(f),
        }
    }
}

/// A certificate file with its staple file, both as HAProxy sees and spells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// `crt`.
    pub certificate: PathBuf,
    /// The `.ocsp` file that goes with it.
    pub staple: PathBuf,
}

/// Hands a staple (DER) to the HAProxy behind `socket`.
///
/// # Errors
/// [`TellError`]; HAProxy goes on with what it had.
pub fn tell(socket: &Socket, pair: &Pair, staple: &[u8]) -> Result<Told, TellError> {
    let failed = |source| TellError::Unusable { socket: socket.clone(), source };
    let base64 = STANDARD.encode(staple);
    let answer = match ask(socket, &format!("set ssl ocsp-response {base64}\n")) {
        Ok(answer) => answer,
        Err(error) if is_absence(&error) => return Ok(Told::Absent),
        Err(error) => return Err(failed(error)),
    };
    if answer.contains("OCSP Response updated") {
        return Ok(Told::Taken);
    }
    let refused = |answer: &str| TellError::Refused {
        socket: socket.clone(),
        certificate: pair.certificate.clone(),
        answer: answer.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    if !answer.contains("does not match any certificate") {
        return Err(refused(&answer));
    }
    // The certificate was loaded without a staple beside it, or is another one (52).
    let (certificate, file) = (pair.certificate.display(), pair.staple.display());
    let ask = |command: String| ask(socket, &command).map_err(failed);
    let set = ask(format!("set ssl cert {file} <<\n{base64}\n\n"))?;
    if set.contains("Transaction created") || set.contains("Transaction updated") {
        let commit = ask(format!("commit ssl cert {certificate}\n"))?;
        if commit.contains("Success") {
            return Ok(Told::Taken);
        }
        let _ = ask(format!("abort ssl cert {certificate}\n"))?;
        return match speaks_of_another(&commit) {
            true => Ok(Told::OtherCertificate),
            false => Err(refused(&commit)),
        };
    }
    match speaks_of_another(&set) {
        true => Ok(Told::OtherCertificate),
        false => Err(refused(&set)),
    }
}

fn speaks_of_another(answer: &str) -> bool {
    answer.contains("Certificate ID does not match certificate and issuer")
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A HAProxy that hangs accepts nobody: connecting to it must end too.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let within = TimeVal::milliseconds(i64::try_from(WITHIN.as_millis()).expect("seconds"));
    socket::setsockopt(&fd, SendTimeout, &within)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// One command, one connection: HAProxy closes it behind its answer.
fn ask(socket: &Socket, command: &str) -> io::Result<String> {
    match socket {
        Socket::Unix(path) => {
            let stream = connect(path)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            exchange(stream, command)
        }
        Socket::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, WITHIN)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            exchange(stream, command)
        }
    }
}

fn exchange(mut stream: impl Read + Write, command: &str) -> io::Result<String> {
    stream.write_all(command.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether a path can be named in a command: HAProxy splits its commands at blanks.
pub fn can_be_named(path: &Path) -> bool {
    path.to_str().is_some_and(|path| !path.contains(|c: char| c.is_whitespace() || c == ';'))
}
