//! What servers were found to present where: words that fit every kind of server.
//!
//! Every fact keeps the place it was written in ([`Origin`]), so that what is said about it later
//! can point there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::apache::ApacheStapling;
use super::problem::Problem;
use super::settings::{Kind, MappedPath};

/// A line of a configuration file; prints as `file:line`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file as we see it.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A value with the place it was written in; for an inherited one, the place it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

/// One configured server and what it presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerModel {
    /// What kind it is.
    pub kind: Kind,
    /// Its main configuration file as we see it; `None` for kinds that are not read.
    pub config: Option<PathBuf>,
    /// The file its process number is in, as we see it.
    pub pid_file: Option<PathBuf>,
    /// Sockets on which it takes any command, as we see them: HAProxy's `stats socket … level admin`.
    pub admin: Arc<[Address]>,
    /// The configuration was read to its end and the server would take it. If not, `deployments`
    /// are those of the last one that was (or, where there has been none, what could be read).
    pub complete: bool,
    /// In the order of the configuration.
    pub deployments: Arc<[Deployment]>,
    /// What is wrong with the configuration as it stands.
    pub problems: Vec<Problem>,
}

impl ServerModel {
    /// What people call it.
    pub fn label(&self) -> String {
        label(self.kind, self.config.as_deref())
    }
}

/// What people call a server of this kind with this main configuration file.
pub fn label(kind: Kind, config: Option<&Path>) -> String {
    match config {
        Some(config) => format!("{kind} ({})", config.display()),
        None => kind.to_string(),
    }
}

/// One place where a server presents certificates: an nginx `server` block, an Apache virtual host.
///
/// Ten thousand of these are kept: what blocks have in common is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// What is spoken there.
    pub context: Context,
    /// Where the block begins.
    pub origin: Origin,
    /// The names it answers to; empty where it has none of its own.
    pub names: Box<[ServerName]>,
    /// Where it listens for TLS; never empty.
    pub listeners: Arc<[Listener]>,
    /// The certificate files in effect, in their order: several for several key types.
    pub certificates: Box<[Presented]>,
    /// Certificates are (also) chosen at the handshake or written into the configuration: by
    /// variable, by Lua, as `data:`. Which they are is not known here.
    pub dynamic: Option<Arc<Origin>>,
    /// Whether it staples: `ssl_stapling`, `SSLUseStapling`.
    pub stapling: Option<Arc<Stated<bool>>>,
    /// The file it staples: `ssl_stapling_file`.
    pub stapling_file: Option<Arc<Stated<MappedPath>>>,
    /// The responder it would ask itself: `ssl_stapling_responder`, `SSLStaplingForceURL`. The path of a
    /// unix socket is ours.
    pub stapling_responder: Option<Arc<Stated<String>>>,
    /// Whether it verifies what that responder says: `ssl_stapling_verify`.
    pub stapling_verify: Option<Arc<Stated<bool>>>,
    /// CA certificates it trusts for that: `ssl_trusted_certificate`.
    pub trusted_certificate: Option<Arc<Stated<MappedPath>>>,
    /// How it finds responders by name: `resolver`, its arguments joined by a blank.
    pub resolver: Option<Arc<Stated<String>>>,
    /// Whether it compresses certificates: `ssl_certificate_compression`.
    pub certificate_compression: Option<Arc<Stated<bool>>>,
    /// Further files of CA certificates: Apache's `SSLCertificateChainFile`, `SSLCACertificateFile` and
    /// what is in `SSLCACertificatePath`.
    pub issuer_files: Option<Arc<[MappedPath]>>,
    /// What an Apache says about stapling besides; `None` for other kinds.
    pub apache: Option<Arc<ApacheStapling>>,
    /// The server does not start without a good staple in its file, though others of its kind do.
    pub needs_staple: bool,
    /// What the server calls its certificate, where that is not the path of the file: HAProxy's names of
    /// relative paths and of `crt-store`.
    pub called: Option<Box<str>>,
}

