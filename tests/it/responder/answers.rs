//! What is answered to whom, and what HTTP says about it.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use staplekeeper::ocsp::{self, CertIdHash, MALFORMED_REQUEST, TRY_LATER, UNAUTHORIZED};
use staplekeeper::time::UnixTime;

use super::client::{Stand, encoded, issued, parse, request, staple};
use crate::support::authority::now;
use crate::support::ca::{CertHash, Claim, Draft, Identity, der};

#[test]
fn a_staple_comes_as_it_was_received_with_what_caches_need() {
    let stand = Stand::new();
    let (leaf, staple) = stand.stapled(600);
    let reply = stand.get(&format!("/{}", encoded(&request(&leaf))), "");
    assert_eq!((reply.status, &*reply.body), (200, staple.der()));
    reply.ocsp();
    let etag = format!("\"{}\"", staple.digest());
    assert_eq!(reply.header("etag"), Some(&*etag));
    let date = |at: UnixTime| {
        let at = jiff::Timestamp::from_second(at.as_secs()).expect("a time");
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    assert_eq!(reply.header("last-modified"), Some(&*date(staple.this_update())));
    assert_eq!(reply.header("expires"), Some(&*date(staple.expires())));
    assert!(reply.header("date").is_some());
    let cache = reply.header("cache-control").expect("it may be cached");
    let (age, rest) =
        cache.strip_prefix("max-age=").and_then(|text| text.split_once(", ")).expect(cache);
    assert_eq!(rest, "public, no-transform, must-revalidate");
    let age: i64 = age.parse().expect("a number");
    let left = staple.expires().as_secs() - now();
    assert!((left - 10..left + 5).contains(&age) && age < 600, "{age} of {left} seconds");
}

#[test]
fn who_has_it_already_is_told_so() {
    let stand = Stand::new();
    let (leaf, held) = stand.stapled(600);
    let path = format!("/{}", encoded(&request(&leaf)));
    let whole = stand.get(&path, "");
    let etag = whole.header("etag").expect("an etag").to_owned();
    let modified = whole.header("last-modified").expect("a date").to_owned();
    let check = |more: &str, wanted: u16| {
        let reply = stand.get(&path, more);
        assert_eq!(reply.status, wanted, "{more}");
        assert_eq!(reply.body.is_empty(), wanted == 304, "{more}");
        assert_eq!(reply.header("etag"), Some(&*etag));
    };
    check(&format!("If-None-Match: {etag}\r\n"), 304);
    check(&format!("If-None-Match: \"a\", W/{etag}\r\n"), 304);
    check("If-None-Match: *\r\n", 304);
    check("If-None-Match: \"other\"\r\n", 200);
    check(&format!("If-Modified-Since: {modified}\r\n"), 304);
    check("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 200);
    check("If-Modified-Since: yesterday\r\n", 200);
    // The tag is the better witness.
    check(&format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {modified}\r\n"), 200);
    // A newer answer is another one.
    let newer = staple(&leaf, 900);
    assert_ne!(newer.der(), held.der());
    stand.table.answer(&newer);
    let reply = stand.get(&path, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((reply.status, &*reply.body), (200, newer.der()));
}

#[test]
fn any_spelling_of_a_get_and_a_post_get_the_same() {
    let stand = Stand::new();
    let (leaf, staple) = stand.stapled(600);
    let request = request(&leaf);
    let raw = STANDARD.encode(&request);
    let unpadded = raw.trim_end_matches('=').to_owned();
    for text in [&raw, &encoded(&request), &unpadded] {
        for prefix in ["/", "//", "/ocsp/", "/a/b//", "http://127.0.0.1/x/"] {
            let reply = stand.get(&format!("{prefix}{text}"), "");
            assert_eq!(reply.body, staple.der(), "{prefix}{text}");
        }
    }
    for kind in ["application/ocsp-request", "Application/OCSP-Request; charset=binary"] {
        assert_eq!(stand.post(&request, kind).body, staple.der());
    }
    let head = stand.say(format!("HEAD /{raw} HTTP/1.0\r\n\r\n").as_bytes());
    let head = String::from_utf8(head).expect("no body");
    assert!(head.ends_with("\r\n\r\n") && head.starts_with("HTTP/1.0 200"), "{head}");
}

#[test]
fn slashes_that_a_proxy_merged_are_put_back() {
    let stand = Stand::new();
    // One in fifty requests or so has two slashes in a row.
    let (mut tried, mut found) = (0, 0);
    while found < 3 {
        tried += 1;
        assert!(tried < 2000, "no such request among {tried}");
        let leaf = stand.ca.issue(Draft::leaf("merged.test"));
        let raw = STANDARD.encode(request(&leaf));
        if !raw.contains("//") {
            continue;
        }
        found += 1;
        stand.table.know(&issued(&leaf));
        let staple = staple(&leaf, 600);
        stand.table.answer(&staple);
        let merged = raw.replace("//", "/");
        assert_eq!(stand.get(&format!("/{merged}"), "").body, staple.der(), "{raw}");
    }
}

#[test]
fn issuers_are_known_by_any_hash_and_unknown_ones_are_not_answered_for() {
    let stand = Stand::new();
    let (leaf, staple) = stand.stapled(600);
    for hash in [CertIdHash::Sha1, CertIdHash::Sha256] {
        // A nonce changes nothing: the answer was made before anybody asked.
        for nonce in [None, Some(&[7; 32][..])] {
            let request = ocsp::request(&issued(&leaf), hash, nonce);
            assert_eq!(stand.post(&request, "application/ocsp-request").body, staple.der());
        }
    }
    let ask = |request: &[u8], wanted: &[u8]| {
        let reply = stand.get(&format!("/{}", encoded(request)), "");
        assert_eq!((reply.status, &*reply.body), (200, wanted));
        reply.ocsp();
        if wanted != staple.der() {
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("etag"), None);
        }
    };
    // Another serial of the same CA, the same serial of another CA.
    ask(&request(&stand.ca.issue(Draft::leaf("other.test"))), &UNAUTHORIZED);
    let twin =
        Identity::root("Other CA").issue(Draft { serial: leaf.serial.clone(), ..Draft::leaf("x") });
    ask(&request(&twin), &UNAUTHORIZED);
    // Known, and no staple (any more).
    let bare = stand.known();
    ask(&request(&bare), &TRY_LATER);
    stand.table.withdraw(issued(&leaf).fingerprint());
    ask(&request(&leaf), &TRY_LATER);
    let tally = stand.responder.tally();
    assert_eq!((tally.requests, tally.unknown, tally.without_staple, tally.refused), (8, 2, 2, 0));
}

#[test]
fn of_several_certificates_the_first_that_is_known_is_answered_about() {
    let stand = Stand::new();
    let (leaf, staple) = stand.stapled(600);
    let stranger = stand.ca.issue(Draft::leaf("stranger.test"));
    let (second, _) = stand.stapled(700);
    let single = |leaf: &Identity| {
        let claim = Claim::of(leaf, CertHash::Sha256);
        der::sequence(&[&der::sequence(&[
            &claim.algorithm,
            &der::octets(&claim.issuer_name_hash),
            &der::octets(&claim.issuer_key_hash),
            &der::integer(&claim.serial),
        ])])
    };
    let list = der::sequence(&[&single(&stranger), &single(&leaf), &single(&second)]);
    let request = der::sequence(&[&der::sequence(&[&list])]);
    assert_eq!(stand.post(&request, "application/ocsp-request").body, staple.der());
}

#[test]
fn a_renewed_certificate_and_the_old_one_are_both_answered_until_the_old_staple_runs_out() {
    let stand = Stand::new();
    let ((old, last), (new, first)) = (stand.stapled(3), stand.stapled(600));
    stand.table.forget(issued(&old).fingerprint(), UnixTime::from_secs(now()));
    let ask = |leaf: &Identity| stand.get(&format!("/{}", encoded(&request(leaf))), "").body;
    assert_eq!((ask(&old), ask(&new)), (last.der().to_vec(), first.der().to_vec()));
    while now() <= last.expires().as_secs() {
        std::thread::sleep(super::client::SOON);
    }
    assert_eq!(ask(&old), TRY_LATER);
    stand.table.tidy(UnixTime::from_secs(now()));
    assert_eq!(ask(&old), UNAUTHORIZED);
    assert_eq!(ask(&new), first.der());
    assert_eq!(stand.table.size().certificates, 1);
}

#[test]
fn a_connection_is_kept_and_requests_may_come_before_their_turn() {
    let stand = Stand::new();
    let (leaf, staple) = stand.stapled(600);
    let request = request(&leaf);
    let get = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", STANDARD.encode(&request));
    let mut stream = stand.connect();
    for _ in 0..3 {
        stream.write_all(get.as_bytes()).expect("it listens");
        let mut heard = Vec::new();
        while parse(&heard).first().is_none_or(|reply| reply.body != staple.der()) {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).expect("it answers");
            assert!(read > 0, "it hung up: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&chunk[..read]);
        }
    }
    let post = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n\
         Content-Length: {}\r\n\r\n",
        request.len()
    );
    let last = get.replace("Host: x", "Host: x\r\nConnection: close");
    let all = [get.repeat(20).as_bytes(), post.as_bytes(), &request, last.as_bytes()].concat();
    stream.write_all(&all).expect("it listens");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("it answers");
    let replies = parse(&heard);
    assert_eq!(replies.len(), 22);
    assert!(replies.iter().all(|reply| reply.body == staple.der()));
}

#[test]
fn what_is_no_question_is_refused_with_a_clear_status() {
    let stand = Stand::new();
    let (leaf, _) = stand.stapled(600);
    let good = request(&leaf);
    for path in
        ["/", "/index.html", "/MFEwTzBNMEswSTAJBgUrDgMCGgUABBT=", "/%00%ff", "/favicon.ico?MFE"]
    {
        let reply = stand.get(path, "");
        assert_eq!((reply.status, &*reply.body), (400, &MALFORMED_REQUEST[..]), "{path}");
    }
    for body in
        [&b""[..], b"hello", &good[1..], &good[..good.len() - 1], &[&good[..], b"\0"].concat()]
    {
        let reply = stand.post(body, "application/ocsp-request");
        assert_eq!((reply.status, &*reply.body), (400, &MALFORMED_REQUEST[..]), "{body:x?}");
    }
    assert_eq!(stand.post(&good, "application/x-www-form-urlencoded").status, 415);
    assert_eq!(stand.post(&[0x30; 20_000], "application/ocsp-request").status, 413);
    let put = stand.say(b"PUT / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    let put = parse(&put).remove(0);
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD, POST")));
    stand.lives();
}
