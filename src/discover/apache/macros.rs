//! mod_macro: `<Macro Name $parameter …>`, and `Use Name value …` that reads its lines with the values in
//! their places.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::level::text;
use super::syntax::{Line, Step, SyntaxError, Words};
use crate::discover::model::Origin;

/// A macro that has been defined.
#[derive(Debug)]
pub(super) struct Macro {
    /// In lower case.
    pub(super) name: String,
    pub(super) parameters: Vec<Vec<u8>>,
    pub(super) file: Arc<Path>,
    lines: Vec<Line<'static>>,
}

impl Macro {
    /// Reads the lines behind `<Macro …>` up to its end.
    ///
    /// # Errors
    /// They end before it does.
    pub(super) fn read(
        arguments: &[u8],
        origin: &Origin,
        lines: &mut dyn Iterator<Item = Line<'_>>,
    ) -> Result<Macro, (u32, SyntaxError)> {
        let mut words = Words::new(arguments);
        let name = text(&words.next().unwrap_or_default()).to_lowercase();
        let parameters = words.map(Cow::into_owned).filter(|word| !word.is_empty()).collect();
        let mut body = Vec::new();
        let mut depth = 1;
        for line in &mut *lines {
            match Step::of(&line.text) {
                Ok(Step::Open(name, _)) if name == "macro" => depth += 1,
                Ok(Step::Close(name)) if name == "macro" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(Macro { name, parameters, file: origin.file.clone(), lines: body });
            }
            body.push(Line { number: line.number, text: Cow::Owned(line.text.into_owned()) });
        }
        let unfinished = SyntaxError::NotClosed { name: "macro".to_owned(), line: origin.line };
        Err((origin.line, unfinished))
    }
}

/// The lines of a macro with values in place of its parameters.
#[derive(Debug)]
pub(super) struct Bodies<'a> {
    lines: std::slice::Iter<'a, Line<'static>>,
    /// The longest parameter first, so that `$name` does not begin `$names`.
    values: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Bodies<'a> {
    /// There are as many values as parameters.
    pub(super) fn new(used: &'a Macro, values: &'a [Cow<'a, [u8]>]) -> Self {
        let parameters = used.parameters.iter().map(Vec::as_slice);
        let mut values: Vec<_> = parameters.zip(values.iter().map(|value| &**value)).collect();
        values.sort_by_key(|(parameter, _)| std::cmp::Reverse(parameter.len()));
        Bodies { lines: used.lines.iter(), values }
    }

    fn fill_in(&self, line: &[u8]) -> Vec<u8> {
        let mut filled = Vec::with_capacity(line.len() + 32);
        let mut rest = line;
        while let Some((first, behind)) = rest.split_first() {
            match self.values.iter().find(|(parameter, _)| rest.starts_with(parameter)) {
                Some((parameter, value)) => {
                    filled.extend_from_slice(value);
                    rest = &rest[parameter.len()..];
                }
                None => {
                    filled.push(*first);
                    rest = behind;
                }
            }
        }
        filled
    }
}

impl<'a> Iterator for Bodies<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let line = self.lines.next()?;
        Some(Line { number: line.number, text: Cow::Owned(self.fill_in(&line.text)) })
    }
}
