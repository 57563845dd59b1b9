//! What openssl and curl make of it.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::client::{Stand, request};
use crate::support::ca::Draft;
use crate::support::program::program;

fn run(command: &mut Command) -> (bool, Vec<u8>, String) {
    let output = command.output().expect("it can be executed");
    let text = [&*output.stdout, &output.stderr].concat();
    (output.status.success(), output.stdout, String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn openssl_believes_it() {
    let stand = Stand::new();
    let folder = tempfile::tempdir().expect("a temp folder");
    let write = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("the folder is ours");
        path
    };
    let (leaf, _) = stand.stapled(600);
    let (issuer, root) = (leaf.issuer().clone(), leaf.issuer().issuer().clone());
    let (issuer, root) = (write("issuer.pem", issuer.pem()), write("root.pem", root.pem()));
    let known = write("known.pem", leaf.pem());
    let stranger = write("stranger.pem", stand.ca.issue(Draft::leaf("stranger.test")).pem());
    let ask = |certificate: &std::path::Path, more: &[&str]| {
        let mut command = Command::new(program("openssl"));
        command.arg("ocsp").args(more).arg("-issuer").arg(&issuer).arg("-cert").arg(certificate);
        command.arg("-CAfile").arg(&root).arg("-url");
        run(command.arg(format!("http://127.0.0.1:{}/any/path", stand.port)))
    };
    // It sends a nonce unless told otherwise, and warns that none comes back.
    for more in [&[][..], &["-no_nonce"]] {
        let (good, _, said) = ask(&known, more);
        let right = said.contains("Response verify OK") && said.contains("known.pem: good");
        assert!(good && right, "{more:?}: {said}");
    }
    let (_, _, said) = ask(&stranger, &[]);
    assert!(said.contains("unauthorized (6)"), "{said}");
}

#[test]
fn curl_gets_it_and_caches_it() {
    let stand = Stand::new();
    let folder = tempfile::tempdir().expect("a temp folder");
    let (leaf, staple) = stand.stapled(600);
    let request = request(&leaf);
    let (body, tag) = (folder.path().join("request.der"), folder.path().join("etag"));
    std::fs::write(&body, &request).expect("the folder is ours");
    let url = format!("http://127.0.0.1:{}/{}", stand.port, STANDARD.encode(&request));
    let curl = |more: &[&str]| {
        let mut command = Command::new(program("curl"));
        run(command.args(["--silent", "--show-error", "--noproxy", "*"]).args(more).arg(&url))
    };
    assert_eq!(curl(&[]).1, staple.der());
    assert_eq!(curl(&["--path-as-is", "--http1.0"]).1, staple.der());
    let data = format!("@{}", body.display());
    let post = ["--data-binary", &data, "--header", "Content-Type: application/ocsp-request"];
    assert_eq!(curl(&post).1, staple.der());
    let tag = tag.display().to_string();
    assert_eq!(curl(&["--etag-save", &tag]).1, staple.der());
    let (_, body, said) = curl(&["--etag-compare", &tag, "--write-out", "%{http_code}"]);
    assert_eq!(String::from_utf8_lossy(&body), "304", "{said}");
    let (_, body, _) = curl(&["--head"]);
    assert!(body.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&body));
}
