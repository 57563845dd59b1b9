//! Looks at a real nginx: names, key types, versions, staples, sockets, reloads.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use staplekeeper::confirm::{
    Address, Confirmer, KeyKind, Look, LookError, Seen, Settings, TlsVersion, look,
};

use crate::support::nginx::{Nginx, Site};
use crate::support::port::free_port;
use crate::support::program::program;

/// nginx takes any OCSPResponse for a staple: two that differ.
const TRY_LATER: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x03];
const INTERNAL_ERROR: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x02];

fn at(port: u16) -> Look {
    Look::at(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

fn named(port: u16, name: &str) -> Look {
    Look { server_name: Some(name.to_owned()), ..at(port) }
}

async fn see(wanted: Look) -> Seen {
    let seen = look(&wanted).await;
    seen.unwrap_or_else(|error| panic!("{wanted:?}: {error}: {:?}", error))
}

/// Puts `NAME.pem` and `NAME.key` into the folder; gives the certificate's DER.
fn certificate(nginx: &Nginx, name: &str, algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    nginx.write(&format!("{name}.pem"), certificate.pem());
    nginx.write(&format!("{name}.key"), key.serialize_pem());
    certificate.der().to_vec()
}

#[tokio::test]
async fn name_staple_and_version() {
    let mut nginx = Nginx::new();
    let a = certificate(&nginx, "a.test", &rcgen::PKCS_ECDSA_P256_SHA256);
    let b = certificate(&nginx, "b.test", &rcgen::PKCS_ECDSA_P384_SHA384);
    nginx.write("b.der", TRY_LATER);
    let port = free_port();
    let site = |name, certificate, key, staple, more| {
        Site { port, listen: "", names: name, certificate, key, staple, more }.to_string()
    };
    // Protocol versions are the default server's business.
    let versions = "ssl_protocols TLSv1.2 TLSv1.3;";
    let first = site("a.test", "a.test.pem", "a.test.key", None, versions);
    let second = site("b.test *.b.test", "b.test.pem", "b.test.key", Some("b.der"), "");
    nginx.http(&(first + &second)).start();

    let seen = see(named(port, "b.test")).await;
    assert_eq!((seen.chain, seen.staple), (vec![b.clone()], Some(TRY_LATER.to_vec())));
    assert_eq!((seen.tls, seen.broke_off), (TlsVersion::Tls13, None));
    assert_eq!(see(named(port, "staplekeeper-probe.b.test")).await.chain[0], b);
    for default in [named(port, "a.test"), named(port, "other.test"), at(port)] {
        let seen = see(default).await;
        assert_eq!((&seen.chain[0], seen.staple), (&a, None));
    }

    let only_12 = site("", "b.test.pem", "b.test.key", Some("b.der"), "ssl_protocols TLSv1.2;");
    nginx.http(&only_12);
    nginx.reload().expect("a sound configuration");
    let confirmer = Confirmer::new(Settings::default());
    let seen = confirmer.look_until(&at(port), |seen| seen.tls == TlsVersion::Tls12).await;
    let seen = seen.expect("it is up");
    assert_eq!((seen.tls, seen.staple), (TlsVersion::Tls12, Some(TRY_LATER.to_vec())));
}

#[tokio::test]
async fn either_certificate_of_a_dual_host() {
    let mut nginx = Nginx::new();
    let rsa = certificate(&nginx, "rsa.test", &rcgen::PKCS_RSA_SHA256);
    let elliptic = certificate(&nginx, "ec.test", &rcgen::PKCS_ECDSA_P256_SHA256);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let port = free_port();
        let more = format!(
            "ssl_protocols {protocol}; ssl_certificate ec.test.pem; ssl_certificate_key ec.test.key;"
        );
        let (certificate, key) = ("rsa.test.pem", "rsa.test.key");
        let site = Site { port, certificate, key, more: &more, ..Site::default() };
        nginx.http(&site.to_string()).start();
        for (kind, expected) in [(KeyKind::Rsa, &rsa), (KeyKind::Elliptic, &elliptic)] {
            let seen = see(Look { key: Some(kind), ..at(port) }).await;
            assert_eq!(&seen.chain[0], expected, "{protocol} {kind:?}");
            assert_eq!(seen.tls.to_string(), protocol);
        }
        nginx.stop();
    }
    let port = free_port();
    let (certificate, key) = ("rsa.test.pem", "rsa.test.key");
    nginx.http(&Site { port, certificate, key, ..Site::default() }.to_string()).start();
    let none = look(&Look { key: Some(KeyKind::Elliptic), ..at(port) }).await;
    assert!(matches!(none, Err(LookError::Handshake { .. })), "{none:?}");
}

#[tokio::test]
async fn proxy_protocol_and_sockets() {
    let mut nginx = Nginx::new();
    let (certificate, key) = ("a.test.pem", "a.test.key");
    let expected = crate::confirm::certificate(&nginx, "a.test", &rcgen::PKCS_ECDSA_P384_SHA384);
    let port = free_port();
    let more = "listen unix:listen.sock ssl;";
    let listen = "proxy_protocol";
    let site = Site { port, listen, certificate, key, more, ..Site::default() };
    nginx.http(&site.to_string().replace("listen.sock", &nginx.path("sock").display().to_string()));
    nginx.start();
    let seen = see(Look { proxy_protocol: true, ..at(port) }).await;
    assert_eq!(seen.chain[0], expected);
    let plain = look(&at(port)).await;
    assert!(matches!(plain, Err(LookError::Handshake { .. })), "{plain:?}");
    let seen = see(Look::at(Address::Unix(nginx.path("sock")))).await;
    assert_eq!(seen.chain[0], expected);
}

#[tokio::test]
async fn a_reload_is_waited_out() {
    let mut nginx = Nginx::new();
    certificate(&nginx, "a.test", &rcgen::PKCS_ECDSA_P256_SHA256);
    let port = free_port();
    let (certificate, key) = ("a.test.pem", "a.test.key");
    nginx.write("a.der", TRY_LATER);
    let staple = Some("a.der");
    nginx.http(&Site { port, certificate, key, staple, ..Site::default() }.to_string()).start();
    nginx.write("a.der", INTERNAL_ERROR);
    let hasty = Settings { patience: Duration::from_secs(1), ..Settings::default() };
    let confirmer = Confirmer::new(hasty);
    let fresh = |seen: &Seen| seen.staple.as_deref() == Some(INTERNAL_ERROR);
    // Without a reload the old one stays, and the last look says so.
    let begun = Instant::now();
    let seen = confirmer.look_until(&at(port), fresh).await.expect("it is up");
    assert_eq!(seen.staple.as_deref(), Some(TRY_LATER));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let reloading = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        nginx.reload().expect("a sound configuration");
        nginx
    });
    let patient = Confirmer::new(Settings::default());
    let seen = patient.look_until(&at(port), fresh).await.expect("it is up");
    assert_eq!(seen.staple.as_deref(), Some(INTERNAL_ERROR));
    drop(reloading.join());
}

