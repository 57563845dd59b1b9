//! Sections: those that say when their lines count, those that say where they belong, and macros.

use std::borrow::Cow;
use std::sync::Arc;

use super::conditions::{self, negated};
use super::hosts;
use super::level::{Words as Arguments, bad_value, only, text};
use super::macros::{Bodies, Macro};
use super::managed::Domain;
use super::read::{Block, Broken, Place, Walk};
use super::syntax::{Line, Step, SyntaxError};
use crate::discover::model::Origin;
use crate::discover::problem::{Problem, What};
use crate::discover::sources::{MAX_DEPTH, Source};

impl Walk<'_> {
    /// Reads or passes over a section that begins at `origin`.
    pub(super) fn section(
        &mut self,
        name: &str,
        arguments: &[u8],
        origin: Origin,
        lines: &mut dyn Iterator<Item = Line<'_>>,
        place: &mut Place,
    ) -> Result<(), Broken> {
        let file = origin.file.clone();
        let begun = (origin.line, name);
        if name == "macro" {
            let defined = Macro::read(arguments, &origin, lines)?;
            self.macros.insert(defined.name.clone(), Arc::new(defined));
            return Ok(());
        }
        let words = self.words(arguments);
        let holds = match name {
            "ifmodule" | "ifdefine" | "iffile" | "ifversion" => {
                let holds = self.holds(name, &words);
                let refused = || bad_value(&format!("<{name}>"), &words, &origin);
                self.found.faults.extend(holds.is_none().then(|| *refused()));
                holds.unwrap_or(false)
            }
            // Only later versions know these.
            "ifdirective" | "ifsection" => false,
            _ => {
                let mut inside = self.inside(name, &words, origin, place);
                self.lines(lines, &file, &mut inside, Some(begun))?;
                if let Place::Host(block) = inside {
                    self.found.hosts.push(*block);
                }
                return Ok(());
            }
        };
        match holds {
            true => self.lines(lines, &file, place, Some(begun)),
            false => skip(lines, begun),
        }
    }

    /// What is said in a section that is no condition.
    fn inside(
        &mut self,
        name: &str,
        words: &Arguments<'_>,
        origin: Origin,
        place: &Place,
    ) -> Place {
        match (name, place) {
            ("virtualhost", Place::Main) => {
                let mut addresses = Vec::new();
                for word in words {
                    match std::str::from_utf8(word).ok().and_then(hosts::host_address) {
                        Some(address) => addresses.push(address),
                        None => {
                            let problem = bad_value("<VirtualHost>", words, &origin);
                            self.found.faults.push(*problem);
                        }
                    }
                }
                Place::Host(Box::new(Block::new(origin, addresses)))
            }
            ("mdomainset" | "mdomain", Place::Main) => {
                self.found.domains.push(Domain::new(words));
                Place::Domain(self.found.domains.len() - 1)
            }
            _ => Place::Elsewhere,
        }
    }

    /// Whether a condition holds; `None` where Apache would refuse it.
    fn holds(&mut self, name: &str, words: &Arguments<'_>) -> Option<bool> {
        if name == "ifversion" {
            let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            return conditions::version(&words);
        }
        let (not, word) = negated(only(words)?);
        let is = match name {
            "ifmodule" => self.modules.has(word),
            "ifdefine" => self.variables.is_defined(word),
            _ => {
                let file = self.paths.resolve(word).ours;
                let source = Source::look(file);
                let is = source.stamp.is_some();
                self.found.sources.push(source);
                is
            }
        };
        Some(is != not)
    }

    pub(super) fn use_macro(
        &mut self,
        name: &[u8],
        values: &Arguments<'_>,
        origin: &Origin,
        place: &mut Place,
    ) {
        let known = self.macros.get(&text(name).to_lowercase()).cloned();
        let known = known.filter(|known| known.parameters.len() == values.len());
        let Some(known) = known.filter(|_| self.using < MAX_DEPTH) else {
            let mut words = vec![Cow::Borrowed(name)];
            words.extend(values.iter().cloned());
            return self.found.faults.push(*bad_value("use", &words, origin));
        };
        self.using += 1;
        let mut lines = Bodies::new(&known, values);
        if let Err((line, error)) = self.lines(&mut lines, &known.file, place, None) {
            let origin = Origin { file: known.file.clone(), line };
            self.found.faults.push(Problem::at(&origin, What::Syntax(error.to_string())));
        }
        self.using -= 1;
    }
}

/// Passes over a section whose condition does not hold; sections inside must close in order.
fn skip(lines: &mut dyn Iterator<Item = Line<'_>>, begun: (u32, &str)) -> Result<(), Broken> {
    let mut open = vec![(begun.0, begun.1.to_owned())];
    while let Some((begun, name)) = open.pop() {
        let Some(line) = lines.next() else {
            return Err((begun, SyntaxError::NotClosed { name, line: begun }));
        };
        match Step::of(&line.text) {
            Ok(Step::Close(found)) if found == name => continue,
            Ok(Step::Close(found)) => {
                return Err((line.number, SyntaxError::OtherClosed { expected: name, found }));
            }
            Ok(Step::Open(inner, _)) => {
                open.push((begun, name));
                open.push((line.number, inner));
            }
            Ok(Step::Directive(..)) | Err(_) => open.push((begun, name)),
        }
    }
    Ok(())
}
