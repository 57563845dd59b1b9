//! `staplekeeper verify` as a user has it: files in, one line or one object out, and an exit status.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::ca::{DAY, Draft, Forge, Identity, Kind, Said, Scheme, at, der, refusal};

const NOW: &str = "2026-03-01T12:00:00Z";

/// A folder with certificates and responses, all at [`NOW`].
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().expect("a folder") };
        let now = at(NOW);
        let ca = Identity::root("Toy CA");
        let leaf = ca.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("www.example.org") });
        let sibling = ca.issue(Draft { serial: vec![0x10, 0x02], ..Draft::leaf("x.example.org") });
        let other = Identity::root("Other CA");
        let authority = Draft { authority: None, ..Draft::authority("VA") }.self_signed();
        let rsa = Draft::authority("RSA CA").keyed(Kind::Rsa2048, 1).self_signed();
        let old = rsa.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("old.example.org") });
        let good = Forge::new(&leaf, now);
        let revoked = Said::Revoked { time: now - DAY, reason: Some(1) };

        desk.write("ca.pem", ca.pem());
        desk.write("ca.der", &ca.der);
        desk.write("other.pem", other.pem());
        desk.write("bundle.pem", other.pem() + &ca.pem());
        desk.write("leaf.pem", leaf.pem());
        desk.write("leaf.der", &leaf.der);
        desk.write("chain.pem", leaf.key_pem() + &leaf.full_chain_pem());
        desk.write("va.pem", authority.pem());
        desk.write("old-ca.pem", rsa.pem());
        desk.write("old.pem", old.pem());
        desk.write("good", good.der());
        desk.write("good.pem", der::pem("OCSP RESPONSE", &good.der()));
        desk.write("long", good.clone().until(Some(now + 90 * DAY)).der());
        desk.write("endless", good.clone().until(None).der());
        desk.write("early", good.clone().from(now + 3600).der());
        desk.write("revoked", good.clone().status(revoked).der());
        desk.write("unknown", good.clone().status(Said::Unknown).der());
        desk.write("expired", good.clone().until(Some(now - 600)).der());
        desk.write("sibling", Forge::new(&sibling, now).der());
        desk.write("unauthorized", refusal(6));
        desk.write("va", good.clone().delegated(&authority).der());
        let scheme = Some(Scheme::RSA_SHA1);
        desk.write("sha1", Forge { scheme, ..Forge::new(&old, now) }.der());
        desk.write("page", "<html>Please sign in</html>");
        desk.write("empty", "");
        desk.write("key.pem", leaf.key_pem());
        desk
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), bytes).expect("written");
    }

    /// Runs the command, its words split at blanks; gives exit status, output and complaint.
    fn verify(&self, words: &str, input: Option<&str>) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_staplekeeper"));
        command.arg("verify").args(words.split_whitespace()).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program was built");
        let mut stdin = child.stdin.take().expect("it was piped");
        if let Some(name) = input {
            let bytes = fs::read(self.folder.path().join(name)).expect("it is there");
            stdin.write_all(&bytes).expect("the program reads");
        }
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let status = output.status.code().expect("it exits");
        (status, text(output.stdout), text(output.stderr))
    }
}

/// Words behind `--cert leaf.pem --issuer ca.pem --at NOW`, the exit status, and what the JSON says
/// as verdict, reason, this_update, next_update, produced_at, effective_expiry and signer.
const VERDICTS: &[(&str, i32, &str)] = &[
    (
        "good",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "good.pem",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "long",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":"2026-05-30T12:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-11T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "endless",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":null,"produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-02T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "endless --missing-next-update 3d",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":null,"produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-04T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "endless --missing-next-update reject",
        1,
        r#""refused","reason":"has no nextUpdate (thisUpdate 2026-03-01T11:00:00Z); missing_next_update says what to assume","this_update":"2026-03-01T11:00:00Z","next_update":null,"produced_at":"2026-03-01T11:00:00Z","effective_expiry":null,"signer":null"#,
    ),
    (
        "early --max-skew 2h",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T13:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T13:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "early",
        1,
        r#""refused","reason":"thisUpdate 2026-03-01T13:00:00Z is 1h ahead of 2026-03-01T12:00:00Z, more than the 5m allowed; are the clocks right?","this_update":"2026-03-01T13:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T13:00:00Z","effective_expiry":null,"signer":null"#,
    ),
    (
        "revoked",
        3,
        r#""revoked","reason":"revoked at 2026-02-28T12:00:00Z: keyCompromise","this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "unknown",
        4,
        r#""unknown","reason":"the responder does not know the certificate","this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "expired",
        1,
        r#""refused","reason":"nextUpdate 2026-03-01T11:50:00Z is 10m behind 2026-03-01T12:00:00Z, more than the 5m allowed","this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-01T11:50:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":null,"signer":null"#,
    ),
    (
        "expired --max-skew 15m",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-01T11:50:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-01T11:50:00Z","signer":"CN=Toy CA""#,
    ),
    (
        "sibling",
        1,
        r#""refused","reason":"answers for serial 1002, asked about 1001","this_update":null,"next_update":null,"produced_at":"2026-03-01T11:00:00Z","effective_expiry":null,"signer":null"#,
    ),
    (
        "unauthorized",
        1,
        r#""refused","reason":"the responder answered unauthorized: it does not speak for this certificate (not published yet, expired, or another CertID hash is wanted: see cert_id_hash)","this_update":null,"next_update":null,"produced_at":null,"effective_expiry":null,"signer":null"#,
    ),
    (
        "va",
        1,
        r#""refused","reason":"is signed by CN=VA, whose certificate is issued by CN=VA, not by CN=Toy CA","this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":null,"signer":null"#,
    ),
    (
        "va --trusted-signer other.pem --trusted-signer va.pem",
        0,
        r#""good","reason":null,"this_update":"2026-03-01T11:00:00Z","next_update":"2026-03-08T11:00:00Z","produced_at":"2026-03-01T11:00:00Z","effective_expiry":"2026-03-08T11:00:00Z","signer":"CN=VA""#,
    ),
    (
        "page",
        1,
        r#""refused","reason":"the response is a web page; does something stand between us and the responder?","this_update":null,"next_update":null,"produced_at":null,"effective_expiry":null,"signer":null"#,
    ),
    (
        "empty",
        1,
        r#""refused","reason":"the response is empty","this_update":null,"next_update":null,"produced_at":null,"effective_expiry":null,"signer":null"#,
    ),
    (
        "leaf.pem",
        1,
        r#""refused","reason":"the response holds no OCSP RESPONSE block","this_update":null,"next_update":null,"produced_at":null,"effective_expiry":null,"signer":null"#,
    ),
    (
        "leaf.der",
        1,
        r#""refused","reason":"the response is not an OCSP response: unexpected ASN.1 DER tag: expected ENUMERATED, got SEQUENCE","this_update":null,"next_update":null,"produced_at":null,"effective_expiry":null,"signer":null"#,
    ),
];

