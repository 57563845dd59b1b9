#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::sync::mpsc::{Receiver, channel};

use super::super::toy::{Ca, Tree};
use super::super::{Kind, Names, Scan, Scanner, Server, Settings, Watch};
use super::*;

const PACE: Pace = Pace { gather: Duration::from_millis(10), apart: Duration::from_millis(80) };

/// A scanner and a watcher as the agent has them: a scan after each change.
struct Host {
    tree: Tree,
    scanner: Scanner,
    names: Names,
    watcher: Watcher,
    changes: Receiver<Changed>,
}

impl Host {
    /// Watches `certs`, filled by `fill`.
    fn new(fill: impl FnOnce(&Tree)) -> Self {
        let tree = Tree::new();
        fill(&tree);
        let settings = Settings {
            servers: Some(vec![Server::new(Kind::Nginx, tree.at("nginx.conf"))]),
            watches: Some(vec![Watch::new(tree.at("certs"))]),
            ..Settings::default()
        };
        let (sender, changes) = channel();
        let watcher = Watcher::with_pace(PACE, move |changed| {
            let _ = sender.send(changed);
        });
        let (scanner, names) = (Scanner::new(settings), Names::default());
        let mut host = Host { tree, scanner, names, watcher: watcher.unwrap(), changes };
        host.scan();
        host.settle();
        host
    }

    fn scan(&mut self) -> Scan {
        let scan = self.scanner.scan(&[], &mut self.names);
        assert_eq!(self.watcher.set(&scan.watch), []);
        scan
    }

    /// Scans as long as changes are told, and says how often that was.
    fn settle(&mut self) -> usize {
        let mut scans = 0;
        while self.changes.recv_timeout(PACE.apart * 4).is_ok() {
            self.scan();
            scans += 1;
            assert!(scans < 10, "scanning makes no changes");
        }
        scans
    }

    /// Has `change` made, and wants it to be told.
    #[track_caller]
    fn check(&mut self, what: &str, change: impl FnOnce(&Tree)) {
        change(&self.tree);
        let told = self.changes.recv_timeout(Duration::from_secs(5));
        assert!(told.is_ok(), "{what} was not noticed");
        self.scan();
        self.settle();
    }

    #[track_caller]
    fn check_quiet(&mut self, what: &str, change: impl FnOnce(&Tree)) {
        change(&self.tree);
        let told = self.changes.recv_timeout(Duration::from_millis(500));
        assert!(told.is_err(), "{what} was told: {told:?}");
    }
}

fn pem() -> String {
    let ca = Ca::new("Toy CA");
    ca.leaf("a.org") + &ca.pem()
}

#[test]
fn files_links_and_folders_in_a_watched_folder() {
    let mut host = Host::new(|tree| {
        tree.write("certs/a/fullchain.pem", pem());
        tree.write("archive/b/fullchain1.pem", pem());
        tree.link("../../archive/b/fullchain1.pem", "certs/b/fullchain.pem");
        tree.write("certs/k/..1/tls.crt", pem());
        tree.link("..1", "certs/k/..data");
        tree.link("..data/tls.crt", "certs/k/tls.crt");
        tree.write("certs/k/..2/tls.crt", pem());
        tree.write("nginx.conf", "http { include conf.d/*.conf; include sites/*; }");
        tree.write("conf.d/tls.conf", "ssl_session_timeout 5m;");
        tree.write("available/site", "server { listen 443; }");
        tree.link("../available/site", "sites/site");
    });
    host.check("a rewrite in place", |tree| tree.write("certs/a/fullchain.pem", pem()));
    host.check("a rename over it", |tree| {
        tree.write("certs/a/.new", pem());
        fs::rename(tree.at("certs/a/.new"), tree.at("certs/a/fullchain.pem")).unwrap();
    });
    host.check("a link that is flipped", |tree| {
        tree.write("archive/b/fullchain2.pem", pem());
        tree.link("../../archive/b/fullchain2.pem", "certs/b/fullchain.pem");
    });
    host.check("a link's target rewritten", |tree| tree.write("archive/b/fullchain2.pem", pem()));
    host.check("..data swapped", |tree| {
        tree.link("..2", "certs/k/..new");
        fs::rename(tree.at("certs/k/..new"), tree.at("certs/k/..data")).unwrap();
    });
    host.check("the file behind ..data", |tree| tree.write("certs/k/..2/tls.crt", pem()));
    host.check("a new folder", |tree| fs::create_dir(tree.at("certs/new")).unwrap());
    host.check("a file in it", |tree| tree.write("certs/new/fullchain.pem", pem()));
    host.check("a folder removed", |tree| tree.remove("certs/new"));
    host.check("nginx.conf", |tree| {
        tree.write("nginx.conf", "http { include conf.d/*.conf; include sites/*; }\n");
    });
    host.check("a new include", |tree| tree.write("conf.d/new.conf", ""));
    host.check("a link's target in sites", |tree| tree.write("available/site", "\n"));
}

