//! Certificates on disk, and the answers about them, signed beforehand.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::ca::{Draft, Forge, Identity};

/// P-256 certificates of one issuer in a folder of their own.
pub struct Corpus {
    folder: TempDir,
    /// Of the certificates: also the stems of their files.
    pub names: Vec<String>,
    /// OCSPResponse (DER) by serial number (contents of the INTEGER): good, seven days from an hour ago.
    pub responses: HashMap<Vec<u8>, Vec<u8>>,
}

impl Corpus {
    /// Makes `count` certificates whose responder is `url`.
    ///
    /// `chains/NAME.pem` has leaf and issuer; `bundles/NAME.pem` has the key besides, for servers.
    pub fn make(count: usize, url: &str) -> Corpus {
        let folder = workspace("corpus-");
        let issuer = Identity::root("Bench Root").issue(Draft::authority("Bench CA"));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("past 1970");
        let now = since.as_secs() as i64;
        let (mut names, mut responses) = (Vec::new(), HashMap::new());
        for subfolder in ["chains", "bundles"] {
            fs::create_dir(folder.path().join(subfolder)).expect("the folder is ours");
        }
        for number in 0..count {
            let name = format!("site-{number:05}.example");
            let ocsp_urls = vec![url.to_owned()];
            let leaf = issuer.issue(Draft { ocsp_urls, ..Draft::leaf(&name) });
            let file = format!("{name}.pem");
            let write = |subfolder: &str, text: String| {
                fs::write(folder.path().join(subfolder).join(&file), text).expect("room on disk");
            };
            write("chains", leaf.chain_pem());
            write("bundles", leaf.key_pem() + &leaf.chain_pem());
            responses.insert(leaf.serial.clone(), Forge::new(&leaf, now).der());
            names.push(name);
        }
        // What is measured afterwards shall not pay for our writing.
        nix::unistd::sync();
        Corpus { folder, names, responses }
    }

    pub fn chains(&self) -> PathBuf {
        self.folder.path().join("chains")
    }

    pub fn bundles(&self) -> PathBuf {
        self.folder.path().join("bundles")
    }
}

/// A folder under `target/`: on a real disk, where durability costs what it costs.
pub fn workspace(prefix: &str) -> TempDir {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(parent).expect("target/ is ours");
    tempfile::Builder::new().prefix(prefix).tempdir_in(parent).expect("target/ is ours")
}
