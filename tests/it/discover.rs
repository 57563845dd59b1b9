//! Reads configurations that a real nginx takes, or refuses, and compares.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use staplekeeper::confirm::{self, KeyKind, Look, Seen, look, name_to_ask_for};
use staplekeeper::digest::Digest;
use staplekeeper::discover::{
    Address, Deployment, Kind, Listener, Names, PathMap, Scan, Scanner, Server, Settings, Watch,
    Watcher,
};

use crate::support::ca::{Draft, Identity, Kind as KeyType};
use crate::support::nginx::Nginx;
use crate::support::port::free_port;

const TRY_LATER: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x03];

fn scan(nginx: &Nginx) -> Scan {
    let server = Server {
        kind: Kind::Nginx,
        config: Some(nginx.configuration()),
        path_map: PathMap::default(),
    };
    let settings =
        Settings { servers: Some(vec![server]), watches: Some(Vec::new()), ..Settings::default() };
    Scanner::new(settings).scan(&[], &mut Names::default())
}

fn write(nginx: &Nginx, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = nginx.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
        fs::write(path, text).expect("the folder is ours");
    }
}

fn present(nginx: &Nginx, name: &str, identity: &Identity) {
    write(
        nginx,
        &[
            (&format!("{name}.pem"), &identity.chain_pem()),
            (&format!("{name}.key"), &identity.key_pem()),
        ],
    );
}

