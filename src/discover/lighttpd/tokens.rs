//! lighttpd's grammar, as far as it matters here: assignments, conditions, includes.

/// A token with the line it stands on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: u32,
    pub(super) what: What,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `ssl.pemfile`, `include`, `else`, `443`.
    Word(String),
    /// `"text"`.
    Text(String),
    /// `=`, `+=`, `:=`, `==`, `=~`, `=>`, brackets and the like.
    Sign(&'static str),
}

/// The longest first.
const SIGNS: [&str; 17] =
    ["==", "!=", "=~", "!~", "=^", "=$", "=>", "+=", ":=", "=", "+", "$", "(", ")", "{", "}", ","];

/// Splits a text.
///
/// # Errors
/// The line of a character that belongs nowhere, or of a text that does not end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, (u32, String)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(char) = rest.chars().next() {
        let mut push = |what| tokens.push(Token { line, what });
        match char {
            '\n' => {
                line += 1;
                rest = &rest[1..];
            }
            '#' => rest = rest.find('\n').map_or("", |end| &rest[end..]),
            '"' => {
                let (text, length) =
                    quoted(&rest[1..]).ok_or((line, "a text does not end".to_owned()))?;
                push(What::Text(text));
                line += u32::try_from(rest[..=length].matches('\n').count()).unwrap_or(0);
                rest = &rest[length + 1..];
            }
            '[' | ']' => {
                push(What::Sign(if char == '[' { "[" } else { "]" }));
                rest = &rest[1..];
            }
            char if char.is_whitespace() => rest = &rest[char.len_utf8()..],
            char if is_word(char) => {
                let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
                push(What::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            char => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or((line, format!("unexpected {char:?}")))?;
                push(What::Sign(sign));
                rest = &rest[sign.len()..];
            }
        }
    }
    Ok(tokens)
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

/// A text up to its closing quote, and how many bytes it took with it.
fn quoted(rest: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((text, at + 1)),
            // Only these two are taken for escapes: the rest belongs to regular expressions.
            '\\' => match chars.clone().next() {
                Some((_, next @ ('"' | '\\'))) => {
                    text.push(next);
                    chars.next();
                }
                _ => text.push('\\'),
            },
            char => text.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split() {
        let text =
            "# all\nssl.pemfile = \"/etc/a\\\"b.pem\" # here\n$HTTP[\"host\"] =~ \"^a\\.b$\" {\n}";
        let found = tokens(text).expect("it is sound");
        let words: Vec<_> = found
            .iter()
            .map(|token| match &token.what {
                What::Word(text) => format!("{}:{text}", token.line),
                What::Text(text) => format!("{}:<{text}>", token.line),
                What::Sign(text) => format!("{}:{text}", token.line),
            })
            .collect();
        let expected = "2:ssl.pemfile 2:= 2:</etc/a\"b.pem> 3:$ 3:HTTP 3:[ 3:<host> 3:] 3:=~ 3:<^a\\.b$> 3:{ 4:}";
        assert_eq!(words.join(" "), expected);
        assert_eq!(tokens("a = \"b").expect_err("it does not end").0, 1);
        assert_eq!(tokens("\n;").expect_err("no sign").0, 2);
    }
}
