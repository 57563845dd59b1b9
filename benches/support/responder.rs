//! A responder that is never the bottleneck: answers lie ready in memory, a thread a connection.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;

use super::ca::Question;
use super::corpus::Corpus;

/// Listens on loopback until the process ends.
pub struct Responder {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    course: Mutex<Course>,
    /// Told when the last certificate has been answered about.
    complete: Condvar,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

/// What is answered now, and how far it has come.
#[derive(Default)]
struct Course {
    /// HTTP responses by serial number, and whether they have been given.
    answers: Arc<HashMap<Vec<u8>, Answer>>,
    delay: Duration,
    outstanding: usize,
    completed: Option<Instant>,
}

struct Answer {
    http: Vec<u8>,
    given: AtomicUsize,
}

impl Responder {
    pub fn start() -> Responder {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Responder { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Begins anew: answers about `corpus`, each after `delay`, nothing counted yet.
    pub fn answer(&self, corpus: &Corpus, delay: Duration) {
        let answer = |der: &Vec<u8>| {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: ";
            let http = [format!("{head}{}\r\n\r\n", der.len()).as_bytes(), der].concat();
            Answer { http, given: AtomicUsize::new(0) }
        };
        let answers = corpus.responses.iter().map(|(serial, der)| (serial.clone(), answer(der)));
        let answers = Arc::new(answers.collect::<HashMap<_, _>>());
        let outstanding = answers.len();
        *self.lock() = Course { answers, delay, outstanding, completed: None };
        self.shared.requests.store(0, Ordering::Relaxed);
        self.shared.connections.store(0, Ordering::Relaxed);
    }

    /// Waits until every certificate has been answered about; gives when that was.
    pub fn complete(&self, patience: Duration) -> Option<Instant> {
        let course = self.lock();
        let waiting = self
            .shared
            .complete
            .wait_timeout_while(course, patience, |course| course.completed.is_none());
        waiting.expect("no connection panics").0.completed
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Course> {
        self.shared.course.lock().expect("no connection panics")
    }
}

/// One connection, keep-alive, one request after another.
fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (answers, delay) = {
        let course = shared.course.lock().ok()?;
        (Arc::clone(&course.answers), course.delay)
    };
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let request = read_request(&mut stream, &mut buffer)?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        thread::sleep(delay);
        let Some(answer) = answers.get(&Question::of(&request).claim.serial) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        };
        stream.write_all(&answer.http).ok()?;
        if answer.given.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut course = shared.course.lock().ok()?;
            if Arc::ptr_eq(&course.answers, &answers) {
                course.outstanding -= 1;
                if course.outstanding == 0 {
                    course.completed = Some(Instant::now());
                    shared.complete.notify_all();
                }
            }
        }
    }
}

/// The OCSPRequest of the next HTTP request, from path or body.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer)?;
    };
    let head = &buffer[..head_end];
    if let Some(target) = head.strip_prefix(b"GET /") {
        let path = target.split(|byte| *byte == b' ').next()?;
        // HAProxy puts a slash of its own behind the URL's.
        let text: Vec<u8> = percent_decode(path).skip_while(|byte| *byte == b'/').collect();
        buffer.drain(..head_end);
        return STANDARD.decode(text).ok();
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.split("content-length:").nth(1)?.split("\r\n").next()?.trim();
    let end = head_end + length.parse::<usize>().ok()?;
    while buffer.len() < end {
        more(stream, buffer)?;
    }
    let body = buffer[head_end..end].to_vec();
    buffer.drain(..end);
    Some(body)
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).ok()?;
    buffer.extend_from_slice(&chunk[..read]);
    (read > 0).then_some(())
}
