//! Goes through a configuration with its includes and collects what its blocks say about TLS.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tokens::{Token, What as Piece, tokens};
use crate::discover::include;
use crate::discover::model::{Origin, Stated};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::PathMap;
use crate::discover::sources::{Open, Source};

/// Blocks within each other: nobody writes more, and each costs some of the stack.
const DEEPEST: usize = 100;

/// A condition: `$SERVER["socket"] == ":443"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// `SERVER socket`, `HTTP host`.
    pub(super) about: String,
    pub(super) operator: &'static str,
    pub(super) value: String,
}

/// What one block says by itself; the first is the outermost.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) origin: Origin,
    /// That it applies: those of the blocks around it first.
    pub(super) conditions: Vec<Condition>,
    /// By name; only what can be told without running anything.
    pub(super) settings: HashMap<String, Stated<String>>,
}

/// What a whole configuration says.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) blocks: Vec<Block>,
    pub(super) sources: Vec<Source>,
    pub(super) faults: Vec<Problem>,
}

/// Reads `main`, as we see it, and all it includes.
pub(super) fn read(main: &Path, map: &PathMap) -> Collected {
    let base = map.theirs(main).parent().unwrap_or(Path::new("/")).to_owned();
    let mut walk = Walk {
        map,
        base,
        open: Open::default(),
        variables: HashMap::new(),
        depth: 0,
        found: Collected::default(),
    };
    let origin = Origin { file: main.into(), line: 1 };
    walk.found.blocks.push(Block { origin, conditions: Vec::new(), settings: HashMap::new() });
    walk.file(main, None, 0);
    walk.found
}

struct Walk<'a> {
    map: &'a PathMap,
    /// The folder of the main file, as lighttpd sees it.
    base: PathBuf,
    open: Open,
    variables: HashMap<String, String>,
    /// How many blocks are open.
    depth: usize,
    found: Collected,
}

/// Tokens that are read one after another.
struct Reader {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    file: Arc<Path>,
    line: u32,
}