#[tokio::test]
async fn nginx_presents_what_the_model_says() {
    let mut nginx = Nginx::new();
    let root = Identity::root("Discover CA");
    for name in ["inherited", "a", "b", "c", "dual-ec"] {
        present(&nginx, name, &root.issue(Draft::leaf(&format!("{name}.test"))));
    }
    let rsa = Draft::leaf("dual-rsa.test").keyed(KeyType::Rsa2048, 1);
    present(&nginx, "dual-rsa", &root.issue(rsa));
    fs::write(nginx.path("staple.der"), TRY_LATER).expect("the folder is ours");
    let [one, two, three] = [free_port(), free_port(), free_port()];
    let socket = nginx.path("tls.sock");
    write(
        &nginx,
        &[
            (
                "conf.d/20-later.conf",
                "ssl_stapling_file staple.der;\nssl_certificate inherited.pem; ssl_certificate_key inherited.key;",
            ),
            ("conf.d/10-map.conf", "map $host $x { include maps/x.map; default \"a;}{\"; }"),
            ("maps/x.map", "server 1;"),
            (
                "sites/b",
                &format!(
                    "server {{ listen 127.0.0.1:{one}; server_name b.test *.b.test;\n include tls/b; }}"
                ),
            ),
            (
                "sites/a",
                &format!(
                    "server {{ listen 127.0.0.1:{one} ssl; server_name a.test; # first in order\n include tls/a; }}"
                ),
            ),
            ("sites/.hidden", "this is no configuration"),
            ("tls/a", "ssl_certificate 'a.pem';\nssl_certificate_key \"a.key\";\nssl_stapling on;"),
            ("tls/b", "ssl_certificate b.pem; ssl_certificate_key b.key; ssl_stapling off;"),
        ],
    );
    let http = format!(
        "include sites/*;
        server {{ listen 127.0.0.1:{two} ssl; server_name inherited.test; ssl_stapling on; }}
        server {{ listen 127.0.0.1:{two} ssl default_server; server_name c.test \"~^c\\d{{1,2}}\\.test$\";
            ssl_certificate c.pem; ssl_certificate_key c.key; location / {{ return 200 \"}}\"; }} }}
        server {{ listen 127.0.0.1:{three} ssl proxy_protocol; listen unix:{} ssl; server_name dual.test;
            ssl_certificate dual-rsa.pem; ssl_certificate_key dual-rsa.key;
            ssl_certificate dual-ec.pem; ssl_certificate_key dual-ec.key; }}
        include conf.d/*.conf;",
        socket.display()
    );
    nginx.http(&http).start();

    let scan = scan(&nginx);
    assert_eq!(scan.problems, []);
    assert_eq!(scan.certificates.len(), 0, "the chains stop below the root");
    assert_eq!(scan.servers[0].pid_file.as_deref(), Some(&*nginx.pid_file()));
    let names: Vec<_> = scan.deployments().map(|(_, one)| one.names[0].to_string()).collect();
    assert_eq!(names, ["a.test", "b.test", "inherited.test", "c.test", "dual.test"]);
    let mut asked = 0;
    for (_, deployment) in scan.deployments() {
        for listener in deployment.listeners.iter() {
            let names =
                deployment.names.iter().filter_map(|name| name_to_ask_for(&name.to_string()));
            let unnamed = listener.default.then_some(None);
            for name in names.map(Some).chain(unnamed) {
                compare(&scan, deployment, listener, name).await;
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 11, "names and defaults of all listeners");
}

/// Asks one listener by one name, for each certificate.
async fn compare(scan: &Scan, deployment: &Deployment, listener: &Listener, name: Option<String>) {
    let address = match &listener.address {
        Address::Ip(address) => confirm::Address::Tcp(*address),
        Address::Unix(path) => confirm::Address::Unix(path.to_path_buf()),
        Address::Host(..) => panic!("no names are used here"),
    };
    let look_at =
        Look { server_name: name, proxy_protocol: listener.proxy_protocol, ..Look::at(address) };
    let keys: &[Option<KeyKind>] = match deployment.certificates.len() {
        1 => &[None],
        _ => &[Some(KeyKind::Rsa), Some(KeyKind::Elliptic)],
    };
    for (presented, key) in deployment.certificates.iter().zip(keys) {
        let wanted = Look { key: *key, ..look_at.clone() };
        let seen: Seen = look(&wanted).await.unwrap_or_else(|error| panic!("{wanted:?}: {error}"));
        let place = scan.place(&presented.file.ours).expect("the file was found");
        assert_eq!(Digest::of(&seen.chain[0]), place.leaf, "{wanted:?} {deployment:?}");
        let staple = deployment.target().map(|path| fs::read(&path.ours).expect("it is there"));
        assert_eq!(seen.staple, staple, "{wanted:?} {deployment:?}");
    }
}

#[test]
fn nginx_refuses_what_the_model_calls_incomplete() {
    let server = "listen 127.0.0.1:1 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;";
    let table = [
        (true, format!("server {{ {server} }}")),
        (true, "include none/*.conf;".to_owned()),
        (true, "include only/x.con[f]; include only/[^x].conf;".to_owned()),
        (true, format!("server {{ {server} ssl_stapling off; ssl_stapling_file missing.der; }}")),
        (true, format!("server {{ {server} set $a \"b\\\"c;\"; set $b '}}'; set $c ${{a}}x#y; }}")),
        (true, format!("server {{ {server} if ($host = \"x\"){{ return 403; }} }}")),
        (true, "server { listen 127.0.0.1:1-3; listen [::1]:1; listen localhost:4; }".to_owned()),
        (false, "include missing.conf;".to_owned()),
        (false, "include only;".to_owned()),
        (false, "include dangling/*;".to_owned()),
        (false, "include open.conf; server { }".to_owned()),
        (false, "include close.conf;".to_owned()),
        (false, format!("server {{ {server} ")),
        (false, format!("server {{ {server} }} }}")),
        (false, format!("server {{ {server} ssl_stapling on; ssl_stapling on; }}")),
        (false, format!("server {{ {server} ssl_stapling yes; }}")),
        (false, format!("server {{ {server} ssl_stapling_file; }}")),
        (false, format!("server {{ {server} ssl_stapling_file a b; }}")),
        (false, "server { listen 0; }".to_owned()),
        (false, "server { listen 127.0.0.1:65536; }".to_owned()),
        (false, "server { listen ; }".to_owned()),
        (false, "server { listen \"80\"80; }".to_owned()),
        (false, ";".to_owned()),
        (false, "server { server_name ~^a{1,2}$; }".to_owned()),
        (false, "server;".to_owned()),
    ];
    let mut nginx = Nginx::new();
    present(&nginx, "a", &Identity::root("Discover CA").issue(Draft::leaf("a.test")));
    write(
        &nginx,
        &[
            ("only/x.conf", "server_tokens off;"),
            ("open.conf", "server {"),
            ("close.conf", "}"),
            ("dangling/file", ""),
        ],
    );
    std::os::unix::fs::symlink("nowhere", nginx.path("dangling/link")).expect("the folder is ours");
    for (accepted, text) in table {
        nginx.http(&text);
        let said = nginx.test();
        assert_eq!(said.is_ok(), accepted, "nginx of {text}: {said:?}");
        let server = &scan(&nginx).servers[0];
        assert_eq!(server.complete, accepted, "the model of {text}: {:?}", server.problems);
    }
}

/// Processor time used and memory held by this process, in milliseconds and MiB.
fn used() -> (u64, u64) {
    let read = |name| fs::read_to_string(name).expect("Linux has it");
    let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
    let fields: Vec<_> = stat.rsplit(") ").next().expect("it is there").split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    ((ticks(11) + ticks(12)) * 10, kib / 1024)
}

/// Makes ten thousand certbot lineages and an nginx configuration that presents them.
fn ten_thousand(folder: &Path) {
    let root = Identity::root("Discover CA");
    let mut blocks = String::from("http {\n");
    for number in 0..10_000 {
        let leaf = root.issue(Draft::leaf(&format!("www{number}.example.org")));
        let (archive, live) =
            (folder.join(format!("archive/{number}")), folder.join(format!("live/{number}")));
        fs::create_dir_all(&archive).expect("a folder");
        fs::create_dir_all(&live).expect("a folder");
        let files =
            [("cert", leaf.pem()), ("chain", root.pem()), ("fullchain", leaf.full_chain_pem())];
        for (name, text) in files {
            fs::write(archive.join(format!("{name}1.pem")), text).expect("a file");
            let target = format!("../../archive/{number}/{name}1.pem");
            symlink(target, live.join(format!("{name}.pem"))).expect("a link");
        }
        let live = live.display();
        blocks += &format!(
            "server {{\n listen 443 ssl http2;\n listen [::]:443 ssl http2;\n \
             server_name www{number}.example.org;\n ssl_certificate {live}/fullchain.pem;\n \
             ssl_certificate_key {live}/privkey.pem;\n ssl_stapling on;\n \
             ssl_stapling_file /var/lib/staplekeeper/staples/{number}.der;\n \
             location / {{ proxy_pass http://127.0.0.1:8080; }}\n}}\n"
        );
    }
    fs::write(folder.join("nginx.conf"), blocks + "}\n").expect("a file");
    // Let the files' times settle, so that they are not read again for being young.
    std::thread::sleep(Duration::from_secs(3));
}

/// The first run makes the files in the folder that `TEN_THOUSAND` names, the next ones measure
/// with nothing else in memory.
#[test]
#[ignore = "TEN_THOUSAND=DIR CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --test it ten_thousand_lineages -- --ignored --nocapture"]
fn ten_thousand_lineages() {
    let folder = PathBuf::from(std::env::var_os("TEN_THOUSAND").expect("a folder to work in"));
    if !folder.join("nginx.conf").exists() {
        ten_thousand(&folder);
    }
    let (_, before) = used();
    let timed = |what: &str, work: &mut dyn FnMut() -> Scan| {
        let ((cpu, _), start) = (used(), Instant::now());
        let scan = work();
        let (now, memory) = used();
        eprintln!(
            "{what}: {:.0?}, {} ms of processor, {} MiB more than at first",
            start.elapsed(),
            now - cpu,
            memory - before
        );
        scan
    };
    let settings = |watched: &[&str]| Settings {
        servers: Some(vec![Server::new(Kind::Nginx, folder.join("nginx.conf"))]),
        watches: Some(watched.iter().map(|path| Watch::new(folder.join(path))).collect()),
        ..Settings::default()
    };
    let mut names = Names::default();
    let mut scanner = Scanner::new(settings(&["live"]));
    let scan = timed("first scan", &mut || scanner.scan(&[], &mut names));
    assert_eq!((scan.certificates.len(), scan.deployments().count()), (10_000, 10_000));
    for _ in 0..3 {
        timed("scan again", &mut || scanner.scan(&[], &mut names));
    }
    let mut watcher = Watcher::start(|_| {}).expect("inotify");
    for _ in 0..2 {
        timed("watch", &mut || {
            assert_eq!(watcher.set(&scan.watch), []);
            Scan::default()
        });
    }
    timed("scan, watched", &mut || scanner.scan(&[], &mut names));
}

/// Debian's own tree, with its sample site and one of ours switched on as `a2ensite` does.
#[test]
fn debians_apache_is_read_as_it_is_packaged() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let root = folder.path().join("apache2");
    let copied = Command::new("cp").arg("-a").arg("/etc/apache2").arg(&root).status();
    assert!(copied.expect("it can be executed").success(), "apache2 is installed");
    for enabled in ["mods-enabled", "sites-enabled"] {
        let _ = fs::remove_dir_all(root.join(enabled));
        fs::create_dir(root.join(enabled)).expect("ours");
    }
    let enable = |kind: &str, name: &str| {
        let (to, from) = (format!("../{kind}-available/{name}"), format!("{kind}-enabled/{name}"));
        symlink(to, root.join(from)).expect("ours");
    };
    let modules =
        ["ssl.load", "ssl.conf", "socache_shmcb.load", "mpm_event.load", "authz_core.load"];
    modules.iter().for_each(|name| enable("mods", name));
    ["000-default.conf", "default-ssl.conf"].iter().for_each(|name| enable("sites", name));
    fs::write(
        root.join("sites-available/ours.conf"),
        "<IfModule mod_ssl.c>\n<VirtualHost *:443>\n  ServerName www.ours.test\n  SSLEngine on\n  \
         SSLCertificateFile ${APACHE_RUN_DIR}/ours.pem\n</VirtualHost>\n</IfModule>\n",
    )
    .expect("ours");
    enable("sites", "ours.conf");

    let server = Server::new(Kind::Apache, root.join("apache2.conf"));
    let settings =
        Settings { servers: Some(vec![server]), watches: Some(Vec::new()), ..Settings::default() };
    let scan = Scanner::new(settings).scan(&[], &mut Names::default());
    let model = &scan.servers[0];
    assert!(model.complete, "{:?}", model.problems);
    assert_eq!(model.pid_file.as_deref(), Some(Path::new("/var/run/apache2/apache2.pid")));
    let told: Vec<_> = model
        .deployments
        .iter()
        .map(|one| {
            let names: Vec<_> = one.names.iter().map(ToString::to_string).collect();
            let listener = &one.listeners[0];
            let file = one.certificates[0].file.ours.display().to_string();
            (names.join(" "), listener.address.to_string(), listener.default, file)
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(names, at, first, file)| (names.as_str(), at.as_str(), *first, file.as_str()))
        .collect();
    let snakeoil = "/etc/ssl/certs/ssl-cert-snakeoil.pem";
    assert_eq!(
        told,
        [
            ("", "0.0.0.0:443", true, snakeoil),
            ("www.ours.test", "0.0.0.0:443", false, "/var/run/apache2/ours.pem"),
        ]
    );
}
