//! The rows: what is measured, under which heads, against which budget.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Cost, Home, published};
use crate::support::corpus::Corpus;
use crate::support::process::{Process, find};
use crate::support::responder::Responder;
use crate::support::table::Line;
use crate::support::{median, seconds, workspace};

/// A row of DESIGN §10.
pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    pub heads: &'static [&'static str],
    pub run: fn() -> Vec<Line>,
}

pub const ROWS: [Row; 5] = [
    Row {
        name: "cold",
        about: "1,000 certificates (P-256), nothing on disk, responder on loopback",
        heads: &["", "answered", "published", "CPU", "of floor", "RSS", "requests"],
        run: cold,
    },
    Row {
        name: "away",
        about: "200 certificates, nothing on disk, responder 50 ms away",
        heads: &["", "answered", "published", "CPU", "connections"],
        run: away,
    },
    Row {
        name: "durable",
        about: "syncs during a cold start with 1,000 certificates",
        heads: &["", "fsync", "fdatasync", "syncfs", "a certificate"],
        run: durable,
    },
    Row {
        name: "restart",
        about: "10,000 valid staples on disk",
        heads: &["", "ready", "CPU", "requests"],
        run: restart,
    },
    Row {
        name: "memory",
        about: "resident 5 s after being ready, all staples on disk; then idle",
        heads: &["", "RSS", "CPU, idle", "wake-ups/min"],
        run: memory,
    },
];

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The floor ends before it can be weighed.
fn mebibytes(kib: u64) -> String {
    if kib == 0 {
        return String::new();
    }
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn cold() -> Vec<Line> {
    let responder = Responder::start();
    let corpus = Corpus::make_with_keys(1_000, &responder.url());
    let mut contenders = vec![Contender::Floor, Contender::FloorWithFiles, Contender::Staplekeeper];
    contenders.extend(Contender::peers());
    let mut costs = vec![Vec::new(); contenders.len()];
    for _ in 0..number_from("RUNS", 5) {
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            costs.push(contender.run(&corpus, &responder, Duration::ZERO));
        }
    }
    let wall =
        |costs: &[Cost]| median(&each(costs, |cost| cost.published.unwrap_or(cost.answered)));
    let floor = wall(&costs[0]);
    let best_peer = costs[3..].iter().map(|costs| wall(costs)).min();
    let mut lines = Vec::new();
    for (contender, costs) in contenders.iter().zip(&costs) {
        let ratio = wall(costs).as_secs_f64() / floor.as_secs_f64();
        let published: Option<Vec<Duration>> = costs.iter().map(|cost| cost.published).collect();
        let line = Line::new(
            contender.name(),
            [
                seconds(median(&each(costs, |cost| cost.answered))),
                published.map_or_else(String::new, |times| seconds(median(&times))),
                seconds(median(&each(costs, |cost| cost.cpu))),
                format!("{ratio:.2}"),
                mebibytes(median(&each(costs, |cost| cost.resident_kib))),
                median(&each(costs, |cost| cost.requests)).to_string(),
            ],
        );
        let ahead = best_peer.is_none_or(|peer| wall(costs) < peer);
        lines.push(match contender {
            Contender::Staplekeeper => {
                line.budget("published within 2x floor, ahead of peers", ratio <= 2.0 && ahead)
            }
            _ => line,
        });
    }
    lines
}

fn away() -> Vec<Line> {
    let responder = Responder::start();
    let corpus = Corpus::make_with_keys(200, &responder.url());
    let delay = Duration::from_millis(50);
    let contenders = [vec![Contender::Floor, Contender::Staplekeeper], Contender::peers()].concat();
    let line = |contender: Contender| {
        // Peers ask one after another, for ten seconds: once is enough.
        let runs = if contender == Contender::Staplekeeper { number_from("RUNS", 5) } else { 1 };
        let costs: Vec<Cost> =
            (0..runs).map(|_| contender.run(&corpus, &responder, delay)).collect();
        let published: Option<Vec<Duration>> = costs.iter().map(|cost| cost.published).collect();
        let published = published.map(|times| median(&times));
        let line = Line::new(
            contender.name(),
            [
                seconds(median(&each(&costs, |cost| cost.answered))),
                published.map_or_else(String::new, seconds),
                seconds(median(&each(&costs, |cost| cost.cpu))),
                median(&each(&costs, |cost| cost.connections)).to_string(),
            ],
        );
        match published {
            Some(published) => line.budget("under 1 s", published < Duration::from_secs(1)),
            None => line,
        }
    };
    contenders.into_iter().map(line).collect()
}

