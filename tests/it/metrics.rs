//! Metrics as Prometheus takes them, the rules and the dashboard that are shipped, and the status page
//! as a browser shows it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::agent::{PATIENCE, eventually};
use crate::support::authority::Answer;
use crate::support::ca::{Draft, Said};
use crate::support::port::free_port;
use crate::support::program::program;
use crate::support::scene::{Host, Scene, must, plain};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Sends a request's lines and gives the answer's head and body.
fn talk(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).expect("somebody listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

/// What a GET to a port brings; `more` are further header lines.
fn get(port: u16, path: &str, more: &str) -> (String, String) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a length of time");
    talk(stream, &format!("GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\n{more}\r\n"))
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut file = tempfile::tempfile().expect("a temp file");
    file.write_all(input.as_bytes()).expect("it takes text");
    std::io::Seek::rewind(&mut file).expect("it is a file");
    let folder = example("prometheus");
    let mut command = Command::new(program("promtool"));
    command.args(arguments).current_dir(folder).stdin(file);
    command.output().expect("promtool runs")
}

/// Prometheus' own linter has nothing to say.
fn is_clean(text: &str) {
    let output = promtool(&["check", "metrics"], text);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// A scene with metrics, where everything that is counted has happened.
fn scene(hosts: &[Host]) -> (Scene, u16) {
    let port = free_port();
    let tables = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut scene = Scene::new(3_600, hosts, &tables);
    scene.start();
    (scene, port)
}

/// The value of the only line that begins so.
fn value(text: &str, begins: &str) -> Option<f64> {
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(begins)).collect();
    assert!(lines.len() <= 1, "{lines:#?}");
    lines.first().and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[test]
fn metrics_are_what_prometheus_expects() {
    let (scene, port) = scene(&[must("a.test"), plain("b.test")]);
    assert_eq!(scene.agent.command(&["refresh"]).code, 0);
    let mut text = String::new();
    eventually("handshakes to be counted", || {
        text = get(port, "/metrics", "").1;
        let line = |line: &str| line.starts_with("staplekeeper_confirm_total{");
        text.lines().any(|one| line(one) && one.contains("\"match\""))
    });
    is_clean(&text);
    let id = scene
        .agent
        .status()
        .expect("it runs")
        .certificates
        .iter()
        .find(|one| one.name == "a.test")
        .map(|one| one.fingerprint.to_string()[..16].to_owned());
    let labels = format!("{{name=\"a.test\",id=\"{}\"}}", id.expect("a.test is known"));
    let of = |metric: &str| value(&text, &format!("staplekeeper_{metric}{labels}"));
    assert_eq!(of("certificate_must_staple"), Some(1.0), "{text}");
    assert_eq!(of("certificate_severity"), Some(0.0));
    assert_eq!(of("certificate_served_matches"), Some(1.0));
    let (this_update, expiry) =
        (of("staple_this_update_timestamp_seconds"), of("staple_served_expiry_timestamp_seconds"));
    let life = expiry.expect("it is served") - this_update.expect("it is held");
    assert_eq!(life, 3_600.0);
    // A quarter of the life is the margin; three quarters of it are left at the warning.
    let late = of("staple_warning_timestamp_seconds").expect("it is served");
    assert!((expiry.expect("it is served") - late - 675.0).abs() <= 1.0, "{text}");
    let url = scene.authority.responder.url();
    let fetched = format!("staplekeeper_fetch_total{{responder=\"{url}\",result=\"new\"}}");
    assert_eq!(value(&text, &fetched), Some(4.0), "{text}");
    let took = format!("staplekeeper_fetch_duration_seconds_count{{responder=\"{url}\"}}");
    assert_eq!(value(&text, &took), Some(4.0), "{text}");

    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1\r\n";
    let (head, open) = get(port, "/metrics", accept);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE staplekeeper_fetch counter\n"));
}

#[test]
fn only_this_machine_is_answered_and_only_to_look() {
    let (scene, port) = scene(&[plain("a.test")]);
    let said = |request: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        talk(stream, request).0.lines().next().unwrap_or_default().to_owned()
    };
    assert!(said("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").contains("421"));
    assert!(
        said("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").contains("405")
    );
    assert!(said("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("404"));
    assert!(said("HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").contains("200"));
    let (head, _) = get(port, "/", "");
    assert!(
        head.contains("content-security-policy: default-src 'none'; style-src 'self';"),
        "{head}"
    );

    // More who say nothing than there are seats: those behind them come to their turn.
    let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", port))).collect();
    assert!(get(port, "/metrics", "").0.contains("200 ok"));
    drop(idle);

    // Another place, by SIGHUP: a unix socket.
    let socket = scene.agent.runtime_dir().join("metrics.sock");
    scene.configure("[metrics]\nlisten = \"unix:{runtime_dir}/metrics.sock\"\n");
    scene.agent.hang_up();
    eventually("the socket", || UnixStream::connect(&socket).is_ok());
    let stream = UnixStream::connect(&socket).expect("it is there");
    let (head, body) = talk(stream, "GET /metrics HTTP/1.0\r\nHost: whatever\r\n\r\n");
    assert!(head.contains("200 ok") && body.contains("staplekeeper_build_info{"), "{head}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the old place is closed");
}

#[test]
fn the_textfile_is_whole_and_current() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let file = folder.path().join("staplekeeper.prom");
    let tables = format!("[metrics]\ntextfile = \"{}\"\n", file.display());
    let mut scene = Scene::new(3_600, &[must("a.test")], &tables);
    scene.start();
    let read = || fs::read_to_string(&file).unwrap_or_default();
    let patience = std::time::Instant::now() + PATIENCE * 3;
    let served = "staplekeeper_certificate_served_matches{name=\"a.test\"";
    while value(&read(), served) != Some(1.0) {
        assert!(std::time::Instant::now() < patience, "it is not current: {}", read());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    is_clean(&read());
    let names: Vec<_> = fs::read_dir(folder.path()).expect("it is ours").collect();
    assert_eq!(names.len(), 1, "nothing else is left there: {names:?}");
}

#[test]
fn every_rule_fires_for_its_fault_and_is_silent_otherwise() {
    let said = promtool(&["check", "rules", "staplekeeper.rules.yml"], "");
    assert!(said.status.success(), "{said:?}");
    let said = promtool(&["test", "rules", "staplekeeper.rules.test.yml"], "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    // The test lists each of them.
    let rules = fs::read_to_string(example("prometheus/staplekeeper.rules.yml")).expect("shipped");
    let tests =
        fs::read_to_string(example("prometheus/staplekeeper.rules.test.yml")).expect("shipped");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let untested: Vec<_> =
        alerts.filter(|alert| !tests.contains(&format!("alertname=\"{alert}\""))).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

/// Names that begin as ours do.
fn names(text: &str) -> BTreeSet<String> {
    let ours = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let words = text.split(|c| !ours(c)).filter(|word| word.starts_with("staplekeeper_"));
    words.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_exist() {
    let (scene, port) = scene(&[must("a.test")]);
    assert_eq!(scene.agent.command(&["refresh"]).code, 0);
    let mut known = BTreeSet::new();
    eventually("everything to be counted", || {
        known = names(&get(port, "/metrics", "").1);
        known.contains("staplekeeper_confirm_total") && known.contains("staplekeeper_reload_total")
    });
    let files = ["prometheus/staplekeeper.rules.yml", "grafana/staplekeeper.json"];
    for file in files {
        let text = fs::read_to_string(example(file)).expect("shipped");
        let used = names(&text);
        assert!(used.len() > 8, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}; there are {known:#?}");
    }
    let dashboard = fs::read(example("grafana/staplekeeper.json")).expect("shipped");
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
}

/// What a browser makes of a page: its elements, after it has read everything. Scripts are switched off.
fn chromium(url: &str) -> String {
    let home = tempfile::tempdir().expect("a temp folder");
    fs::create_dir(home.path().join("Default")).expect("ours");
    let settings = r#"{"profile": {"default_content_setting_values": {"javascript": 2}}}"#;
    fs::write(home.path().join("Default/Preferences"), settings).expect("ours");
    let profile = format!("--user-data-dir={}", home.path().display());
    let output = Command::new(program("chromium"))
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args([&profile, "--virtual-time-budget=5000", "--dump-dom", url])
        .output();
    let output = output.expect("it can be executed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing_of_it() {
    let script = "http://127.0.0.1:9/<script>document.title='stolen'</script>";
    let evil = Draft { ocsp_urls: vec![script.to_owned()], ..Draft::leaf("evil.test") };
    let hosts = [
        must("a.test"),
        plain("b.test"),
        Host { draft: evil, stapled: false, ..plain("evil.test") },
    ];
    let (scene, port) = scene(&hosts);
    scene
        .authority
        .says(scene.leaf("b.test"), Answer::Status(Said::Revoked { time: 1, reason: None }));
    scene.agent.command(&["refresh"]);
    let page = format!("http://127.0.0.1:{port}/");
    let mut shown = String::new();
    eventually("the revocation to be shown", || {
        shown = get(port, "/", "").1;
        shown.contains("Clients break, or soon will")
    });
    let off = "data:text/html,<noscript>off</noscript><script>document.write('on')</script>";
    assert!(chromium(off).contains("<body>off"), "scripts are off");
    let dom = chromium(&page);
    assert!(dom.contains("<title>staplekeeper: critical</title>"), "{dom}");
    assert!(!dom.contains("<script"), "{dom}");
    assert!(dom.contains("&lt;script&gt;"), "what was tried is shown as text: {dom}");
    let place =
        |name: &str| dom.find(&format!(">{name}")).unwrap_or_else(|| panic!("{name}: {dom}"));
    assert!(place("b.test") < place("a.test"), "the worst comes first: {dom}");
    assert!(dom.contains(">revoked<") && dom.contains(">good<"), "words, not colours alone: {dom}");
    let sorted = chromium(&format!("{page}?sort=name"));
    let place = |name: &str| sorted.find(&format!("row\">{name}")).expect("it is there");
    assert!(place("a.test") < place("b.test"), "{sorted}");
}
