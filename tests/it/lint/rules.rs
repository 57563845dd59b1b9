//! Each fault is found, nothing else is, and what is printed mends it.

use nix::unistd::geteuid;
use serde_json::Value;

use super::fixes::carry_out;
use super::host::{FAULTS, Host};

fn findings(host: &Host) -> (i32, Vec<Value>) {
    let said = host.agent.command(&["lint", "--format", "json"]);
    let document: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    (said.code, document["findings"].as_array().expect("findings").clone())
}

fn told(findings: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> =
        findings.iter().map(|one| (text(&one["rule"]), text(&one["certificate"]))).collect();
    told.sort();
    told
}

#[test]
fn every_fault_is_found_and_its_fix_mends_it() {
    let mut host = Host::new();
    let expected = FAULTS.iter().map(|(rule, name)| ((*rule).to_owned(), (*name).to_owned()));
    // Root may write everywhere, so only an agent of another user shows this one.
    let expected: Vec<_> =
        expected.filter(|(rule, _)| geteuid().is_root() || rule != "target-not-writable").collect();
    let (code, found) = findings(&host);
    assert_eq!(told(&found), expected);
    assert_eq!(code, 2);
    assert!(host.servers_agree().is_err(), "some of this keeps servers from starting");

    carry_out(&mut host, &found);
    let (code, left) = findings(&host);
    assert_eq!(told(&left), [], "{left:#?}");
    assert_eq!(code, 0);
    assert_eq!(host.servers_agree(), Ok(()));
    // Without a stapling cache Apache passes its own test and does not start.
    host.start_apache();
}

#[test]
fn people_read_the_same() {
    let host = Host::new();
    let said = host.agent.command(&["lint"]);
    let (_, found) = findings(&host);
    for finding in &found {
        let (rule, what) = (finding["rule"].as_str(), finding["what"].as_str());
        let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in [rule, what].into_iter().flatten() {
            assert!(words.contains(text), "{text} is not in {}", said.out);
        }
    }
    assert!(said.out.trim_start().starts_with("error "), "the worst comes first: {}", said.out);
    assert_eq!(said.code, 2);
}

#[test]
fn the_inventory_tells_what_is_deployed_where() {
    let host = Host::new();
    let said = host.agent.command(&["inventory", "--format", "json"]);
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    let all = document["certificates"].as_array().expect("certificates");
    assert_eq!((&document["schema"], all.len()), (&Value::from(1), 36));
    let one = |name: &str| all.iter().find(|one| one["name"] == name).expect("it was found");
    let good = one("good-must.test");
    assert_eq!((&good["must_staple"], &good["key_type"]), (&true.into(), &"P-256".into()));
    assert_eq!((&good["issuer"], &good["root"]), (&"CN=E2E CA".into(), &"CN=E2E Root".into()));
    let deployed = &good["deployments"][0];
    assert_eq!((&deployed["server"], &deployed["stapling"]), (&"nginx".into(), &true.into()));
    assert_eq!(deployed["published"]["how"], "file");
    let line = usize::try_from(deployed["line"].as_u64().expect("a line")).expect("it fits");
    let text = super::host::read(&host.path("nginx.conf"));
    assert_eq!(text.lines().nth(line - 1), Some("server {"));
    assert_eq!(one("a-good.test")["deployments"][0]["published"]["how"], "responder");
    assert_eq!(one("a-asks.test")["deployments"][0]["published"]["how"], "itself");
    assert_eq!(one("idle.test")["ocsp_urls"], Value::Array(Vec::new()));
    // Must-Staple without stapling wants a look first.
    let first: Vec<_> = all.iter().take(3).map(|one| one["name"].as_str().expect("text")).collect();
    assert!(first.iter().all(|name| name.contains("must")), "{first:?}");

    let said = host.agent.command(&["inventory", "--format", "csv"]);
    let rows: Vec<_> = said.out.split("\r\n").filter(|row| !row.is_empty()).collect();
    // The default server presents one certificate a second time.
    assert_eq!(rows.len(), 1 + 36 + 1, "{}", said.out);
    assert!(rows[0].starts_with("name,fingerprint,serial,"), "{}", rows[0]);

    let said = host.agent.command(&["inventory"]);
    let table =
        said.out.lines().filter(|line| !line.starts_with("  ") && !line.contains("WITHOUT"));
    for line in table.skip(1) {
        assert!(line.chars().count() <= 80, "{line:?} is wider than a terminal");
    }
}
