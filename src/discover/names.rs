//! Names of lineages: what people call a certificate, on the command line and in file names.
//!
//! A name belongs to a lineage for ever, also while the lineage is gone: what was published as
//! `www.der` must never become somebody else's. [`Names`] is a value; the agent keeps it in
//! `names.json`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Room for a suffix, `.der` and a temporary file's decoration within the 255 bytes of a file name.
const MAX_BYTES: usize = 200;

/// A place that holds one certificate after another, by the path that stays the same: a lineage's
/// folder, or a file without its extension. Bytes that are not UTF-8 are written as `\xNN`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineageKey(Arc<str>);

impl LineageKey {
    /// The key of the lineage at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let bytes = path.as_os_str().as_bytes();
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        LineageKey(text.into())
    }
}

impl fmt::Display for LineageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names given so far. Names hold only `A-Z a-z 0-9 . _ -`, begin with no dot, and are unique.
#[derive(Clone, Debug, Default)]
pub struct Names {
    given: BTreeMap<Arc<str>, Arc<str>>,
    taken: HashSet<Arc<str>>,
    changed: bool,
}

impl Names {
    /// The name of `lineage`: the one it has, else `wanted` made fit for a file name and unique by a
    /// suffix (`-2`, `-3`, …).
    pub fn assign(&mut self, lineage: &LineageKey, wanted: &str) -> Arc<str> {
        if let Some(name) = self.given.get(&lineage.0) {
            return name.clone();
        }
        let base = cleaned(wanted);
        let numbered = (2_u64..).map(|number| format!("{base}-{number}"));
        let free = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !self.taken.contains(name.as_str()))
            .expect("one of so many numbers is free");
        let name: Arc<str> = free.into();
        self.taken.insert(name.clone());
        self.given.insert(lineage.0.clone(), name.clone());
        self.changed = true;
        name
    }

    /// The name that `lineage` has been given.
    pub fn get(&self, lineage: &LineageKey) -> Option<&Arc<str>> {
        self.given.get(&lineage.0)
    }

    /// Whether a name was given since the last call: the value should be stored then.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

fn cleaned(wanted: &str) -> String {
    let fit = |char| match char {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => char,
        '*' => '_',
        _ => '-',
    };
    let name: String = wanted.chars().map(fit).collect();
    let name = name.trim_start_matches('.');
    let name = &name[..name.len().min(MAX_BYTES)];
    if name.is_empty() { "certificate".to_owned() } else { name.to_owned() }
}

/// Whether [`Names::assign`] can have given this name.
fn is_name(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let suffix = "-18446744073709551615".len();
    !text.starts_with('.')
        && (1..=MAX_BYTES + suffix).contains(&text.len())
        && text.bytes().all(fit)
}

impl From<&Names> for BTreeMap<String, String> {
    fn from(names: &Names) -> Self {
        names.given.iter().map(|(key, name)| (key.to_string(), name.to_string())).collect()
    }
}

/// Why stored names are not taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNames {
    /// A name that was never given by this program: it could lead out of the staples' folder.
    #[error("holds {0:?}, which is no name of a certificate")]
    Unfit(String),
    /// One name for two lineages.
    #[error("gives the name {0:?} twice")]
    Twice(String),
}

impl TryFrom<BTreeMap<String, String>> for Names {
    type Error = BadNames;

    fn try_from(stored: BTreeMap<String, String>) -> Result<Self, BadNames> {
        let mut names = Names::default();
        for (key, name) in stored {
            if !is_name(&name) {
                return Err(BadNames::Unfit(name));
            }
            let name: Arc<str> = name.into();
            if !names.taken.insert(name.clone()) {
                return Err(BadNames::Twice(name.to_string()));
            }
            names.given.insert(key.into(), name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn key(path: &str) -> LineageKey {
        LineageKey::of(Path::new(path))
    }

    #[test]
    fn names_fit_file_names() {
        let long = "x".repeat(300);
        let table = [
            ("www.example.org", "www.example.org"),
            ("*.example.org", "_.example.org"),
            ("..hidden", "hidden"),
            ("../../etc/passwd", "-..-etc-passwd"),
            ("bücher", "b-cher"),
            ("a b\n", "a-b-"),
            ("", "certificate"),
            ("...", "certificate"),
            (&long, &long[..200]),
        ];
        for (wanted, name) in table {
            assert_eq!(&*Names::default().assign(&key("/k"), wanted), name, "for {wanted:?}");
        }
    }

    #[test]
    fn a_name_is_kept_and_never_given_again() {
        let mut names = Names::default();
        assert_eq!(&*names.assign(&key("/a/www"), "www"), "www");
        assert_eq!(&*names.assign(&key("/b/www"), "www"), "www-2");
        assert_eq!(&*names.assign(&key("/c/www"), "www-2"), "www-2-2");
        assert!(names.take_changed() && !names.take_changed());

        let stored = BTreeMap::from(&names);
        let pairs = [("/a/www", "www"), ("/b/www", "www-2"), ("/c/www", "www-2-2")];
        assert_eq!(stored, pairs.map(|(key, name)| (key.to_owned(), name.to_owned())).into());
        let mut names = Names::try_from(stored).expect("the same names");
        assert_eq!(&*names.assign(&key("/b/www"), "else"), "www-2");
        assert_eq!(&*names.assign(&key("/d/www"), "www"), "www-3");
    }

    #[test]
    fn stored_names_that_would_escape_are_refused() {
        let table: [(&[(&str, &str)], &str); 4] = [
            (&[("/a", "../x")], "holds \"../x\", which is no name"),
            (&[("/a", ".x")], "holds \".x\", which is no name"),
            (&[("/a", "")], "holds \"\", which is no name"),
            (&[("/a", "x"), ("/b", "x")], "gives the name \"x\" twice"),
        ];
        for (pairs, expected) in table {
            let pairs = pairs.iter().map(|(key, name)| (key.to_string(), name.to_string()));
            let refused = Names::try_from(pairs.collect::<BTreeMap<_, _>>());
            let refused = refused.expect_err("refused").to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn keys_tell_odd_bytes_apart() {
        let odd = LineageKey::of(Path::new(OsStr::from_bytes(b"/a/\xff")));
        assert_eq!(odd.to_string(), "/a/\\xff");
    }
}
