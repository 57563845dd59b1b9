//! Apache's grammar: one directive a line, `\` at its end joins the next line to it, `<Name …>` and
//! `</Name>` hold sections together; as `ap_cfg_getline` and `ap_getword_conf` have it.
//!
//! [`Lines`] gives one logical line after another, [`Step`] says what a line is, and [`Words`] takes its
//! arguments apart. Any directive is let through, and no tree is kept.

use std::borrow::Cow;

/// Why a text is not an Apache configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error("<{name}> of line {line} is not closed")]
    NotClosed { name: String, line: u32 },
    #[error("expected </{expected}> and found </{found}>")]
    OtherClosed { expected: String, found: String },
    #[error("</{0}> closes nothing")]
    ClosesNothing(String),
    #[error("<{0} has no closing \">\"")]
    NoBracket(String),
}

/// A logical line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The number, from 1, of the first line in the file that it is made of.
    pub(super) number: u32,
    /// Without blanks at its ends; neither empty nor a comment.
    pub(super) text: Cow<'a, [u8]>,
}

/// The logical lines of a text; comments and empty ones are left out.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Lines { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), number: 0 }
    }

    /// The next line of the file, without its end, and whether the one after it continues it.
    fn physical(&mut self) -> Option<(&'a [u8], bool)> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            return Some((std::mem::take(&mut self.rest), false));
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(match line.strip_suffix(b"\\") {
            Some(begun) => (begun, true),
            None => (line, false),
        })
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            let (first, mut continues) = self.physical()?;
            let number = self.number;
            let mut text = Cow::Borrowed(first);
            while continues {
                let Some((more, again)) = self.physical() else { break };
                text.to_mut().extend_from_slice(more);
                continues = again;
            }
            let text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
                Cow::Owned(text) => Cow::Owned(text.trim_ascii().to_vec()),
            };
            if !matches!(text.first(), None | Some(b'#')) {
                return Some(Line { number, text });
            }
        }
    }
}

/// What a line is; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A directive and its arguments as written.
    Directive(String, &'a [u8]),
    /// `<name arguments>`
    Open(String, &'a [u8]),
    /// `</name>`
    Close(String),
}

impl<'a> Step<'a> {
    /// Looks at a line.
    ///
    /// # Errors
    /// A section without its closing bracket.
    pub(super) fn of(line: &'a [u8]) -> Result<Step<'a>, SyntaxError> {
        let blank = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (name, arguments) = line.split_at(blank);
        let arguments = arguments.trim_ascii();
        let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Some(name) = line.strip_prefix(b"</") {
            let name = name.split(|byte| *byte == b'>').next().unwrap_or(name);
            return Ok(Step::Close(lower(name.trim_ascii())));
        }
        let Some(name) = name.strip_prefix(b"<") else {
            return Ok(Step::Directive(lower(name), arguments));
        };
        // `<IfModule a>` has it behind the arguments, `<RequireAll>` behind the name.
        let within = |text: &'a [u8]| text.iter().rposition(|byte| *byte == b'>');
        match (within(arguments), name.strip_suffix(b">")) {
            (Some(end), _) => Ok(Step::Open(lower(name), arguments[..end].trim_ascii())),
            (None, Some(name)) => Ok(Step::Open(lower(name), b"")),
            (None, None) => Err(SyntaxError::NoBracket(lower(name))),
        }
    }
}

/// The arguments of a directive, quotes taken off; `${…}` is left as it is.
#[derive(Clone, Debug)]
pub(super) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    pub(super) fn new(arguments: &'a [u8]) -> Self {
        Words(arguments.trim_ascii_start())
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let first = *self.0.first()?;
        let quote = matches!(first, b'"' | b'\'').then_some(first);
        let body = if quote.is_some() { &self.0[1..] } else { self.0 };
        let ends = |at: usize| match quote {
            Some(quote) => body[at] == quote,
            None => body[at].is_ascii_whitespace(),
        };
        let escapes = |at: usize| {
            let next = body.get(at + 1).copied();
            body[at] == b'\\' && (next == Some(b'\\') || (quote.is_some() && next == quote))
        };
        let mut end = 0;
        let mut escaped = false;
        while end < body.len() && !ends(end) {
            if escapes(end) {
                (escaped, end) = (true, end + 1);
            }
            end += 1;
        }
        let word = &body[..end];
        let behind = end + usize::from(quote.is_some() && end < body.len());
        self.0 = body[behind..].trim_ascii_start();
        Some(if escaped { Cow::Owned(unescape(word, quote)) } else { Cow::Borrowed(word) })
    }
}

fn unescape(raw: &[u8], quote: Option<u8>) -> Vec<u8> {
    let mut word = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let next = bytes.peek().copied();
        let escapes = byte == b'\\' && (next == Some(b'\\') || (quote.is_some() && next == quote));
        let meant = if escapes { bytes.next() } else { None };
        word.push(meant.unwrap_or(byte));
    }
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each line by its number: what it is, its name, and its words by `|`.
    fn outline(text: &str) -> String {
        let words = |arguments: &[u8]| {
            let words: Vec<_> = Words::new(arguments)
                .map(|word| String::from_utf8_lossy(&word).into_owned())
                .collect();
            words.join("|")
        };
        let told = |line: Line<'_>| {
            let told = match Step::of(&line.text) {
                Ok(Step::Directive(name, arguments)) => format!("{name} {}", words(arguments)),
                Ok(Step::Open(name, arguments)) => format!("<{name} {}>", words(arguments)),
                Ok(Step::Close(name)) => format!("</{name}>"),
                Err(error) => format!("! {error}"),
            };
            format!("{}:{}", line.number, told.trim_end())
        };
        Lines::new(text.as_bytes()).map(told).collect::<Vec<_>>().join(", ")
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(outline(text), expected, "of {text}");
    }

    #[test]
    fn directives_sections_and_comments() {
        check("ServerName  a.org\n\n  # no\n\tSSLEngine on", "1:servername a.org, 4:sslengine on");
        check(
            "<VirtualHost *:443 [::1]:443>\n</VirtualHost>",
            "1:<virtualhost *:443|[::1]:443>, 2:</virtualhost>",
        );
        check("<RequireAll>\n</RequireAll >", "1:<requireall >, 2:</requireall>");
        check("<IfDefine FOO >", "1:<ifdefine FOO>");
        check("<LocationMatch \"^/a>b\">", "1:<locationmatch ^/a>b>");
        check("<Broken", "1:! <broken has no closing \">\"");
        check("\u{feff}a b\r\nc d\r\n", "1:a b, 2:c d");
        check("", "");
    }

    #[test]
    fn lines_that_go_on() {
        check("ServerAlias a \\\n  b\\\n c\nX y", "1:serveralias a|b|c, 4:x y");
        check("a b\\\r\n c\r\nd", "1:a b|c, 3:d");
        // So does a comment's.
        check("# one \\\ntwo\nthree", "3:three");
        check("a \\", "1:a \\");
        check("a \\\n", "1:a");
    }

    #[test]
    fn quotes_and_escapes() {
        check(r#"a "b c" 'd "e"' f\ g"#, r#"1:a b c|d "e"|f\|g"#);
        check(r#"a "b\"c\\d\e""#, r#"1:a b"c\d\e"#);
        check(r#"a b\\c "" 'open"#, r#"1:a b\c||open"#);
        check(r#"a "b"c"#, "1:a b|c");
        check("a ${X}/b", "1:a ${X}/b");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a${}\"'\\\\<>/# \n\r-]{0,60}") {
            outline(&text);
        }
    }
}
