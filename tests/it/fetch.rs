//! The fetcher against a scripted responder: what it sends, what it makes of what comes back.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use staplekeeper::fetch::{
    Answered, AskError, AskOptions, Fetcher, Method, Question, Route, Settings,
};

use crate::support::port::free_port;
use crate::support::responder::{Reply, Request, Responder};

/// Stands for an OCSPRequest whose base64 holds every awkward character.
const REQUEST: &[u8] = &[0x30, 0x03, 0xfb, 0xff, 0xfe];
/// Stands for an OCSPResponse.
const RESPONSE: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x00];

/// Stands for itself.
const MALFORMED_REQUEST: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x01];

fn decodes(body: &[u8]) -> bool {
    body == RESPONSE || body == MALFORMED_REQUEST
}

/// A fetcher that loses patience within the test's.
fn fetcher() -> Fetcher {
    let timeout = Duration::from_secs(2);
    Fetcher::new(Settings { timeout, ..Settings::default() })
}

async fn ask(url: &str, options: &AskOptions) -> Result<Answered, AskError> {
    let question = Question { url, request: REQUEST, options };
    fetcher().ask(&question, decodes).await
}

fn by(method: Method) -> AskOptions {
    AskOptions { method, ..AskOptions::default() }
}

/// The methods of the requests that came.
fn methods(responder: &Responder) -> String {
    responder.log().iter().map(|request| request.method.as_str()).collect::<Vec<_>>().join(" ")
}

/// An error with its causes, as `main` prints it, without the port.
fn chain(error: &AskError, responder: &Responder) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text.replace(&responder.url(), "URL")
}

#[tokio::test]
async fn get_carries_the_request_in_the_path() {
    let responder = Responder::start(|_| Reply::ocsp(RESPONSE));
    let answered = ask(&responder.url(), &AskOptions::default()).await.expect("an answer");
    assert_eq!((answered.body.as_slice(), answered.http_status), (RESPONSE, 200));
    let [request] = &responder.log()[..] else { panic!("one request") };
    assert_eq!(request.target, "/MAP7%2F%2F4%3D");
    assert_eq!(request.ocsp.as_deref(), Some(REQUEST));
    assert_eq!(request.version, "HTTP/1.1");
    let host = format!("127.0.0.1:{}", responder.port());
    assert_eq!(request.header("host"), Some(host.as_str()));
    assert_eq!(request.header("accept"), Some("application/ocsp-response"));
    assert_eq!(request.header("cache-control"), None);
}

#[tokio::test]
async fn post_carries_it_in_the_body() {
    let responder = Responder::start(|_| Reply::ocsp(RESPONSE));
    ask(&responder.url(), &by(Method::Post)).await.expect("an answer");
    let [request] = &responder.log()[..] else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.body.as_slice()), ("POST", REQUEST));
    assert_eq!(request.header("content-type"), Some("application/ocsp-request"));
    assert_eq!(request.header("content-length"), Some("5"));
}

#[tokio::test]
async fn connections_are_kept() {
    let responder = Responder::start(|_| Reply::ocsp(RESPONSE));
    let (fetcher, url, options) = (fetcher(), responder.url(), AskOptions::default());
    for _ in 0..5 {
        let question = Question { url: &url, request: REQUEST, options: &options };
        fetcher.ask(&question, decodes).await.expect("an answer");
    }
    assert_eq!((responder.requests(), responder.connections()), (5, 1));
}

#[tokio::test]
async fn the_other_method_is_tried_once() {
    /// `get` and `post` are what each method is answered with.
    async fn check(method: Method, get: Reply, post: Reply, expected: (&str, bool)) {
        let responder = Responder::start(move |request| match request.method.as_str() {
            "GET" => get.clone(),
            _ => post.clone(),
        });
        let asked = ask(&responder.url(), &by(method)).await;
        assert_eq!((methods(&responder).as_str(), asked.is_ok()), expected, "{asked:?}");
    }
    let good = || Reply::ocsp(RESPONSE);
    for status in [400, 404, 405, 414, 501, 200] {
        check(Method::Auto, Reply::html(status), good(), ("GET POST", true)).await;
    }
    check(Method::Auto, Reply::ocsp(""), good(), ("GET POST", true)).await;
    check(Method::Auto, Reply::html(404), Reply::html(404), ("GET POST", false)).await;
    check(Method::Auto, Reply::html(429), good(), ("GET", false)).await;
    check(Method::Auto, Reply::html(503), good(), ("GET", false)).await;
    check(Method::Get, Reply::html(405), good(), ("GET", false)).await;
    check(Method::Post, good(), Reply::html(405), ("POST", false)).await;
    // A body that decodes counts whatever the status; a status about the method still asks again.
    check(Method::Auto, good().status(401), good(), ("GET", true)).await;
    check(Method::Auto, good().status(500), good(), ("GET", true)).await;
    check(Method::Auto, good().status(400), Reply::html(500), ("GET POST", true)).await;
    let malformed = || Reply::ocsp(MALFORMED_REQUEST);
    check(Method::Auto, malformed(), good(), ("GET POST", true)).await;
    check(Method::Auto, malformed(), malformed(), ("GET POST", true)).await;
    check(Method::Get, malformed(), good(), ("GET", true)).await;
    // The connection that the GET left might have gone stale, hence two of them.
    check(Method::Auto, good().status(400), Reply::Reset, ("GET POST POST", true)).await;
}

