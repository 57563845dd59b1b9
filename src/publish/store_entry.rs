//! Entries of mod_md's store, from which it staples (facts/servers.md 41-47).
//!
//! `<MDStoreDir>/ocsp/<domain>/ocsp-<SHA-1 of the leaf>.json`, the domain being `other` for certificates
//! that mod_md does not manage:
//!
//! ```json
//! {"response": "<DER in base64url, no padding>", "status": "good",
//!  "valid": {"from": "Sun, 22 Nov 2026 14:14:35 GMT", "until": "Sun, 29 Nov 2026 15:14:35 GMT"}}
//! ```
//! mod_md checks nothing in it. It believes `valid`: that is when it looks for a newer one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::unistd::geteuid;
use serde::Serialize;

use crate::ocsp::{Staple, Status};
use crate::time::UnixTime;

/// Folders that may have to be made: the store's own, `ocsp`, and the domain's in it.
const FOLDERS: usize = 3;

/// An entry as it is read: whatever is missing in it, or cannot be understood, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The response, DER; empty where there is none to be found.
    pub response: Vec<u8>,
    /// From when until when mod_md believes it to be good.
    pub valid: Option<(UnixTime, UnixTime)>,
}

impl Found {
    /// Whether mod_md will do with this staple as it should: `valid` is what the staple says, by our hand or
    /// by mod_md's. With other dates it would drop a good one, or keep a bad one.
    pub fn fits(&self, staple: &Staple) -> bool {
        let Some((from, until)) = self.valid else { return false };
        let next = staple.next_update();
        // What mod_md assumes where the responder does not say is its own affair.
        let right = next.is_none_or(|next| until == next) || until == staple.expires();
        *self.response == *staple.der() && from == staple.this_update() && right
    }
}

#[derive(Serialize)]
struct Entry {
    response: String,
    status: String,
    valid: Valid,
}

#[derive(Serialize)]
struct Valid {
    from: String,
    until: String,
}

/// Where the entry for a leaf (DER) lies in `folder`.
pub fn path(folder: &Path, leaf: &[u8]) -> PathBuf {
    // SHA-1 names a file here and protects nothing; the name is mod_md's.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("ocsp-{hex}.json"))
}

/// Whether a file is an entry, by its name.
pub(super) fn is_one(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"ocsp-") && name.ends_with(b".json")
}

/// The entry that hands out a staple.
pub(super) fn encode(staple: &Staple) -> Vec<u8> {
    let status = match staple.status() {
        Status::Good => "good",
        Status::Revoked => "revoked",
        Status::Unknown => "unknown",
    };
    let entry = Entry {
        response: URL_SAFE_NO_PAD.encode(staple.der()),
        status: status.to_owned(),
        valid: Valid { from: date(staple.this_update()), until: date(staple.expires()) },
    };
    serde_json::to_vec_pretty(&entry).expect("plain data is JSON")
}

/// What an entry says.
pub(super) fn decode(entry: &[u8]) -> Found {
    let value = serde_json::from_slice::<serde_json::Value>(entry).unwrap_or_default();
    let text = |value: &serde_json::Value| Some(value.as_str()?.to_owned());
    let response = text(&value["response"]).unwrap_or_default();
    let response = URL_SAFE_NO_PAD.decode(response.trim_end_matches('=')).unwrap_or_default();
    let instant = |name: &str| {
        let text = text(&value["valid"][name])?;
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&text).ok()?;
        Some(UnixTime::from_secs(at.as_second()))
    };
    Found { response, valid: instant("from").zip(instant("until")) }
}

/// RFC 7231 §7.1.1.1, as mod_md reads it.
fn date(at: UnixTime) -> String {
    let at = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Makes the folders that mod_md would make at its first staple. They belong to whom the folder above
/// belongs to; at its next start Apache makes `ocsp` over to the user it runs as.
pub(super) fn make_folders(entry: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = entry.ancestors().skip(1).take(FOLDERS + 1).collect();
    missing.retain(|folder| !folder.exists());
    if missing.len() > FOLDERS {
        return Err(io::ErrorKind::NotFound.into());
    }
    for folder in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        if let (true, Some(above)) = (geteuid().is_root(), folder.parent()) {
            let above = fs::metadata(above)?;
            // Whoever owns the folder above may have put a link there since.
            lchown(folder, Some(above.uid()), Some(above.gid()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dates_are_mod_mds() {
        let path = path(Path::new("/md/ocsp/other"), b"abc");
        let expected = "/md/ocsp/other/ocsp-a9993e364706816aba3e25717850c26c9cd0d89d.json";
        assert_eq!(path, Path::new(expected));
        let at = UnixTime::from_secs(1_795_356_875);
        assert_eq!(date(at), "Sun, 22 Nov 2026 14:14:35 GMT");
    }

    #[test]
    fn entries_are_read_whatever_is_missing_in_them() {
        let dates = r#""valid": {"from": "Sun, 22 Nov 2026 14:14:35 GMT", "until": "Sun, 29 Nov 2026 15:14:35 GMT"}"#;
        let dated = format!(r#"{{"response": "MAMKAQE", "status": "good", {dates}}}"#);
        let week = (1_795_356_875, 1_795_965_275);
        let check = |entry: &str, response: &[u8], valid: Option<(i64, i64)>| {
            let at = UnixTime::from_secs;
            let valid = valid.map(|(from, until)| (at(from), at(until)));
            let expected = Found { response: response.to_vec(), valid };
            assert_eq!(decode(entry.as_bytes()), expected, "{entry}");
        };
        let der = [0x30, 3, 10, 1, 1];
        check(&dated, &der, Some(week));
        check(r#"{"response": "MAMKAQE=", "valid": {"from": "", "until": 1}}"#, &der, None);
        check(r#"{"response": "-_8", "valid": "always"}"#, &[0xfb, 0xff], None);
        for nothing in [r#"{"response": "+/8"}"#, r#"{"status": "good"}"#, "[]", ""] {
            check(nothing, &[], None);
        }
    }
}
