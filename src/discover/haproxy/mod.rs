//! HAProxy: its `bind` lines with `crt` and `crt-list`, as deployments, one a certificate file.
//!
//! HAProxy has no directive for a staple: it reads `<certificate file>.ocsp` where there is one, unless a
//! [`store`] names another, and takes newer ones over a `stats socket` of level admin. [`walk`] goes through
//! the files, `words` reads lines and fills in [`variables`], [`global`] is what is said for all, [`bind`] the
//! addresses, [`certificates`] what a path stands for.

mod bind;
mod certificates;
mod global;
mod store;
mod variables;
mod walk;
mod words;

use std::path::Path;

use super::configuration::Configuration;
use super::settings::PathMap;
use super::sources::{Source, read_text};
use walk::Walk;

/// What the packages' units have HAProxy's environment read from, Debian's and Red Hat's.
const ENVIRONMENT: [&str; 2] = ["/etc/default/haproxy", "/etc/sysconfig/haproxy"];
/// The folder whose configuration those units are about.
const PACKAGED: &str = "/etc/haproxy";

/// Reads the configuration in `main`, as we see it: a file, or a folder whose `*.cfg` HAProxy reads in
/// the order of their names.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let mut walk = Walk::new(map);
    if map.theirs(main).starts_with(PACKAGED) {
        for file in ENVIRONMENT {
            let file = map.ours(Path::new(file)).ours;
            // Most hosts have but one of them.
            if let Ok((text, _)) = read_text(&file) {
                walk.variables.source(&String::from_utf8_lossy(&text));
            }
            walk.read.sources.push(Source::look(file));
        }
    }
    let mut files = vec![main.to_owned()];
    if main.is_dir() {
        walk.read.sources.push(Source::look(main));
        let entries = std::fs::read_dir(main).into_iter().flatten().flatten();
        files = entries.map(|entry| entry.path()).filter(|path| is_configuration(path)).collect();
        files.sort();
    }
    for file in &files {
        walk.file(file);
    }
    walk.finish()
}