#[tokio::test]
async fn nothing_to_see() {
    let refused = look(&at(free_port())).await;
    assert!(matches!(refused, Err(LookError::Connect { .. })), "{refused:?}");
    let socket = Look::at(Address::Unix("/nowhere.sock".into()));
    assert!(matches!(look(&socket).await, Err(LookError::Connect { .. })));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let hasty = Look { timeout: Duration::from_millis(200), ..at(port) };
    let silence = look(&hasty).await;
    assert!(matches!(silence, Err(LookError::TimedOut { .. })), "{silence:?}");
    let mut nginx = Nginx::new();
    let port = free_port();
    nginx.http(&format!("server {{ listen 127.0.0.1:{port}; }}")).start();
    let http = look(&at(port)).await;
    assert!(matches!(http, Err(LookError::Handshake { .. })), "{http:?}");
}

/// A child that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_client_certificate_is_wanted() {
    let folder = Nginx::new();
    let expected = certificate(&folder, "a.test", &rcgen::PKCS_ECDSA_P256_SHA256);
    let staple = folder.write("a.der", TRY_LATER);
    let port = free_port();
    let mut command = Command::new(program("openssl"));
    command.args(["s_server", "-quiet", "-tls1_2", "-Verify", "1", "-accept", &port.to_string()]);
    command.arg("-cert").arg(folder.path("a.test.pem"));
    command.arg("-key").arg(folder.path("a.test.key"));
    command.arg("-status_file").arg(&staple);
    let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Ends(quiet.spawn().expect("openssl can be executed"));
    let patient = Confirmer::new(Settings::default());
    let seen = patient.look_until(&at(port), |_| true).await.expect("it presents its certificate");
    assert_eq!((seen.chain, seen.staple), (vec![expected], Some(fs::read(staple).expect("ours"))));
    assert!(seen.broke_off.is_some(), "TLS 1.2 tells the client so");
}
