//! One staple, ready to be sent: its bytes and what HTTP says about them (RFC 9919 §7).

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::ocsp::Staple;
use crate::time::{HOUR, UnixTime};

/// A cache asks again after this long at the latest: by then there may be a newer answer.
const LONGEST_MAX_AGE: Duration = HOUR;

/// A staple with everything of its HTTP response that does not change from second to second.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) staple: Staple,
    pub(super) body: Bytes,
    pub(super) etag: HeaderValue,
    pub(super) last_modified: HeaderValue,
    pub(super) expires: HeaderValue,
}

impl Answer {
    pub(super) fn new(staple: Staple) -> Answer {
        Answer {
            body: Bytes::from_owner(staple.shared_der()),
            etag: value(&format!("\"{}\"", staple.digest())),
            last_modified: http_date(staple.this_update()),
            expires: http_date(staple.expires()),
            staple,
        }
    }

    /// `Cache-Control` at `now`: what runs out before the staple does, and nothing once it has.
    pub(super) fn cache_control(&self, now: UnixTime) -> HeaderValue {
        let left = self.staple.expires().since(now).min(LONGEST_MAX_AGE + Duration::from_secs(1));
        let max_age = left.as_secs().saturating_sub(1);
        let mut text = String::with_capacity(64);
        let _ = write!(text, "max-age={max_age}, public, no-transform, must-revalidate");
        HeaderValue::from_maybe_shared(Bytes::from(text)).expect("digits and words")
    }

    /// Whether a client that says so has these bytes already (RFC 9110 §13.2.2).
    pub(super) fn is_held_by(
        &self,
        if_none_match: Option<&HeaderValue>,
        if_modified_since: Option<&HeaderValue>,
    ) -> bool {
        match (if_none_match, if_modified_since) {
            (Some(tags), _) => {
                let own = self.etag.as_bytes();
                let tags = tags.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let mut tags = tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
                tags.any(|tag| tag == own || tag == b"*")
            }
            (None, Some(date)) => date
                .to_str()
                .ok()
                .and_then(parse_http_date)
                .is_some_and(|date| self.staple.this_update() <= date),
            (None, None) => false,
        }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("hex and dates are visible ASCII")
}

/// An instant as HTTP writes it (RFC 9110 §5.6.7): `Sun, 22 Nov 2026 14:14:35 GMT`.
pub(super) fn http_date(instant: UnixTime) -> HeaderValue {
    let text = |seconds| {
        let timestamp = Timestamp::from_second(seconds).ok()?;
        DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).ok()
    };
    // Beyond the year 9999 there is no such date, nor does anybody ask.
    value(&text(instant.as_secs()).unwrap_or_else(|| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()))
}

fn parse_http_date(text: &str) -> Option<UnixTime> {
    let timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(UnixTime::from_secs(timestamp.as_second()))
}
