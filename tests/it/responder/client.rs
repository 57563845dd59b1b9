//! A raw HTTP client, and the responder beside the agent or by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use staplekeeper::clock::{Clock, SystemClock};
use staplekeeper::ocsp::{self, CertIdHash, Response, Rules, Staple};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::serve::responder::{Address, Responder, Table};

use crate::support::agent::PATIENCE;
use crate::support::authority::now;
use crate::support::ca::{Draft, Forge, Identity};
use crate::support::port::free_port;

/// One HTTP response.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The response in the body.
    pub(super) fn ocsp(&self) -> Response {
        assert_eq!(self.header("content-type"), Some("application/ocsp-response"), "{self:?}");
        Response::decode(&self.body).expect("a response")
    }
}

/// A responder in this process, with one CA.
pub(super) struct Stand {
    pub(super) table: Arc<Table>,
    pub(super) responder: Responder,
    pub(super) port: u16,
    pub(super) ca: Identity,
}

impl Stand {
    /// Listens on a free port.
    pub(super) fn new() -> Stand {
        let table = Arc::new(Table::default());
        let mut responder =
            Responder::new(table.clone(), || SystemClock.now().wall).expect("threads");
        let port = free_port();
        let failed = responder.listen(&[Address::Tcp(([127, 0, 0, 1], port).into())]);
        assert!(failed.is_empty(), "{failed:?}");
        assert!(responder.open().is_empty());
        let ca = Identity::root("Loopback CA").issue(Draft::authority("Loopback Sub CA"));
        Stand { table, responder, port, ca }
    }

    /// A certificate of the CA that the table knows.
    pub(super) fn known(&self) -> Identity {
        let leaf = self.ca.issue(Draft::leaf("known.test"));
        self.table.know(&issued(&leaf));
        leaf
    }

    /// The same with a staple that is good for `life` seconds.
    pub(super) fn stapled(&self, life: i64) -> (Identity, Staple) {
        let leaf = self.known();
        let staple = staple(&leaf, life);
        assert!(self.table.answer(&staple));
        (leaf, staple)
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
        stream
    }

    /// Sends bytes, hears everything until the connection is closed.
    pub(super) fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // It may have said its opinion and closed before it has read all.
        let _ = stream.write_all(bytes);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    }

    /// `GET path HTTP/1.0`, with more header lines.
    pub(super) fn get(&self, path: &str, more: &str) -> Reply {
        let heard = self.say(format!("GET {path} HTTP/1.0\r\nHost: x\r\n{more}\r\n").as_bytes());
        parse(&heard).remove(0)
    }

    /// `POST / HTTP/1.0`.
    pub(super) fn post(&self, body: &[u8], content_type: &str) -> Reply {
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.0\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        parse(&self.say(&[head.as_bytes(), body].concat())).remove(0)
    }

    /// It still answers.
    pub(super) fn lives(&self) {
        let (leaf, staple) = self.stapled(3600);
        let reply = self.get(&format!("/{}", encoded(&request(&leaf))), "");
        assert_eq!(reply.body, staple.der(), "{reply:?}");
    }
}

pub(super) fn issued(leaf: &Identity) -> Issued {
    let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
    Issued::prove(read(&leaf.der), read(&leaf.issuer().der)).expect("it issued it")
}

/// A staple made now.
pub(super) fn staple(leaf: &Identity, life: i64) -> Staple {
    let der = Forge::new(leaf, now()).from(now()).until(Some(now() + life)).der();
    let response = Response::decode(&der).expect("a response");
    ocsp::verify(response, &issued(leaf), &Rules::default(), SystemClock.now().wall)
        .expect("a sound response")
}

pub(super) fn request(leaf: &Identity) -> Vec<u8> {
    ocsp::request(&issued(leaf), CertIdHash::Sha1, None)
}

/// Base64, percent-encoded.
pub(super) fn encoded(request: &[u8]) -> String {
    let raw = STANDARD.encode(request);
    raw.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// Responses one behind the other, each with a length.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
        let status = head.split(' ').nth(1).expect("a status line").parse().expect("a number");
        let mut reply = Reply { status, head, body: Vec::new() };
        bytes = &bytes[end + 4..];
        let length =
            reply.header("content-length").map_or(0, |text| text.parse().expect("a number"));
        let length = if status == 304 { 0 } else { length };
        reply.body = bytes[..length.min(bytes.len())].to_vec();
        bytes = &bytes[reply.body.len()..];
        replies.push(reply);
    }
    replies
}

/// A length of time that nobody waits for.
pub(super) const SOON: Duration = Duration::from_millis(200);
