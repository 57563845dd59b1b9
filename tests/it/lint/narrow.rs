//! Faults that come together, and hosts of which little can be read: a small host for each.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::apache::Apache;
use crate::support::authority::Authority;
use crate::support::ca::{Draft, Identity, Kind};
use crate::support::port::free_port;
use crate::support::program::program;

/// What `lint` says: its exit status and the findings.
pub(super) fn lint(agent: &Agent) -> (i32, Vec<Value>) {
    let said = agent.command(&["lint", "--format", "json"]);
    let document: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    (said.code, document["findings"].as_array().expect("findings").clone())
}

pub(super) fn rules(findings: &[Value]) -> Vec<&str> {
    findings.iter().map(|one| one["rule"].as_str().expect("a rule")).collect()
}

fn install(folder: &Path, name: &str, leaf: &Identity) {
    fs::write(folder.join(format!("{name}.pem")), leaf.chain_pem()).expect("ours");
    fs::write(folder.join(format!("{name}.key")), leaf.key_pem()).expect("ours");
}

/// One rule speaks of the path, and sends the block to the responder: no file would do for two keys, and
/// no link of that name would help nginx.
#[test]
fn a_variable_in_the_path_of_two_key_types() {
    let authority = Authority::new(7 * 86_400);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().display();
    install(folder.path(), "ec", &authority.issue(Draft::leaf("dual.test")));
    install(
        folder.path(),
        "rsa",
        &authority.issue(Draft::leaf("dual.test").keyed(Kind::Rsa2048, 7)),
    );
    let pairs: String = ["rsa", "ec"]
        .iter()
        .map(|key| {
            format!("ssl_certificate {root}/{key}.pem;\nssl_certificate_key {root}/{key}.key;\n")
        })
        .collect();
    let config = folder.path().join("nginx.conf");
    let nginx = |stapling: &str| {
        let text = format!(
            "pid {root}/nginx.pid;\nerror_log {root}/nginx.log;\nevents {{\n}}\nhttp {{\naccess_log off;\n\
             server {{\nlisten 127.0.0.1:{} ssl;\nserver_name dual.test;\n{pairs}ssl_stapling on;\n{stapling}}}\n}}\n",
            free_port()
        );
        fs::write(&config, text).expect("ours");
        Command::new(program("nginx")).arg("-t").arg("-c").arg(&config).output().expect("it runs")
    };
    assert!(!nginx(&format!("ssl_stapling_file {root}/$ssl_server_name.der;\n")).status.success());
    let agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"none\"\n",
        config.display()
    ));
    // From now on the agent has a folder, and links into it could be proposed.
    fs::create_dir_all(agent.state_dir().join("staples")).expect("ours");
    let (code, found) = lint(&agent);
    assert!(rules(&found).contains(&"staple-path-variable"), "{found:#?}");
    assert!(!rules(&found).contains(&"target-not-writable"), "{found:#?}");
    assert_eq!(code, 2);
    let of_path = found.iter().find(|one| one["rule"] == "staple-path-variable");
    let fix = of_path.expect("just seen")["fix"].to_string();
    assert!(fix.contains("\"ssl_stapling_file\"") && fix.contains("\"remove\""), "{fix}");
    assert!(!fix.contains("--refresh-now"), "{fix}");
    let steps = of_path.expect("just seen")["fix"].as_array().expect("steps").clone();
    let line = steps
        .iter()
        .filter_map(|step| step["lines"][0].as_str())
        .find(|line| line.starts_with("ssl_stapling_responder"))
        .expect("the responder is named");
    let tested = nginx(&format!("{line}\n"));
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}

/// Apache needs its cache as soon as stapling is on anywhere, whether or not anything can be stapled.
#[test]
fn apache_without_cache_and_without_anything_to_staple() {
    for must_staple in [false, true] {
        let authority = Authority::new(7 * 86_400);
        let draft = Draft { must_staple, ..Draft::leaf("idle.test") };
        let mut apache = Apache::new(&["ssl", "socache_shmcb"]);
        install(apache.folder(), "idle", &authority.issue_as_it_is(draft));
        let port = free_port();
        let host = format!(
            "Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\nServerName idle.test\nSSLEngine on\n\
             SSLCertificateFile idle.pem\nSSLCertificateKeyFile idle.key\nSSLUseStapling on\n</VirtualHost>\n"
        );
        apache.hosts(&host);
        let agent = Agent::new();
        agent.configure(&format!(
            "watch = []\n[[server]]\nkind = \"apache\"\nconfig = \"{}\"\nreload = \"none\"\n",
            apache.configuration().display()
        ));
        let (code, found) = lint(&agent);
        assert!(rules(&found).contains(&"apache-without-cache"), "{must_staple}: {found:#?}");
        assert_eq!(code, 2);
        // What is told to be written is all that Apache lacks.
        let finding = found.iter().find(|one| one["rule"] == "apache-without-cache");
        let line = finding.expect("just seen")["fix"][0]["lines"][0].as_str().expect("a line");
        apache.hosts(&format!("{line}\n{host}"));
        apache.start(port);
        assert!(!rules(&lint(&agent).1).contains(&"apache-without-cache"));
    }
}

/// A host of which nothing could be read is not one on which nothing is wrong.
#[test]
fn what_cannot_be_read_is_not_fine() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("nginx.conf");
    let agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\n",
        config.display()
    ));
    let missing = lint(&agent);
    fs::write(&config, "events {\n}\nhttp {\nserver {\n").expect("ours");
    let unparsable = lint(&agent);
    for (code, found) in [missing, unparsable] {
        assert_eq!((code, rules(&found)), (1, vec!["not-judged"]), "{found:#?}");
        assert_eq!(found[0]["file"].as_str(), config.to_str());
        assert_eq!(found[0]["server"], "nginx");
    }
    let said = agent.command(&["lint"]);
    assert!(!said.err.contains("nothing found"), "{}", said.err);
    fs::write(&config, "events {\n}\nhttp {\n}\n").expect("ours");
    assert_eq!(lint(&agent), (0, Vec::new()));
}

/// A finding about many certificates is told of each of them, though people read only the first's name.
#[test]
fn a_fault_of_many_is_explained_for_each() {
    let authority = Authority::new(7 * 86_400);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().display();
    let port = free_port();
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    let mut blocks = String::new();
    for name in names {
        install(folder.path(), name, &authority.issue_as_it_is(Draft::leaf(name)));
        blocks += &format!(
            "server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {name};\nssl_certificate \
             {root}/{name}.pem;\nssl_certificate_key {root}/{name}.key;\n}}\n"
        );
    }
    let config = folder.path().join("nginx.conf");
    let text = format!("events {{\n}}\nhttp {{\nssl_stapling on;\n{blocks}}}\n");
    fs::write(&config, text).expect("ours");
    let agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"none\"\n",
        config.display()
    ));
    let (_, found) = lint(&agent);
    let idle = found.iter().find(|one| one["rule"] == "stapling-without-responder");
    let idle = idle.expect("nothing can be stapled there");
    assert_eq!(idle["certificate"], "a.test and 4 more");
    assert_eq!(idle["certificates"], Value::from(names.to_vec()));
    for name in names {
        let said = agent.command(&["explain", name]);
        assert!(said.out.contains("stapling-without-responder"), "{name}: {}", said.out);
    }
}
