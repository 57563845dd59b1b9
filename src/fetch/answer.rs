//! What came back: a body and the headers that guide the next question (RFC 9919 §7, RFC 9111).

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{self, HeaderMap, HeaderName};

use crate::time::UnixTime;

/// What a responder sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The body; one that decodes, or empty where `not_modified`.
    pub body: Vec<u8>,
    /// The HTTP status, which proves nothing.
    pub http_status: u16,
    /// The answer held is still the newest (304, and we had sent its validators).
    pub not_modified: bool,
    /// To be sent with the next question.
    pub validators: Validators,
    /// How long the responder asks not to be asked again: max-age less Age, else Expires less Date.
    pub fresh_for: Option<Duration>,
    /// The server's clock, UTC.
    pub date: Option<UnixTime>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// As sent, for messages.
    pub(super) content_type: Option<String>,
}

/// What names one version of an answer (RFC 9110 §8.8); both as the server wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, quotes included.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl Answered {
    /// `conditional`: validators had been sent, so that a 304 means something.
    pub(super) fn new(
        http_status: u16,
        headers: &HeaderMap,
        body: Vec<u8>,
        conditional: bool,
    ) -> Answered {
        let date = instant(headers, header::DATE);
        Answered {
            body,
            http_status,
            not_modified: conditional && http_status == 304,
            validators: Validators {
                etag: text(headers, header::ETAG).map(str::to_owned),
                last_modified: text(headers, header::LAST_MODIFIED).map(str::to_owned),
            },
            fresh_for: fresh_for(headers, date),
            date,
            retry_after: retry_after(headers, date),
            content_type: text(headers, header::CONTENT_TYPE).map(str::to_owned),
        }
    }
}

fn fresh_for(headers: &HeaderMap, date: Option<UnixTime>) -> Option<Duration> {
    let mut max_age = None;
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    for directive in lines.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => return Some(Duration::ZERO),
            "max-age" => max_age = max_age.or(seconds(value.trim().trim_matches('"'))),
            _ => {}
        }
    }
    if let Some(max_age) = max_age {
        let age = text(headers, header::AGE).and_then(seconds).unwrap_or_default();
        return Some(max_age.saturating_sub(age));
    }
    let expires = text(headers, header::EXPIRES)?;
    match parse_instant(expires) {
        Some(expires) => Some(expires.since(date?)),
        // RFC 9111 §5.3: an invalid date, "0" above all, is in the past.
        None => Some(Duration::ZERO),
    }
}

fn retry_after(headers: &HeaderMap, date: Option<UnixTime>) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?;
    seconds(value).or_else(|| Some(parse_instant(value)?.since(date?)))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn instant(headers: &HeaderMap, name: HeaderName) -> Option<UnixTime> {
    parse_instant(text(headers, name)?)
}

/// An HTTP-date in the form that servers must write (RFC 9110 §5.6.7).
fn parse_instant(text: &str) -> Option<UnixTime> {
    let timestamp = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(UnixTime::from_secs(timestamp.as_second()))
}

/// Digits only, as HTTP writes lengths of time; absurd ones are a century.
fn seconds(text: &str) -> Option<Duration> {
    const CENTURY: u64 = 100 * 365 * 86_400;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(text.parse().unwrap_or(CENTURY).min(CENTURY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Date: Sun, 22 Nov 2026 14:14:35 GMT";

    /// `lines` are headers; what is expected is (fresh_for, retry_after) in seconds.
    fn check(lines: &[&str], expected: (Option<u64>, Option<u64>)) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("name: value");
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, value.parse().expect("a header value"));
        }
        let answered = Answered::new(200, &headers, Vec::new(), false);
        let found = (answered.fresh_for, answered.retry_after);
        let found = (found.0.map(|d| d.as_secs()), found.1.map(|d| d.as_secs()));
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn freshness() {
        check(&[], (None, None));
        check(&["Cache-Control: public, max-age=3600"], (Some(3600), None));
        check(&["Cache-Control: MAX-AGE=\"60\", must-revalidate", "Age: 20"], (Some(40), None));
        check(&["Cache-Control: max-age=60", "Age: 90"], (Some(0), None));
        check(&["Cache-Control: public", "Cache-Control: max-age=7"], (Some(7), None));
        check(&["Cache-Control: max-age=0, no-cache"], (Some(0), None));
        check(&["Cache-Control: no-store, max-age=9"], (Some(0), None));
        check(&["Cache-Control: max-age=-5"], (None, None));
        check(&["Cache-Control: max-age=99999999999999999999999"], (Some(3_153_600_000), None));
        check(&[DATE, "Expires: Sun, 22 Nov 2026 15:14:35 GMT"], (Some(3600), None));
        check(&[DATE, "Expires: Sun, 22 Nov 2026 13:14:35 GMT"], (Some(0), None));
        check(&[DATE, "Expires: 0"], (Some(0), None));
        check(&["Expires: Sun, 22 Nov 2026 15:14:35 GMT"], (None, None));
        let both = [DATE, "Expires: Sun, 22 Nov 2026 15:14:35 GMT", "Cache-Control: max-age=5"];
        check(&both, (Some(5), None));
    }

    #[test]
    fn retry_after_by_length_and_by_date() {
        check(&["Retry-After: 120"], (None, Some(120)));
        check(&[DATE, "Retry-After: Sun, 22 Nov 2026 14:15:35 GMT"], (None, Some(60)));
        check(&["Retry-After: Sun, 22 Nov 2026 14:15:35 GMT"], (None, None));
        check(&["Retry-After: soon"], (None, None));
    }

    #[test]
    fn not_modified_only_where_it_was_asked() {
        let answered = |conditional| Answered::new(304, &HeaderMap::new(), Vec::new(), conditional);
        assert!(answered(true).not_modified);
        assert!(!answered(false).not_modified);
    }
}
