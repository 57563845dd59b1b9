//! What the names of files say: how ACME clients and people call certificates.

use std::ffi::OsStr;
use std::path::Path;

/// Files by these endings are looked into.
const EXTENSIONS: [&str; 4] = ["pem", "crt", "cer", "cert"];

/// The whole chain of a folder's one certificate: certbot, dehydrated, acme.sh, getssl, acme-tiny.
const WHOLE_CHAINS: [&str; 3] = ["fullchain.pem", "fullchain.cer", "fullchain.crt"];

/// Other names of a folder's one certificate, the likeliest to hold the whole chain first. `{}` is
/// the folder's name. Kubernetes: `tls.crt`; debops.pki: `default.crt`; getssl, caddy: `{}.crt`;
/// acme.sh: `{}.cer`; certbot, dehydrated: `cert.pem`; hand-made: the rest.
const LINEAGE_FILES: [&str; 13] = [
    "tls.crt",
    "default.crt",
    "{}.crt",
    "{}.cer",
    "{}.pem",
    "combined.pem",
    "server.crt",
    "server.pem",
    "certificate.crt",
    "certificate.pem",
    "cert.pem",
    "cert.crt",
    "cert.cer",
];

/// Stems, and endings of stems, of files that hold an issuer, or a chain without the leaf.
const ISSUERS: [&str; 6] = ["chain", "ca", "issuer", "cacert", "intermediate", "root"];

/// What a file name may carry behind the name of the certificate.
const DECORATIONS: [&str; 8] =
    ["fullchain", "chained", "combined", "bundle", "cert", "crt", "pem", "cer"];

/// Folder and file names that name no certificate.
const MEANINGLESS: [&str; 23] = [
    "",
    "ca",
    "cert",
    "certificate",
    "certificates",
    "certs",
    "combined",
    "conf",
    "config",
    "default",
    "etc",
    "fullchain",
    "https",
    "keys",
    "nginx",
    "pki",
    "private",
    "public",
    "secrets",
    "server",
    "snippets",
    "ssl",
    "tls",
];

/// How a file in a folder is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It holds the chain of the certificate that the folder is there for: nothing else need be
    /// read to know that one.
    Whole(u8),
    /// It holds the certificate that the folder is there for; the lowest number is asked first.
    Lineage(u8),
    /// It may hold any certificate: its contents decide.
    Any,
    /// It should hold an issuer, and is read where one is missing.
    Issuer,
}

/// How the file `name` in the folder `folder` is taken; `None`: it is not looked into.
pub(super) fn role(folder: &Path, name: &OsStr) -> Option<Role> {
    let name = name.to_str()?;
    let (stem, _) = extension(name)?;
    if name.starts_with('.') || is_key(stem) || is_history(stem) {
        return None;
    }
    if let Some(place) = WHOLE_CHAINS.iter().position(|whole| *whole == name) {
        return Some(Role::Whole(rank(place)));
    }
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    let domain = folder.strip_suffix("_ecc").unwrap_or(&folder);
    let named = |pattern: &str| match pattern.strip_prefix("{}") {
        Some(rest) => name.strip_suffix(rest).is_some_and(|stem| stem == domain || stem == folder),
        None => pattern == name,
    };
    if let Some(place) = LINEAGE_FILES.iter().position(|pattern| named(pattern)) {
        return Some(Role::Lineage(rank(place)));
    }
    Some(if is_issuer(stem) { Role::Issuer } else { Role::Any })
}

fn rank(place: usize) -> u8 {
    u8::try_from(place).expect("the tables are short")
}

/// The name without its extension.
fn extension(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
        .then_some((stem, extension))
}

/// A private key by its name: there is no reason to open it.
fn is_key(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    stem == "key"
        || stem.starts_with("privkey")
        || stem.starts_with("private")
        || [".key", "-key", "_key"].iter().any(|end| stem.ends_with(end))
}

