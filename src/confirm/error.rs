//! Why nothing could be seen.

use std::io;
use std::time::Duration;

use super::Address;

/// Why a look showed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// Nobody listens, or the way is barred.
    #[error("{address}: cannot connect")]
    Connect {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// No certificate in time.
    #[error("{address}: no handshake within {after:?}")]
    TimedOut {
        /// Where.
        address: Address,
        /// The limit.
        after: Duration,
    },
    /// The handshake ended before a certificate came: no version, cipher or key type in common, a name
    /// the server does not know, or no TLS at all.
    #[error("{address}: no certificate was presented")]
    Handshake {
        /// Where.
        address: Address,
        /// The alert, or what was wrong with the bytes.
        source: io::Error,
    },
    /// The name cannot be sent.
    #[error("{name:?} is no host name")]
    Name {
        /// As it was given.
        name: String,
    },
}
