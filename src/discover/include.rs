//! Which files an `include` stands for: nginx's as glob(3) would have it, and Apache's all but so.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

const LIKE_GLOB: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What a pattern matches.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// The files, in the order of their bytes, as servers read them.
    pub(super) files: Vec<PathBuf>,
    /// The folders that were listed: a change in one of them may change the files.
    pub(super) folders: Vec<PathBuf>,
    /// Folders that are there and could not be listed: what they hold is missing in `files`.
    pub(super) failures: Vec<(PathBuf, io::Error)>,
}

/// Servers take an include for a pattern if it holds one of these.
pub(super) fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// Looks up `pattern`, an absolute path.
pub(super) fn matches(pattern: &Path) -> Matches {
    let mut found = Matches::default();
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str();
        if let (Component::Normal(_), true) = (component, is_pattern(name.as_bytes())) {
            let folders = std::mem::take(&mut paths);
            let inside = folders.into_iter().flat_map(|folder| found.inside(folder, name));
            paths = inside.collect();
        } else {
            paths.iter_mut().for_each(|path| path.push(name));
        }
    }
    paths.retain(|path| path.symlink_metadata().is_ok());
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found.files = paths;
    found
}

impl Matches {
    fn inside(&mut self, folder: PathBuf, pattern: &OsStr) -> Vec<PathBuf> {
        let fits = matcher(pattern);
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&folder)? {
                let name = entry?.file_name();
                if fits(&name) {
                    paths.push(folder.join(name));
                }
            }
            Ok(paths)
        };
        let listed = list();
        match listed {
            Ok(paths) => {
                self.folders.push(folder);
                paths
            }
            // glob(3) matches nothing in a folder that is not there, and servers mind neither.
            Err(error) if is_absence(&error) => {
                self.folders.push(folder);
                Vec::new()
            }
            Err(error) => {
                self.failures.push((folder, error));
                Vec::new()
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Tells whether a file name fits one component of a pattern.
fn matcher(pattern: &OsStr) -> impl Fn(&OsStr) -> bool {
    let text = pattern.to_string_lossy();
    // The crate reads `**` as any depth and negates by `!` only.
    let mut normal = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        match char {
            '*' if normal.ends_with('*') => {}
            '^' if text[..at].ends_with('[') => normal.push('!'),
            _ => normal.push(char),
        }
    }
    let compiled = Pattern::new(&normal);
    let literal = pattern.to_owned();
    move |name| match (&compiled, name.to_str()) {
        (Ok(pattern), Some(name)) => pattern.matches_with(name, LIKE_GLOB),
        // A pattern that is none matches itself.
        (Err(_), _) => name == literal,
        (Ok(pattern), None) => pattern.matches_with(&name.to_string_lossy(), LIKE_GLOB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: &[&str]) {
        let root = tempfile::tempdir().expect("a folder for the test");
        for name in [
            "b.conf",
            "a.conf",
            ".hidden.conf",
            "x.conf~",
            "sites/1/s.conf",
            "sites/2/s.conf",
            "[odd",
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, "").expect("a file");
        }
        let found = matches(&root.path().join(pattern));
        let relative = |path: &PathBuf| {
            path.strip_prefix(root.path()).expect("it is inside").display().to_string()
        };
        assert_eq!(found.files.iter().map(relative).collect::<Vec<_>>(), expected, "of {pattern}");
        assert!(found.failures.is_empty(), "{:?}", found.failures);
    }

    #[test]
    fn files_in_the_order_of_their_bytes() {
        check("*.conf", &["a.conf", "b.conf"]);
        check("**.conf", &["a.conf", "b.conf"]);
        check("[^a]*.conf", &["b.conf"]);
        check("[!a].conf", &["b.conf"]);
        check("x.con[f]", &[]);
        check("b.con[f]", &["b.conf"]);
        check(".h*", &[".hidden.conf"]);
        check("sites/*/s.conf", &["sites/1/s.conf", "sites/2/s.conf"]);
        check("sites/?/*", &["sites/1/s.conf", "sites/2/s.conf"]);
        check("none/*.conf", &[]);
        check("a.conf/*", &[]);
        check("[odd", &["[odd"]);
    }
}
