//! Any bytes as a conversation with the responder: each reply is a whole one, a body is one of those there
//! are, and what is answered the short way is what the long way says.
#![no_main]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use staplekeeper::ocsp::{
    self, MALFORMED_REQUEST, Response, Rules, Staple, TRY_LATER, UNAUTHORIZED,
};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::serve::responder::{Attendant, Table};
use staplekeeper::time::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

#[path = "../../tests/it/support/ca/mod.rs"]
mod ca;

/// Longer conversations say nothing new, and the system's buffers are finite.
const MAX_BYTES: usize = 32 * 1024;

static NOW: LazyLock<UnixTime> =
    LazyLock::new(|| UnixTime::from_secs(ca::at("2026-03-01T12:00:00Z")));

/// What is known. Its key is new in every run, so inputs ask about it by a letter: see `with_questions`.
static STAPLE: LazyLock<(Issued, Staple)> = LazyLock::new(|| {
    let authority = ca::Identity::root("Toy CA");
    let leaf = authority.issue(ca::Draft::leaf("www.example.org"));
    let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
    let issued = Issued::prove(read(&leaf.der), read(&authority.der)).expect("it signed the leaf");
    let der = ca::Forge::new(&leaf, NOW.as_secs()).der();
    let response = Response::decode(&der).expect("a response");
    let staple = ocsp::verify(response, &issued, &Rules::default(), *NOW).expect("a staple");
    (issued, staple)
});

static ATTENDANT: LazyLock<Attendant> = LazyLock::new(|| {
    let table = Arc::new(Table::default());
    table.know(&STAPLE.0);
    assert!(table.answer(&STAPLE.1));
    Attendant::new(table, || *NOW)
});

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("an event loop"),
    );
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > MAX_BYTES {
        return Corpus::Reject;
    }
    // A question about the certificate that is known, wherever the input wants one.
    let said = with_questions(bytes);
    let long = at_length(&said);
    check(&said, &long);
    if let Some(brief) = ATTENDANT.briefly(&said) {
        assert_eq!(timeless(&brief), timeless(&long));
    }
    Corpus::Keep
});

/// `$` becomes the path that asks about the certificate.
fn with_questions(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine;
    static PATH: LazyLock<String> = LazyLock::new(|| {
        let request = ocsp::request(&STAPLE.0, ocsp::CertIdHash::Sha1, None);
        base64::engine::general_purpose::STANDARD.encode(request)
    });
    let mut said = Vec::with_capacity(bytes.len() + 256);
    for byte in bytes {
        match byte {
            b'$' if said.len() < 4 * MAX_BYTES => said.extend_from_slice(PATH.as_bytes()),
            byte => said.push(*byte),
        }
    }
    said
}

fn at_length(said: &[u8]) -> Vec<u8> {
    RUNTIME.with_borrow_mut(|runtime| {
        runtime.block_on(async {
            let (theirs, ours) = UnixStream::pair().expect("a pair of sockets");
            let (mut read, mut write) = ours.into_split();
            let talk = async {
                // It may have hung up before all was said.
                let _ = write.write_all(said).await;
                let _ = write.shutdown().await;
            };
            let listen = async {
                let mut heard = Vec::new();
                let _ = read.read_to_end(&mut heard).await;
                heard
            };
            tokio::join!(ATTENDANT.at_length(theirs), talk, listen).2
        })
    })
}

/// All of `heard` is replies, each of them whole.
fn check(said: &[u8], heard: &[u8]) {
    // A reply to HEAD announces a body that does not come.
    if said.windows(4).any(|four| four == b"HEAD") {
        return;
    }
    let mut rest = heard;
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut reply = httparse::Response::new(&mut headers);
        let read = reply.parse(rest).expect("a reply");
        let httparse::Status::Complete(head) = read else { panic!("half a reply: {rest:?}") };
        let status = reply.code.expect("it has been read");
        let length = reply.headers.iter().find(|one| one.name == "content-length");
        let length = length.map_or(0, |one| {
            std::str::from_utf8(one.value).expect("digits").parse::<usize>().expect("digits")
        });
        let length = if matches!(status, 100 | 304) { 0 } else { length };
        let body = &rest[head..head + length];
        let ocsp = reply.headers.iter().any(|one| one.value == b"application/ocsp-response");
        let known = [STAPLE.1.der(), &UNAUTHORIZED, &TRY_LATER, &MALFORMED_REQUEST];
        match status {
            200 => assert!(ocsp && known[..3].contains(&body), "{body:x?}"),
            100 | 304 => {}
            400 if ocsp => assert_eq!(body, MALFORMED_REQUEST),
            400 | 405 | 408 | 413 | 414 | 415 | 431 => {}
            other => panic!("status {other}"),
        }
        rest = &rest[head + length..];
    }
}

/// Without the second in which it was said.
fn timeless(reply: &[u8]) -> Vec<&[u8]> {
    reply.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"date: ")).collect()
}
