//! `${NAME}`: what `Define` sets, and what the environment does that Apache is started in.
//!
//! The environment comes from where distributions keep it: Debian's `envvars` beside the main file, a
//! shell script of assignments, and Red Hat's `/etc/sysconfig/httpd`. No shell runs it: assignments of
//! plain words and of other variables are understood, the rest is passed over.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What Debian's `envvars` says as it is delivered.
const USUAL: [(&str, &str); 7] = [
    ("APACHE_RUN_USER", "www-data"),
    ("APACHE_RUN_GROUP", "www-data"),
    ("APACHE_PID_FILE", "/var/run/apache2$SUFFIX/apache2.pid"),
    ("APACHE_RUN_DIR", "/var/run/apache2$SUFFIX"),
    ("APACHE_LOCK_DIR", "/var/lock/apache2$SUFFIX"),
    ("APACHE_LOG_DIR", "/var/log/apache2$SUFFIX"),
    ("LANG", "C"),
];

/// Variables that hold options of the command line: `-D NAME` defines.
const OPTIONS: [&[u8]; 2] = [b"APACHE_ARGUMENTS", b"OPTIONS"];

/// The names that are defined while a configuration is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// With `Define NAME VALUE`.
    values: HashMap<Vec<u8>, Vec<u8>>,
    /// With `Define` or `-D`.
    defined: HashSet<Vec<u8>>,
    environment: HashMap<Vec<u8>, Vec<u8>>,
}

impl Variables {
    /// What Apache is started with where its main file lies in `folder`, as it sees it.
    pub(super) fn new(folder: &Path) -> Self {
        // Several instances on one Debian host: `/etc/apache2-NAME`.
        let name = folder.file_name().unwrap_or_default().as_bytes();
        let suffix =
            name.strip_prefix(b"apache2-").map_or(Vec::new(), |name| [b"-", name].concat());
        let mut variables = Variables::default();
        let mut set = |name: &str, value: &[u8]| {
            variables.environment.insert(name.as_bytes().to_vec(), value.to_vec());
        };
        set("SUFFIX", &suffix);
        set("APACHE_CONFDIR", folder.as_os_str().as_bytes());
        for (name, value) in USUAL {
            if let Some(value) = variables.shell_word(value.as_bytes()) {
                variables.environment.insert(name.as_bytes().to_vec(), value);
            }
        }
        variables
    }