fn is_configuration(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "cfg") && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::super::model::{Address, Listener};
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("certs")).expect("ours");
        for name in ["certs/a.pem", "certs/b.pem", "certs/b.pem.ocsp", "list.pem"] {
            std::fs::write(at(name), "").expect("ours");
        }
        std::fs::write(at("list.txt"), "list.pem [alpn h2] l.test *.l.test\n").expect("ours");
        let base = root.path().display();
        let text = format!(
            "global\n  crt-base {base}\n  pidfile /run/h.pid\n  stats socket /run/user.sock level user\n\
             \x20 stats socket /run/admin.sock mode 660 level admin\n  chroot /var/lib/haproxy\n\
             defaults\n  mode http\nfrontend web\n  bind *:80\n  bind *:443 ssl crt certs/ alpn h2\n\
             \x20 bind :8443 ssl crt-list {base}/list.txt\nbackend b\n  server s 127.0.0.1:1 ssl crt no.pem\n"
        );
        std::fs::write(at("haproxy.cfg"), text).expect("ours");
        let read = configuration(&at("haproxy.cfg"), &PathMap::default());
        assert!(read.faults.is_empty(), "{:?}", read.faults);
        assert_eq!(read.pid_file.as_deref(), Some(Path::new("/run/h.pid")));
        assert_eq!(read.admin, [Address::Unix(Path::new("/run/admin.sock").into())]);
        let told: Vec<_> = read
            .deployments
            .iter()
            .map(|one| {
                let file = one.certificates[0].file.ours.strip_prefix(root.path()).expect("ours");
                let staple = one.target().expect("it has one").ours.extension();
                let names: Vec<_> = one.names.iter().map(ToString::to_string).collect();
                let Listener { address, default, .. } = &one.listeners[0];
                assert!(staple.is_some_and(|extension| extension == "ocsp"));
                format!("{} {address} {default} {}", file.display(), names.join(","))
            })
            .collect();
        assert_eq!(
            told,
            [
                "certs/a.pem 0.0.0.0:443 true ",
                "certs/b.pem 0.0.0.0:443 false ",
                "list.pem 0.0.0.0:8443 true l.test,*.l.test",
            ]
        );
        std::fs::write(at("haproxy.cfg"), "frontend f\n  bind \":1 ssl\n").expect("ours");
        assert_eq!(configuration(&at("haproxy.cfg"), &PathMap::default()).faults.len(), 1);
    }

    /// What is read of files with these texts: certificate, staple, issuer, whether HAProxy needs the staple
    /// and what it calls the certificate, a line for each; paths are told without the folder that holds all.
    fn check(files: &[(&str, &str)], expected: &[&str]) -> Configuration {
        let root = tempfile::tempdir().expect("a folder");
        let base = root.path().display().to_string();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("ours");
            std::fs::write(path, text.replace("ROOT", &base)).expect("ours");
        }
        let read = configuration(&root.path().join("conf.d"), &PathMap::default());
        let told: Vec<_> = read
            .deployments
            .iter()
            .map(|one| {
                let shown = |path: Option<&super::super::MappedPath>| {
                    let path = path.map(|path| path.ours.display().to_string());
                    path.unwrap_or("-".to_owned()).replace(&format!("{base}/"), "")
                };
                let issuer = one.trusted_certificate.as_ref().map(|stated| &stated.value);
                let (certificate, staple) = (&one.certificates[0].file, one.target());
                let needed = if one.needs_staple { " needed" } else { "" };
                let called = one.called.as_ref().map(|name| format!(" as {name}"));
                let called = called.unwrap_or_default();
                let (certificate, staple) = (shown(Some(certificate)), shown(staple));
                format!("{certificate} {staple} {}{needed}{called}", shown(issuer))
            })
            .collect();
        assert_eq!(told, expected, "{files:?}");
        assert!(read.faults.is_empty(), "{:?}", read.faults);
        read
    }

    #[test]
    fn relative_paths_start_where_default_path_says() {
        let bind = "frontend f\n bind :1 ssl crt x.pem\n";
        let with = |policy: &str| format!("global\n default-path {policy}\n{bind}");
        for (policy, expected) in [
            ("current", "/x.pem /x.pem.ocsp - as x.pem"),
            ("config", "conf.d/x.pem conf.d/x.pem.ocsp - as x.pem"),
            ("parent", "x.pem x.pem.ocsp - as x.pem"),
            ("origin ROOT/a", "a/x.pem a/x.pem.ocsp - as x.pem"),
        ] {
            check(&[("conf.d/a.cfg", &with(policy))], &[expected]);
        }
        let bundle = "frontend f\n bind :1 ssl crt d/ crt e\n";
        let bundle = format!("global\n default-path origin ROOT\n{bundle}");
        check(
            &[("conf.d/a.cfg", &bundle), ("d/z.pem", ""), ("e.rsa", "")],
            &["d/z.pem d/z.pem.ocsp - as d/z.pem", "e.rsa e.rsa.ocsp - as e.rsa"],
        );
        // Each replaces the one before, over the ends of files too; crt-base is put behind it.
        let again = format!("{}global\n default-path origin ROOT/b\n crt-base c\n", with("parent"));
        let list = "frontend g\n bind :2 ssl crt-list l.txt\n";
        check(
            &[("conf.d/a.cfg", &again), ("conf.d/b.cfg", list), ("b/l.txt", "y.pem\n")],
            &["x.pem x.pem.ocsp - as x.pem", "b/c/y.pem b/c/y.pem.ocsp - as c/y.pem"],
        );
    }

    #[test]
    fn variables_are_filled_in_or_told() {
        let text = "global\n setenv SITE www\n presetenv DIR \"ROOT/${SITE}\"\n\
                    frontend f\n bind \"127.0.0.1:${PORT-443}\" ssl crt \"$DIR/a.pem\" crt \"$HIDDEN/b.pem\"\n";
        let read = check(&[("conf.d/a.cfg", text)], &["www/a.pem www/a.pem.ocsp -"]);
        assert_eq!(read.deployments[0].listeners[0].address.to_string(), "127.0.0.1:443");
        let told: Vec<_> =
            read.remarks.iter().map(|one| (one.line, one.what.to_string())).collect();
        let wanted =
            "the value of $HIDDEN is not known here: no staple is kept for what it stands for";
        assert_eq!(told, [(5, wanted.to_owned())]);
    }

    #[test]
    fn stores_name_the_staples_of_their_certificates() {
        let text = "global\n crt-base ROOT/certs\n\
                    crt-store\n load crt site1.crt key k ocsp site1.der alias site1\n load crt site2.crt\n\
                    crt-store web\n crt-base ROOT/web\n\
                    \x20 load crt a.crt ocsp ROOT/staples/a.der issuer ca.pem\n\
                    \x20 load crt b.crt ocsp b.der ocsp-update on\n\
                    frontend f\n bind :1 ssl crt @/site1 crt site2.crt crt @web/a.crt crt @web/none\n\
                    \x20bind :2 ssl crt-list ROOT/list.txt\n bind :3 ssl crt plain.pem\n";
        let list =
            "@web/b.crt b.test\n@web/a.crt [alpn h2] a.test\nc.pem [ocsp ROOT/c.der] c.test\n";
        check(
            &[("conf.d/a.cfg", text), ("list.txt", list)],
            &[
                "certs/site1.crt certs/site1.der - needed as @/site1",
                "certs/site2.crt - -",
                "web/a.crt staples/a.der web/ca.pem needed as @web/a.crt",
                "web/b.crt - - as @web/b.crt",
                "web/a.crt staples/a.der web/ca.pem needed as @web/a.crt",
                "certs/c.pem c.der - needed",
                "certs/plain.pem certs/plain.pem.ocsp -",
            ],
        );
    }

    #[test]
    fn staples_that_haproxy_fetches_itself_are_left_to_it() {
        let text = "global\n ocsp-update.mode on\nfrontend f\n bind :1 ssl crt ROOT/a.pem\n\
                    \x20 bind :2 ssl crt-list ROOT/list.txt\n";
        let list = "ROOT/b.pem [ocsp-update off] b.test\n";
        check(
            &[("conf.d/a.cfg", text), ("list.txt", &list.replace("ROOT", "/x"))],
            &["a.pem - -", "/x/b.pem /x/b.pem.ocsp -"],
        );
    }
}
