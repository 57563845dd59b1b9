#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::sys::stat::Mode;

use super::toy::{Ca, Tree, self_signed};
use super::*;
use crate::pki::{Certificate, read_certificates};

/// A folder `certs` that is watched, an nginx with `nginx.conf`, and a scanner of both.
struct Host {
    tree: Tree,
    ca: Ca,
    scanner: Scanner,
    names: Names,
    known: Vec<Arc<Certificate>>,
}

impl Host {
    fn new() -> Self {
        let tree = Tree::new();
        fs::create_dir(tree.at("certs")).unwrap();
        let settings = Settings {
            servers: Some(vec![Server::new(Kind::Nginx, tree.at("nginx.conf"))]),
            watches: Some(vec![Watch::new(tree.at("certs"))]),
            state_dir: "/state".into(),
            bundles: Vec::new(),
        };
        tree.write("nginx.conf", "");
        let scanner = Scanner::new(settings);
        Host { tree, ca: Ca::new("Toy CA"), scanner, names: Names::default(), known: Vec::new() }
    }

    fn full(&self, name: &str) -> String {
        self.ca.leaf(name) + &self.ca.pem()
    }

    /// Has nginx present the files at `paths`, a server each.
    fn nginx(&self, paths: &[&str]) {
        let mut text = String::from("http {\n");
        for path in paths {
            writeln!(
                text,
                "server {{ listen 443 ssl; server_name s.org; ssl_certificate {path}; }}"
            )
            .unwrap();
        }
        self.tree.write("nginx.conf", text + "}\n");
    }

    fn scan(&mut self) -> Scan {
        self.scanner.scan(&self.known, &mut self.names)
    }

    /// One line per lineage, presented file and problem.
    fn outline(&mut self) -> Vec<String> {
        let scan = self.scan();
        let mut lines = Vec::new();
        for lineage in scan.lineages.iter() {
            let standing = match &lineage.standing {
                Standing::Proven(issued) => issued.issuer.subject(),
                Standing::SelfSigned => "self-signed".to_owned(),
                Standing::NeedsIssuer => "needs issuer".to_owned(),
            };
            let stale = if lineage.stale { " stale" } else { "" };
            let names = lineage.leaf.names().join(",");
            let path = lineage.path.display();
            lines.push(format!("{} {names} {path} {standing}{stale}", lineage.name));
        }
        for (_, deployment) in scan.deployments() {
            for presented in &deployment.certificates {
                let at = presented.file.theirs.display();
                let place = scan.place(&presented.file.ours);
                let lineage = place.map(|place| &*scan.lineages[place.lineage].name);
                lines.push(format!("nginx {at} -> {}", lineage.unwrap_or("nothing")));
            }
        }
        let of_servers = scan.servers.iter().flat_map(|server| &server.problems);
        let problems = scan.problems.iter().chain(of_servers);
        lines.extend(problems.map(|problem| format!("! {problem}")));
        lines.iter().map(|line| self.tree.plain(line)).collect()
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(self.outline(), expected);
    }
}

#[test]
fn certbot() {
    let mut host = Host::new();
    for name in ["www.org", "www.org-0001"] {
        let leaf = host.ca.leaf("www.org");
        let archive = |file: &str| format!("archive/{name}/{file}1.pem");
        host.tree.write(&archive("cert"), &leaf);
        host.tree.write(&archive("chain"), host.ca.pem());
        host.tree.write(&archive("fullchain"), leaf + &host.ca.pem());
        for file in ["cert", "chain", "fullchain"] {
            let target = format!("../../{}", archive(file));
            host.tree.link(target, &format!("certs/{name}/{file}.pem"));
        }
    }
    host.tree.write("certs/README", "This directory contains your keys and certificates.");
    host.nginx(&["certs/www.org/fullchain.pem", "certs/www.org-0001/cert.pem"]);
    host.check(&[
        "www.org www.org /certs/www.org/fullchain.pem CN=Toy CA",
        "www.org-0001 www.org /certs/www.org-0001/fullchain.pem CN=Toy CA",
        "nginx /certs/www.org/fullchain.pem -> www.org",
        "nginx /certs/www.org-0001/cert.pem -> www.org-0001",
    ]);
    let watch = host.scan().watch;
    for path in ["certs", "certs/www.org", "archive/www.org", "nginx.conf"] {
        assert!(watch.contains(&host.tree.at(path)), "{path} is watched");
    }
}

