//! `<IfModule>`, `<IfDefine>`, `<IfVersion>` and `<IfFile>`: which parts of a configuration count.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;

/// What every build that we know of has without a `LoadModule`: its own parts, and on Debian those that
/// others load (`apache2 -l`).
const BUILT_IN: [&str; 8] =
    ["core", "so", "http", "log_config", "logio", "version", "unixd", "watchdog"];

/// What `<IfVersion>` compares with: the running program is not asked. Conditions in use tell 2.2 from
/// 2.4.
const VERSION: [u32; 3] = [2, 4, 66];

/// The modules there are, by identifier (`ssl_module`) and by source file (`mod_ssl.c`).
#[derive(Clone, Debug)]
pub(super) struct Modules(HashSet<Vec<u8>>);

impl Modules {
    /// Those that need no loading.
    pub(super) fn new() -> Self {
        let mut modules = Modules(HashSet::new());
        for name in BUILT_IN {
            modules.add(format!("{name}_module").as_bytes());
        }
        for file in ["core.c", "http_core.c"] {
            modules.0.insert(file.as_bytes().to_vec());
        }
        modules
    }

    /// `LoadModule IDENTIFIER FILE`
    pub(super) fn load(&mut self, identifier: &[u8], file: &Path) {
        self.add(identifier);
        // `php7_module` lies in `libphp7.so` and calls itself `mod_php7.c`.
        if let Some(stem) = file.file_stem() {
            self.0.insert([stem.as_encoded_bytes(), b".c"].concat());
        }
    }

    fn add(&mut self, identifier: &[u8]) {
        let stem = identifier.strip_suffix(b"_module").unwrap_or(identifier);
        self.0.insert([b"mod_", stem, b".c"].concat());
        // `mpm_event_module` is made of `event.c`.
        if let Some(name) = stem.strip_prefix(b"mpm_") {
            self.0.insert([name, b".c"].concat());
        }
        self.0.insert(identifier.to_vec());
    }

    /// `<IfModule NAME>`
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.0.contains(name)
    }
}

/// Takes the `!` off: whether it stood there, and the rest.
pub(super) fn negated(word: &[u8]) -> (bool, &[u8]) {
    match word.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, word),
    }
}

/// `<IfVersion [[!]operator] version>`, from its words; `None` where Apache would refuse them.
pub(super) fn version(words: &[&[u8]]) -> Option<bool> {
    let (operator, version) = match words {
        [version] => (&b"="[..], *version),
        [operator, version] => (*operator, *version),
        _ => return None,
    };
    let (not, operator) = negated(operator);
    let pattern = version.strip_prefix(b"/").and_then(|pattern| pattern.strip_suffix(b"/"));
    let holds = match (operator, pattern) {
        (b"~", _) => looks_like_ours(version),
        (b"=" | b"==", Some(pattern)) => looks_like_ours(pattern),
        _ => {
            let order = compare(version)?;
            match operator {
                b"=" | b"==" => order == Ordering::Equal,
                b">" => order == Ordering::Greater,
                b">=" => order != Ordering::Less,
                b"<" => order == Ordering::Less,
                b"<=" => order != Ordering::Greater,
                _ => return None,
            }
        }
    };
    Some(holds != not)
}

/// Ours against a version of which the last parts may be missing.
fn compare(version: &[u8]) -> Option<Ordering> {
    let text = std::str::from_utf8(version).ok()?;
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| parts.len() <= VERSION.len())?;
    // `2.4` is compared as 2.4.0.
    let theirs = [0, 1, 2].map(|at| parts.get(at).copied().unwrap_or(0));
    Some(VERSION.cmp(&theirs))
}

/// A pattern about versions: told by the number that it names.
fn looks_like_ours(pattern: &[u8]) -> bool {
    let plain: Vec<u8> = pattern.iter().copied().filter(|byte| !b"\\^$()".contains(byte)).collect();
    plain.starts_with(b"2.4") || plain.starts_with(b"2.[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_several_names() {
        let mut modules = Modules::new();
        modules.load(b"ssl_module", Path::new("/usr/lib/apache2/modules/mod_ssl.so"));
        modules.load(b"php7_module", Path::new("modules/libphp7.so"));
        modules.load(b"mpm_event_module", Path::new("modules/mod_mpm_event.so"));
        let there = ["ssl_module", "mod_ssl.c", "core.c", "mod_so.c", "libphp7.c", "mod_php7.c"];
        for name in there.iter().chain(&["event.c", "mod_mpm_event.c", "version_module"]) {
            assert!(modules.has(name.as_bytes()), "{name}");
        }
        for name in ["mod_md.c", "prefork.c", "ssl", "MOD_SSL.C"] {
            assert!(!modules.has(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn versions() {
        let table = [
            ("2.4", Some(false)),
            (">= 2.4", Some(true)),
            (">= 2.4.0", Some(true)),
            ("< 2.4", Some(false)),
            ("!< 2.3", Some(true)),
            ("> 2.2.9", Some(true)),
            ("<= 2.5", Some(true)),
            ("~ ^2\\.4\\.", Some(true)),
            ("= /^2.2/", Some(false)),
            (">= two", None),
            ("is 2.4", None),
            ("", None),
        ];
        for (text, expected) in table {
            let words: Vec<_> = text.split_whitespace().map(str::as_bytes).collect();
            assert_eq!(version(&words), expected, "{text}");
        }
    }
}