#[tokio::test]
async fn the_method_that_works_is_remembered() {
    let responder = Responder::start(|request| match request.method.as_str() {
        "GET" => Reply::html(405),
        _ => Reply::ocsp(RESPONSE),
    });
    let (fetcher, url, options) = (fetcher(), responder.url(), AskOptions::default());
    for _ in 0..3 {
        let question = Question { url: &url, request: REQUEST, options: &options };
        fetcher.ask(&question, decodes).await.expect("an answer");
    }
    assert_eq!(methods(&responder), "GET POST POST POST");
}

#[tokio::test]
async fn validators_bring_a_304() {
    let responder = Responder::start(|request| match request.header("if-none-match") {
        Some("\"v1\"") => Reply::http(304, "application/ocsp-response", "").with("ETag", "\"v1\""),
        _ => Reply::ocsp(RESPONSE)
            .with("ETag", "\"v1\"")
            .with("Last-Modified", "Sun, 22 Nov 2026 14:14:35 GMT")
            .with("Cache-Control", "max-age=600"),
    });
    let mut options = AskOptions::default();
    let first = ask(&responder.url(), &options).await.expect("an answer");
    assert!(!first.not_modified && first.fresh_for == Some(Duration::from_secs(600)));
    options.validators = Some(first.validators);
    let second = ask(&responder.url(), &options).await.expect("an answer");
    assert!(second.not_modified && second.body.is_empty());
    let since = "Sun, 22 Nov 2026 14:14:35 GMT";
    assert_eq!(responder.log()[1].header("if-modified-since"), Some(since));
    // Afresh: unconditional and past caches.
    options.no_cache = true;
    let third = ask(&responder.url(), &options).await.expect("an answer");
    assert_eq!(third.body, RESPONSE);
    let request = &responder.log()[2];
    assert_eq!(request.header("if-none-match"), None);
    assert_eq!(request.header("cache-control"), Some("no-cache"));
    assert_eq!(request.header("pragma"), Some("no-cache"));
}

#[tokio::test]
async fn redirects_are_followed_with_the_method_kept() {
    for (status, method, expected) in [
        (301, Method::Get, "GET GET"),
        (302, Method::Post, "POST POST"),
        (307, Method::Post, "POST POST"),
        (308, Method::Get, "GET GET"),
        (303, Method::Post, "POST GET"),
    ] {
        let responder = Responder::start(move |request| match request.target.as_str() {
            "/there" => Reply::ocsp(RESPONSE),
            _ => Reply::redirect(status, "/there"),
        });
        ask(&responder.url(), &by(method)).await.expect("an answer");
        assert_eq!(methods(&responder), expected, "{status}");
    }
}

