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
use serde::{Deserialize, Serialize};

use crate::ocsp::{Staple, Status};
use crate::time::UnixTime;

/// Folders that may have to be made: the store's own, `ocsp`, and the domain's in it.
const FOLDERS: usize = 3;

#[derive(Serialize, Deserialize)]
struct Entry {
    response: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<Valid>,
}

#[derive(Serialize, Deserialize)]
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
        status: Some(status.to_owned()),
        valid: Some(Valid { from: date(staple.this_update()), until: date(staple.expires()) }),
    };
    serde_json::to_vec_pretty(&entry).expect("plain data is JSON")
}

/// The response (DER) in an entry; `None` where there is none to be found.
pub(super) fn decode(entry: &[u8]) -> Option<Vec<u8>> {
    let entry: Entry = serde_json::from_slice(entry).ok()?;
    URL_SAFE_NO_PAD.decode(entry.response.trim_end_matches('=')).ok()
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
        let table: [(&str, Option<&[u8]>); 6] = [
            (
                r#"{"response": "MAMKAQE", "status": "good", "valid": {"from": "", "until": ""}}"#,
                Some(&[0x30, 3, 10, 1, 1]),
            ),
            (r#"{"response": "MAMKAQE=", "more": [1]}"#, Some(&[0x30, 3, 10, 1, 1])),
            (r#"{"response": "-_8"}"#, Some(&[0xfb, 0xff])),
            (r#"{"response": "+/8"}"#, None),
            (r#"{"status": "good"}"#, None),
            ("", None),
        ];
        for (entry, expected) in table {
            assert_eq!(decode(entry.as_bytes()).as_deref(), expected, "{entry}");
        }
    }
}
