//! nginx's grammar: words, quotes, escapes, `;`, `{`, `}` and `#`, as `ngx_conf_read_token` has it.
//!
//! [`Reader`] goes through a text once and gives one directive after another; no tree is kept. Any
//! directive is let through. Lua blocks are the one place where the grammar is not nginx's own: the
//! caller has [`Reader::skip_lua`] pass over them.

use std::borrow::Cow;

/// Why a text is not an nginx configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error("unexpected {0:?}")]
    Unexpected(char),
    #[error("unexpected end of file, expecting \";\" or \"}}\"")]
    UnfinishedDirective,
    #[error("unexpected end of file, expecting \"}}\"")]
    UnfinishedBlock,
    #[error("directive {0:?} is not terminated by \";\"")]
    NotABlock(String),
    #[error("directive {0:?} has no opening \"{{\"")]
    NoBlock(String),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `words;`
    Directive,
    /// `words {`
    Open,
    /// `}`
    Close,
    /// The text is at its end.
    End,
}

/// Reads one text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    words: Vec<Cow<'a, [u8]>>,
    words_line: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Reader { text, at: 0, line: 1, words: Vec::new(), words_line: 1 }
    }

    /// The words of the last `Directive` or `Open`: its name, then its arguments.
    pub(super) fn words(&self) -> &[Cow<'a, [u8]>] {
        &self.words
    }

    /// The line, from 1, of that name; after an error or a `Close`, the line reached.
    pub(super) fn line(&self) -> u32 {
        if self.words.is_empty() { self.line } else { self.words_line }
    }

    /// Reads up to the next `;`, `{`, `}` or the end.
    ///
    /// # Errors
    /// Where nginx would refuse the text for its grammar.
    pub(super) fn step(&mut self) -> Result<Step, SyntaxError> {
        self.words.clear();
        let read = self.words_until_end();
        if read.is_err() {
            self.words.clear();
        }
        read
    }

    fn words_until_end(&mut self) -> Result<Step, SyntaxError> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.advance(),
                b'#' => self.skip_line(),
                b';' | b'{' => {
                    self.advance();
                    if self.words.is_empty() {
                        return Err(SyntaxError::Unexpected(char::from(byte)));
                    }
                    return Ok(if byte == b';' { Step::Directive } else { Step::Open });
                }
                b'}' => {
                    self.advance();
                    let alone = self.words.is_empty();
                    return if alone { Ok(Step::Close) } else { Err(SyntaxError::Unexpected('}')) };
                }
                b'"' | b'\'' => self.quoted(byte)?,
                _ => self.bare()?,
            }
        }
        if self.words.is_empty() { Ok(Step::End) } else { Err(SyntaxError::UnfinishedDirective) }
    }

    /// Passes over the rest of a block, whatever its directives mean.
    ///
    /// # Errors
    /// As [`Reader::step`], or the text ends first.
    pub(super) fn skip_block(&mut self) -> Result<(), SyntaxError> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.step()? {
                Step::Directive => {}
                Step::Open if is_lua_block(&self.words[0]) => self.skip_lua()?,
                Step::Open => depth += 1,
                Step::Close => depth -= 1,
                Step::End => return Err(SyntaxError::UnfinishedBlock),
            }
        }
        Ok(())
    }

    /// Passes over Lua code up to the `}` that closes its block: braces in its strings and comments
    /// do not count.
    ///
    /// # Errors
    /// The text ends first.
    pub(super) fn skip_lua(&mut self) -> Result<(), SyntaxError> {
        let mut depth = 1_u32;
        while depth > 0 {
            let byte = self.peek().ok_or(SyntaxError::UnfinishedBlock)?;
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' | b'\'' => {
                    self.skip_lua_string(byte);
                    continue;
                }
                b'[' if self.skip_lua_long() => continue,
                b'-' if self.text[self.at..].starts_with(b"--") => {
                    self.at += 2;
                    if !(self.peek() == Some(b'[') && self.skip_lua_long()) {
                        self.skip_line();
                    }
                    continue;
                }
                _ => {}
            }
            self.advance();
        }
        Ok(())
    }

    fn skip_lua_string(&mut self, quote: u8) {
        self.advance();
        while let Some(byte) = self.peek() {
            self.advance();
            match byte {
                b'\\' => self.advance(),
                // An unfinished string ends with its line, as Lua would refuse it there.
                b'\n' => return,
                _ if byte == quote => return,
                _ => {}
            }
        }
    }

    /// `[[…]]` or `[==[…]==]`; says whether one stood here.
    fn skip_lua_long(&mut self) -> bool {
        let rest = &self.text[self.at + 1..];
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        if rest.get(level) != Some(&b'[') {
            return false;
        }
        while let Some(byte) = self.peek() {
            self.advance();
            let rest = &self.text[self.at..];
            let closes = byte == b']'
                && rest.len() > level
                && rest[..level].iter().all(|byte| *byte == b'=')
                && rest[level] == b']';
            if closes {
                self.at += level + 1;
                return true;
            }
        }
        true
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn advance(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line += 1;
        }
        self.at = (self.at + 1).min(self.text.len());
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<(), SyntaxError> {
        self.note_line();
        self.advance();
        let start = self.at;
        loop {
            match self.peek().ok_or(SyntaxError::UnfinishedDirective)? {
                b'\\' => self.advance(),
                byte if byte == quote => break,
                _ => {}
            }
            self.advance();
        }
        self.words.push(unescape(&self.text[start..self.at]));
        self.advance();
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(()),
            Some(byte) => Err(SyntaxError::Unexpected(char::from(byte))),
        }
    }

    fn bare(&mut self) -> Result<(), SyntaxError> {
        self.note_line();
        let start = self.at;
        let mut after_dollar = false;
        loop {
            let byte = self.peek().ok_or(SyntaxError::UnfinishedDirective)?;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'{' if !after_dollar => break,
                b'\\' => self.advance(),
                _ => {}
            }
            after_dollar = byte == b'$';
            self.advance();
        }
        self.words.push(unescape(&self.text[start..self.at]));
        Ok(())
    }

    fn note_line(&mut self) {
        if self.words.is_empty() {
            self.words_line = self.line;
        }
    }
}