#[tokio::test]
async fn faults_say_what_happened_and_whose_it_is() {
    async fn check(reply: Reply, expected: &str, host: bool) {
        let responder = Responder::start(move |_| reply.clone());
        let error = ask(&responder.url(), &by(Method::Get)).await.expect_err(expected);
        let text = chain(&error, &responder);
        assert!(text.contains(expected), "{text}");
        assert_eq!(error.is_host_fault(), host, "{text}");
        assert!(!error.hint().is_empty());
    }
    let none = "URL: HTTP 200 with text/html of 52 bytes instead of an OCSP response";
    check(Reply::html(200), none, false).await;
    check(Reply::html(403), "HTTP 403 with text/html", false).await;
    check(Reply::html(429), "HTTP 429", true).await;
    check(Reply::html(503), "HTTP 503", true).await;
    check(Reply::Hang, "URL: no answer within 2s", true).await;
    check(Reply::Reset, "URL: the answer broke off", true).await;
    check(Reply::Raw(b"220 ESMTP\r\n".to_vec()), "URL: the answer broke off", true).await;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut";
    check(Reply::Raw(cut.to_vec()), "URL: the answer broke off", true).await;
    check(Reply::huge(65_537), "URL: the answer exceeds 65536 bytes", false).await;
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![0x30; 70_000]].concat();
    check(Reply::Raw(endless), "URL: the answer exceeds 65536 bytes", false).await;
    check(Reply::redirect(302, "/again"), "URL: more than 3 redirects", false).await;
    let metadata = Reply::redirect(302, "http://169.254.169.254/latest/meta-data/");
    check(metadata, "URL leads to 169.254.169.254, which must not be asked", false).await;
    check(Reply::redirect(302, "file:///etc/passwd"), "neither http nor https", false).await;
}

