//! Our responder against nginx with the same bytes as static files.
//!
//! `cargo bench --bench responder`: wrk asks both in turn, for a thousand certificates one after the
//! other, over connections that are kept and over new ones. What counts are the ratios within one run.
//! `SECONDS=5` is the length of a turn, `ROUNDS=3` how many each has, `CONNECTIONS=32` how many ask.
//!
//! Beside them stands the processor time that an answer costs its server: where other work is done on the
//! same machine, it is the steadier figure.
//!
//! nginx is as quick as it gets: two workers, no log, no headers but its own; beside it as shipped it is
//! shown with its files kept open. It is asked for short names, ours for OCSP requests.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use staplekeeper::clock::{Clock, SystemClock};
use staplekeeper::ocsp::{self, CertIdHash, Response, Rules};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::serve::responder::{Address, Responder, Table};

#[path = "support/mod.rs"]
mod support;

use support::ca::{Draft, Forge, Identity};
use support::median;
use support::table::{Line, layout};

const CERTIFICATES: usize = 1000;

/// What wrk measured in one turn.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    p99: Duration,
    /// Of the server, for one answer.
    cpu: Duration,
}

fn main() {
    let root = env!("CARGO_MANIFEST_DIR");
    for tool in ["nginx=nginx-light", "wrk=wrk"] {
        let _ = Command::new("tests/install-tools").arg(tool).current_dir(root).status();
    }
    let folder = tempfile::Builder::new().prefix("bench-responder-").tempdir().expect("a folder");
    let corpus = Corpus::make(folder.path());
    let (own, shipped, open) = (free_port(), free_port(), free_port());
    let mut responder =
        Responder::new(corpus.table.clone(), || SystemClock.now().wall).expect("threads");
    let failed = responder.listen(&[Address::Tcp(([127, 0, 0, 1], own).into())]);
    assert!(failed.is_empty() && responder.open().is_empty(), "{failed:?}");
    let nginx = Nginx::start(folder.path(), &[(shipped, ""), (open, "open_file_cache max=2000;")]);
    let rows = [
        ("connections kept", "Connection: keep-alive"),
        ("a connection each", "Connection: close"),
    ];
    for (what, header) in rows {
        compare(folder.path(), what, header, &corpus, [own, shipped, open], &nginx);
    }
    let tally = responder.tally();
    assert_eq!((tally.unknown, tally.without_staple, tally.refused), (0, 0, 0));
    println!("  {} requests answered, each with a staple", tally.requests);
}

fn compare(
    folder: &Path,
    what: &str,
    header: &str,
    corpus: &Corpus,
    ports: [u16; 3],
    nginx: &Nginx,
) {
    let (own, workers) = (vec![std::process::id()], nginx.workers());
    let contenders = [
        ("staplekeeper", ports[0], &corpus.requests, &own),
        ("nginx, static files", ports[1], &corpus.files, &workers),
        ("nginx, files kept open", ports[2], &corpus.files, &workers),
    ];
    let scripts: Vec<PathBuf> = contenders
        .iter()
        .map(|(name, _, paths, _)| script(&folder.join(format!("{name}.lua")), paths, header))
        .collect();
    let mut turns: [Vec<Figures>; 3] = Default::default();
    for round in 0..=number("ROUNDS", 3) {
        for ((contender, script), turns) in contenders.iter().zip(&scripts).zip(&mut turns) {
            // The first round warms up.
            let seconds = if round == 0 { 1 } else { number("SECONDS", 5) };
            let figures = wrk(contender.1, script, seconds, contender.3);
            if round > 0 {
                turns.push(figures);
            }
        }
    }
    let of = |turns: &[Figures]| {
        let rates: Vec<f64> = turns.iter().map(|turn| turn.per_second).collect();
        let tails: Vec<Duration> = turns.iter().map(|turn| turn.p99).collect();
        let costs: Vec<Duration> = turns.iter().map(|turn| turn.cpu).collect();
        Figures { per_second: median(&rates), p99: median(&tails), cpu: median(&costs) }
    };
    let own = of(&turns[0]);
    let lines: Vec<Line> = contenders
        .iter()
        .zip(&turns)
        .enumerate()
        .map(|(number, ((name, ..), turns))| {
            let it = of(turns);
            let cells = [
                format!("{:.0}", it.per_second),
                format!("{:.2} ms", it.p99.as_secs_f64() * 1000.0),
                format!("{:.2}", own.per_second / it.per_second),
                format!("{:.2}", own.p99.as_secs_f64() / it.p99.as_secs_f64()),
                format!("{:.1} us", it.cpu.as_secs_f64() * 1e6),
            ];
            let line = Line::new(*name, cells);
            let met = own.per_second >= it.per_second;
            if number == 1 { line.budget("at least as many answers a second", met) } else { line }
        })
        .collect();
    println!("\n{what}: {CERTIFICATES} certificates, medians of {} turns", turns[0].len());
    let heads = ["", "answers/s", "p99", "ours: as many times", "ours: p99 times", "CPU each"];
    print!("{}", layout(&heads, &lines));
}

