//! Where a server under test stands: a folder, a port, and files with usual names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use staplekeeper::confirm::StartTls;
use tempfile::TempDir;

use crate::support::ca::Identity;
use crate::support::judge::Door;
use crate::support::port::free_port;
use crate::support::scene::replace;

/// The place of one server with its sites.
pub(crate) struct Ground {
    folder: TempDir,
    /// All its sites are behind this port, told apart by name.
    pub(crate) port: u16,
    /// Names; those that begin with `must` have Must-Staple certificates.
    pub(crate) sites: &'static [&'static str],
    pub(crate) starttls: Option<StartTls>,
}

impl Ground {
    /// Empty folders, everybody may look into them: `certs`, `staples`, `server`.
    pub(crate) fn new(sites: &'static [&'static str], starttls: Option<StartTls>) -> Ground {
        let folder = tempfile::Builder::new().prefix("ground-").tempdir().expect("a temp folder");
        for name in ["", "certs", "staples", "server"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).expect("the folder is ours");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, mode).expect("the folder is ours");
        }
        Ground { folder, port: free_port(), sites, starttls }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's own folder.
    pub(crate) fn server(&self) -> PathBuf {
        self.path("server")
    }

    /// A site's chain, PEM.
    pub(crate) fn chain(&self, site: &str) -> PathBuf {
        self.path(&format!("certs/{site}.crt"))
    }

    /// A site's key, PEM.
    pub(crate) fn key(&self, site: &str) -> PathBuf {
        self.path(&format!("certs/{site}.key"))
    }

    /// A site's chain and key in one file, PEM; [`Ground::install_combined`] writes it.
    pub(crate) fn combined(&self, site: &str) -> PathBuf {
        self.path(&format!("certs/{site}.pem"))
    }

    /// A site's staple.
    pub(crate) fn staple(&self, site: &str) -> PathBuf {
        self.path(&format!("staples/{site}.der"))
    }

    /// Where the root's certificate lies, PEM.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// Where clients knock.
    pub(crate) fn door(&self) -> Door {
        Door { starttls: self.starttls, ..Door::from(self.port) }
    }

    /// Writes chain and key, each by rename, the key first.
    pub(crate) fn install(&self, site: &str, leaf: &Identity) {
        replace(&self.key(site), leaf.key_pem().as_bytes());
        replace(&self.chain(site), leaf.chain_pem().as_bytes());
    }

    /// Writes chain and key into one file, by rename.
    pub(crate) fn install_combined(&self, site: &str, leaf: &Identity) {
        let both = [leaf.chain_pem(), leaf.key_pem()].concat();
        replace(&self.combined(site), both.as_bytes());
    }

    /// A `[[server]]` table.
    pub(crate) fn table(kind: &str, config: &Path, reload: &str) -> String {
        let config = config.display();
        format!("[[server]]\nkind = \"{kind}\"\nconfig = \"{config}\"\nreload = {reload}\n")
    }
}