#[test]
fn verdicts_as_json() {
    let desk = Desk::new();
    for (words, status, facts) in VERDICTS {
        let words = format!("--cert leaf.pem --issuer ca.pem --at {NOW} --format json {words}");
        let (exit, out, complaint) = desk.verify(&words, None);
        let wanted = format!("{{\"schema\":1,\"verdict\":{facts}}}\n");
        assert_eq!((exit, out.as_str()), (*status, wanted.as_str()), "{words}\n{complaint}");
        let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let reason = report["reason"].as_str().unwrap_or_default();
        let told = if *status == 1 { format!("refused: {reason}\n") } else { String::new() };
        assert_eq!(complaint, told, "{words}");
    }
}

#[test]
fn certificates_in_every_form() {
    let desk = Desk::new();
    let forms = [
        "--cert leaf.der --issuer ca.der good",
        "--cert chain.pem --issuer ca.pem good",
        "--cert leaf.pem --issuer bundle.pem good",
        "--cert leaf.pem --issuer chain.pem good",
        "--issuer ca.pem good --cert leaf.pem",
        "--cert old.pem --issuer old-ca.pem sha1 --allow-sha1-signatures",
    ];
    for words in forms {
        let (exit, out, complaint) = desk.verify(&format!("{words} --at {NOW}"), None);
        assert!(
            exit == 0 && out.starts_with("verdict           good\n"),
            "{words}: {out}{complaint}"
        );
    }
    let words = format!("--cert leaf.pem --issuer ca.pem --at {NOW} -");
    let (exit, out, complaint) = desk.verify(&words, Some("good"));
    let wanted = "verdict           good\n\
                  this update       2026-03-01T11:00:00Z\n\
                  next update       2026-03-08T11:00:00Z\n\
                  produced at       2026-03-01T11:00:00Z\n\
                  effective expiry  2026-03-08T11:00:00Z\n\
                  signer            CN=Toy CA\n";
    assert_eq!((exit, out.as_str(), complaint.as_str()), (0, wanted, ""));
}

#[test]
fn judged_now_unless_told_otherwise() {
    let desk = Desk::new();
    let (exit, _, complaint) = desk.verify("--cert leaf.pem --issuer ca.pem good", None);
    assert_eq!(exit, 1);
    assert!(complaint.starts_with("refused: nextUpdate 2026-03-08T11:00:00Z is "), "{complaint}");
}

#[test]
fn an_issuer_that_is_none_is_a_refusal() {
    let desk = Desk::new();
    let words = format!("--cert leaf.pem --issuer other.pem --at {NOW} good");
    let (exit, out, complaint) = desk.verify(&words, None);
    let reason = "the certificate was issued by CN=Toy CA, not by CN=Other CA\n";
    assert_eq!((exit, complaint), (1, format!("refused: {reason}")));
    assert!(
        out.starts_with(&format!("verdict           refused\nreason            {reason}")),
        "{out}"
    );
}

#[test]
fn what_cannot_be_read_is_usage() {
    let desk = Desk::new();
    let cases = [
        ("--cert absent.pem --issuer ca.pem good", "absent.pem"),
        ("--cert leaf.pem --issuer absent.pem good", "absent.pem"),
        ("--cert leaf.pem --issuer ca.pem absent", "absent"),
        ("--cert page --issuer ca.pem good", "page"),
        ("--cert leaf.pem --issuer empty good", "empty"),
        ("--cert leaf.pem --issuer key.pem good", "holds no CERTIFICATE block"),
        ("--cert good --issuer ca.pem good", "is not a DER certificate"),
        ("--cert leaf.pem --issuer ca.pem --trusted-signer key.pem good", "key.pem"),
        ("--cert leaf.pem --issuer ca.pem --at yesterday good", "yesterday"),
        ("--cert leaf.pem --issuer ca.pem --max-skew=-5m good", "-5m"),
        ("--cert leaf.pem --issuer ca.pem --missing-next-update never good", "never"),
        ("--cert leaf.pem --issuer ca.pem --format xml good", "xml"),
        ("--cert leaf.pem good", "--issuer"),
        ("--cert leaf.pem --issuer ca.pem", "<RESPONSE>"),
    ];
    for (words, named) in cases {
        let (exit, out, complaint) = desk.verify(words, None);
        assert_eq!((exit, out.as_str()), (2, ""), "{words}: {complaint}");
        assert!(complaint.contains(named), "{words}: {complaint}");
    }
}
