//! Certificates: a draft with every field open, and what becomes of it.

use std::net::IpAddr;
use std::sync::Arc;

use super::der;
use super::key::{Key, Kind, Scheme};

pub const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

/// What a certificate will say. Start from [`Draft::authority`], [`Draft::leaf`] or
/// [`Draft::delegate`] and set the fields that matter.
#[derive(Clone, Debug)]
pub struct Draft {
    pub key: Arc<Key>,
    /// DER Name.
    pub subject: Vec<u8>,
    /// Contents of the INTEGER.
    pub serial: Vec<u8>,
    pub not_before: i64,
    pub not_after: i64,
    /// subjectKeyIdentifier and authorityKeyIdentifier.
    pub key_ids: bool,
    /// basicConstraints; none: no such extension.
    pub authority: Option<bool>,
    /// dNSName and iPAddress alternative names.
    pub names: Vec<String>,
    /// The bytes of the keyUsage BIT STRING (first octet: digitalSignature 0x80, keyCertSign 0x04).
    pub key_usage: Option<u8>,
    /// OIDs.
    pub extended_key_usage: Vec<&'static str>,
    /// RFC 7633, feature 5.
    pub must_staple: bool,
    pub ocsp_urls: Vec<String>,
    pub ca_issuers_urls: Vec<String>,
    /// id-pkix-ocsp-nocheck.
    pub no_check: bool,
    /// More extensions, as DER.
    pub extensions: Vec<Vec<u8>>,
    /// The issuer's DER Name, where it shall not be the issuer's subject.
    pub issuer: Option<Vec<u8>>,
    /// What the issuer signs with; none: its key's default.
    pub scheme: Option<Scheme>,
}

/// A certificate with its key and, where it is not self-signed, its issuer.
#[derive(Clone, Debug)]
pub struct Identity {
    pub der: Vec<u8>,
    pub key: Arc<Key>,
    pub subject: Vec<u8>,
    pub serial: Vec<u8>,
    issuer: Option<Arc<Identity>>,
}

impl Draft {
    fn named(common_name: &str) -> Draft {
        Draft {
            key: Key::new(Kind::P256),
            subject: der::name(common_name),
            serial: random_serial(),
            not_before: super::at("2020-01-01T00:00:00Z"),
            not_after: super::at("2049-12-31T23:59:59Z"),
            key_ids: true,
            authority: None,
            names: Vec::new(),
            key_usage: Some(0x80),
            extended_key_usage: Vec::new(),
            must_staple: false,
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
            no_check: false,
            extensions: Vec::new(),
            issuer: None,
            scheme: None,
        }
    }

    /// A CA that signs certificates, revocation lists and responses.
    pub fn authority(common_name: &str) -> Draft {
        let key_usage = Some(0x80 | 0x04 | 0x02);
        Draft { authority: Some(true), key_usage, ..Draft::named(common_name) }
    }

    /// A server's certificate for one name.
    pub fn leaf(name: &str) -> Draft {
        let names = vec![name.to_owned()];
        Draft { names, extended_key_usage: vec![SERVER_AUTH], ..Draft::named(name) }
    }

    /// A responder's certificate.
    pub fn delegate(common_name: &str) -> Draft {
        let extended_key_usage = vec![OCSP_SIGNING];
        Draft { extended_key_usage, no_check: true, ..Draft::named(common_name) }
    }

    /// With a key of this kind, made once a process for each `number`: RSA keys are slow to make.
    pub fn keyed(self, kind: Kind, number: u8) -> Draft {
        Draft { key: Key::shared(kind, number), ..self }
    }

    /// Signed with its own key.
    pub fn self_signed(self) -> Identity {
        let (key, subject) = (self.key.clone(), self.subject.clone());
        self.signed(&key, &subject, None)
    }

