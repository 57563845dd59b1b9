//! HAProxy's lines: words, quotes, escapes, comments and variables, as its manual has them (§2.2, 2.3).

use super::variables::{Expanded, Variables};

/// A word of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// An environment variable in it whose value is not known here.
    pub(super) unknown: Option<String>,
}

/// One line of a file, continuations joined; the number is that of its first line, from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (u32, String)> {
    let mut rest = text.lines().zip(1u32..);
    std::iter::from_fn(move || {
        let (first, number) = rest.next()?;
        let mut line = first.to_owned();
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            let Some((more, _)) = rest.next() else { break };
            line.push_str(more.trim_start());
        }
        Some((number, line))
    })
}

/// The words of a line, with the values of `variables` filled in.
///
/// # Errors
/// A quote or a brace that does not end, or a variable without a name.
pub(super) fn words(line: &str, variables: &Variables) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '#' => break,
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_with(Word::default);
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(char) => word.text.push(char),
                        None => return Err("a quote (') does not end"),
                    }
                }
            }
            '"' => {
                let mut open = word.take().unwrap_or_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => open.text.extend(chars.next().map(escaped)),
                        Some('$') => {
                            let Expanded { value, several } = variables.read(&mut chars)?;
                            match value {
                                Ok(value) if several => {
                                    let mut parts = value.split_ascii_whitespace();
                                    open.text.push_str(parts.next().unwrap_or_default());
                                    for part in parts {
                                        let next = Word { text: part.to_owned(), unknown: None };
                                        words.push(std::mem::replace(&mut open, next));
                                    }
                                }
                                Ok(value) => open.text.push_str(&value),
                                Err(name) => open.unknown = Some(name),
                            }
                        }
                        Some(char) => open.text.push(char),
                        None => return Err("a quote (\") does not end"),
                    }
                }
                word = Some(open);
            }
            '\\' => {
                word.get_or_insert_with(Word::default).text.extend(chars.next().map(escaped));
            }
            char => word.get_or_insert_with(Word::default).text.push(char),
        }
    }
    words.extend(word);
    Ok(words)
}

fn escaped(char: char) -> char {
    match char {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        char => char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let found = words(line, &Variables::default()).expect(line);
        let found: Vec<_> = found.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_are_split_as_haproxy_splits_them() {
        check(
            "\tbind *:443 ssl  crt /etc/x.pem # the site",
            &["bind", "*:443", "ssl", "crt", "/etc/x.pem"],
        );
        check("crt \"/etc/my site.pem\"", &["crt", "/etc/my site.pem"]);
        check("crt /etc/my\\ site.pem", &["crt", "/etc/my site.pem"]);
        check("crt '/etc/a\"b'c", &["crt", "/etc/a\"bc"]);
        check("a\\#b", &["a#b"]);
        check("# all of it", &[]);
        check("a \"\" b", &["a", "", "b"]);
        check("crt '/etc/$SITE.pem'", &["crt", "/etc/$SITE.pem"]);
        assert!(words("crt \"/etc", &Variables::default()).is_err());
    }

    #[test]
    fn long_lines_go_on() {
        let text = "bind :443 \\\n   ssl \\\n  crt x\nnext";
        let found: Vec<_> = lines(text).collect();
        assert_eq!(found, [(1, "bind :443 ssl crt x".to_owned()), (4, "next".to_owned())]);
    }
}
