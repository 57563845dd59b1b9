//! The short way to an answer: it says what the long one would have said, and leaves it the rest.

use std::sync::Arc;

use staplekeeper::clock::{Clock, SystemClock};
use staplekeeper::serve::responder::{Attendant, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::client::{encoded, issued, request, staple};
use crate::support::ca::{Draft, Identity};

/// Known with a staple, known without, and not known.
fn leaves(table: &Table) -> [Identity; 3] {
    let ca = Identity::root("Brief CA");
    let leaves =
        ["stapled.test", "bare.test", "unknown.test"].map(|one| ca.issue(Draft::leaf(one)));
    table.know(&issued(&leaves[0]));
    table.know(&issued(&leaves[1]));
    assert!(table.answer(&staple(&leaves[0], 600)));
    leaves
}

/// What the long way makes of it.
async fn at_length(attendant: &Attendant, said: &[u8]) -> Vec<u8> {
    let (theirs, mut ours) = UnixStream::pair().expect("a pair of sockets");
    let client = async {
        ours.write_all(said).await.expect("it listens");
        ours.shutdown().await.expect("it listens");
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.expect("it answers");
        heard
    };
    tokio::join!(attendant.at_length(theirs), client).1
}

/// Without the second in which it was said.
fn timeless(reply: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
    let date = lines.iter().position(|line| line.starts_with(b"date: "));
    lines.remove(date.expect("it has a date"));
    lines.join(&b'\n')
}

#[tokio::test]
async fn it_says_what_the_long_way_says() {
    let table = Arc::new(Table::default());
    let leaves = leaves(&table);
    let attendant = Attendant::new(table, || SystemClock.now().wall);
    let get =
        |leaf: &Identity, rest: &str| format!("GET /{} {rest}\r\n\r\n", encoded(&request(leaf)));
    let plain = [
        "HTTP/1.0",
        "HTTP/1.1\r\nConnection: close",
        "HTTP/1.1\r\nHost: x\r\nconnection:close",
        "HTTP/1.0\r\nHost: x\r\nAccept: */*\r\nUser-Agent: y",
        "HTTP/1.1\r\nConnection: TE, close\r\nTE: trailers",
        "HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close",
        "HTTP/1.0\r\nConnection: keep-alive, close",
        "HTTP/1.0\nHost: x",
    ];
    let [stapled, bare, unknown] = &leaves;
    for rest in plain {
        let said = get(stapled, rest);
        let brief = attendant.briefly(said.as_bytes()).unwrap_or_else(|| panic!("not: {said}"));
        let long = at_length(&attendant, said.as_bytes()).await;
        let (brief, long) = (timeless(&brief), timeless(&long));
        assert!(brief == long, "{said}{}", String::from_utf8_lossy(&[brief, long].concat()));
    }
    let other = [
        get(bare, "HTTP/1.0"),
        get(unknown, "HTTP/1.0"),
        get(stapled, "HTTP/1.1"),
        get(stapled, "HTTP/1.0\r\nConnection: keep-alive"),
        get(stapled, "HTTP/1.0\r\nIf-None-Match: *"),
        get(stapled, "HTTP/1.0\r\nIf-Modified-Since: Sun, 22 Nov 2026 14:14:35 GMT"),
        get(stapled, "HTTP/1.0\r\nContent-Length: 1") + "x",
        get(stapled, "HTTP/1.0\r\nContent-Length: 0"),
        get(stapled, "HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked") + "0\r\n\r\n",
        get(stapled, "HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue"),
        get(stapled, "HTTP/1.1\r\nConnection: close\r\nUpgrade: h2c"),
        get(stapled, "HTTP/1.0").replace("GET", "HEAD"),
        get(stapled, "HTTP/1.0").replace("GET", "POST"),
        get(stapled, "HTTP/1.0") + "x",
        get(stapled, "HTTP/1.0").repeat(2),
        get(stapled, "HTTP/1.0").trim_end().to_owned(),
        get(stapled, &format!("HTTP/1.0{}", "\r\nX: y".repeat(100))),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "GET http://x/MFE HTTP/1.0\r\n\r\n".to_owned(),
        "GET \u{7f} HTTP/1.0\r\n\r\n".to_owned(),
        String::new(),
    ];
    for said in other {
        let brief = attendant.briefly(said.as_bytes());
        assert_eq!(brief, None, "{said}");
    }
}
