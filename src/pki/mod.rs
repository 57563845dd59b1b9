//! Certificates as values: reading them, what they say, and who issued whom.
//!
//! [`read_certificates`] turns the bytes of a file into [`Certificate`]s. A leaf and its issuer
//! become [`Issued`] when the issuer's key verifies the leaf's signature: everything that asks or
//! judges takes that proven pair. [`signature`] is the one place where signatures are checked, for
//! certificates and for OCSP responses.

mod certificate;
mod chain;
mod cms;
mod extensions;
mod key;
mod name;
pub mod pem;
mod serial;
pub mod signature;

pub use certificate::{Certificate, CertificateError};
pub use chain::{Issued, NotIssued};
pub(crate) use chain::{signature_of, signed_by};
pub use extensions::{SigningRights, TlsFeature};
pub use key::KeyType;
pub use name::{name_text, printable, same_name};
pub use pem::{ReadError, read_certificates};
pub use serial::Serial;
