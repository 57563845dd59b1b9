//! HTTP to OCSP responders (RFC 6960 appendix A, RFC 9919 §6), and to the places issuers lie at.
//!
//! A [`Question`] goes in, an [`Answered`] with a body that decodes comes out, or an [`AskError`] that
//! says whether the host or the certificate is at fault. How long to wait, whom to ask and how many at
//! once is the planner's; what the body says is `ocsp`'s. One [`Fetcher`] serves the whole program and
//! keeps connections alive between questions; an idle one holds no timer and no connection.
//!
//! `question` puts a request into a URL or a body, `answer` reads the headers, `address` says where a
//! URL out of a certificate may lead, `clients` keeps one HTTP client per way out.

mod address;
mod answer;
mod clients;
mod error;
mod issuer;
mod question;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};

use address::Forbidden;
pub use answer::{Answered, Validators};
use clients::Clients;
pub use error::AskError;
use question::Verb;
pub use question::{AskOptions, Method, Question, Route};

/// The bounds every request obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For one TCP connection and its TLS handshake.
    pub connect_timeout: Duration,
    /// For a whole question: redirects, the other method and the body included.
    pub timeout: Duration,
    /// A longer body is refused.
    pub max_body_bytes: usize,
    /// A longer chain of redirects is refused.
    pub max_redirects: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            max_body_bytes: 64 * 1024,
            max_redirects: 3,
        }
    }
}

/// Asks responders. Cheap when idle; share one by reference or `Arc`.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    clients: Clients,
    habits: Mutex<HashMap<String, Habit>>,
}

/// What was learned of a URL; forgotten at a restart.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    /// It understands this one and did not understand the other.
    prefers: Option<Verb>,
    /// The last request was answered, so its connection may have gone stale since.
    answered: bool,
}

/// An OCSPResponse with the status malformedRequest. Some servers merge slashes in a path even where
/// they are percent-encoded (Go's does, by a redirect), and what is left of a GET is another request.
const MALFORMED_REQUEST: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x01];

/// URLs come from certificates, which others write: no more of them are remembered.
const MAX_HABITS: usize = 1024;

impl Fetcher {
    /// A fetcher that obeys `settings`. No socket or file is opened before the first question; the
    /// system's root certificates are read at the first `https` one.
    pub fn new(settings: Settings) -> Fetcher {
        Fetcher { clients: Clients::new(&settings), settings, habits: Mutex::default() }
    }

    /// Asks one responder about one certificate.
    ///
    /// `decodes` says whether a body is an OCSPResponse at all, whatever it answers. With
    /// [`Method::Auto`] a body that is none, `malformedRequest`, and HTTP 400, 404, 405, 414 and 501, are
    /// reason to ask once more by the other method; 429 and further 5xx are not, since that host is in
    /// trouble. The body is looked at whatever the HTTP status says: Vault sends `unauthorized` with a 401.
    ///
    /// # Errors
    /// [`AskError`]; of two attempts, the first one's.
    pub async fn ask(
        &self,
        question: &Question<'_>,
        decodes: impl Fn(&[u8]) -> bool,
    ) -> Result<Answered, AskError> {
        let after = self.settings.timeout;
        let asking = self.by_either_method(question, decodes);
        match tokio::time::timeout(after, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AskError::TimedOut { url: question.url.to_owned(), after }),
        }
    }

    async fn by_either_method(
        &self,
        question: &Question<'_>,
        decodes: impl Fn(&[u8]) -> bool,
    ) -> Result<Answered, AskError> {
        let (verb, other) = question.verbs(self.habit(question.url).prefers);
        let first = self.exchange(Exchange::asking(question, verb)?).await?;
        let first_decodes = first.not_modified || decodes(&first.body);
        let misread = speaks_of_the_method(first.http_status) || first.body == MALFORMED_REQUEST;
        if first_decodes && !misread {
            return Ok(first);
        }
        let in_trouble = !first_decodes && is_host_fault(first.http_status);
        if let Some(other) = other.filter(|_| !in_trouble) {
            tracing::debug!(url = question.url, status = first.http_status, "asking by {other:?}");
            if let Ok(second) = self.exchange(Exchange::asking(question, other)?).await
                && (second.not_modified || decodes(&second.body))
            {
                if second.body != MALFORMED_REQUEST {
                    self.learn(question.url, |habit| habit.prefers = Some(other));
                }
                return Ok(second);
            }
        }
        if first_decodes { Ok(first) } else { Err(AskError::not_a_response(question.url, &first)) }
    }

    /// One request, with the redirects it leads to.
    async fn exchange(&self, mut exchange: Exchange<'_>) -> Result<Answered, AskError> {
        for _ in 0..=self.settings.max_redirects {
            let response = self.send(&exchange).await?;
            let Some(next) = redirect(&response, &exchange)? else {
                return self.read(response, &exchange).await;
            };
            // RFC 9110 §15.4.4: "see other" is read, never posted to. The others keep the method: what
            // browsers do to a POST would send the responder a request without its question.
            if response.status() == StatusCode::SEE_OTHER {
                exchange.body = None;
            }
            exchange.url = next;
        }
        let limit = self.settings.max_redirects;
        Err(AskError::Redirects { url: exchange.asked.to_owned(), limit })
    }

    async fn send(&self, exchange: &Exchange<'_>) -> Result<Response, AskError> {
        let client = self.clients.client(exchange.route, &exchange.url)?;
        let request = || {
            let (url, headers) = (exchange.url.clone(), exchange.headers.clone());
            let Some(body) = exchange.body else { return client.get(url).headers(headers) };
            let request = client.post(url).headers(headers).body(body.to_vec());
            request.header(header::CONTENT_TYPE, "application/ocsp-request")
        };
        let mut sent = request().send().await;
        // The server may close an idle connection in the instant we use it: that is nobody's fault.
        if let Err(error) = &sent
            && error.is_request()
            && !error.is_connect()
            && !error.is_timeout()
            && self.habit(exchange.asked).answered
        {
            self.learn(exchange.asked, |habit| habit.answered = false);
            sent = request().send().await;
        }
        match sent {
            Ok(response) => {
                self.learn(exchange.asked, |habit| habit.answered = true);
                Ok(response)
            }
            Err(error) => Err(self.failure(error, exchange.asked)),
        }
    }

    /// Reads the body up to the limit; its stated length is not believed.
    async fn read(
        &self,
        mut response: Response,
        exchange: &Exchange<'_>,
    ) -> Result<Answered, AskError> {
        let url = exchange.asked;
        let limit = self.settings.max_body_bytes;
        let too_large = || AskError::TooLarge { url: url.to_owned(), limit };
        let stated = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if stated > limit {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(stated);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error, url))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status().as_u16();
        Ok(Answered::new(status, response.headers(), body, exchange.conditional))
    }

    fn failure(&self, error: reqwest::Error, url: &str) -> AskError {
        let url = url.to_owned();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(Forbidden { address, .. }) = inner.downcast_ref() {
                return AskError::ForbiddenAddress { url, address: *address };
            }
            cause = inner.source();
        }
        let source = error.without_url();
        match () {
            () if source.is_connect() && source.is_timeout() => {
                AskError::ConnectTimedOut { url, after: self.settings.connect_timeout }
            }
            () if source.is_timeout() => AskError::TimedOut { url, after: self.settings.timeout },
            () if source.is_connect() => AskError::Connect { url, source },
            () => AskError::Broken { url, source },
        }
    }

    fn habit(&self, url: &str) -> Habit {
        let habits = self.habits.lock().expect("nothing panics while it holds this");
        habits.get(url).copied().unwrap_or_default()
    }

    fn learn(&self, url: &str, change: impl FnOnce(&mut Habit)) {
        let mut habits = self.habits.lock().expect("nothing panics while it holds this");
        if let Some(habit) = habits.get_mut(url) {
            return change(habit);
        }
        if habits.len() >= MAX_HABITS {
            habits.clear();
        }
        change(habits.entry(url.to_owned()).or_default());
    }
}