impl Reader {
    fn next(&mut self) -> Option<Piece> {
        let token = self.tokens.next()?;
        self.line = token.line;
        Some(token.what)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.tokens.peek(), Some(Token { what: Piece::Sign(found), .. }) if *found == sign);
        if is {
            self.next();
        }
        is
    }

    fn origin(&self) -> Origin {
        Origin { file: self.file.clone(), line: self.line }
    }

    /// Goes to the end of a block, its `{` read already.
    fn skip(&mut self) {
        let mut open = 1;
        while open > 0 {
            match self.next() {
                Some(Piece::Sign("{")) => open += 1,
                Some(Piece::Sign("}")) => open -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}

impl Walk<'_> {
    /// Reads one file into the block with this number.
    fn file(&mut self, path: &Path, named: Option<&Origin>, block: usize) {
        let Collected { sources, faults, .. } = &mut self.found;
        let Some((file, text)) = self.open.open(path, named, sources, faults) else { return };
        match tokens(&String::from_utf8_lossy(&text)) {
            Ok(tokens) => {
                let mut reader = Reader { tokens: tokens.into_iter().peekable(), file, line: 1 };
                while self.statement(&mut reader, block) {}
            }
            Err((line, why)) => self.fault(&Origin { file, line }, why),
        }
        self.open.close();
    }

    fn fault(&mut self, origin: &Origin, why: String) {
        self.found.faults.push(Problem::at(origin, What::Syntax(why)));
    }

    /// Reads one statement; `false` at the end of the block or file.
    fn statement(&mut self, reader: &mut Reader, block: usize) -> bool {
        match reader.next() {
            None | Some(Piece::Sign("}")) => false,
            Some(Piece::Word(word)) => {
                match word.as_str() {
                    "include" => self.include(reader, block),
                    // What a command prints is not known here.
                    "include_shell" => drop(self.value(reader)),
                    "else" | "elseif" | "elsif" | "global" => {
                        if reader.takes("{") {
                            self.block(reader, block);
                        } else if reader.takes("$") {
                            self.condition(reader, block);
                        }
                    }
                    _ => self.assignment(reader, block, word),
                }
                true
            }
            Some(Piece::Sign("$")) => {
                self.condition(reader, block);
                true
            }
            Some(other) => {
                self.fault(&reader.origin(), format!("unexpected {other:?}"));
                // Goes on: the rest of the file may still tell.
                true
            }
        }
    }

    fn assignment(&mut self, reader: &mut Reader, block: usize, name: String) {
        let origin = reader.origin();
        let adds = reader.takes("+=");
        let _ = adds || reader.takes("=") || reader.takes(":=");
        let Some(value) = self.value(reader) else { return };
        if name.starts_with("var.") {
            let before = self.variables.get(&name).filter(|_| adds).cloned().unwrap_or_default();
            self.variables.insert(name, before + &value);
        } else {
            self.found.blocks[block].settings.insert(name, Stated { value, origin });
        }
    }

    /// A text or number, parts joined by `+`; `None` for an array or what cannot be told.
    fn value(&mut self, reader: &mut Reader) -> Option<String> {
        let mut value = Some(String::new());
        loop {
            let part = match reader.next()? {
                Piece::Text(text) => Some(text),
                Piece::Word(word) if word.bytes().all(|byte| byte.is_ascii_digit()) => Some(word),
                Piece::Word(word) => self.variables.get(&word).cloned(),
                Piece::Sign("(") => {
                    let mut depth = 1;
                    while depth > 0 {
                        match reader.next()? {
                            Piece::Sign("(") => depth += 1,
                            Piece::Sign(")") => depth -= 1,
                            _ => {}
                        }
                    }
                    None
                }
                Piece::Sign(_) => None,
            };
            value = value.zip(part).map(|(value, part)| value + &part);
            if !reader.takes("+") {
                return value;
            }
        }
    }

    /// `$SERVER["socket"] == "…" { … }`, its `$` read already.
    fn condition(&mut self, reader: &mut Reader, block: usize) {
        let origin = reader.origin();
        let mut about = String::new();
        let mut operator = None;
        // `$HTTP["host"]`, `$REQUEST_HEADER["…"]`; then the operator.
        while operator.is_none() {
            match reader.next() {
                Some(Piece::Word(word)) => about = word,
                Some(Piece::Text(text)) => about = format!("{about} {text}"),
                Some(Piece::Sign("[" | "]")) => {}
                Some(Piece::Sign(sign)) => operator = Some(sign),
                None => return,
            }
        }
        let value = self.value(reader).unwrap_or_default();
        if !reader.takes("{") {
            return self.fault(&origin, "a condition has no block".to_owned());
        }
        let mut conditions = self.found.blocks[block].conditions.clone();
        conditions.push(Condition { about, operator: operator.unwrap_or("=="), value });
        self.found.blocks.push(Block { origin, conditions, settings: HashMap::new() });
        let inner = self.found.blocks.len() - 1;
        self.block(reader, inner);
    }

    /// Reads what stands in `{ … }` into the block with this number, its `{` read already.
    fn block(&mut self, reader: &mut Reader, block: usize) {
        if self.depth == DEEPEST {
            let why =
                format!("more than {DEEPEST} blocks in each other: what is in here is not read");
            self.fault(&reader.origin(), why);
            return reader.skip();
        }
        self.depth += 1;
        while self.statement(reader, block) {}
        self.depth -= 1;
    }

    fn include(&mut self, reader: &mut Reader, block: usize) {
        let origin = reader.origin();
        let Some(value) = self.value(reader) else { return };
        let path = self.map.ours(&self.base.join(&value)).ours;
        if !include::is_pattern(value.as_bytes()) {
            return self.file(&path, Some(&origin), block);
        }
        let matches = include::matches(&path);
        self.found.sources.extend(matches.folders.into_iter().map(Source::look));
        for (folder, error) in matches.failures {
            self.found.faults.push(Problem::new(folder, What::of(&error)));
        }
        for file in matches.files {
            self.file(&file, Some(&origin), block);
        }
    }
}