fn durable() -> Vec<Line> {
    let Some(strace) = find("strace") else {
        return vec![Line::new("not measured: strace is not installed", [])];
    };
    const COUNT: usize = 1_000;
    let responder = Responder::start();
    let corpus = Corpus::make(COUNT, &responder.url());
    responder.answer(&corpus, Duration::ZERO);
    let folder = workspace::folder("durable");
    let home = Home::new(&folder, &corpus.chains());
    let trace = folder.join("trace");
    let mut command = Command::new(strace);
    command.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync,syncfs", "-o"]);
    let agent = home.command();
    command.arg(&trace).arg(agent.get_program()).args(agent.get_args());
    let mut process = Process::start(&mut command, &folder.join("log"));
    published(&home.staples(), &corpus.names, Duration::from_secs(120));
    // The end of the batch.
    thread::sleep(Duration::from_millis(500));
    let text = fs::read_to_string(&trace).unwrap_or_default();
    stop_traced(&process);
    process.stop();
    let count =
        |call: &str| text.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    let calls = ["fsync", "fdatasync", "syncfs"].map(count);
    let each = calls.iter().sum::<usize>() as f64 / COUNT as f64;
    let figures = calls.map(|count| count.to_string());
    let line = Line::new("staplekeeper", figures.into_iter().chain([format!("{each:.3}")]));
    vec![line.budget("batched: not two fsyncs a certificate", each < 0.2)]
}

/// strace lets its child run on when it is asked to end: the child has to be asked.
fn stop_traced(strace: &Process) {
    let children = format!("/proc/{0}/task/{0}/children", strace.pid());
    let children = fs::read_to_string(children).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|word| word.parse().ok()) {
        let child = nix::unistd::Pid::from_raw(child);
        let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGTERM);
    }
}

/// An agent's home with all staples of `corpus` on disk, its agent stopped.
fn filled(folder: &Path, corpus: &Corpus, responder: &Responder) -> Home {
    responder.answer(corpus, Duration::ZERO);
    let home = Home::new(folder, &corpus.chains());
    let (mut process, _) = home.start();
    published(&home.staples(), &corpus.names, Duration::from_secs(120));
    process.stop();
    responder.answer(corpus, Duration::ZERO);
    home
}

fn restart() -> Vec<Line> {
    let responder = Responder::start();
    let corpus = Corpus::make(10_000, &responder.url());
    let folder = workspace::folder("restart");
    let home = filled(&folder, &corpus, &responder);
    let (mut ready, mut cpu, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..number_from("RUNS", 5) {
        let (mut process, took) = home.start();
        cpu.push(process.cpu());
        ready.push(took);
        thread::sleep(Duration::from_secs(2));
        requests.push(responder.requests());
        process.stop();
    }
    let (ready, requests) = (median(&ready), median(&requests));
    let figures = [seconds(ready), seconds(median(&cpu)), requests.to_string()];
    let met = ready < Duration::from_secs(1) && requests == 0;
    vec![Line::new("staplekeeper", figures).budget("ready in 1 s, no request", met)]
}

fn memory() -> Vec<Line> {
    let responder = Responder::start();
    let idle = Duration::from_secs(number_from("IDLE", 30));
    let mut lines = Vec::new();
    for (count, budget_mib) in [(1_000, 16), (10_000, 64)] {
        let corpus = Corpus::make(count, &responder.url());
        let folder = workspace::folder("memory");
        let home = filled(&folder, &corpus, &responder);
        let (mut process, _) = home.start();
        thread::sleep(Duration::from_secs(5));
        let resident = process.resident_kib();
        let (cpu, wakeups, begun) = (process.cpu(), process.wakeups(), Instant::now());
        thread::sleep(idle);
        let cpu = process.cpu().saturating_sub(cpu);
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let since = |(thread, count): (String, u64)| {
            count - wakeups.get(&thread).copied().unwrap_or_default()
        };
        let wakeups = process.wakeups().into_iter().map(since).sum::<u64>() as f64 / minutes;
        process.stop();
        let busy = format!("{:.1} ms in {} s", cpu.as_secs_f64() * 1e3, idle.as_secs());
        let figures = [mebibytes(resident), busy, format!("{wakeups:.0}")];
        // "No measurable CPU": less than a tick of the kernel's accounts (10 ms).
        let quiet = cpu < Duration::from_millis(10) && wakeups < 30.0;
        let met = resident <= budget_mib * 1024 && quiet;
        let budget = format!("{budget_mib} MiB; no CPU, a handful of wake-ups");
        lines.push(Line::new(format!("{count} certificates"), figures).budget(budget, met));
    }
    lines
}

fn each<T>(costs: &[Cost], figure: impl Fn(&Cost) -> T) -> Vec<T> {
    costs.iter().map(figure).collect()
}
