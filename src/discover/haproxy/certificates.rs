//! Which certificate files a `crt` or a `crt-list` stands for, and where their staples go.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::store::Named;
use super::variables::Variables;
use super::words::{Word, words};
use crate::discover::model::ServerName;

/// What HAProxy appends to a name to find the parts of a bundle, in its order.
const BUNDLE: [&str; 3] = ["dsa", "ecdsa", "rsa"];

/// Files beside a certificate that are none themselves.
const COMPANIONS: [&str; 4] = ["key", "ocsp", "issuer", "sctl"];

/// The files behind one path, as we see it: a file, the parts of a bundle, or a folder's content.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) files: Vec<PathBuf>,
    /// It was listed: a change in it may change the files.
    pub(super) folder: Option<PathBuf>,
}

/// Looks up `path`.
pub(super) fn files(path: &Path) -> Files {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Files { files: inside(path), folder: Some(path.to_owned()) },
        Ok(_) => Files { files: vec![path.to_owned()], folder: None },
        Err(_) => {
            let parts = BUNDLE.iter().map(|kind| appended(path, kind));
            let there: Vec<_> = parts.filter(|part| part.is_file()).collect();
            let files = if there.is_empty() { vec![path.to_owned()] } else { there };
            // A part may come or go.
            Files { files, folder: path.parent().map(Path::to_owned) }
        }
    }
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let is_certificate = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let companion =
            path.extension().is_some_and(|one| COMPANIONS.iter().any(|name| one == *name));
        !hidden && !companion && path.is_file()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_certificate).collect();
    files.sort();
    files
}

/// `path.extension`.
pub(super) fn appended(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(extension);
    name.into()
}

/// One line of a `crt-list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: u32,
    pub(super) certificate: Word,
    /// Its SNI filters; empty: the names in the certificate.
    pub(super) names: Vec<ServerName>,
    /// What its options say of the files that go with it, as written.
    pub(super) files: Named,
}

/// Reads the lines of a `crt-list`: `FILE [\[options\]] [[!]NAME]…`. The second value is the first line
/// that cannot be read.
pub(super) fn list(text: &str) -> (Vec<Entry>, Option<(u32, &'static str)>) {
    let mut entries = Vec::new();
    let mut fault = None;
    for (line, number) in text.lines().zip(1..) {
        // Variables are left as they are in here.
        match words(line, &Variables::default()) {
            Ok(words) => entries.extend(entry(&words, number)),
            Err(why) => fault = fault.or(Some((number, why))),
        }
    }
    (entries, fault)
}

fn entry(words: &[Word], line: u32) -> Option<Entry> {
    let (certificate, rest) = words.split_first()?;
    let (mut options, mut names, mut open) = (Vec::new(), Vec::new(), false);
    for word in rest {
        let text = word.text.as_str();
        if open || text.starts_with('[') {
            open = !text.ends_with(']');
            let option = text.trim_start_matches('[').trim_end_matches(']');
            options.extend((!option.is_empty()).then(|| option.to_owned()));
        } else if !text.starts_with('!') {
            names.push(name(text));
        }
    }
    let mut files = Named::default();
    for pair in options.windows(2) {
        files.say(&pair[0], &pair[1]);
    }
    Some(Entry { line, certificate: certificate.clone(), names, files })
}

fn name(text: &str) -> ServerName {
    let text = text.to_ascii_lowercase();
    match text.starts_with('*') {
        true => ServerName::Wildcard(text.into()),
        false => ServerName::Exact(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_bundles_and_files() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        for name in
            ["b.pem", "b.pem.ocsp", "a.pem", "a.pem.key", ".c.pem", "d.pem.rsa", "d.pem.ecdsa"]
        {
            fs::write(at(name), "").expect("ours");
        }
        fs::create_dir(at("sub")).expect("ours");
        let found = files(root.path());
        assert_eq!(found.files, ["a.pem", "b.pem", "d.pem.ecdsa", "d.pem.rsa"].map(at));
        assert_eq!(found.folder.as_deref(), Some(root.path()));
        assert_eq!(files(&at("a.pem")), Files { files: vec![at("a.pem")], folder: None });
        assert_eq!(files(&at("d.pem")).files, ["d.pem.ecdsa", "d.pem.rsa"].map(at));
        assert_eq!(files(&at("none.pem")).files, [at("none.pem")]);
    }

    #[test]
    fn lists_name_files_with_their_filters() {
        let text = "# all sites\n/etc/a.pem\n/etc/b.pem [alpn h2 ocsp-update on] *.B.test !x.b.test\n\
                    /etc/c.pem [ssl-min-ver TLSv1.2] c.test www.c.test\n";
        let (entries, fault) = list(text);
        assert_eq!(fault, None);
        let found: Vec<_> = entries
            .iter()
            .map(|one| {
                let names: Vec<_> = one.names.iter().map(ToString::to_string).collect();
                let updates = one.files.updates == Some(true);
                (one.line, one.certificate.text.as_str(), names.join(" "), updates)
            })
            .collect();
        assert_eq!(
            found,
            [
                (2, "/etc/a.pem", String::new(), false),
                (3, "/etc/b.pem", "*.b.test".to_owned(), true),
                (4, "/etc/c.pem", "c.test www.c.test".to_owned(), false),
            ]
        );
        assert_eq!(list("a\n\"b").1.map(|(line, _)| line), Some(2));
        let (entries, _) = list("/etc/a.pem [ocsp a.der ocsp-update off] a.test");
        let staple = Some("a.der".into());
        let expected = Named { staple, updates: Some(false), alone: true, issuer: None };
        assert_eq!(entries[0].files, expected);
    }
}
