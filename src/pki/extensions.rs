//! What a certificate's extensions say.

use core::net::IpAddr;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{AuthorityInfoAccess, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::name;

/// The TLS feature extension (RFC 7633): what a server must offer with this certificate. On a CA
/// certificate it binds all that is issued below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsFeature {
    /// Feature 5, `status_request`: Must-Staple.
    pub status_request: bool,
    /// Feature 17, `status_request_v2` (RFC 6961): recorded, and served by nobody.
    pub status_request_v2: bool,
}

/// What a certificate's extensions let its key sign (RFC 5280 §4.2, RFC 6960 §4.2.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningRights {
    /// Among its extended key usages is `id-kp-OCSPSigning`: it may answer for its issuer.
    pub ocsp_signing: bool,
    /// All its extended key usages, as OIDs; empty without the extension.
    pub extended_key_usages: Vec<String>,
    /// keyUsage has digitalSignature or nonRepudiation, or there is no such extension.
    pub signatures: bool,
    /// The OID of the first critical extension that these rights do not take into account.
    pub unknown_critical: Option<String>,
}

/// 1.3.6.1.5.5.7.1.24, in DER.
const TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];
/// 1.3.6.1.5.5.7.48.1, in DER.
const AD_OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];
/// 1.3.6.1.5.5.7.48.2, in DER.
const AD_CA_ISSUERS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 2];
const KP_OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

pub(super) fn tls_feature(certificate: &X509Certificate<'_>) -> TlsFeature {
    let mut found = TlsFeature::default();
    for extension in certificate.extensions() {
        if extension.oid.as_bytes() != TLS_FEATURE {
            continue;
        }
        let features = Vec::<AnyRef<'_>>::from_der(extension.value).unwrap_or_default();
        for feature in features.iter().filter(|feature| der::Tagged::tag(*feature) == Tag::Integer)
        {
            found.status_request |= feature.value() == [5];
            found.status_request_v2 |= feature.value() == [17];
        }
    }
    found
}

/// The value of the first authorityInfoAccess that can be read; RFC 5280 §4.2 forbids a second.
pub(super) fn access<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    let mut extensions = certificate.extensions().iter();
    let found = extensions.find(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::AuthorityInfoAccess(_))
    });
    found.map(|extension| extension.value)
}

pub(super) fn ocsp_urls(access: &[u8]) -> Vec<String> {
    access_locations(access, AD_OCSP)
}

pub(super) fn ca_issuers_urls(access: &[u8]) -> Vec<String> {
    access_locations(access, AD_CA_ISSUERS)
}

fn access_locations(access: &[u8], method: &[u8]) -> Vec<String> {
    let mut urls = Vec::new();
    let Ok((_, access)) = AuthorityInfoAccess::from_der(access) else { return urls };
    for description in &access.accessdescs {
        if description.access_method.as_bytes() != method {
            continue;
        }
        if let GeneralName::URI(url) = description.access_location {
            let url = name::printable(url.trim());
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// dNSName and iPAddress alternative names in their order; without any, the common name.
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension()
        else {
            continue;
        };
        for general in &alternative.general_names {
            match general {
                GeneralName::DNSName(name) => names.push(name::printable(name)),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        names.extend(name::common_name(certificate.subject()).map(|name| name::printable(&name)));
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

pub(super) fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().ok().flatten().is_some_and(|basic| basic.value.ca)
}

pub(super) fn signing_rights(certificate: &X509Certificate<'_>) -> SigningRights {
    let extended_key_usages = extended_key_usages(certificate);
    SigningRights {
        ocsp_signing: extended_key_usages.iter().any(|oid| oid == KP_OCSP_SIGNING),
        extended_key_usages,
        signatures: match certificate.key_usage() {
            Ok(Some(usage)) => usage.value.digital_signature() || usage.value.non_repudiation(),
            Ok(None) => true,
            Err(_) => false,
        },
        unknown_critical: unknown_critical(certificate),
    }
}

/// Every OID as written, known to the parser or not.
fn extended_key_usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut extensions = certificate.extensions().iter();
    let extension = extensions.find(|extension| extension.oid.to_id_string() == "2.5.29.37");
    let oids = extension
        .and_then(|extension| Vec::<ObjectIdentifier>::from_der(extension.value).ok())
        .unwrap_or_default();
    oids.iter().map(ToString::to_string).collect()
}

pub(super) fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

pub(super) fn authority_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    const UNDERSTOOD: &[&str] = &[
        "2.5.29.14",            // subjectKeyIdentifier
        "2.5.29.15",            // keyUsage
        "2.5.29.17",            // subjectAltName
        "2.5.29.18",            // issuerAltName
        "2.5.29.19",            // basicConstraints
        "2.5.29.31",            // cRLDistributionPoints
        "2.5.29.32",            // certificatePolicies
        "2.5.29.35",            // authorityKeyIdentifier
        "2.5.29.37",            // extKeyUsage
        "1.3.6.1.5.5.7.1.1",    // authorityInfoAccess
        "1.3.6.1.5.5.7.48.1.5", // id-pkix-ocsp-nocheck
    ];
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    critical
        .map(|extension| extension.oid.to_id_string())
        .find(|oid| !UNDERSTOOD.contains(&oid.as_str()))
}
