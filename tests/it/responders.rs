//! The fetcher and the judge against responders that others wrote.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use staplekeeper::fetch::{Answered, AskError, AskOptions, Fetcher, Method, Question, Settings};
use staplekeeper::ocsp::{self, CertIdHash, Response, ResponseStatus, Rules, Status};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::UnixTime;

use crate::support::ca::{Draft, Forge, Identity};
use crate::support::port::free_port;
use crate::support::program::{Running, program};

/// A responder.
struct Server {
    _running: Running,
    url: String,
}

impl Server {
    fn start(command: &mut Command, port: u16) -> Server {
        Server { _running: Running::start(command), url: format!("http://127.0.0.1:{port}/") }
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    UnixTime::from_secs(i64::try_from(since.as_secs()).expect("before the end of time"))
}

fn issued(leaf: &Identity) -> Issued {
    let certificate = |identity: &Identity| {
        Arc::new(Certificate::from_der(&identity.der).expect("the toy CA makes sound ones"))
    };
    Issued::prove(certificate(leaf), certificate(leaf.issuer())).expect("the toy CA issued it")
}

/// Asks about `leaf`, as soon as the server listens.
async fn ask(
    server: &Server,
    leaf: &Identity,
    hash: CertIdHash,
    options: AskOptions,
) -> Result<Answered, AskError> {
    let fetcher = Fetcher::new(Settings::default());
    let request = ocsp::request(&issued(leaf), hash, None);
    let question = Question { url: &server.url, request: &request, options: &options };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let asked = fetcher.ask(&question, |body| Response::decode(body).is_ok()).await;
        if !matches!(asked, Err(AskError::Connect { .. })) || Instant::now() > deadline {
            return asked;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn status(answered: &Answered, leaf: &Identity) -> Status {
    let response = Response::decode(&answered.body).expect("it decodes");
    let staple = ocsp::verify(response, &issued(leaf), &Rules::default(), now());
    staple.expect("it is proven").status()
}

fn by(method: Method) -> AskOptions {
    AskOptions { method, ..AskOptions::default() }
}

/// `openssl ocsp` as a responder that knows `good` and `revoked`.
fn openssl(folder: &Path, ca: &Identity, good: &Identity, revoked: &Identity) -> Server {
    let hex = |leaf: &Identity| -> String {
        let digits: String = leaf.serial.iter().map(|byte| format!("{byte:02X}")).collect();
        digits.strip_prefix("00").unwrap_or(&digits).to_owned()
    };
    let index = format!(
        "V\t491231235959Z\t\t{}\tunknown\t/CN=good\nR\t491231235959Z\t260101000000Z,keyCompromise\t{}\tunknown\t/CN=revoked\n",
        hex(good),
        hex(revoked)
    );
    fs::write(folder.join("index.txt"), index).expect("the folder is ours");
    fs::write(folder.join("ca.pem"), ca.pem()).expect("the folder is ours");
    fs::write(folder.join("ca.key"), ca.key_pem()).expect("the folder is ours");
    let port = free_port();
    let mut command = Command::new(program("openssl"));
    command.current_dir(folder).args(["ocsp", "-index", "index.txt", "-CA", "ca.pem"]);
    command.args(["-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "1"]);
    command.args(["-port", &port.to_string()]);
    Server::start(&mut command, port)
}

#[tokio::test]
async fn openssl_answers_by_either_method_and_hash() {
    let ca = Identity::root("Toy CA");
    let [good, revoked, stranger] =
        ["good.test", "revoked.test", "stranger.test"].map(|name| ca.issue(Draft::leaf(name)));
    let folder = tempfile::tempdir().expect("a temp folder");
    let server = openssl(folder.path(), &ca, &good, &revoked);
    for method in [Method::Get, Method::Post] {
        for hash in [CertIdHash::Sha1, CertIdHash::Sha256] {
            for (leaf, expected) in
                [(&good, Status::Good), (&revoked, Status::Revoked), (&stranger, Status::Unknown)]
            {
                let answered = ask(&server, leaf, hash, by(method)).await.expect("an answer");
                assert_eq!(status(&answered, leaf), expected, "{method:?} {hash:?}");
            }
        }
    }
}

#[tokio::test]
async fn cfssl_serves_what_was_signed_before() {
    let ca = Identity::root("Toy CA");
    let [known, stranger] = ["known.test", "stranger.test"].map(|name| ca.issue(Draft::leaf(name)));
    let folder = tempfile::tempdir().expect("a temp folder");
    let responses = folder.path().join("responses");
    let der = Forge::new(&known, now().as_secs()).der();
    fs::write(&responses, STANDARD.encode(&der)).expect("the folder is ours");
    let port = free_port();
    let mut command = Command::new(program("cfssl"));
    command.args(["ocspserve", "-port", &port.to_string(), "-responses"]).arg(&responses);
    let server = Server::start(&mut command, port);
    // cfssl 1.2.0 takes the slash before a GET's base64 for a part of it and answers every GET by
    // HTTP 400 without a body: only the other method gets through.
    let refused = ask(&server, &known, CertIdHash::Sha1, by(Method::Get)).await;
    assert!(matches!(refused, Err(AskError::NotAResponse { http_status: 400, length: 0, .. })));
    for method in [Method::Auto, Method::Post] {
        let answered = ask(&server, &known, CertIdHash::Sha1, by(method)).await;
        let answered = answered.expect("an answer");
        assert_eq!((&answered.body, status(&answered, &known)), (&der, Status::Good));
        assert!(answered.fresh_for.is_some_and(|length| length > Duration::from_secs(5 * 86_400)));
        let unheard_of = ask(&server, &stranger, CertIdHash::Sha1, by(method)).await;
        let response = Response::decode(&unheard_of.expect("an answer").body).expect("it decodes");
        assert_eq!(response.status(), ResponseStatus::Unauthorized);
    }
}
