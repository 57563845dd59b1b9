//! Why a question brought no answer, in words for operators.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::answer::Answered;

/// Why a responder could not be asked, or what it sent was no OCSP response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The certificate or the configuration holds something else.
    #[error("{url:?} is no URL")]
    NotAUrl {
        /// As it was found.
        url: String,
    },
    /// Only `http` and `https` are asked.
    #[error("{url:?} is neither http nor https")]
    NotHttp {
        /// As it was found.
        url: String,
    },
    /// DESIGN §9: link-local, cloud metadata, unspecified and multicast addresses.
    #[error("{url} leads to {address}, which must not be asked")]
    ForbiddenAddress {
        /// Where the way began.
        url: String,
        /// Where it led.
        address: IpAddr,
    },
    /// No such name, connection refused, TLS handshake failed, proxy in trouble.
    #[error("{url}: cannot connect")]
    Connect {
        /// The responder.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// No connection in time.
    #[error("{url}: no connection within {after:?}")]
    ConnectTimedOut {
        /// The responder.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// No complete answer in time.
    #[error("{url}: no answer within {after:?}")]
    TimedOut {
        /// The responder.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("{url}: the answer broke off")]
    Broken {
        /// The responder.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// More than any response needs.
    #[error("{url}: the answer exceeds {limit} bytes")]
    TooLarge {
        /// The responder.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A loop, or a maze.
    #[error("{url}: more than {limit} redirects")]
    Redirects {
        /// Where they began.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A redirect from `https` to `http`.
    #[error("{url}: redirected to {to}, away from https")]
    Downgrade {
        /// Where it began.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// The body is no OCSPResponse.
    #[error(
        "{url}: HTTP {http_status} with {content} of {length} bytes instead of an OCSP response"
    )]
    NotAResponse {
        /// The responder.
        url: String,
        /// Of the first attempt.
        http_status: u16,
        /// Its Content-Type.
        content: String,
        /// Of the body, in bytes.
        length: usize,
        /// As the server asked.
        retry_after: Option<Duration>,
    },
    /// No TLS client can be made.
    #[error("no root certificates to judge https responders by")]
    Roots {
        /// Why.
        source: reqwest::Error,
    },
    /// `tls_ca` cannot be read.
    #[error("cannot read {}", path.display())]
    ReadBundle {
        /// Of the bundle.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `tls_ca` holds no certificate.
    #[error("{} holds no PEM certificate", path.display())]
    EmptyBundle {
        /// Of the bundle.
        path: PathBuf,
    },
    /// `proxy` is none.
    #[error("{proxy:?} is no proxy URL")]
    Proxy {
        /// As configured.
        proxy: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl AskError {
    pub(super) fn not_a_response(url: &str, answered: &Answered) -> AskError {
        AskError::NotAResponse {
            url: url.to_owned(),
            http_status: answered.http_status,
            content: answered.content_type.clone().unwrap_or_else(|| "a body".to_owned()),
            length: answered.body.len(),
            retry_after: answered.retry_after,
        }
    }

    /// Whether the host is in trouble, which concerns everything behind it; else this one question is.
    pub fn is_host_fault(&self) -> bool {
        match self {
            AskError::Connect { .. }
            | AskError::ConnectTimedOut { .. }
            | AskError::TimedOut { .. }
            | AskError::Broken { .. } => true,
            AskError::NotAResponse { http_status, .. } => super::is_host_fault(*http_status),
            _ => false,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AskError::NotAResponse { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an operator can do about it, for the hint line.
    pub fn hint(&self) -> &'static str {
        match self {
            AskError::NotAUrl { .. } | AskError::NotHttp { .. } => {
                "name a responder for this issuer: [[issuer]] responders = [\"http://…\"]"
            }
            AskError::ForbiddenAddress { .. } => {
                "link-local, metadata and multicast addresses are never asked; check the name in DNS"
            }
            AskError::Connect { .. } | AskError::ConnectTimedOut { .. } => {
                "check DNS and firewall; a proxy is set by [[issuer]] proxy or HTTP_PROXY"
            }
            AskError::TimedOut { .. } | AskError::Broken { .. } => {
                "the responder is in trouble; it is asked again"
            }
            AskError::TooLarge { .. } | AskError::NotAResponse { .. } => {
                "something else answers at this URL; ask the CA, or name another responder"
            }
            AskError::Redirects { .. } | AskError::Downgrade { .. } => {
                "name the responder where the redirects end: [[issuer]] responders = [\"…\"]"
            }
            AskError::Roots { .. } => "install ca-certificates, or set [[issuer]] tls_ca",
            AskError::ReadBundle { .. } | AskError::EmptyBundle { .. } => {
                "[[issuer]] tls_ca names a PEM file that the agent's user can read"
            }
            AskError::Proxy { .. } => "[[issuer]] proxy is written as \"http://host:port\"",
        }
    }
}
