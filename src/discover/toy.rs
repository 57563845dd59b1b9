//! Toy certificates and folders for this module's tests.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    PKCS_ED25519,
};
use tempfile::TempDir;

/// A CA.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new certificate for `name`, as PEM.
    pub(super) fn leaf(&self, name: &str) -> String {
        self.leaf_with_key(name).0
    }

    /// The same with its private key, as PEM.
    pub(super) fn leaf_with_key(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let pem = self.params(name).signed_by(&key, &self.0).unwrap().pem();
        (pem, key.serialize_pem())
    }

    /// One with a key of another type, as PEM.
    pub(super) fn ed25519(&self, name: &str) -> String {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        self.params(name).signed_by(&key, &self.0).unwrap().pem()
    }

    fn params(&self, name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        let url = b"http://ca.test/ca.der";
        let length = |extra: usize| u8::try_from(url.len() + extra).unwrap();
        let mut aia = vec![0x30, length(14), 0x30, length(12), 6, 8];
        aia.extend([0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, length(0)]);
        aia.extend(url);
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, aia));
        params
    }
}

/// A certificate that signed itself, as PEM.
pub(super) fn self_signed(name: &str) -> String {
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// A folder for one test.
pub(super) struct Tree(TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Tree(tempfile::tempdir().unwrap())
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes `path` a link to `target`, in place of what is there.
    pub(super) fn link(&self, target: impl AsRef<Path>, path: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// `text` without the folder that is another one each time.
    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&*self.0.path().to_string_lossy(), "")
    }
}
