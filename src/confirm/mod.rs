//! Sees what clients of a server are handed: a TLS handshake as a client makes it, and the bytes kept.
//!
//! A [`Look`] says where and under which name; [`Seen`] holds chain and staple as they came. Nothing is
//! judged here: whether the leaf is the one expected and the staple the one published is compared by
//! whoever asked, with `pki` and `ocsp`. Every look is a full handshake, since a resumed one shows no
//! certificate. [`Confirmer`] spaces looks out and repeats one until old workers are gone.

mod error;
mod handshake;
mod name;
mod pace;
mod starttls;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{self, Instant};

pub use error::LookError;
pub use handshake::look;
pub use name::name_to_ask_for;
use pace::Pace;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
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

/// Which of a server's certificates is wanted, where it has two for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA; nothing else is offered.
    Rsa,
    /// ECDSA or Ed25519; no RSA is offered.
    Elliptic,
}

/// A protocol that begins in the clear and goes over to TLS when it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartTls {
    /// RFC 3207.
    Smtp,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// The listener.
    pub address: Address,
    /// For SNI; none: no SNI is sent, and the server presents its default. See [`name_to_ask_for`].
    pub server_name: Option<String>,
    /// None: whatever the server prefers.
    pub key: Option<KeyKind>,
    /// The listener expects a PROXY protocol header; one that tells nothing (`UNKNOWN`) is sent.
    pub proxy_protocol: bool,
    /// What is spoken there before TLS; none: TLS from the first byte.
    pub starttls: Option<StartTls>,
    /// For connection and handshake together.
    pub timeout: Duration,
}

impl Look {
    /// A look at `address`, as itself: no name, any key, no PROXY header, TLS at once, five seconds.
    pub fn at(address: Address) -> Look {
        let timeout = Duration::from_secs(5);
        Look {
            address,
            server_name: None,
            key: None,
            proxy_protocol: false,
            starttls: None,
            timeout,
        }
    }
}

/// What a server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// DER, the leaf first, in the server's order. Never empty.
    pub chain: Vec<Vec<u8>>,
    /// The OCSPResponse for the leaf, DER as it came; none: none was stapled.
    pub staple: Option<Vec<u8>>,
    /// The version that was spoken.
    pub tls: TlsVersion,
    /// From the first packet to the end of the handshake.
    pub took: Duration,
    /// Why the handshake ended after the certificate had been presented: a client certificate is
    /// wanted, the signature is wrong. A client would not have connected.
    pub broke_off: Option<String>,
}

/// The versions that are offered; older ones carry no weight any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        })
    }
}

/// How looks are spaced and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// All looks of one [`Confirmer`] together.
    pub looks_per_second: u32,
    /// How long a look is repeated that does not show what is expected.
    pub patience: Duration,
    /// Before the first repetition; each further wait is half as long again.
    pub repeat_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            looks_per_second: 20,
            patience: Duration::from_secs(10),
            repeat_after: Duration::from_millis(200),
        }
    }
}

/// Looks at servers without crowding them.
#[derive(Debug)]
pub struct Confirmer {
    settings: Settings,
    pace: Pace,
}

impl Confirmer {
    /// A confirmer that obeys `settings`.
    pub fn new(settings: Settings) -> Confirmer {
        Confirmer { settings, pace: Pace::new(settings.looks_per_second) }
    }

    /// Looks once, when its turn has come.
    ///
    /// # Errors
    /// [`LookError`] where nothing was presented.
    pub async fn look(&self, wanted: &Look) -> Result<Seen, LookError> {
        self.pace.turn().await;
        look(wanted).await
    }

    /// Looks until `satisfied`, or until patience ends; gives what was seen last.
    ///
    /// For some time after a reload old workers answer with the old staple (facts: 0.1 s with one
    /// host, 0.6 s with 500), and a restarting server refuses connections.
    ///
    /// # Errors
    /// [`LookError`] where nothing was presented the last time.
    pub async fn look_until(
        &self,
        wanted: &Look,
        satisfied: impl Fn(&Seen) -> bool,
    ) -> Result<Seen, LookError> {
        self.look_for(wanted, self.settings.patience, satisfied).await
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// As [`Confirmer::look_until`].
    pub async fn look_for(
        &self,
        wanted: &Look,
        patience: Duration,
        satisfied: impl Fn(&Seen) -> bool,
    ) -> Result<Seen, LookError> {
        let deadline = Instant::now() + patience;
        let mut wait = self.settings.repeat_after;
        loop {
            let outcome = self.look(wanted).await;
            let done = outcome.as_ref().is_ok_and(&satisfied);
            if done || Instant::now() + wait > deadline {
                return outcome;
            }
            tracing::debug!(address = %wanted.address, name = ?wanted.server_name, "looking again");
            time::sleep(wait).await;
            // Many targets may wait for one slow reload: their turns are few.
            wait = wait * 3 / 2;
        }
    }
}
