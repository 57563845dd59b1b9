//! Certificates on disk, and the answers about them, signed beforehand.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ca::{Draft, Forge, Identity};
use super::workspace::folder;

/// P-256 certificates of one issuer in a folder of their own.
pub struct Corpus {
    folder: PathBuf,
    /// Of the certificates: also the stems of their files.
    pub names: Vec<String>,
    /// OCSPResponse (DER) by serial number (contents of the INTEGER): good, seven days from an hour ago.
    pub responses: HashMap<Vec<u8>, Vec<u8>>,
}

impl Corpus {
    /// Makes `count` certificates whose responder is `url`: `chains/NAME.pem` has leaf and issuer.
    pub fn make(count: usize, url: &str) -> Corpus {
        Corpus::write(count, url, false)
    }

    /// The same, and `bundles/NAME.pem` has the key besides, for servers.
    pub fn make_with_keys(count: usize, url: &str) -> Corpus {
        Corpus::write(count, url, true)
    }

    fn write(count: usize, url: &str, with_keys: bool) -> Corpus {
        let folder = folder("corpus");
        let issuer = Identity::root("Bench Root").issue(Draft::authority("Bench CA"));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("past 1970");
        let now = since.as_secs() as i64;
        let (mut names, mut responses) = (Vec::new(), HashMap::new());
        for subfolder in ["chains", "bundles"] {
            fs::create_dir(folder.join(subfolder)).expect("the folder is ours");
        }
        for number in 0..count {
            let name = format!("site-{number:05}.example");
            let ocsp_urls = vec![url.to_owned()];
            let leaf = issuer.issue(Draft { ocsp_urls, ..Draft::leaf(&name) });
            let file = format!("{name}.pem");
            let write = |subfolder: &str, text: String| {
                fs::write(folder.join(subfolder).join(&file), text).expect("room on disk");
            };
            write("chains", leaf.chain_pem());
            if with_keys {
                write("bundles", leaf.key_pem() + &leaf.chain_pem());
            }
            responses.insert(leaf.serial.clone(), Forge::new(&leaf, now).der());
            names.push(name);
        }
        // What is measured afterwards shall not pay for our writing.
        nix::unistd::sync();
        Corpus { folder, names, responses }
    }

    pub fn chains(&self) -> PathBuf {
        self.folder.join("chains")
    }

    pub fn bundles(&self) -> PathBuf {
        self.folder.join("bundles")
    }
}
