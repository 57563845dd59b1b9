//! The floor: the same requests over a few keep-alive connections and one signature check each.
//!
//! It runs as a child of its own (`cold floor …`), so that start and CPU time are counted as for the
//! others. It reads the certificates, since nobody can ask without, and keeps nothing, unless told to
//! write each answer to a file by rename and to sync the disk once.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use staplekeeper::pki::{Certificate, read_certificates};

use crate::support::ca::der;

const CONNECTIONS: usize = 4;

/// The command that does the work for the certificates in `chains`; answers go to `files`, if given.
pub fn command(chains: &Path, url: &str, files: Option<&Path>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("floor").arg(chains).arg(url).args(files);
    command
}

/// What the child does.
pub fn run(arguments: &[String]) {
    let [chains, url, files @ ..] = arguments else { panic!("floor CHAINS URL [FILES]") };
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let paths = fs::read_dir(chains).expect("chains").flatten().map(|entry| entry.path());
    let paths: Vec<PathBuf> = paths.collect();
    let issuer = issuer_of(&paths[0]);
    thread::scope(|scope| {
        for share in paths.chunks(paths.len().div_ceil(CONNECTIONS)) {
            let issuer = Arc::clone(&issuer);
            scope.spawn(move || work(share, issuer, authority, files.first().map(Path::new)));
        }
    });
    if let Some(folder) = files.first() {
        let folder = File::open(folder).expect("the folder is there");
        rustix::fs::syncfs(&folder).expect("the disk takes it");
    }
}

fn issuer_of(path: &Path) -> Arc<Certificate> {
    let mut chain = read_certificates(&fs::read(path).expect("a file")).expect("a chain");
    Arc::new(chain.pop().expect("leaf and issuer"))
}

fn work(paths: &[PathBuf], issuer: Arc<Certificate>, authority: &str, files: Option<&Path>) {
    let mut stream = TcpStream::connect(authority).expect("the responder listens");
    stream.set_nodelay(true).expect("TCP_NODELAY is known everywhere");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer.public_key_bits());
    let hash = |bytes| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec();
    let hashes =
        [issuer.subject_der(), issuer.public_key_bits()].map(hash).map(|hash| der::octets(&hash));
    let mut buffer = Vec::new();
    for path in paths {
        let chain = read_certificates(&fs::read(path).expect("a file")).expect("a chain");
        let question = STANDARD.encode(request(&hashes, &chain[0]));
        let question = utf8_percent_encode(&question, NON_ALPHANUMERIC);
        let head = format!("GET /{question} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the responder listens");
        let body = answer(&mut stream, &mut buffer);
        check(&body, &key);
        if let Some(folder) = files {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let temporary = folder.join(format!(".{name}"));
            fs::write(&temporary, &body).expect("room on disk");
            fs::rename(&temporary, folder.join(format!("{name}.der"))).expect("our folder");
        }
    }
}

/// RFC 6960 §4.1.1, the issuer's two hashes given once for all.
fn request(hashes: &[Vec<u8>; 2], leaf: &Certificate) -> Vec<u8> {
    let serial = der::integer(leaf.serial().as_integer());
    let algorithm = der::algorithm("1.3.14.3.2.26");
    let cert_id = der::sequence(&[&algorithm, &hashes[0], &hashes[1], &serial]);
    let list = der::sequence(&[&der::sequence(&[&cert_id])]);
    der::sequence(&[&der::sequence(&[&list])])
}

/// The body of the next HTTP response.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Vec<u8> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).expect("a length");
            let length: usize = length.lines().next().expect("a line").parse().expect("a number");
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return body;
            }
        }
        let read = stream.read(&mut chunk).expect("the responder answers");
        assert!(read > 0, "the responder closes");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// RFC 6960 §4.2.1: down to the BasicOCSPResponse, whose first element the issuer signed.
fn check(response: &[u8], key: &UnparsedPublicKey<&[u8]>) {
    let bytes = der::elements(der::first(response).contents).pop().expect("responseBytes");
    let basic = der::elements(der::first(bytes.contents).contents).pop().expect("a response");
    let parts = der::elements(der::first(basic.contents).contents);
    key.verify(parts[0].whole, &parts[2].contents[1..]).expect("the issuer signed it");
}
