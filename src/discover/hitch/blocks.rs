//! hitch's grammar: `key = value` and `key = { … }`, comments behind `#`.

/// An assignment, with its line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) line: u32,
    pub(super) name: String,
    pub(super) value: Value,
}

/// What is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Without its quotes.
    Text(String),
    Block(Vec<Assignment>),
}

/// Reads a whole text.
///
/// # Errors
/// The line that cannot be read, and why.
pub(super) fn read(text: &str) -> Result<Vec<Assignment>, (u32, &'static str)> {
    let mut open: Vec<(u32, String, Vec<Assignment>)> = Vec::new();
    let mut outermost = Vec::new();
    for (text, line) in text.lines().zip(1..) {
        let mut rest = text.trim();
        while !rest.is_empty() && !rest.starts_with('#') {
            if let Some(behind) = rest.strip_prefix('}') {
                let (line, name, inner) = open.pop().ok_or((line, "a '}' too many"))?;
                let value = Value::Block(inner);
                let into = open.last_mut().map_or(&mut outermost, |(.., inner)| inner);
                into.push(Assignment { line, name, value });
                rest = behind.trim_start();
                continue;
            }
            let (name, behind) = rest.split_once('=').ok_or((line, "a '=' is missing"))?;
            let name = name.trim().trim_matches('"').to_ascii_lowercase();
            let behind = behind.trim_start();
            if let Some(behind) = behind.strip_prefix('{') {
                open.push((line, name, Vec::new()));
                rest = behind.trim_start();
                continue;
            }
            let (value, behind) = value(behind).ok_or((line, "a quote does not end"))?;
            let into = open.last_mut().map_or(&mut outermost, |(.., inner)| inner);
            into.push(Assignment { line, name, value: Value::Text(value) });
            rest = behind;
        }
    }
    match open.pop() {
        Some((line, ..)) => Err((line, "a '{' without its '}'")),
        None => Ok(outermost),
    }
}

/// A value at the start of `text`, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let (value, behind) = rest.split_once(quote)?;
            return Some((value.to_owned(), behind.trim_start()));
        }
    }
    // `TLSv1.2 TLSv1.3` is one; a block may end on its line.
    let end = text.find(['#', '}']).unwrap_or(text.len());
    Some((text[..end].trim().to_owned(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(all: &[Assignment]) -> String {
        let one = |one: &Assignment| match &one.value {
            Value::Text(text) => format!("{}:{}=<{text}>", one.line, one.name),
            Value::Block(inner) => format!("{}:{}{{{}}}", one.line, one.name, told(inner)),
        };
        all.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn assignments_and_blocks() {
        let text = "# hitch\nfrontend = \"[*]:443\" # all\nworkers = 4\ntls-protos = TLSv1.2 TLSv1.3\n\
                    pem-file = {\n  cert = \"/a.pem\"\n  ocsp-resp-file = '/a.der'\n}\n\
                    pem-file = { cert = \"/b.pem\" }\ndaemon = on\n";
        let expected = "2:frontend=<[*]:443> 3:workers=<4> 4:tls-protos=<TLSv1.2 TLSv1.3> \
                        5:pem-file{6:cert=</a.pem> 7:ocsp-resp-file=</a.der>} \
                        9:pem-file{9:cert=</b.pem>} 10:daemon=<on>";
        assert_eq!(told(&read(text).expect("it is sound")), expected);
        for (wrong, line) in [("a\n", 1), ("a = \"b\n", 1), ("\nb = {\n", 2), ("}\n", 1)] {
            assert_eq!(read(wrong).map_err(|(line, _)| line), Err(line), "{wrong:?}");
        }
    }
}