/// `fullchain3.pem`, `cert-1700000000.pem`: what certbot and dehydrated keep of earlier times.
fn is_history(stem: &str) -> bool {
    let base = stem.trim_end_matches(|char: char| char.is_ascii_digit());
    base.len() < stem.len()
        && ["cert", "chain", "fullchain"].contains(&base.strip_suffix('-').unwrap_or(base))
}

/// Of a file that they keep and that holds a leaf: whether its chain is in it, and the number that grows
/// with each renewal.
pub(super) fn past(name: &str) -> Option<(bool, u64)> {
    let (stem, _) = extension(name)?;
    let base = stem.trim_end_matches(|char: char| char.is_ascii_digit());
    let whole = match base.strip_suffix('-').unwrap_or(base) {
        "cert" => false,
        "fullchain" => true,
        _ => return None,
    };
    Some((whole, stem[base.len()..].parse().ok()?))
}

/// `chain.pem`, `www.issuer.crt`, `www-ca.pem`.
fn is_issuer(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    let last = stem.rsplit(['.', '-', '_']).next().unwrap_or_default();
    ISSUERS.contains(&last)
}

/// What `www.fullchain.pem`, `www-cert.pem` and `www.crt` have in common: `www`.
pub(super) fn stem(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let mut stem = extension(&name).map_or(&*name, |(stem, _)| stem);
    while let Some(shorter) = undecorated(stem) {
        stem = shorter;
    }
    stem.to_owned()
}

fn undecorated(stem: &str) -> Option<&str> {
    DECORATIONS.iter().find_map(|decoration| {
        let rest = stem.strip_suffix(decoration)?.strip_suffix(['.', '-', '_'])?;
        (!rest.is_empty()).then_some(rest)
    })
}

/// Whether people would know a certificate by this name.
pub(super) fn is_telling(name: &str) -> bool {
    !MEANINGLESS.iter().any(|word| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<Role>) {
        let path = Path::new(path);
        let folder = path.parent().expect("it has a folder");
        assert_eq!(role(folder, path.file_name().expect("a name")), expected, "{path:?}");
    }

    #[test]
    fn names_of_acme_clients() {
        check("/live/www/fullchain.pem", Some(Role::Whole(0)));
        check("/live/www/cert.pem", Some(Role::Lineage(10)));
        check("/live/www/chain.pem", Some(Role::Issuer));
        check("/live/www/privkey.pem", None);
        check("/live/README", None);
        check("/archive/www/fullchain12.pem", None);
        check("/certs/www/cert-1700000000.pem", None);
        check("/.acme.sh/a.org_ecc/a.org.cer", Some(Role::Lineage(3)));
        check("/.acme.sh/a.org_ecc/a.org.key", None);
        check("/.acme.sh/a.org_ecc/a.org.csr", None);
        check("/.acme.sh/a.org_ecc/ca.cer", Some(Role::Issuer));
        check("/lego/certificates/a.org.crt", Some(Role::Any));
        check("/lego/certificates/a.org.issuer.crt", Some(Role::Issuer));
        check("/lego/certificates/a.org.json", None);
        check("/caddy/a.org/a.org.crt", Some(Role::Lineage(2)));
        check("/secret/tls.crt", Some(Role::Lineage(0)));
        check("/secret/tls.key", None);
        check("/ssl/www-key.pem", None);
        check("/ssl/WWW.PEM", Some(Role::Any));
        check("/ssl/.www.pem", None);
        check("/ssl/cert2026.example.pem", Some(Role::Any));
    }

    #[test]
    fn stems() {
        let table = [
            ("www.crt", "www"),
            ("www.fullchain.pem", "www"),
            ("www_cert.pem", "www"),
            ("www.chained.crt", "www"),
            ("www.crt.pem", "www"),
            ("cert.pem", "cert"),
            ("www.example.org", "www.example.org"),
        ];
        for (name, expected) in table {
            assert_eq!(stem(OsStr::new(name)), expected);
        }
    }
}
