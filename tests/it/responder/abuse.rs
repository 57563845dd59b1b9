//! What it puts up with: silence, garbage, too much, too slowly, ten thousand at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::net::TcpSocket;

use super::client::{Stand, encoded, parse, request};
use crate::support::agent::eventually;
use crate::support::port::free_port;
use crate::support::scene::{Scene, plain};

/// Asks and gives what was heard and how long it took.
fn ask(port: u16, request: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let get = format!("GET /{} HTTP/1.0\r\n\r\n", encoded(request));
    stream.write_all(get.as_bytes()).expect("it listens");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("it answers");
    (parse(&heard).remove(0).body, begun.elapsed())
}

#[test]
fn garbage_is_answered_or_cut_and_nothing_is_left_of_it() {
    let stand = Stand::new();
    let (leaf, _) = stand.stapled(600);
    let good = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", encoded(&request(&leaf)));
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(any::<u8>(), 1..400);
    for round in 0..300 {
        let mut bytes = bytes.new_tree(&mut runner).expect("bytes").current();
        if round % 2 == 1 {
            // A good request with something of it overwritten.
            let at = usize::from(bytes[0]) % good.len();
            let mut changed = good.clone().into_bytes();
            bytes.truncate(8);
            bytes.truncate(changed.len() - at);
            changed[at..at + bytes.len()].copy_from_slice(&bytes);
            bytes = changed;
        }
        let mut stream = stand.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert!(heard.is_empty() || heard.starts_with(b"HTTP/1."), "{bytes:x?}: {heard:x?}");
    }
    stand.lives();
    eventually("all seats to be free", || stand.responder.connections() == 0);
}

#[test]
fn too_much_is_refused_with_a_clear_status() {
    let stand = Stand::new();
    let status = |bytes: &[u8]| parse(&stand.say(bytes)).first().map(|reply| reply.status);
    let path = [b"GET /".as_slice(), &[b'M'; 100_000], b" HTTP/1.0\r\n\r\n"].concat();
    assert!(matches!(status(&path), Some(414 | 431)), "{:?}", status(&path));
    let header = [b"GET / HTTP/1.0\r\nX: ".as_slice(), &[b'x'; 100_000], b"\r\n\r\n"].concat();
    assert_eq!(status(&header), Some(431));
    let headers = format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(1000));
    assert_eq!(status(headers.as_bytes()), Some(431));
    // It need not even be sent.
    let body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n";
    let announced = [&body[..], b"Content-Length: 100000000000\r\n\r\n"].concat();
    assert_eq!(status(&announced), Some(413));
    let chunk = [b"1000\r\n".as_slice(), &[0x30; 0x1000], b"\r\n"].concat().repeat(10);
    let chunked = [&body[..], b"Transfer-Encoding: chunked\r\n\r\n", &chunk].concat();
    assert_eq!(status(&chunked), Some(413));
    let both = [&body[..], b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"].concat();
    assert_eq!(status(&both), Some(400));
    stand.lives();
}

#[test]
fn slow_clients_are_cut() {
    let stand = Stand::new();
    let begun = Instant::now();
    // One that announces a body and is silent, one that dribbles a head, one that says nothing.
    let mut silent_body = stand.connect();
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n\
                 Content-Length: 87\r\n\r\n0";
    silent_body.write_all(head).expect("it listens");
    let silent = stand.connect();
    let dribbling = stand.connect();
    let mut dribble = dribbling.try_clone().expect("a descriptor is free");
    let dribbler = thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain([b'x'; 10_000].iter()) {
            if dribble.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let mut heard = Vec::new();
    let _ = silent_body.read_to_end(&mut heard);
    assert_eq!(parse(&heard).first().map(|reply| reply.status), Some(408));
    for mut stream in [&silent, &dribbling] {
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard);
        let timed_out = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(heard.is_empty() && !timed_out, "{ended:?} {heard:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    dribbler.join().expect("it was cut");
    eventually("all seats to be free", || stand.responder.connections() == 0);
    stand.lives();
}

#[test]
fn who_asks_much_and_hears_nothing_holds_nobody_up() {
    let stand = Stand::new();
    let (leaf, _) = stand.stapled(600);
    let get = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", encoded(&request(&leaf))).repeat(50);
    let mut deaf: Vec<TcpStream> = (0..20).map(|_| stand.connect()).collect();
    for stream in &mut deaf {
        stream.set_nonblocking(true).expect("a socket");
        // As much as the kernel and the responder take together.
        let (mut sent, begun) = (0, Instant::now());
        while sent < 8 << 20 && begun.elapsed() < Duration::from_millis(200) {
            match stream.write(get.as_bytes()) {
                Ok(count) => sent += count,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        assert!(sent < 8 << 20, "it took {sent} bytes of questions and gave no answer");
    }
    stand.lives();
}

#[test]
fn ten_thousand_connections_that_say_nothing_stop_nobody() {
    const IDLE: usize = 10_000;
    allow_open_files(IDLE + 4000);
    let port = free_port();
    let listen = format!("[responder]\nlisten = [\"127.0.0.1:{port}\"]\n");
    let mut scene = Scene::new(3600, &[plain("www.test")], &listen);
    let leaf = scene.leaf("www.test").clone();
    // What a process may have open when nobody says more.
    scene.agent.wrapper(&["prlimit", "--nofile=1024:1024"]).start();
    let request = request(&leaf);
    let (right, _) = ask(port, &request);
    assert!(right.len() > 100);
    let before = scene.agent.resident_kib();
    let mut slowest = Duration::ZERO;
    let mut idle = Vec::with_capacity(IDLE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("an event loop");
    while idle.len() < IDLE {
        idle.push(runtime.block_on(connect_from_elsewhere(port)));
        if idle.len() % 500 == 0 {
            let (heard, took) = ask(port, &request);
            assert_eq!(heard, right, "with {} idle", idle.len());
            slowest = slowest.max(took);
        }
    }
    for _ in 0..100 {
        let (heard, took) = ask(port, &request);
        assert_eq!(heard, right);
        slowest = slowest.max(took);
    }
    let grown = scene.agent.resident_kib().saturating_sub(before);
    eprintln!("{IDLE} idle: the slowest answer took {slowest:?}, {grown} KiB more in memory");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(grown < 8 * 1024, "{grown} KiB");
    // The agent itself does its work all the while.
    assert!(scene.agent.status().is_some());
    assert_eq!(scene.agent.command(&["refresh", "--no-reload"]).code, 0);
}

/// A connection whose own port is none of 127.0.0.1's: other tests come back to theirs.
async fn connect_from_elsewhere(port: u16) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.bind(([127, 0, 0, 2], 0).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(([127, 0, 0, 1], port).into()).await.expect("it listens")
}

/// Has this process's limit raised, where it is lower.
fn allow_open_files(count: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux has /proc");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    if soft.is_some_and(|soft| soft >= count) {
        return;
    }
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &std::process::id().to_string(), &format!("--nofile={count}:{count}")]);
    assert!(prlimit.status().expect("prlimit runs").success(), "{count} open files are needed");
}