#[tokio::test]
async fn retry_after_reaches_the_caller() {
    let responder = Responder::start(|_| Reply::html(503).with("Retry-After", "120"));
    let error = ask(&responder.url(), &AskOptions::default()).await.expect_err("no answer");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn a_dead_host_is_a_host_fault() {
    let responder = Responder::start(|_| Reply::ocsp(RESPONSE));
    let (fetcher, url, options) = (fetcher(), responder.url(), AskOptions::default());
    let question = Question { url: &url, request: REQUEST, options: &options };
    fetcher.ask(&question, decodes).await.expect("an answer");
    responder.kill();
    let error = fetcher.ask(&question, decodes).await.expect_err("nobody listens");
    assert!(error.is_host_fault() && chain(&error, &responder).contains("Connection refused"));
    responder.restart();
    fetcher.ask(&question, decodes).await.expect("it is back");

    let error = ask("http://no-such-host.invalid/", &options).await.expect_err("no such host");
    assert!(matches!(error, AskError::Connect { .. }) && error.is_host_fault(), "{error:?}");
    // TEST-NET-1 leads nowhere: either no route or no patience.
    let hasty = Settings { connect_timeout: Duration::from_millis(100), ..Settings::default() };
    let question = Question { url: "http://192.0.2.1/", request: REQUEST, options: &options };
    let error = Fetcher::new(hasty).ask(&question, decodes).await.expect_err("nobody is there");
    assert!(error.is_host_fault(), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_went_stale_is_nobodys_fault() {
    let mut served = 0;
    let responder = Responder::start(move |_| {
        served += 1;
        // As when the server's keep-alive ends in the instant of the next request.
        if served == 2 { Reply::Reset } else { Reply::ocsp(RESPONSE) }
    });
    let (fetcher, url, options) = (fetcher(), responder.url(), AskOptions::default());
    let question = Question { url: &url, request: REQUEST, options: &options };
    fetcher.ask(&question, decodes).await.expect("an answer");
    fetcher.ask(&question, decodes).await.expect("an answer over a new connection");
    assert_eq!((responder.requests(), responder.connections()), (3, 2));
}

fn tls_config(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Arc<rustls::ServerConfig> {
    let key = certificate.signing_key.serialize_der();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key);
    Arc::new(config.expect("certificate and key belong together"))
}

#[tokio::test]
async fn https_responders_are_judged_by_the_profile() {
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let folder = tempfile::tempdir().expect("a temp folder");
    let bundle = folder.path().join("ca.pem");
    fs::write(&bundle, certificate.cert.pem()).expect("the folder is ours");
    let script = |request: &Request| match request.target.as_str() {
        "/plain/MAP7%2F%2F4%3D" => Reply::redirect(302, "http://127.0.0.1:1/"),
        _ => Reply::ocsp(RESPONSE),
    };
    let responder = Responder::start_tls(tls_config(&certificate), script);

    let route = Route { tls_ca: Some(bundle.clone()), ..Route::default() };
    let trusting = AskOptions { route, ..by(Method::Get) };
    let answered = ask(&responder.url(), &trusting).await.expect("the profile trusts it");
    assert_eq!(answered.body, RESPONSE);
    let away = ask(&format!("{}plain", responder.url()), &trusting).await;
    assert!(matches!(away, Err(AskError::Downgrade { .. })), "{away:?}");
    let strict = ask(&responder.url(), &AskOptions::default()).await;
    let refused = matches!(strict, Err(AskError::Connect { .. } | AskError::Roots { .. }));
    assert!(refused, "{strict:?}");

    let other = fetcher_for_bundle(&responder, "no such file").await;
    assert!(matches!(other, AskError::ReadBundle { .. }), "{other:?}");
    fs::write(&bundle, "nothing of use").expect("the folder is ours");
    let empty = fetcher_for_bundle(&responder, bundle.to_str().expect("UTF-8")).await;
    assert!(matches!(empty, AskError::EmptyBundle { .. }), "{empty:?}");
}

async fn fetcher_for_bundle(responder: &Responder, path: &str) -> AskError {
    let route = Route { tls_ca: Some(path.into()), ..Route::default() };
    let options = AskOptions { route, ..AskOptions::default() };
    ask(&responder.url(), &options).await.expect_err("no bundle")
}

#[tokio::test]
async fn a_profile_proxy_carries_everything() {
    let proxy = Responder::start(|_| Reply::ocsp(RESPONSE));
    let route = Route { proxy: Some(proxy.url()), ..Route::default() };
    let options = AskOptions { route, ..AskOptions::default() };
    ask("http://ocsp.corp.invalid/", &options).await.expect("the proxy answers");
    assert_eq!(proxy.log()[0].target, "http://ocsp.corp.invalid/MAP7%2F%2F4%3D");
    let route = Route { proxy: Some("::".to_owned()), ..Route::default() };
    let options = AskOptions { route, ..AskOptions::default() };
    let error = ask("http://ocsp.corp.invalid/", &options).await.expect_err("no proxy");
    assert!(matches!(error, AskError::Proxy { .. }), "{error:?}");
}

/// The environment belongs to a process, so this runs the test below in another one.
#[test]
fn environment_proxies_are_obeyed() {
    let proxy = Responder::start(|_| Reply::ocsp(RESPONSE));
    let status = Command::new(std::env::current_exe().expect("this test's program"))
        .args(["--exact", "fetch::under_environment_proxies", "--ignored"])
        .env("HTTP_PROXY", proxy.url())
        .env("http_proxy", proxy.url())
        .env("NO_PROXY", "direct.invalid")
        .output()
        .expect("this program can be executed");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let targets: Vec<_> = proxy.log().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["http://ocsp.corp.invalid/MAP7%2F%2F4%3D"]);
}

#[tokio::test]
#[ignore = "environment_proxies_are_obeyed runs it with the variables it needs"]
async fn under_environment_proxies() {
    let options = AskOptions::default();
    ask("http://ocsp.corp.invalid/", &options).await.expect("the proxy answers");
    ask("http://direct.invalid/", &options).await.expect_err("not by the proxy, so not at all");
    let local = format!("http://127.0.0.1:{}/", free_port());
    ask(&local, &options).await.expect_err("a proxy's loopback is not ours");
}

#[tokio::test]
async fn issuers_come_from_aia() {
    let responder = Responder::start(|request| match request.target.as_str() {
        "/issuer.der" => Reply::http(200, "application/pkix-cert", [0x30, 0x00]),
        "/moved" => Reply::redirect(301, "/issuer.der"),
        "/big" => Reply::huge(70_000),
        _ => Reply::html(404),
    });
    let (fetcher, route, url) = (fetcher(), Route::default(), responder.url());
    for path in ["issuer.der", "moved"] {
        let found = fetcher.fetch_issuer(&format!("{url}{path}"), &route).await;
        assert_eq!(found.expect(path), [vec![0x30, 0x00]]);
    }
    let big = fetcher.fetch_issuer(&format!("{url}big"), &route).await;
    assert!(matches!(big, Err(AskError::TooLarge { .. })), "{big:?}");
    let missing = fetcher.fetch_issuer(&format!("{url}nothing"), &route).await;
    assert!(matches!(missing, Err(AskError::NotAResponse { http_status: 404, .. })));
    assert!(fetcher.fetch_issuer("ldap://x/", &route).await.is_err());
}

#[tokio::test]
async fn the_time_limit_covers_everything() {
    let slow = || Reply::html(404).after(Duration::from_millis(1500));
    let responder = Responder::start(move |_| slow());
    let begun = Instant::now();
    let error = ask(&responder.url(), &AskOptions::default()).await.expect_err("too slow");
    assert!(matches!(error, AskError::TimedOut { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(2900), "{:?}", begun.elapsed());
}