impl Deployment {
    /// The staple file that is in effect: one is named and stapling is on.
    pub fn target(&self) -> Option<&MappedPath> {
        let on = self.stapling.as_ref().is_some_and(|stapling| stapling.value);
        self.stapling_file.as_ref().filter(|_| on).map(|file| &file.value)
    }

    /// The responder that the server asks by itself for want of a staple file: the one it was told to
    /// ask instead of the certificates' own. Whose it is, is not said here.
    pub fn responder_url(&self) -> Option<&str> {
        let on = self.stapling.as_ref().is_some_and(|stapling| stapling.value);
        let asks = on && self.stapling_file.is_none();
        self.stapling_responder.as_ref().filter(|_| asks).map(|url| &*url.value)
    }

    /// The first of its names that says something about it.
    pub(super) fn telling_name(&self) -> Option<&str> {
        self.names.iter().find_map(|name| match name {
            ServerName::Exact(name) => (&**name != "_").then_some(&**name),
            ServerName::Wildcard(name) => Some(name.trim_start_matches('.')),
            ServerName::Pattern(_) | ServerName::Unnamed => None,
        })
    }
}

/// What is spoken on a deployment's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// HTTP.
    Http,
    /// Anything over TLS: nginx's `stream`.
    Stream,
}

/// A certificate file that a deployment presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The PEM file: leaf first, then its chain.
    pub file: MappedPath,
    /// Where it is named.
    pub origin: Origin,
}

/// A name that a deployment answers to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerName {
    /// `www.example.org`.
    Exact(Box<str>),
    /// `*.example.org`, `.example.org`, `www.*`.
    Wildcard(Box<str>),
    /// A regular expression (without the `~`), or a name with a variable in it.
    Pattern(Box<str>),
    /// `""`: clients that name no server.
    Unnamed,
}

impl ServerName {
    /// A name that a client can ask for to reach the deployment; `None` where none can be told.
    pub fn example(&self) -> Option<String> {
        match self {
            ServerName::Exact(name) => (&**name != "_").then(|| name.to_string()),
            ServerName::Wildcard(name) => {
                let name = name.trim_start_matches('.');
                Some(name.replace('*', "staplekeeper-probe"))
            }
            ServerName::Pattern(_) | ServerName::Unnamed => None,
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::Exact(name) | ServerName::Wildcard(name) => f.write_str(name),
            ServerName::Pattern(pattern) => write!(f, "~{pattern}"),
            ServerName::Unnamed => f.write_str("\"\""),
        }
    }
}

/// An address that a deployment listens on with TLS, with what is in effect for that address: servers
/// share these between all the blocks on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Where.
    pub address: Address,
    /// TLS over TCP or QUIC over UDP.
    pub transport: Transport,
    /// Clients must send a PROXY protocol header first.
    pub proxy_protocol: bool,
    /// This deployment answers there to clients that name no server, or an unknown one.
    pub default: bool,
}

/// An address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and port; the unspecified address stands for all of the host's.
    Ip(SocketAddr),
    /// A host name, as written, and a port.
    Host(Box<str>, u16),
    /// A Unix socket, as the server sees it.
    Unix(Arc<Path>),
}

impl Address {
    /// What `host` and `port` mean: an IP address without brackets, a name, or nothing or `*` for all
    /// of the host's addresses.
    pub(super) fn of(host: &str, port: u16) -> Address {
        let ip = match host {
            "" | "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            host => host.parse().ok(),
        };
        match ip {
            Some(ip) => Address::Ip(SocketAddr::new(ip, port)),
            None => Address::Host(host.to_ascii_lowercase().into(), port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Host(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How TLS is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TLS over a byte stream.
    Tls,
    /// SMTP, which goes over to TLS by STARTTLS (RFC 3207).
    Smtp,
    /// QUIC.
    Quic,
}
