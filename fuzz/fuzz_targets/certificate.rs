//! Any bytes as a certificate file: PEM, DER and CMS are read without panic, and what was read
//! answers every question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use staplekeeper::pki::{read_certificates, same_name};

fuzz_target!(|bytes: &[u8]| {
    for certificate in read_certificates(bytes).unwrap_or_default() {
        let _ = (certificate.names(), certificate.subject(), certificate.issuer());
        let _ = (certificate.ocsp_urls(), certificate.ca_issuers_urls(), certificate.key_type());
        let _ = (certificate.subject_key_id(), certificate.authority_key_id());
        let _ = (certificate.signing_rights(), certificate.serial().to_string());
        let _ = same_name(certificate.issuer_der(), certificate.subject_der());
    }
});