/// `content_by_lua_block` and its kin: what is inside is Lua.
pub(super) fn is_lua_block(name: &[u8]) -> bool {
    name.ends_with(b"_by_lua_block")
}

fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut word = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let meant = match (byte, bytes.peek()) {
            (b'\\', Some(quoted @ (b'"' | b'\'' | b'\\'))) => Some(*quoted),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        word.push(meant.unwrap_or(byte));
        if meant.is_some() {
            bytes.next();
        }
    }
    Cow::Owned(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `text` to its end and writes it down: words by `|`, then what ended them and the line.
    fn outline(text: &str) -> String {
        let mut reader = Reader::new(text.as_bytes());
        let mut seen = Vec::new();
        loop {
            let step = reader.step();
            let words: Vec<_> =
                reader.words().iter().map(|word| String::from_utf8_lossy(word)).collect();
            let words = words.join("|");
            match step {
                Ok(Step::Directive) => seen.push(format!("{words}; @{}", reader.line())),
                Ok(Step::Open) if is_lua_block(&reader.words()[0]) => {
                    seen.push(match reader.skip_lua() {
                        Ok(()) => format!("{words} lua"),
                        Err(error) => return format!("{} ! {error}", seen.join(" ")),
                    });
                }
                Ok(Step::Open) => seen.push(format!("{words} {{")),
                Ok(Step::Close) => seen.push("}".to_owned()),
                Ok(Step::End) => return seen.join(" "),
                Err(error) => {
                    seen.push(format!("! {error} @{}", reader.line()));
                    return seen.join(" ");
                }
            }
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(outline(text), expected, "of {text}");
    }

    #[test]
    fn words_and_blocks() {
        check("a b  c;\nhttp{ x\n y; }", "a|b|c; @1 http { x|y; @2 }");
        check("# all; of { this\na; # and that\n", "a; @2");
        check("a#b c#;", "a#b|c#; @1");
        check("\u{feff}a;", "a; @1");
        check("", "");
    }

    #[test]
    fn quotes_and_escapes() {
        check(r#"a "b c;{}#" 'd "e"';"#, r#"a|b c;{}#|d "e"; @1"#);
        check(r#"a "b\"c" d\;e f\ g h\\i j\.k;"#, r#"a|b"c|d\;e|f\ g|h\i|j\.k; @1"#);
        check("a \"\\t\\n\" '';", "a|\t\n|; @1");
        check(r#"a b"c;"#, r#"a|b"c; @1"#);
        check(r#"if ("x") { }"#, r#"if|("x") { }"#);
        check(r#"if ( "x") { }"#, "if|(|x|) { }");
    }

    #[test]
    fn variables_may_have_braces() {
        check("a /x/${host}.pem;", "a|/x/${host}.pem; @1");
        check("if ($a = b){c;}", "if|($a|=|b) { c; @1 }");
        check("a $x{ }", "a|$x { }");
    }

    #[test]
    fn lua_is_passed_over() {
        check(
            "content_by_lua_block { a = { b } -- }\n c('}') } d;",
            "content_by_lua_block lua d; @2",
        );
        check(
            "set_by_lua_block $x { return [==[ } ]] ]==] .. \"\\\"}\" } d;",
            "set_by_lua_block|$x lua d; @1",
        );
        check("x_by_lua_block { --[[ }\n} ]] local t = a[b[1]] } d;", "x_by_lua_block lua d; @2");
        check("x_by_lua_block { 'it }", " ! unexpected end of file, expecting \"}\"");
    }

    #[test]
    fn broken_texts() {
        check("a", "! unexpected end of file, expecting \";\" or \"}\" @1");
        check("a \"b", "! unexpected end of file, expecting \";\" or \"}\" @1");
        check("a;\n;", "a; @1 ! unexpected ';' @2");
        check("{", "! unexpected '{' @1");
        check("a }", "! unexpected '}' @1");
        check("a \"b\"c;", "! unexpected 'c' @1");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a$'\"\\\\{};#\n =\\[\\]-]{0,60}", lua in any::<bool>()) {
            let text = if lua { format!("x_by_lua_block {{ {text}") } else { text };
            outline(&text);
        }
    }
}
