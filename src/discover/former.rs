//! The certificate that a place held before: ACME clients keep what they renewed.
//!
//! certbot keeps `archive/www/cert3.pem` behind the link `live/www/cert.pem`, dehydrated
//! `cert-1700000000.pem` beside `cert.pem`. The others keep nothing, or what nobody can tell apart from
//! the rest.

use std::fs;
use std::path::Path;

use super::files::read_bounded;
use super::layout;
use crate::digest::Fingerprint;
use crate::pki::Certificate;

/// The certificate before the one with the fingerprint `now` at `path`, a certificate file; `None` where its
/// client keeps none, or it cannot be read.
pub fn former(path: &Path, now: Fingerprint) -> Option<Certificate> {
    let place = fs::canonicalize(path).ok()?;
    let (folder, name) = (place.parent()?, place.file_name()?.to_str()?);
    // Those that came later are of no interest: somebody went back.
    let last = layout::past(name).map_or(u64::MAX, |(_, number)| number);
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name();
        let past = name.to_str().and_then(layout::past);
        let Some((whole, number)) = past.filter(|(_, number)| *number <= last) else { continue };
        kept.push((number, !whole, entry.path()));
    }
    kept.sort_unstable();
    let others = kept.iter().rev().filter_map(|(.., path)| {
        let mut bytes = Vec::new();
        read_bounded(path, &mut bytes).ok()?;
        let chain = crate::pki::read_certificates(&bytes).ok()?;
        chain.into_iter().next().filter(|leaf| leaf.fingerprint() != now)
    });
    { others }.next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn made() -> (String, Fingerprint) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        let leaf = leaf.self_signed(&key).expect("signed");
        let read = Certificate::from_der(leaf.der()).expect("a certificate");
        (leaf.pem(), read.fingerprint())
    }

    /// What is found beside the file `now` of these; `link` leads to it.
    fn check(names: &[&str], now: usize, link: &str, expected: Option<usize>) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let archive = folder.path().join("archive");
        fs::create_dir(&archive).expect("ours");
        let made: Vec<_> = names.iter().map(|_| made()).collect();
        for (name, (pem, _)) in names.iter().zip(&made) {
            fs::write(archive.join(name), pem).expect("ours");
        }
        let link = folder.path().join(link);
        symlink(archive.join(names[now]), &link).expect("ours");
        let found = former(&link, made[now].1).map(|leaf| leaf.fingerprint());
        assert_eq!(found, expected.map(|at| made[at].1), "{names:?}");
    }

    #[test]
    fn the_one_before_is_found() {
        check(&["cert1.pem", "cert2.pem"], 1, "cert.pem", Some(0));
        check(&["cert9.pem", "cert10.pem", "cert11.pem", "chain10.pem"], 2, "cert.pem", Some(1));
        check(&["fullchain1.pem", "fullchain2.pem"], 1, "fullchain.pem", Some(0));
        check(&["cert-1700000000.pem", "cert-1800000000.pem"], 1, "cert.pem", Some(0));
        // Somebody went back.
        check(&["cert1.pem", "cert2.pem", "cert3.pem"], 1, "cert.pem", Some(0));
        check(&["cert1.pem", "cert2.pem"], 0, "cert.pem", None);
        check(&["www.pem", "other.pem"], 0, "www.crt", None);
    }
}
