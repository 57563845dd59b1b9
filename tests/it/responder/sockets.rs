//! Where it listens: sockets made and removed, in use by others, handed over by a service manager.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::ocsp::UNAUTHORIZED;

use super::client::{encoded, parse, request};
use crate::support::agent::{PATIENCE, eventually};
use crate::support::port::free_port;
use crate::support::scene::{Scene, plain};

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Vec<u8> {
    let get = format!("GET /{} HTTP/1.0\r\n\r\n", encoded(request));
    stream.write_all(get.as_bytes()).expect("somebody listens");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("an answer comes");
    parse(&heard).first().unwrap_or_else(|| panic!("it hung up")).body.clone()
}

fn over_tcp(port: u16, request: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
    exchange(stream, request)
}

fn over_unix(path: &Path, request: &[u8]) -> Vec<u8> {
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
    exchange(stream, request)
}

#[test]
fn a_leftover_socket_is_replaced_and_ours_is_open_to_all_and_goes_with_us() {
    let mut scene = Scene::new(3600, &[plain("www.test")], "");
    let path = scene.path("responder.sock");
    scene.configure(&format!("[responder]\nlisten = [\"unix:{}\"]\n", path.display()));
    drop(UnixListener::bind(&path).expect("the folder is ours"));
    let leaf = scene.leaf("www.test").clone();
    scene.agent.start();
    assert!(over_unix(&path, &request(&leaf)).len() > 100);
    let found = path.metadata().expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o666);
    // What a killed agent left is replaced too.
    scene.agent.kill();
    assert!(path.exists());
    scene.agent.start();
    assert!(over_unix(&path, &request(&leaf)).len() > 100);
    scene.agent.stop();
    assert!(!path.exists());
}

#[test]
fn who_asks_sooner_than_the_agent_knows_is_held_until_it_does() {
    let mut scene = Scene::new(3600, &[plain("www.test")], "");
    let path = scene.path("responder.sock");
    scene.configure(&format!("[responder]\nlisten = [\"unix:{}\"]\n", path.display()));
    scene.agent.start();
    // The worker of a server that is reloaded in the same breath asks about the new certificate.
    let renewed = scene.renew("www.test");
    assert!(over_unix(&path, &request(&renewed)).len() > 100);
    // What never comes is refused in the end.
    let stranger = scene.issue_next("www.test");
    let asked = Instant::now();
    assert_eq!(over_unix(&path, &request(&stranger)), UNAUTHORIZED);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn an_address_that_cannot_be_had_is_named_and_the_others_go_on() {
    let mut scene = Scene::new(3600, &[plain("www.test")], "");
    let (busy, file, good) = (scene.path("busy.sock"), scene.path("file"), free_port());
    let squatter = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let squatted = squatter.local_addr().expect("it is bound");
    let _other = UnixListener::bind(&busy).expect("the folder is ours");
    std::fs::write(&file, "precious").expect("the folder is ours");
    let missing = scene.path("missing/r.sock");
    let listen = |more: &str| {
        format!(
            "[responder]\nlisten = [\"{squatted}\", \"unix:{}\", \"unix:{}\", \"unix:{}\"{more}]\n",
            busy.display(),
            file.display(),
            missing.display()
        )
    };
    scene.configure(&listen(&format!(", \"127.0.0.1:{good}\"")));
    let leaf = scene.leaf("www.test").clone();
    scene.agent.start();
    assert!(over_tcp(good, &request(&leaf)).len() > 100);
    let document = scene.agent.status().expect("it runs");
    let loopback = document.loopback.expect("it is configured");
    let check = |address: &str, wanted: &str| {
        let one = loopback.listen.iter().find(|one| one.address == address).expect(address);
        let error = one.error.as_deref().unwrap_or_default();
        assert!(error.contains(wanted) && error.contains(address), "{address}: {error}");
    };
    check(&squatted.to_string(), "another program listens there: stop it");
    check(&format!("unix:{}", busy.display()), "another program answers there: stop it");
    check(&format!("unix:{}", file.display()), "move away what lies there");
    check(&format!("unix:{}", missing.display()), "make the folder");
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"precious");
    // Once the other is gone, SIGHUP is enough; clients of what worked notice nothing.
    drop(squatter);
    let idle = TcpStream::connect(("127.0.0.1", good)).expect("it listens");
    scene.agent.hang_up();
    scene.agent.wait_until("the address", |now| {
        let listen = &now.loopback.as_ref().expect("it is configured").listen;
        listen.iter().any(|one| one.address == squatted.to_string() && one.error.is_none())
    });
    assert!(over_tcp(squatted.port(), &request(&leaf)).len() > 100);
    assert!(exchange(idle, &request(&leaf)).len() > 100);
    // And what is no longer configured is no longer listened on.
    scene.configure(&listen(""));
    scene.agent.hang_up();
    scene.agent.wait_until("the address to be left", |now| {
        now.loopback.as_ref().expect("it is configured").listen.len() == 4
    });
    eventually("nobody to listen", || TcpStream::connect(("127.0.0.1", good)).is_err());
    assert!(over_tcp(squatted.port(), &request(&leaf)).len() > 100);
}

#[test]
fn sockets_that_are_handed_over_outlive_the_agent_and_nobody_is_refused() {
    let mut scene = Scene::new(3600, &[plain("www.test")], "");
    let path = scene.path("responder.sock");
    let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let unix = UnixListener::bind(&path).expect("the folder is ours");
    let port = tcp.local_addr().expect("it is bound").port();
    scene.agent.hand_over(tcp).hand_over(unix);
    // One of them is configured, the other comes with the unit alone.
    scene.configure(&format!("[responder]\nlisten = [\"unix:{}\"]\n", path.display()));
    let leaf = scene.leaf("www.test").clone();
    scene.agent.start();
    let right = over_unix(&path, &request(&leaf));
    assert!(right.len() > 100);
    assert_eq!(over_tcp(port, &request(&leaf)), right);
    let document = scene.agent.status().expect("it runs");
    let loopback = document.loopback.expect("it has sockets");
    assert_eq!(loopback.listen.len(), 2);
    assert!(loopback.listen.iter().all(|one| one.error.is_none()), "{loopback:?}");
    // Upgrades: the old one ends, clients come, the new one starts; others never cease to come.
    let over = Arc::new(AtomicBool::new(false));
    let tireless: Vec<_> = (0..2)
        .map(|number| {
            let (request, path, over) = (request(&leaf), path.clone(), over.clone());
            let right = right.clone();
            thread::spawn(move || {
                let mut answers = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = match number {
                        0 => over_tcp(port, &request),
                        _ => over_unix(&path, &request),
                    };
                    assert_eq!(answer, right);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..3 {
        scene.agent.stop();
        scene.agent.start();
    }
    over.store(true, Ordering::Relaxed);
    for client in tireless {
        let answers = client.join().expect("it was never refused");
        assert!(answers > 10, "{answers} answers");
    }
    scene.agent.stop();
    assert!(path.exists());
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let (request, path) = (request(&leaf), path.clone());
            thread::spawn(move || match number % 2 {
                0 => over_tcp(port, &request),
                _ => over_unix(&path, &request),
            })
        })
        .collect();
    thread::sleep(super::client::SOON);
    scene.agent.start();
    for client in waiting {
        assert_eq!(client.join().expect("it got an answer"), right);
    }
}