/// Statuses that may mean "not by this method", whatever the body says.
fn speaks_of_the_method(http_status: u16) -> bool {
    matches!(http_status, 400 | 404 | 405 | 414 | 501)
}

/// Statuses that speak of the host, not of what it was asked.
fn is_host_fault(http_status: u16) -> bool {
    http_status == 429 || (http_status >= 500 && http_status != 501)
}

/// One HTTP request on its way.
struct Exchange<'a> {
    /// The URL that was asked for, which errors and habits go by.
    asked: &'a str,
    /// Where the request goes now.
    url: Url,
    /// POST with these bytes; else GET.
    body: Option<&'a [u8]>,
    headers: HeaderMap,
    /// Validators are sent, so that a 304 means something.
    conditional: bool,
    route: &'a Route,
}

impl<'a> Exchange<'a> {
    fn new(asked: &'a str, url: Url, body: Option<&'a [u8]>, route: &'a Route) -> Exchange<'a> {
        Exchange { asked, url, body, headers: HeaderMap::new(), conditional: false, route }
    }

    fn asking(question: &Question<'a>, verb: Verb) -> Result<Exchange<'a>, AskError> {
        let AskOptions { no_cache, validators, route, .. } = question.options;
        let base = address::check(question.url, question.url)?;
        let (url, body) = match verb {
            Verb::Get => (address::check(&question.get_url(), question.url)?, None),
            Verb::Post => (base, Some(question.request)),
        };
        let mut exchange = Exchange::new(question.url, url, body, route);
        let headers = &mut exchange.headers;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/ocsp-response"));
        if *no_cache {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        }
        let validators = validators.as_ref().filter(|_| verb == Verb::Get && !no_cache);
        if let Some(Validators { etag, last_modified }) = validators {
            let pairs = [(header::IF_NONE_MATCH, etag), (header::IF_MODIFIED_SINCE, last_modified)];
            for (name, value) in pairs {
                let value = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
                exchange.conditional |= value.is_some();
                headers.extend(value.map(|value| (name, value)));
            }
        }
        Ok(exchange)
    }
}

/// Where a response leads on to, if it does.
fn redirect(response: &Response, exchange: &Exchange<'_>) -> Result<Option<Url>, AskError> {
    let status = response.status().as_u16();
    let location = response.headers().get(header::LOCATION);
    let Some(location) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
        return Ok(None);
    };
    let to = String::from_utf8_lossy(location.as_bytes());
    let from = &exchange.url;
    let next = from.join(&to).map_err(|_| AskError::NotAUrl { url: to.clone().into_owned() })?;
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(AskError::Downgrade { url: exchange.asked.to_owned(), to: next.into() });
    }
    address::check(next.as_str(), exchange.asked).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        let mut fetcher = Fetcher::new(Settings::default());
        fetcher.clients.resolver.is_forbidden = |address| address.is_loopback();
        let options = AskOptions::default();
        let question =
            Question { url: "http://localhost:9/", request: &[0x30, 0], options: &options };
        let error = fetcher.ask(&question, |_| true).await.expect_err("loopback is forbidden here");
        assert!(matches!(error, AskError::ForbiddenAddress { .. }), "{error:?}");
        assert!(!error.is_host_fault());
    }
}