#[test]
fn reading_and_publishing_are_no_changes() {
    let mut host = Host::new(|tree| {
        tree.write("certs/a/fullchain.pem", pem());
        tree.write("nginx.conf", "http { }");
    });
    host.check_quiet("reading", |tree| {
        for path in ["certs/a/fullchain.pem", "nginx.conf"] {
            fs::read(tree.at(path)).unwrap();
        }
        fs::read_dir(tree.at("certs/a")).unwrap().count();
    });
    host.check_quiet("a scan by a scanner that knows nothing", |tree| {
        let watch = Watch::new(tree.at("certs"));
        let settings = Settings { watches: Some(vec![watch]), ..Settings::default() };
        Scanner::new(settings).scan(&[], &mut Names::default());
    });
    host.check_quiet("a staple", |tree| {
        tree.write("certs/a/.ocsp.der.tmp", "staple");
        fs::rename(tree.at("certs/a/.ocsp.der.tmp"), tree.at("certs/a/ocsp.der")).unwrap();
    });
    host.check_quiet("a neighbour of nginx.conf", |tree| tree.write("other.conf", ""));
}

#[test]
fn roots_that_come_and_go() {
    let mut host = Host::new(|_| {});
    host.check("nginx.conf that was missing", |tree| tree.write("nginx.conf", "http { }"));
    host.check("a root that was missing", |tree| tree.write("certs/a/fullchain.pem", pem()));
    host.check("a file in it", |tree| tree.write("certs/a/fullchain.pem", pem()));
    for round in 0..3 {
        host.check("the root removed", |tree| tree.remove("certs"));
        host.check("the root made again", |tree| fs::create_dir(tree.at("certs")).unwrap());
        host.check("a folder in the new root", |tree| fs::create_dir(tree.at("certs/a")).unwrap());
        host.check("a file in it", |tree| tree.write("certs/a/fullchain.pem", pem()));
        assert_eq!(host.scan().lineages.len(), 1, "round {round}");
    }
    host.check("the root renamed", |tree| {
        fs::rename(tree.at("certs"), tree.at("away")).unwrap();
    });
    host.check("another in its place", |tree| tree.write("certs/b/fullchain.pem", pem()));
    host.check_quiet("the old root", |tree| tree.write("away/a/fullchain.pem", pem()));
    host.check("the new root", |tree| tree.write("certs/b/fullchain.pem", pem()));
}

#[test]
fn a_root_that_is_a_link() {
    let mut host = Host::new(|tree| {
        tree.write("v1/a/fullchain.pem", pem());
        tree.write("v2/a/fullchain.pem", pem());
        tree.link("v1", "certs");
    });
    host.check("a file in its target", |tree| tree.write("v1/a/fullchain.pem", pem()));
    host.check("the link swapped", |tree| {
        tree.link("v2", "new");
        fs::rename(tree.at("new"), tree.at("certs")).unwrap();
    });
    host.check("a file in the new target", |tree| tree.write("v2/a/fullchain.pem", pem()));
    host.check_quiet("the old target", |tree| tree.write("v1/a/fullchain.pem", pem()));
}

#[test]
fn a_lost_count_asks_for_everything() {
    let (sender, changes) = channel();
    let watcher = Watcher::with_pace(PACE, move |changed| {
        let _ = sender.send(changed);
    });
    let watcher = watcher.unwrap();
    let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(is_change(&overflow));
    watcher.notices.send(Notice::Happened(Ok(overflow))).unwrap();
    assert_eq!(changes.recv_timeout(Duration::from_secs(1)), Ok(Changed::Everything));
}

#[test]
fn more_changes_than_can_be_told_are_everything() {
    let (sender, changes) = channel();
    let watcher = Watcher::with_pace(PACE, move |changed| {
        let _ = sender.send(changed);
    });
    let watcher = watcher.unwrap();
    for (count, all) in [(MAX_PATHS, false), (MAX_PATHS + 1, true)] {
        let paths = (0..count).map(|number| PathBuf::from(format!("/{number}")));
        watcher.notices.send(Notice::Armed(paths.collect())).unwrap();
        let told = changes.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(told == Changed::Everything, all, "{count} paths");
    }
}

#[test]
#[ignore = "unshare -Ur sh -c 'echo 5 > /proc/sys/user/max_inotify_watches; exec TESTS --ignored watch_limit'"]
fn watch_limit_is_told_once() {
    let tree = Tree::new();
    let mut watcher = Watcher::start(|_| {}).unwrap();
    let folders = (0..20).map(|number| tree.at(&format!("certs/{number}")));
    let folders: Watched = folders.collect();
    folders.iter().for_each(|path| fs::create_dir_all(path).unwrap());
    let problems = watcher.set(&folders);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].what, What::WatchLimit);
    assert!(watcher.set(&folders).len() <= 1);
}