#[test]
fn lego_acme_sh_and_others() {
    let mut host = Host::new();
    let write = |path: &str, text: String| host.tree.write(&format!("certs/{path}"), text);
    write("_.lego.org.crt", host.ca.leaf("*.lego.org"));
    write("_.lego.org.issuer.crt", host.ca.pem());
    write("_.lego.org.json", "{}".to_owned());
    write("_.lego.org.key", "not looked into".to_owned());
    let leaf = host.ca.leaf("sh.org");
    write("sh.org_ecc/sh.org.cer", leaf.clone());
    write("sh.org_ecc/ca.cer", host.ca.pem());
    write("sh.org_ecc/fullchain.cer", leaf + &host.ca.pem());
    write("sh.org_ecc/backup/fullchain.cer", host.full("sh.org"));
    write("dehydrated.org/cert-1700000000.pem", host.full("dehydrated.org"));
    write("dehydrated.org/fullchain-1800000000.pem", host.full("dehydrated.org"));
    host.tree.link("fullchain-1800000000.pem", "certs/dehydrated.org/fullchain.pem");
    let (leaf, key) = host.ca.leaf_with_key("haproxy.org");
    write("haproxy.org.pem", key + &leaf + &host.ca.pem());
    write("secret/..2026/tls.crt", host.full("kube.org"));
    host.tree.link("..2026", "certs/secret/..data");
    host.tree.link("..data/tls.crt", "certs/secret/tls.crt");
    write("realm/default.crt", host.full("debops.org"));
    write("realm/CA.crt", host.ca.pem());
    host.check(&[
        "_.lego.org *.lego.org /certs/_.lego.org.crt CN=Toy CA",
        "dehydrated.org dehydrated.org /certs/dehydrated.org/fullchain.pem CN=Toy CA",
        "haproxy.org haproxy.org /certs/haproxy.org.pem CN=Toy CA",
        "realm debops.org /certs/realm/default.crt CN=Toy CA",
        "secret kube.org /certs/secret/tls.crt CN=Toy CA",
        "sh.org_ecc sh.org /certs/sh.org_ecc/fullchain.cer CN=Toy CA",
    ]);
}

#[test]
fn files_of_one_leaf_are_one_lineage() {
    let mut host = Host::new();
    let leaf = host.ca.leaf("a.org");
    host.tree.write("certs/a.crt", &leaf);
    host.tree.write("certs/zzz.pem", leaf + &host.ca.pem());
    // Two key types under one stem are two lineages.
    host.tree.write("certs/b.crt", host.full("b.org"));
    host.tree.write("certs/b.cert.pem", host.ca.ed25519("b.org"));
    host.check(&[
        "b b.org /certs/b.crt CN=Toy CA",
        "b.cert.pem b.org /certs/b.cert.pem CN=Toy CA",
        "zzz a.org /certs/zzz.pem CN=Toy CA",
    ]);
}

#[test]
fn a_client_replacing_files_one_by_one_makes_no_second_lineage() {
    let mut host = Host::new();
    let (old, new) = (host.ca.leaf("a.org"), host.ca.leaf("a.org"));
    host.tree.write("certs/a/cert.pem", &old);
    host.tree.write("certs/a/fullchain.pem", new.clone() + &host.ca.pem());
    host.nginx(&["certs/a/cert.pem"]);
    let scan = host.scan();
    assert_eq!(scan.lineages.len(), 1);
    assert_eq!(scan.certificates.len(), 2);
    let read = |pem: &str| read_certificates(pem.as_bytes()).unwrap()[0].fingerprint();
    assert_eq!(scan.lineages[0].leaf.fingerprint(), read(&new));
    let place = scan.place(&host.tree.at("certs/a/cert.pem")).unwrap();
    assert_eq!(place.leaf, read(&old), "nginx would load the old one");
}

