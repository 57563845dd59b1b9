//! exim's main section: options, macros, conditional parts, includes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::discover::configuration::Configuration;
use crate::discover::model::{Origin, Stated};
use crate::discover::settings::PathMap;
use crate::discover::sources::{Open, Source};

/// What the main section says.
pub(super) struct Options<'a> {
    map: &'a PathMap,
    pub(super) read: Configuration,
    said: BTreeMap<String, Stated<String>>,
    macros: Vec<(String, String)>,
    /// Whether the lines between `.ifdef` and `.endif` count, for each that is open.
    conditions: Vec<bool>,
    open: Open,
    ended: bool,
}

impl<'a> Options<'a> {
    /// Reads `main`, as we see it, and all it includes.
    pub(super) fn read(main: &Path, map: &'a PathMap) -> Self {
        let mut options = Options {
            map,
            read: Configuration::default(),
            said: BTreeMap::new(),
            macros: Vec::new(),
            conditions: Vec::new(),
            open: Open::default(),
            ended: false,
        };
        options.file(main, None);
        options
    }

    /// The value of an option; one without a value is "yes".
    pub(super) fn get(&self, name: &str) -> Option<&Stated<String>> {
        self.said.get(name)
    }

    fn file(&mut self, path: &Path, named: Option<&Origin>) {
        let Configuration { sources, faults, .. } = &mut self.read;
        let Some((file, text)) = self.open.open(path, named, sources, faults) else { return };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text.lines().zip(1u32..);
        while let Some((line, number)) = lines.next() {
            let origin = Origin { file: file.clone(), line: number };
            let mut line = line.trim().to_owned();
            while line.ends_with('\\') && !line.starts_with('#') {
                line.pop();
                let Some((more, _)) = lines.next() else { break };
                // Comments stand between the parts, too.
                if more.trim_start().starts_with('#') {
                    line.push('\\');
                } else {
                    line.push_str(more.trim());
                }
            }
            if self.ended {
                break;
            }
            self.line(&line, origin);
        }
        self.open.close();
    }

    fn line(&mut self, line: &str, origin: Origin) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if let Some(directive) = line.strip_prefix('.') {
            return self.directive(directive, &origin);
        }
        if !self.conditions.iter().all(|counts| *counts) {
            return;
        }
        if line.split_whitespace().next() == Some("begin") {
            self.ended = true;
            return;
        }
        let is_macro = line.starts_with(|char: char| char.is_ascii_uppercase());
        if is_macro && let Some((name, value)) = line.split_once('=') {
            let (name, value) = (name.trim().trim_end_matches('='), value.trim_start_matches('='));
            let value = self.expanded(value.trim());
            self.macros.retain(|(known, _)| known != name.trim());
            self.macros.push((name.trim().to_owned(), value));
            return;
        }
        let line = self.expanded(line);
        let line = line.strip_prefix("hide ").unwrap_or(&line).trim();
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), unquoted(value.trim())),
            None => match line.strip_prefix("no_").or_else(|| line.strip_prefix("not_")) {
                Some(name) => (name, "no".to_owned()),
                None => (line, "yes".to_owned()),
            },
        };
        self.said.insert(name.to_owned(), Stated { value, origin });
    }

    fn directive(&mut self, directive: &str, origin: &Origin) {
        let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let rest = rest.trim();
        let defined = self.macros.iter().any(|(name, _)| rest.contains(name.as_str()));
        match word {
            "ifdef" => self.conditions.push(defined),
            "ifndef" => self.conditions.push(!defined),
            "else" => {
                if let Some(counts) = self.conditions.last_mut() {
                    *counts = !*counts;
                }
            }
            "elifdef" | "elifndef" => {
                if let Some(counts) = self.conditions.last_mut() {
                    *counts = !*counts && (word == "elifdef") == defined;
                }
            }
            "endif" => drop(self.conditions.pop()),
            "include" | "include_if_exists" if self.conditions.iter().all(|counts| *counts) => {
                let rest = self.expanded(rest);
                let path: PathBuf = self.map.ours(Path::new(&rest)).ours.to_path_buf();
                if word == "include" || path.exists() {
                    self.file(&path, Some(origin));
                } else {
                    self.read.sources.push(Source::look(path));
                }
            }
            _ => {}
        }
    }

    /// Macros are replaced wherever their name stands, the newest first.
    fn expanded(&self, text: &str) -> String {
        let longest_first = {
            let mut macros: Vec<_> = self.macros.iter().collect();
            macros.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            macros
        };
        longest_first.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\""),
        None => text.to_owned(),
    }
}