    fn signed(self, key: &Key, issuer: &[u8], by: Option<Arc<Identity>>) -> Identity {
        let scheme = self.scheme.unwrap_or_else(|| key.scheme());
        let algorithm = scheme.identifier(key.kind());
        let issuer = self.issuer.as_deref().unwrap_or(issuer);
        let validity = der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]);
        let extensions = self.extensions(key).concat();
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => der::context(3, &[&der::sequence(&[&extensions])]),
        };
        let signed = der::sequence(&[
            &der::context(0, &[&der::integer(&[2])]),
            &der::integer(&self.serial),
            &algorithm,
            issuer,
            &validity,
            &self.subject,
            self.key.spki(),
            &extensions,
        ]);
        let signature = der::bits(&key.sign(scheme, &signed));
        let der = der::sequence(&[&signed, &algorithm, &signature]);
        let Draft { key, subject, serial, .. } = self;
        Identity { der, key, subject, serial, issuer: by }
    }

    fn extensions(&self, issuer: &Key) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        if self.key_ids {
            let authority = der::element(0x80, &[&issuer.id()]);
            found.push(der::extension("2.5.29.14", false, &der::octets(&self.key.id())));
            found.push(der::extension("2.5.29.35", false, &der::sequence(&[&authority])));
        }
        if let Some(authority) = self.authority {
            let flag = if authority { der::boolean(true) } else { Vec::new() };
            found.push(der::extension("2.5.29.19", true, &der::sequence(&[&flag])));
        }
        if let Some(usage) = self.key_usage {
            let unused = usage.trailing_zeros().min(7) as u8;
            let value = der::element(0x03, &[&[unused, usage]]);
            found.push(der::extension("2.5.29.15", true, &value));
        }
        if !self.extended_key_usage.is_empty() {
            let oids: Vec<u8> =
                self.extended_key_usage.iter().flat_map(|oid| der::oid(oid)).collect();
            found.push(der::extension("2.5.29.37", false, &der::sequence(&[&oids])));
        }
        if !self.names.is_empty() {
            let names: Vec<u8> = self.names.iter().flat_map(|name| general_name(name)).collect();
            found.push(der::extension("2.5.29.17", false, &der::sequence(&[&names])));
        }
        let access: Vec<u8> = [
            ("1.3.6.1.5.5.7.48.1", &self.ocsp_urls),
            ("1.3.6.1.5.5.7.48.2", &self.ca_issuers_urls),
        ]
        .iter()
        .flat_map(|(method, urls)| urls.iter().map(move |url| (method, url)))
        .flat_map(|(method, url)| {
            der::sequence(&[&der::oid(method), &der::element(0x86, &[url.as_bytes()])])
        })
        .collect();
        if !access.is_empty() {
            found.push(der::extension("1.3.6.1.5.5.7.1.1", false, &der::sequence(&[&access])));
        }
        if self.must_staple {
            let features = der::sequence(&[&der::integer(&[5])]);
            found.push(der::extension("1.3.6.1.5.5.7.1.24", false, &features));
        }
        if self.no_check {
            found.push(der::extension("1.3.6.1.5.5.7.48.1.5", false, &der::null()));
        }
        found.extend(self.extensions.iter().cloned());
        found
    }
}

impl Identity {
    /// A self-signed P-256 CA.
    pub fn root(common_name: &str) -> Identity {
        Draft::authority(common_name).self_signed()
    }

    /// Signs a certificate.
    pub fn issue(&self, draft: Draft) -> Identity {
        draft.signed(&self.key, &self.subject, Some(Arc::new(self.clone())))
    }

    /// Who issued it; itself where it is self-signed.
    pub fn issuer(&self) -> &Identity {
        self.issuer.as_deref().unwrap_or(self)
    }

    /// The certificate.
    pub fn pem(&self) -> String {
        der::pem("CERTIFICATE", &self.der)
    }

    /// The certificate and all above it but the root.
    pub fn chain_pem(&self) -> String {
        match &self.issuer {
            Some(issuer) if issuer.issuer.is_some() => self.pem() + &issuer.chain_pem(),
            _ => self.pem(),
        }
    }

    /// The certificate and all above it, the root too.
    pub fn full_chain_pem(&self) -> String {
        match &self.issuer {
            Some(issuer) => self.pem() + &issuer.full_chain_pem(),
            None => self.pem(),
        }
    }

    /// The private key, PKCS#8.
    pub fn key_pem(&self) -> String {
        self.key.pem()
    }
}

fn general_name(name: &str) -> Vec<u8> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => der::element(0x87, &[&address.octets()]),
        Ok(IpAddr::V6(address)) => der::element(0x87, &[&address.octets()]),
        Err(_) => der::element(0x82, &[name.as_bytes()]),
    }
}

/// 16 random bytes, positive and not starting with zero.
fn random_serial() -> Vec<u8> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).expect("the system gives random bytes");
    serial[0] = serial[0] & 0x3f | 0x40;
    serial.to_vec()
}
