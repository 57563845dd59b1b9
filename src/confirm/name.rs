//! Server names as configurations write them, made into one that a client could ask for.

use std::net::IpAddr;

/// A name that `pattern`, an nginx `server_name` or an Apache `ServerAlias`, would match.
///
/// Wildcards are filled in; none for what names nobody: a regular expression, an empty name, `_`, an
/// address. Those are looked at without SNI.
pub fn name_to_ask_for(pattern: &str) -> Option<String> {
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    let filled = match pattern.strip_prefix('.') {
        // nginx: ".example.com" is "example.com" and "*.example.com".
        Some(rest) => rest.to_owned(),
        None => pattern.replace('*', "staplekeeper-probe"),
    };
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let is_name = filled.len() <= 253 && filled.split('.').all(is_label) && filled != "_";
    (is_name && filled.parse::<IpAddr>().is_err()).then_some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, expected) in [
            ("www.example.com", Some("www.example.com")),
            ("WWW.Example.COM.", Some("www.example.com")),
            ("localhost", Some("localhost")),
            ("*.example.com", Some("staplekeeper-probe.example.com")),
            (".example.com", Some("example.com")),
            ("www.example.*", Some("www.example.staplekeeper-probe")),
            ("a_b.example.com", Some("a_b.example.com")),
            ("~^www\\d+\\.example\\.com$", None),
            ("", None),
            ("_", None),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
            ("$hostname", None),
            ("bücher.example", None),
        ] {
            assert_eq!(name_to_ask_for(pattern).as_deref(), expected, "{pattern}");
        }
    }
}
