//! What is asked, and how it travels: RFC 9919 §6 puts short requests into the URL.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::answer::Validators;

/// RFC 9919 §6: up to this length of the whole URL a request MUST go by GET.
pub(super) const MAX_GET_URL_BYTES: usize = 255;

/// The characters of base64 that mean something else in a URL. A raw `//` would be merged by proxies,
/// which cost Let's Encrypt two days in May 2017.
const BASE64_IN_A_URL: &AsciiSet = &CONTROLS.add(b'+').add(b'/').add(b'=');

/// One request to one responder.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The responder, `http` or `https`, as the certificate or the configuration has it.
    pub url: &'a str,
    /// The OCSPRequest, DER.
    pub request: &'a [u8],
    /// How to ask.
    pub options: &'a AskOptions,
}

/// How a responder is asked; the default fits most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskOptions {
    /// By GET or POST.
    pub method: Method,
    /// `Cache-Control: no-cache`, and unconditional: for after an expired answer, or by hand
    /// (RFC 9919 §7.2).
    pub no_cache: bool,
    /// Of the answer held, so that the responder may say "not modified"; sent with GET only.
    pub validators: Option<Validators>,
    /// The way out.
    pub route: Route,
}

/// `method` of an issuer profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET where the URL stays short, else POST; the other one where the first is not understood.
    #[default]
    Auto,
    /// GET only, however long.
    Get,
    /// POST only.
    Post,
}

/// The way to a responder: what an issuer profile says about proxies and trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// `http://host:port` of a proxy for every request; none: what `HTTP_PROXY`, `HTTPS_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` say, loopback never.
    pub proxy: Option<String>,
    /// PEM bundle that an `https` responder's certificate is judged by, instead of the system's.
    pub tls_ca: Option<PathBuf>,
}

/// A method once it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

impl Question<'_> {
    /// The verb to begin with, and the one to fall back to.
    pub(super) fn verbs(&self, preferred: Option<Verb>) -> (Verb, Option<Verb>) {
        match self.options.method {
            Method::Get => (Verb::Get, None),
            Method::Post => (Verb::Post, None),
            // Behind a query there is no path to append to.
            Method::Auto if self.url.contains(['?', '#']) => (Verb::Post, None),
            Method::Auto => {
                let short = self.get_url().len() <= MAX_GET_URL_BYTES;
                match preferred.unwrap_or(if short { Verb::Get } else { Verb::Post }) {
                    Verb::Get => (Verb::Get, Some(Verb::Post)),
                    Verb::Post => (Verb::Post, Some(Verb::Get)),
                }
            }
        }
    }

    /// The URL with exactly one slash, then the request in percent-encoded standard base64.
    pub(super) fn get_url(&self) -> String {
        let encoded = STANDARD.encode(self.request);
        let slash = if self.url.ends_with('/') { "" } else { "/" };
        format!("{}{slash}{}", self.url, utf8_percent_encode(&encoded, BASE64_IN_A_URL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, request: &[u8], method: Method, expected: (Verb, Option<Verb>)) {
        let options = AskOptions { method, ..AskOptions::default() };
        let question = Question { url, request, options: &options };
        assert_eq!(question.verbs(None), expected, "{url} {method:?}");
    }

    #[test]
    fn short_requests_go_into_the_url() {
        let (get, post) = ((Verb::Get, Some(Verb::Post)), (Verb::Post, Some(Verb::Get)));
        // 84 bytes make 112 characters of base64 without padding: 143 more make 255.
        let host = |length: usize| format!("http://{}/", "a".repeat(length - 8));
        check(&host(143), &[0; 84], Method::Auto, get);
        check(&host(144), &[0; 84], Method::Auto, post);
        check(&host(142)[..141], &[0; 84], Method::Auto, get);
        check(&host(144), &[0; 84], Method::Get, (Verb::Get, None));
        check(&host(20), &[0; 84], Method::Post, (Verb::Post, None));
        check("http://o.example/?ca=1", &[0; 84], Method::Auto, (Verb::Post, None));
    }

    #[test]
    fn one_slash_and_no_raw_base64_punctuation() {
        for url in ["http://ocsp.example", "http://ocsp.example/"] {
            let options = AskOptions::default();
            let question = Question { url, request: &[0xfb, 0xff, 0xfe, 0x01], options: &options };
            assert_eq!(question.get_url(), "http://ocsp.example/%2B%2F%2F%2BAQ%3D%3D");
        }
    }

    #[test]
    fn a_learned_verb_comes_first() {
        let options = AskOptions::default();
        let question = Question { url: "http://o.example/", request: &[0], options: &options };
        assert_eq!(question.verbs(Some(Verb::Post)), (Verb::Post, Some(Verb::Get)));
    }
}
