//! `[[issuer]]`: which certificates a profile is for, and what it changes about asking and judging.
//!
//! Each test is a refresh without an agent: a folder of certificates, no server, a scripted responder.

use std::fs;

use crate::support::agent::{Agent, Said};
use crate::support::authority::{Answer, Authority, now};
use crate::support::ca::{Draft, Forge, Identity};
use crate::support::responder::{Reply, Responder};

/// A certificate in a watched folder, and a command to try.
struct Bench {
    agent: Agent,
    authority: Authority,
    leaf: Identity,
}

impl Bench {
    fn new(draft: Draft) -> Bench {
        let (agent, authority) = (Agent::new(), Authority::new(3_600));
        let leaf = authority.issue(draft);
        let folder = agent.folder().join("certs/www");
        fs::create_dir_all(&folder).expect("the folder is ours");
        fs::write(folder.join("fullchain.pem"), leaf.chain_pem()).expect("the folder is ours");
        Bench { agent, authority, leaf }
    }

    /// Refreshes under `[[issuer]]` tables.
    fn refresh(&self, issuers: &str) -> Said {
        let certs = self.agent.folder().join("certs");
        let watch = format!("server = []\n[[watch]]\npath = \"{}\"\n", certs.display());
        self.agent.configure(&format!("{watch}{issuers}"));
        self.agent.command(&["refresh"])
    }

    #[track_caller]
    fn check(&self, issuers: &str, code: i32, expected: &str) {
        let said = self.refresh(issuers);
        let text = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, code, "{text}");
        assert!(text.contains(expected), "{expected:?} is not in: {text}");
    }
}

/// A profile that matches by `criterion` and sends everything to `url`.
fn to(criterion: &str, url: &str) -> String {
    format!("[[issuer]]\nmatch = {{ {criterion} }}\nresponders = [\"{url}\"]\n")
}

#[test]
fn the_first_profile_that_matches_replaces_the_responders() {
    let dead = Draft { ocsp_urls: vec!["http://127.0.0.1:1/".to_owned()], ..Draft::leaf("www") };
    let bench = Bench::new(dead);
    let url = bench.authority.responder.url();
    bench.check("", 1, "127.0.0.1:1");
    bench.check(&to("ocsp_host = \"elsewhere\"", &url), 1, "127.0.0.1:1");
    bench.check(&to("ocsp_host = \"127.0.0.1\"", &url), 0, "ok");
    bench.check(&to("issuer = \"CN=E2E CA\"", &url), 0, "ok");
    bench.check(&to("issuer = \"CN=Another CA\"", &url), 1, "127.0.0.1:1");
    let both = to("ocsp_host = \"127.0.0.1\"", &url)
        + &to("issuer = \"CN=E2E CA\"", "http://127.0.0.1:2/");
    bench.check(&both, 0, "ok");
}

#[test]
fn a_profile_chooses_the_method() {
    let bench = Bench::new(Draft::leaf("www"));
    for (method, expected) in [("get", "GET"), ("post", "POST")] {
        let profile =
            format!("[[issuer]]\nmatch = {{ ocsp_host = \"127.0.0.1\" }}\nmethod = \"{method}\"\n");
        bench.check(&profile, 0, "ok");
        let asked = bench.authority.responder.log();
        assert_eq!(asked.last().expect("it was asked").method, expected);
    }
}

#[test]
fn a_missing_next_update_is_worth_a_day_or_nothing() {
    let bench = Bench::new(Draft::leaf("www"));
    let at = now();
    let endless = Forge::new(&bench.leaf, at).from(at).until(None).der();
    bench.authority.says(&bench.leaf, Answer::Reply(Reply::ocsp(endless)));
    bench.check("", 0, "good until");
    let reject =
        "[[issuer]]\nmatch = { ocsp_host = \"127.0.0.1\" }\nmissing_next_update = \"reject\"\n";
    bench.check(reject, 1, "nextUpdate");
}

#[test]
fn a_configured_signer_is_trusted() {
    let bench = Bench::new(Draft::leaf("www"));
    let stranger = Identity::root("Corporate VA");
    let at = now();
    let forged =
        Forge::new(&bench.leaf, at).from(at).until(Some(at + 3_600)).delegated(&stranger).der();
    bench.authority.says(&bench.leaf, Answer::Reply(Reply::ocsp(forged)));
    bench.check("", 1, "answer refused");
    let path = bench.agent.folder().join("va.pem");
    fs::write(&path, stranger.pem()).expect("the folder is ours");
    let profile = |path: &str| {
        format!("[[issuer]]\nmatch = {{ issuer = \"CN=E2E CA\" }}\ntrusted_signer = \"{path}\"\n")
    };
    bench.check(&profile(&path.to_string_lossy()), 0, "good until");
    bench.check(&profile("/nowhere/va.pem"), 2, "cannot read trusted_signer /nowhere/va.pem");
}

#[test]
fn requests_go_through_a_profiles_proxy() {
    let far = Draft { ocsp_urls: vec!["http://ocsp.test/".to_owned()], ..Draft::leaf("www") };
    let bench = Bench::new(far);
    let at = now();
    let good = Forge::new(&bench.leaf, at).from(at).until(Some(at + 3_600)).der();
    let proxy = Responder::start(move |_| Reply::ocsp(good.clone()));
    let profile = format!(
        "[[issuer]]\nmatch = {{ ocsp_host = \"ocsp.test\" }}\nproxy = \"{}\"\n",
        proxy.url()
    );
    bench.check(&profile, 0, "ok");
    let asked = proxy.log();
    assert!(asked[0].target.starts_with("http://ocsp.test/"), "{:?}", asked[0].target);
}
