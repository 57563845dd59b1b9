//! Environment variables: what the configuration sets, and what HAProxy is started with.
//!
//! The process's own environment cannot be read by others. What is known of it is what distributions
//! have their unit read: `/etc/default/haproxy` and `/etc/sysconfig/haproxy`.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// What is known of the environment.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// `None`: it is known not to be set.
    values: HashMap<String, Option<String>>,
    /// What `resetenv` left of what HAProxy was started with.
    kept: Option<Vec<String>>,
}

impl Variables {
    /// Takes in the assignments of an environment file, as systemd reads it.
    pub(super) fn source(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let Some((name, value)) =
                line.split_once('=').filter(|_| !line.starts_with(['#', ';']))
            else {
                continue;
            };
            let value = value.trim();
            let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
            let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
            self.values.insert(name.trim().to_owned(), Some(value.to_owned()));
        }
    }

    /// `setenv`, `presetenv`, `unsetenv` and `resetenv` of `global`; `value` is of the first of these
    /// `names`, and `None` where it is not known.
    pub(super) fn directive(&mut self, directive: &str, names: &[&str], value: Option<&str>) {
        match (directive, names) {
            ("setenv", [name, ..]) => self.set(name, value),
            // One that may be set already keeps a value that nobody here knows.
            ("presetenv", [name, ..]) => match self.values.get(*name) {
                Some(Some(_)) => {}
                _ => self.set(name, value),
            },
            ("unsetenv", names) => names.iter().for_each(|name| self.unset(name)),
            ("resetenv", names) => {
                self.values.retain(|name, _| names.contains(&name.as_str()));
                self.kept = Some(names.iter().map(|name| (*name).to_owned()).collect());
            }
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.values.insert(name.to_owned(), Some(value.to_owned()))),
            None => drop(self.values.remove(name)),
        }
    }

    fn unset(&mut self, name: &str) {
        self.values.insert(name.to_owned(), None);
    }

    /// The value of a variable, or what stands for it where it is not set. One about which nothing is known
    /// has its default, if it is given any: the unit's files would say otherwise.
    fn get(&self, name: &str, default: Option<&str>) -> Option<String> {
        match (self.values.get(name), default) {
            (Some(Some(value)), _) => Some(value.clone()),
            (_, Some(default)) => Some(default.to_owned()),
            (Some(None), None) => Some(String::new()),
            (None, None) => {
                let gone = |kept: &Vec<String>| !kept.iter().any(|kept| kept == name);
                self.kept.as_ref().is_some_and(gone).then(String::new)
            }
        }
    }

    /// Reads what stands behind a `$` within double quotes: `NAME`, `{NAME}`, `{NAME-default}`, `{NAME[*]}`.
    ///
    /// # Errors
    /// HAProxy would refuse the line.
    pub(super) fn read(&self, chars: &mut Peekable<Chars<'_>>) -> Result<Expanded, &'static str> {
        let brace = chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        // The dot is that of `.FILE` and its like, which nobody names a certificate by.
        name.extend(chars.next_if_eq(&'.'));
        while let Some(char) = chars.next_if(|char| char.is_ascii_alphanumeric() || *char == '_') {
            name.push(char);
        }
        if name.is_empty() || name.starts_with(|char: char| char.is_ascii_digit()) {
            return Err("no name of a variable stands behind a $");
        }
        let (mut default, mut several) = (None, false);
        if brace {
            let mut rest = String::new();
            loop {
                match chars.next() {
                    Some('}') => break,
                    Some(char) => rest.push(char),
                    None => return Err("the brace around a variable's name does not end"),
                }
            }
            let bare = rest.strip_prefix("[*]");
            several = bare.is_some();
            match bare.unwrap_or(&rest) {
                "" => {}
                text => match text.strip_prefix('-') {
                    Some(text) => default = Some(text.to_owned()),
                    None => return Err("a variable's name holds something else than letters"),
                },
            }
        }
        let value = self.get(&name, default.as_deref());
        Ok(Expanded { value: value.ok_or(name), several })
    }
}

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// Its value, or the name of one that is not known.
    pub(super) value: Result<String, String>,
    /// Each word of the value is an argument of its own.
    pub(super) several: bool,
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn check(variables: &Variables, line: &str, expected: &str) {
        let told = match words(line, variables) {
            Ok(words) => {
                let told = words.iter().map(|word| match &word.unknown {
                    Some(name) => format!("?{name}"),
                    None => word.text.clone(),
                });
                told.collect::<Vec<_>>().join("|")
            }
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(told, expected, "{line}");
    }

    /// Each line as HAProxy 2.6 has it.
    #[test]
    fn values_are_filled_in_within_double_quotes() {
        let mut known = Variables::default();
        known.source("# x=y\nSITE=www\n DIR = \"/etc/my certs\"\nLIST='a b  c'\nEMPTY=\n");
        check(&known, "crt \"$DIR/$SITE.pem\"", "crt|/etc/my certs/www.pem");
        check(&known, "crt $DIR '$DIR' \"\\$DIR\"", "crt|$DIR|$DIR|$DIR");
        check(&known, "\"${NONE-a/b}\" \"${SITE-x}\" \"${EMPTY-x}\"", "a/b|www|");
        check(&known, "x\"${LIST[*]}\"y \"${LIST}\"", "xa|b|cy|a b  c");
        check(&known, "\"${NONE[*]-d}\" \"${NONE-d e[*]}\"", "d|d e[*]");
        check(&known, "\"$NONE\" \"/${NONE}/x\" \"$.FILE\" z", "?NONE|?NONE|?.FILE|z");
        for line in ["\"a$\"", "\"${1}\"", "\"$-\""] {
            check(&known, line, "error: no name of a variable stands behind a $");
        }
        check(&known, "\"${A\"", "error: the brace around a variable's name does not end");
        for line in ["\"${A:x}\"", "\"${SITE[*}\""] {
            check(&known, line, "error: a variable's name holds something else than letters");
        }
    }

    #[test]
    fn the_configuration_sets_and_unsets() {
        let mut known = Variables::default();
        known.source("A=1\nB=2\nC=3\n");
        known.directive("setenv", &["A"], Some("x"));
        known.directive("presetenv", &["B"], Some("x"));
        known.directive("presetenv", &["N"], Some("n"));
        known.directive("unsetenv", &["C"], None);
        check(&known, "\"$A\" \"$B\" \"$N\" \"$C\" \"$D\"", "x|2|n||?D");
        known.directive("resetenv", &["A", "E"], None);
        check(&known, "\"$A\" \"$B\" \"$E\"", "x||?E");
        known.directive("resetenv", &[], None);
        check(&known, "\"$A\" \"$E\"", "|");
    }
}