/// Certificates that are answered about, and the same answers in files.
struct Corpus {
    table: Arc<Table>,
    /// Paths to ask for, at ours and at nginx.
    requests: Vec<String>,
    files: Vec<String>,
}

impl Corpus {
    fn make(folder: &Path) -> Corpus {
        let table = Arc::new(Table::default());
        let (mut requests, mut files) = (Vec::new(), Vec::new());
        let authority = Identity::root("Bench Root").issue(Draft::authority("Bench CA"));
        let now = SystemClock.now().wall;
        fs::create_dir(folder.join("files")).expect("the folder is ours");
        let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
        let issuer = read(&authority.der);
        for number in 0..CERTIFICATES {
            let leaf = authority.issue(Draft::leaf(&format!("site-{number:04}.example")));
            let issued = Issued::prove(read(&leaf.der), issuer.clone()).expect("it issued it");
            let der = Forge::new(&leaf, now.as_secs()).der();
            let response = Response::decode(&der).expect("a response");
            let staple = ocsp::verify(response, &issued, &Rules::default(), now).expect("a staple");
            table.know(&issued);
            table.answer(&staple);
            let request = STANDARD.encode(ocsp::request(&issued, CertIdHash::Sha1, None));
            requests.push(format!("/{}", utf8_percent_encode(&request, NON_ALPHANUMERIC)));
            let name = format!("/{number:04}.der");
            fs::write(folder.join("files").join(&name[1..]), der).expect("the folder is ours");
            files.push(name);
        }
        Corpus { table, requests, files }
    }
}

/// A wrk script that asks for `paths` in turn; the requests are made before the clock runs.
fn script(at: &Path, paths: &[String], header: &str) -> PathBuf {
    let mut text = String::from("local requests = {\n");
    for path in paths {
        let _ = writeln!(text, "\"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n{header}\\r\\n\\r\\n\",");
    }
    // wrk counts what is no 2xx by itself.
    text += "}\nlocal at = 0\nfunction request()\n  at = at % #requests + 1\n  return requests[at]\nend\n";
    fs::write(at, text).expect("the folder is ours");
    at.to_owned()
}

/// `processes` answer.
fn wrk(port: u16, script: &Path, seconds: usize, processes: &[u32]) -> Figures {
    let connections = number("CONNECTIONS", 32);
    let mut wrk = Command::new(support::process::find("wrk").expect("wrk is installed"));
    wrk.args(["--threads", "1", "--connections", &connections.to_string(), "--latency"]);
    wrk.args(["--duration", &seconds.to_string(), "--script"]).arg(script);
    let before = spent(processes);
    let output = wrk.arg(format!("http://127.0.0.1:{port}/")).output().expect("wrk runs");
    let spent = spent(processes).saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim()
    };
    assert!(!text.contains("Non-2xx"), "{text}");
    let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: u32 = line.and_then(|(count, _)| count.parse().ok()).expect("a count");
    Figures {
        cpu: spent / requests.max(1),
        per_second: field("Requests/sec:").parse().expect("a rate"),
        p99: length(field("99%")),
    }
}

/// The processor time that processes have used, without that of their children.
fn spent(processes: &[u32]) -> Duration {
    let ticks = processes.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ');
        // utime and stime, the 14th and 15th of proc_pid_stat(5), in hundredths of a second.
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number")).sum::<u32>()
    });
    Duration::from_millis(10) * ticks.sum::<u32>()
}

/// `1.23ms` and the like.
fn length(text: &str) -> Duration {
    let (number, unit) = match text {
        text if text.ends_with("us") => (&text[..text.len() - 2], 1e-6),
        text if text.ends_with("ms") => (&text[..text.len() - 2], 1e-3),
        text => (text.trim_end_matches('s'), 1.0),
    };
    Duration::from_secs_f64(number.parse::<f64>().expect("a figure") * unit)
}

struct Nginx(Child);

impl Nginx {
    /// The processes that answer.
    fn workers(&self) -> Vec<u32> {
        let master = self.0.id();
        let all = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let all = all.expect("it runs");
        all.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
    }
}

impl Nginx {
    /// Two workers that serve `files` at each port with more directives.
    fn start(folder: &Path, servers: &[(u16, &str)]) -> Nginx {
        let blocks: String = servers
            .iter()
            .map(|(port, more)| format!("  server {{ listen 127.0.0.1:{port}; {more} }}\n"))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process on;\nworker_processes 2;\npid nginx.pid;\nuser root;\n\
             error_log error.log;\nevents {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  \
             sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000000;\n  \
             default_type application/ocsp-response;\n  root {}/files;\n{blocks}}}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).expect("the folder is ours");
        let nginx = support::process::find("nginx").expect("nginx is installed");
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder).arg("-c").arg(&file).stdin(Stdio::null());
        let child = command.spawn().expect("nginx can be executed");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", servers[0].0)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not come up");
            thread::sleep(Duration::from_millis(20));
        }
        Nginx(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a pid fits"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    listener.local_addr().expect("it is bound").port()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
