//! Who issued whom.

use std::sync::Arc;

use super::certificate::Certificate;
use super::name::same_name;
use super::signature::{self, Checked, SignatureError};
use crate::digest::{Digest, Fingerprint};

/// A leaf with its proven issuer; made only by [`Issued::prove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate that servers present.
    pub leaf: Arc<Certificate>,
    /// The certificate whose key signed it.
    pub issuer: Arc<Certificate>,
    /// Keeps others from putting a pair together.
    proven: Proven,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proven;

/// Why one certificate was not issued by another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// The names do not match.
    #[error("was issued by {wanted}, not by {found}")]
    OtherName {
        /// The issuer that the leaf names.
        wanted: String,
        /// The subject of the certificate at hand.
        found: String,
    },
    /// The names match and the signature does not: another key of the same CA, or damage.
    #[error("names {issuer} as its issuer, but that certificate's key did not sign it: {cause}")]
    OtherKey {
        /// The subject of the certificate at hand.
        issuer: String,
        /// What the check of the signature said.
        cause: SignatureError,
    },
}

impl Issued {
    /// Pairs `leaf` with `issuer` if the issuer's name is the one that the leaf names and its key
    /// verifies the leaf's signature.
    ///
    /// Costs one signature check. SHA-1 signatures are taken here: this tells who issued whom, and
    /// whether to trust such a certificate is for its clients to say. Validity is not looked at.
    ///
    /// # Errors
    /// Which of the two conditions fails.
    pub fn prove(leaf: Arc<Certificate>, issuer: Arc<Certificate>) -> Result<Issued, NotIssued> {
        Issued::prove_again(leaf, issuer, &Checked::default())
    }

    /// As [`Issued::prove`], without the arithmetic of signatures that were checked before.
    ///
    /// # Errors
    /// As [`Issued::prove`].
    pub fn prove_again(
        leaf: Arc<Certificate>,
        issuer: Arc<Certificate>,
        checked: &Checked,
    ) -> Result<Issued, NotIssued> {
        if !same_name(leaf.issuer_der(), issuer.subject_der()) {
            return Err(NotIssued::OtherName { wanted: leaf.issuer(), found: issuer.subject() });
        }
        match signed_by(&leaf, &issuer, true, checked) {
            Ok(()) => Ok(Issued { leaf, issuer, proven: Proven }),
            Err(cause) => Err(NotIssued::OtherKey { issuer: issuer.subject(), cause }),
        }
    }

    /// What the issuer's signature of the leaf is known by in [`Checked`].
    pub fn signature(&self) -> Digest {
        signature_of(&self.leaf, &self.issuer)
    }

    /// The pair's identity: the SHA-256 of the leaf's DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.leaf.fingerprint()
    }
}

/// Checks that `issuer`'s key signed `certificate`.
pub(crate) fn signed_by(
    certificate: &Certificate,
    issuer: &Certificate,
    allow_sha1: bool,
    checked: &Checked,
) -> Result<(), SignatureError> {
    checked.verify(
        certificate.signature_algorithm_der(),
        issuer.spki_der(),
        certificate.signed_part(),
        certificate.signature(),
        allow_sha1,
    )
}

/// What `issuer`'s signature of `certificate` is known by in [`Checked`].
pub(crate) fn signature_of(certificate: &Certificate, issuer: &Certificate) -> Digest {
    signature::identity(
        certificate.signature_algorithm_der(),
        issuer.spki_der(),
        certificate.signed_part(),
        certificate.signature(),
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::self_signed(params, key).expect("a certificate")
    }

    fn read(der: &[u8]) -> Arc<Certificate> {
        Arc::new(Certificate::from_der(der).expect("a certificate"))
    }

    #[test]
    fn only_the_key_that_signed_makes_an_issuer() {
        let (ca, rekeyed, other) = (authority("CA"), authority("CA"), authority("Other"));
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["www.example.org".to_owned()]).expect("a name");
        let leaf = read(params.signed_by(&key, &ca).expect("a leaf").der());

        let issued = Issued::prove(leaf.clone(), read(ca.der())).expect("its issuer");
        assert_eq!(issued.fingerprint(), leaf.fingerprint());
        assert_eq!(issued.leaf.names(), ["www.example.org"]);
        assert_eq!(issued.leaf.key_type().to_string(), "P-256");
        assert!(issued.issuer.is_ca() && issued.issuer.is_self_issued());

        let refused = |issuer: &CertifiedIssuer<'_, KeyPair>| {
            Issued::prove(leaf.clone(), read(issuer.der())).expect_err("no issuer").to_string()
        };
        assert!(refused(&other).starts_with("was issued by CN=CA"), "{}", refused(&other));
        assert!(refused(&rekeyed).contains("key did not sign it"), "{}", refused(&rekeyed));
    }

    #[test]
    fn what_was_checked_before_holds_for_the_very_same_signature_only() {
        let (ca, rekeyed) = (authority("CA"), authority("CA"));
        let key = KeyPair::generate().expect("a key");
        let leaf = |name: &str| {
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            read(params.signed_by(&key, &ca).expect("a leaf").der())
        };
        let (www, mail) = (leaf("www.example.org"), leaf("mail.example.org"));
        let issued = Issued::prove(www.clone(), read(ca.der())).expect("its issuer");
        let checked = Checked::from_iter([issued.signature()]);
        assert_eq!(Issued::prove_again(www.clone(), read(ca.der()), &checked), Ok(issued));
        assert!(Issued::prove_again(www.clone(), read(rekeyed.der()), &checked).is_err());
        assert!(Issued::prove_again(mail, read(ca.der()), &checked).is_ok(), "checked anew");

        let mut torn = www.der().to_vec();
        *torn.last_mut().expect("not empty") ^= 1;
        assert!(Issued::prove_again(read(&torn), read(ca.der()), &checked).is_err());
        // What is known does not outlive what is allowed.
        let refused = checked.verify(&[0x30, 0], www.spki_der(), b"", b"", false);
        assert_eq!(refused, Err(SignatureError::MalformedAlgorithm));
    }
}