#[test]
fn names_come_from_folder_stem_or_server() {
    let mut host = Host::new();
    for path in ["etc/ssl/cert.pem", "etc/nginx/shop.pem", "opt/site/fullchain.pem"] {
        host.tree.write(path, host.full("x.org"));
    }
    host.tree.link("../../opt/site/fullchain.pem", "etc/nginx/link.pem");
    host.nginx(&[
        "etc/ssl/cert.pem",
        "etc/nginx/shop.pem",
        "opt/site/fullchain.pem",
        "etc/nginx/link.pem",
    ]);
    host.check(&[
        "link x.org /etc/nginx/link.pem CN=Toy CA",
        "s.org x.org /etc/ssl/cert.pem CN=Toy CA",
        "shop x.org /etc/nginx/shop.pem CN=Toy CA",
        "site x.org /opt/site/fullchain.pem CN=Toy CA",
        "nginx /etc/ssl/cert.pem -> s.org",
        "nginx /etc/nginx/shop.pem -> shop",
        "nginx /opt/site/fullchain.pem -> site",
        "nginx /etc/nginx/link.pem -> link",
    ]);
    assert_eq!(&*host.scan().lineages[0].staple, Path::new("/state/staples/link.der"));
}

#[test]
fn a_link_into_a_watched_folder_is_the_lineage_there() {
    let mut host = Host::new();
    host.tree.write("archive/w/fullchain1.pem", host.full("w.org"));
    host.tree.link("../../archive/w/fullchain1.pem", "certs/w/fullchain.pem");
    host.tree.link("certs", "current");
    host.tree.link("../current/w/fullchain.pem", "nginx/w.pem");
    host.nginx(&["nginx/w.pem"]);
    host.check(&["w w.org /certs/w/fullchain.pem CN=Toy CA", "nginx /nginx/w.pem -> w"]);
    let watch = host.scan().watch;
    for path in ["nginx", "current", "certs/w", "archive/w"] {
        assert!(watch.contains(&host.tree.at(path)), "{path} is watched");
    }
}

#[test]
fn issuers_from_everywhere() {
    let mut host = Host::new();
    let (beside, trusted, bundle, aia) =
        (Ca::new("Beside"), Ca::new("Trusted"), Ca::new("Bundle"), Ca::new("AIA"));
    host.tree.write("etc/n/one.crt", beside.leaf("one"));
    host.tree.write("etc/n/one.issuer.crt", beside.pem());
    host.tree.write("certs/two.pem", trusted.leaf("two"));
    host.tree.write("certs/three.pem", bundle.leaf("three"));
    host.tree.write("certs/four.pem", aia.leaf("four"));
    host.tree.write("certs/five.pem", self_signed("five"));
    // Its chain brings its issuer, which then issued the next one too.
    host.tree.write("certs/six.pem", host.full("six"));
    host.tree.write("certs/lone/seven.pem", host.ca.leaf("seven"));
    // The same name with another key.
    let impostor = Ca::new("AIA").pem();
    host.tree.write("certs/impostor.pem", &impostor);
    host.tree.write("trusted.pem", trusted.pem() + &impostor);
    host.tree.write("bundle.pem", bundle.pem());
    host.tree.write(
        "nginx.conf",
        "http { ssl_trusted_certificate trusted.pem;
         server { listen 443 ssl; ssl_certificate etc/n/one.crt; } }",
    );
    let settings =
        Settings { bundles: vec![host.tree.at("bundle.pem")], ..host.scanner.settings().clone() };
    host.scanner.set_settings(settings);
    let found = |missing: &'static str| {
        [
            "five five /certs/five.pem self-signed",
            missing,
            "one one /etc/n/one.crt CN=Beside",
            "seven seven /certs/lone/seven.pem CN=Toy CA",
            "six six /certs/six.pem CN=Toy CA",
            "three three /certs/three.pem CN=Bundle",
            "two two /certs/two.pem CN=Trusted",
            "nginx /etc/n/one.crt -> one",
        ]
    };
    host.check(&found("four four /certs/four.pem needs issuer"));
    let scan = host.scan();
    let [missing] = &scan.missing_issuers[..] else { panic!("one is missing") };
    assert_eq!(missing.ca_issuers_urls, ["http://ca.test/ca.der"]);
    assert_eq!(&*scan.lineages[missing.lineages[0]].name, "four");

    host.known =
        read_certificates(aia.pem().as_bytes()).unwrap().into_iter().map(Arc::new).collect();
    host.check(&found("four four /certs/four.pem CN=AIA"));
}