    /// Takes in the assignments of a shell script.
    pub(super) fn source(&mut self, script: &[u8]) {
        for line in script.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            let line = line.strip_prefix(b"export ").unwrap_or(line).trim_ascii();
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (&line[..equals], &line[equals + 1..]);
            let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            // The script works it out from the folder's name, as was done already.
            if !is_name || name.is_empty() || name == b"SUFFIX" {
                continue;
            }
            if let Some(value) = self.shell_word(value) {
                if OPTIONS.contains(&name) {
                    self.options(&value);
                }
                self.environment.insert(name.to_vec(), value);
            }
        }
    }

    /// Takes in `-D NAME` and `-DNAME`.
    fn options(&mut self, options: &[u8]) {
        let mut words = options.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            match word.strip_prefix(b"-D") {
                Some(b"") => self.defined.extend(words.next().map(<[u8]>::to_vec)),
                Some(name) => drop(self.defined.insert(name.to_vec())),
                None => {}
            }
        }
    }

    /// `Define NAME [VALUE]`
    pub(super) fn define(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.defined.insert(name.to_vec());
        if let Some(value) = value {
            self.values.insert(name.to_vec(), value.to_vec());
        }
    }

    /// `UnDefine NAME`
    pub(super) fn undefine(&mut self, name: &[u8]) {
        self.defined.remove(name);
        self.values.remove(name);
    }

    /// `<IfDefine NAME>`
    pub(super) fn is_defined(&self, name: &[u8]) -> bool {
        self.defined.contains(name)
    }

    /// Fills in `${NAME}`; one that is not known stays as it is written.
    pub(super) fn expand<'w>(&self, word: Cow<'w, [u8]>) -> Cow<'w, [u8]> {
        if !word.windows(2).any(|two| two == b"${") {
            return word;
        }
        let mut text = Vec::with_capacity(word.len() + 32);
        let mut rest = &word[..];
        while let Some(begin) = rest.windows(2).position(|two| two == b"${") {
            let Some(length) = rest[begin..].iter().position(|byte| *byte == b'}') else { break };
            let name = &rest[begin + 2..begin + length];
            text.extend_from_slice(&rest[..begin]);
            match self.values.get(name).or_else(|| self.environment.get(name)) {
                Some(value) => text.extend_from_slice(value),
                None => text.extend_from_slice(&rest[begin..=begin + length]),
            }
            rest = &rest[begin + length + 1..];
        }
        text.extend_from_slice(rest);
        Cow::Owned(text)
    }

    /// The value of an assignment in a shell script, if it is a plain one.
    fn shell_word(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut word = Vec::new();
        let mut quote = None;
        let mut at = 0;
        while let Some(byte) = text.get(at).copied() {
            at += 1;
            match (byte, quote) {
                (b'\'' | b'"', None) => quote = Some(byte),
                (_, Some(open)) if open == byte => quote = None,
                (_, Some(b'\'')) => word.push(byte),
                (b'`', _) => return None,
                (b' ' | b'\t' | b'\r' | b';' | b'#', None) => break,
                (b'\\', _) => {
                    word.extend(text.get(at));
                    at += 1;
                }
                (b'$', _) => {
                    let (value, length) = self.shell_variable(&text[at..])?;
                    word.extend_from_slice(&value);
                    at += length;
                }
                _ => word.push(byte),
            }
        }
        Some(word)
    }

    /// What stands behind a `$`, and how many bytes of the text it is.
    fn shell_variable(&self, text: &[u8]) -> Option<(Vec<u8>, usize)> {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let value = |name: &[u8]| self.environment.get(name).cloned().unwrap_or_default();
        let Some(inner) = text.strip_prefix(b"{") else {
            let length = text.iter().take_while(|byte| is_name(byte)).count();
            return (length > 0).then(|| (value(&text[..length]), length));
        };
        let length = inner.iter().position(|byte| *byte == b'}')?;
        let inner = &inner[..length];
        let end = inner.iter().position(|byte| !is_name(byte)).unwrap_or(inner.len());
        let (name, operator) = inner.split_at(end);
        let known = self.environment.get(name).filter(|value| !value.is_empty());
        let value = match operator {
            b"" => value(name),
            _ => match operator.strip_prefix(b":").unwrap_or(operator).split_first() {
                Some((b'-' | b'=', default)) => known.cloned().unwrap_or_else(|| default.to_vec()),
                _ => return None,
            },
        };
        Some((value, length + 2))
    }
}

/// A path that is made of bytes.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &Variables, word: &str, expected: &str) {
        let found = variables.expand(Cow::Borrowed(word.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&found), expected, "of {word}");
    }

    #[test]
    fn defined_names_come_before_the_environment() {
        let mut variables = Variables::new(Path::new("/etc/apache2"));
        check(&variables, "${APACHE_PID_FILE}", "/var/run/apache2/apache2.pid");
        variables.define(b"APACHE_PID_FILE", Some(b"/x"));
        variables.define(b"SSL", None);
        check(&variables, "a${APACHE_PID_FILE}b${SSL}${", "a/xb${SSL}${");
        assert!(variables.is_defined(b"SSL") && !variables.is_defined(b"ssl"));
        variables.undefine(b"APACHE_PID_FILE");
        check(&variables, "${APACHE_PID_FILE}", "/var/run/apache2/apache2.pid");
    }

    #[test]
    fn a_script_of_assignments() {
        let mut variables = Variables::new(Path::new("/etc/apache2-blue"));
        check(&variables, "${APACHE_RUN_DIR}", "/var/run/apache2-blue");
        let script = r#"
            unset HOME
            if [ "${APACHE_CONFDIR##/etc/apache2-}" != "${APACHE_CONFDIR}" ] ; then
                SUFFIX="-${APACHE_CONFDIR##/etc/apache2-}"
            else
                SUFFIX=
            fi
            : ${APACHE_CONFDIR:=/etc/elsewhere}
            export APACHE_PID_FILE=/srv/run$SUFFIX/${APACHE_RUN_USER}.pid # where it is
            export WITH_DEFAULT="${NONE:-/d e}"'$f'
            export DATE=$(date)
            TICKS=`date`
            . /etc/default/locale
            export APACHE_ARGUMENTS='-D Blue -DGreen -X'
        "#;
        variables.source(script.as_bytes());
        check(&variables, "${APACHE_PID_FILE}", "/srv/run-blue/www-data.pid");
        check(&variables, "${WITH_DEFAULT}", "/d e$f");
        check(&variables, "${DATE}${TICKS}", "${DATE}${TICKS}");
        check(&variables, "${APACHE_CONFDIR}", "/etc/apache2-blue");
        assert!(variables.is_defined(b"Blue") && variables.is_defined(b"Green"));
    }
}