#[test]
fn a_bad_upload_costs_only_itself() {
    let mut host = Host::new();
    host.tree.write("certs/good.pem", host.full("good.org"));
    host.tree
        .write("certs/junk.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    host.tree.write("certs/cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
    host.tree.write("certs/empty.crt", "");
    host.tree.write(
        "certs/dh.pem",
        "-----BEGIN DH PARAMETERS-----\nMIIB\n-----END DH PARAMETERS-----\n",
    );
    host.tree.write("certs/huge.pem", vec![b'\n'; (1 << 20) + 1]);
    host.tree.write("certs/ca.pem", host.ca.pem());
    nix::unistd::mkfifo(&host.tree.at("certs/fifo.pem"), Mode::S_IRWXU).unwrap();
    host.tree.link("/dev/zero", "certs/zero.pem");
    host.tree.link("loop.pem", "certs/loop.pem");
    host.tree.link("nowhere", "certs/dangling.pem");
    host.tree.link("..", "certs/up");
    fs::create_dir(host.tree.at("certs/folder.pem")).unwrap();
    let mut found = host.outline();
    found.retain(|line| !line.contains("cannot be used"));
    assert_eq!(
        found,
        [
            "good good.org /certs/good.pem CN=Toy CA",
            "! /certs/fifo.pem: is not a regular file",
            "! /certs/huge.pem: has 1048577 bytes, more than the 1048576 that are read",
            "! /certs/loop.pem: is a symbolic link that leads round in a circle",
            "! /certs/zero.pem: is not a regular file",
        ]
    );
    let unusable = host.outline().iter().filter(|line| line.contains("cannot be used")).count();
    assert_eq!(unusable, 3, "junk, cut and empty");
    assert!(host.scan().problems.iter().any(|problem| problem.hint().is_some()));
}

#[test]
fn nothing_is_lost_by_what_cannot_be_read() {
    let mut host = Host::new();
    host.tree.write("certs/a/fullchain.pem", host.full("a.org"));
    host.tree.write("b.pem", host.full("b.org"));
    host.nginx(&["certs/a/fullchain.pem", "b.pem"]);
    let whole = [
        "a a.org /certs/a/fullchain.pem CN=Toy CA",
        "b b.org /b.pem CN=Toy CA",
        "nginx /certs/a/fullchain.pem -> a",
        "nginx /b.pem -> b",
    ];
    host.check(&whole);

    // A half-written configuration, and files in the middle of being replaced.
    let configuration = fs::read(host.tree.at("nginx.conf")).unwrap();
    host.tree.write("nginx.conf", "http {\n server {");
    host.tree.write("certs/a/fullchain.pem", "-----BEGIN CERTIFICATE-----\n");
    host.tree.remove("b.pem");
    let found = host.outline();
    assert_eq!(found[0], format!("{} stale", whole[0]));
    assert_eq!(found[1], format!("{} stale", whole[1]));
    assert_eq!(found[2..4], whole[2..]);
    assert!(found[4].starts_with("! /b.pem: does not exist"), "{found:?}");
    let scan = host.scan();
    assert!(!scan.servers[0].complete && scan.again_in.is_some());
    assert_eq!(scan.certificates.len(), 2);

    host.tree.write("nginx.conf", configuration);
    host.tree.write("certs/a/fullchain.pem", host.full("a.org"));
    host.tree.write("b.pem", host.full("b.org"));
    host.check(&whole);

    // An unmounted root is not the end of its certificates.
    fs::rename(host.tree.at("certs"), host.tree.at("away")).unwrap();
    let found = host.outline();
    assert_eq!(found[0], format!("{} stale", whole[0]));
    assert!(found.contains(&"! /certs: does not exist".to_owned()), "{found:?}");
    fs::rename(host.tree.at("away"), host.tree.at("certs")).unwrap();
    host.check(&whole);

    host.tree.remove("certs/a");
    host.nginx(&["b.pem"]);
    host.check(&[&format!("{} stale", whole[0]), whole[1], whole[3]]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    host.check(&[whole[1], whole[3]]);
}

#[test]
fn what_may_not_be_read_says_how_to_let_us() {
    let denied = What::of(&std::io::Error::from(std::io::ErrorKind::PermissionDenied));
    let hint = Problem::new("/certs", denied).hint().unwrap();
    assert!(hint.contains("CAP_DAC_READ_SEARCH"), "{hint}");
}

#[test]
fn rewritten_in_place_and_swapped_by_links() {
    let mut host = Host::new();
    let (one, two, three) = (host.full("k.org"), host.full("k.org"), host.full("k.org"));
    host.tree.write("certs/k/..1/tls.crt", &one);
    host.tree.write("certs/k/..2/tls.crt", &two);
    host.tree.link("..1", "certs/k/..data");
    host.tree.link("..data/tls.crt", "certs/k/tls.crt");
    let leaf = |host: &mut Host| host.scan().lineages[0].leaf.fingerprint();
    let read = |pem: &str| read_certificates(pem.as_bytes()).unwrap()[0].fingerprint();
    assert_eq!(leaf(&mut host), read(&one));
    host.tree.link("..2", "certs/k/..new");
    fs::rename(host.tree.at("certs/k/..new"), host.tree.at("certs/k/..data")).unwrap();
    assert_eq!(leaf(&mut host), read(&two));
    host.tree.write("certs/k/..2/tls.crt", &three);
    assert_eq!(leaf(&mut host), read(&three));
}

#[test]
fn a_watch_may_be_one_file() {
    let mut host = Host::new();
    host.tree.write("etc/one.txt", host.full("one.org"));
    host.tree.write("etc/other.pem", host.full("other.org"));
    let mut watch = Watch::new(host.tree.at("etc/one.txt"));
    watch.staple = "/elsewhere/{name}.ocsp".to_owned();
    let settings = Settings { watches: Some(vec![watch]), ..host.scanner.settings().clone() };
    host.scanner.set_settings(settings);
    host.check(&["one.txt one.org /etc/one.txt CN=Toy CA"]);
    assert_eq!(&*host.scan().lineages[0].staple, Path::new("/elsewhere/one.txt.ocsp"));
}

#[test]
fn the_last_complete_configuration_counts_not_the_last_one_read() {
    let mut host = Host::new();
    host.tree.write("a.pem", host.full("a.org"));
    host.tree.write("b.pem", host.full("b.org"));
    let broken = |path| {
        format!("http {{ server {{ listen 443 ssl; ssl_certificate {path}; }} include missing; }}")
    };
    let presented = |host: &mut Host| {
        let scan = host.scan();
        let (_, deployment) = scan.deployments().next().unwrap();
        let name = deployment.certificates[0].file.ours.file_name().unwrap().to_owned();
        (name.into_string().unwrap(), scan.servers[0].complete)
    };
    host.tree.write("nginx.conf", broken("a.pem"));
    assert_eq!(presented(&mut host), ("a.pem".to_owned(), false), "better than nothing");
    host.tree.write("nginx.conf", broken("b.pem"));
    assert_eq!(presented(&mut host), ("b.pem".to_owned(), false));
    host.nginx(&["a.pem"]);
    assert_eq!(presented(&mut host), ("a.pem".to_owned(), true));
    host.tree.write("nginx.conf", broken("b.pem"));
    assert_eq!(presented(&mut host), ("a.pem".to_owned(), false), "as the server has it");
}
