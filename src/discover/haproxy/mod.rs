//! HAProxy: its `bind` lines with `crt` and `crt-list`, as deployments, one a certificate file.
//!
//! HAProxy has no directive for a staple: it reads `<certificate file>.ocsp` where there is one, and takes
//! newer ones over a `stats socket` of level admin. `words` reads lines, [`bind`] the addresses,
//! [`certificates`] what a path stands for.

mod bind;
mod certificates;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::configuration::Configuration;
use super::model::{Address, Deployment, Listener, Origin, ServerName};
use super::plain::{Served, mapped};
use super::problem::{Problem, What};
use super::settings::PathMap;
use super::sources::{Source, read_text};
use bind::Bind;
use words::{Word, lines, words};

/// Where a package's unit has HAProxy write its process number.
const PID_FILE: &str = "/run/haproxy.pid";

/// Words that begin a section.
const SECTIONS: &[&str] = &[
    "acme",
    "backend",
    "cache",
    "crt-store",
    "defaults",
    "fcgi-app",
    "frontend",
    "global",
    "http-errors",
    "listen",
    "log-forward",
    "log-profile",
    "mailers",
    "peers",
    "program",
    "resolvers",
    "ring",
    "traces",
    "userlist",
];

/// Reads the configuration in `main`, as we see it: a file, or a folder whose `*.cfg` HAProxy reads in
/// the order of their names.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let mut walk = Walk::new(map);
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

/// What `global` says that concerns certificates.
#[derive(Debug)]
struct Global {
    certificates: Option<PathBuf>,
    /// What relative paths start from.
    base: Base,
    pid_file: Option<PathBuf>,
    admin: Vec<Address>,
    /// `.ocsp` files are loaded.
    staples: bool,
    /// `x.crt` has its staple in `x.ocsp`.
    drops_extension: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// Where HAProxy was started: a service's is `/`.
    Current,
    /// The folder of the configuration file.
    Configuration,
    /// The one above it.
    Parent,
}

struct Walk<'a> {
    map: &'a PathMap,
    global: Global,
    binds: Vec<(Origin, Bind)>,
    read: Configuration,
    deployments: Vec<Deployment>,
}

impl<'a> Walk<'a> {
    fn new(map: &'a PathMap) -> Self {
        let global = Global {
            certificates: None,
            base: Base::Current,
            pid_file: None,
            admin: Vec::new(),
            staples: true,
            drops_extension: false,
        };
        let (binds, deployments) = (Vec::new(), Vec::new());
        Walk { map, global, binds, read: Configuration::default(), deployments }
    }

    fn file(&mut self, path: &Path) {
        let file: Arc<Path> = path.into();
        let text = match read_text(path) {
            Ok((text, stamp)) => {
                self.read.sources.push(Source { path: file.clone(), stamp: Some(stamp) });
                String::from_utf8_lossy(&text).into_owned()
            }
            Err(why) => {
                self.read.sources.push(Source::look(path));
                return self.read.faults.push(Problem::new(path, why));
            }
        };
        let mut section = String::new();
        for (line, text) in lines(&text) {
            let origin = Origin { file: file.clone(), line };
            match words(&text) {
                Ok(words) => self.line(&words, origin, &mut section),
                Err(why) => {
                    let what = What::Syntax(why.to_owned());
                    self.read.faults.push(Problem::at(&origin, what));
                }
            }
        }
    }

    fn line(&mut self, words: &[Word], origin: Origin, section: &mut String) {
        let Some((first, rest)) = words.split_first() else { return };
        if SECTIONS.contains(&first.text.as_str()) {
            section.clone_from(&first.text);
        } else if section == "global" {
            self.global(&first.text, rest);
        } else if first.text == "bind"
            && matches!(section.as_str(), "frontend" | "listen" | "peers")
        {
            self.binds.extend(bind::bind(rest).map(|bind| (origin, bind)));
        }
    }

    fn global(&mut self, name: &str, arguments: &[Word]) {
        let known = || arguments.iter().filter(|word| !word.variable);
        let path = || known().next().map(|word| PathBuf::from(&word.text));
        match name {
            "crt-base" => self.global.certificates = path(),
            "pidfile" => self.global.pid_file = path(),
            "ssl-load-extra-del-ext" => self.global.drops_extension = true,
            "ssl-load-extra-files" => {
                self.global.staples =
                    known().any(|word| matches!(word.text.as_str(), "ocsp" | "all"));
            }
            "default-path" => match arguments.first().map(|word| word.text.as_str()) {
                Some("config") => self.global.base = Base::Configuration,
                Some("parent") => self.global.base = Base::Parent,
                _ => {}
            },
            "stats" => self.stats(arguments),
            _ => {}
        }
    }

    /// `stats socket ADDRESS … level admin`.
    fn stats(&mut self, arguments: &[Word]) {
        let [socket, address, options @ ..] = arguments else { return };
        let pair = |pair: &[Word]| pair[0].text == "level" && pair[1].text == "admin";
        if socket.text == "socket" && !address.variable && options.windows(2).any(pair) {
            let found = bind::addresses(&address.text).into_iter();
            let ours = found.map(|address| match address {
                Address::Unix(path) => Address::Unix(self.map.ours(&path).ours),
                other => other,
            });
            self.global.admin.extend(ours);
        }
    }

    /// A path as HAProxy sees it.
    fn resolve(&self, text: &str, base: Option<&Path>, origin: &Origin) -> PathBuf {
        let theirs = self.map.theirs(&origin.file);
        let folder = theirs.parent().unwrap_or(Path::new("/"));
        let start = match self.global.base {
            Base::Current => Path::new("/"),
            Base::Configuration => folder,
            Base::Parent => folder.parent().unwrap_or(Path::new("/")),
        };
        start.join(base.unwrap_or(Path::new(""))).join(text)
    }

    fn finish(mut self) -> Configuration {
        for (origin, bind) in std::mem::take(&mut self.binds) {
            self.deployments(&origin, &bind);
        }
        let pid_file = self.global.pid_file.as_deref().unwrap_or(Path::new(PID_FILE));
        Configuration {
            deployments: self.deployments.into(),
            pid_file: Some(self.map.ours(pid_file).ours.to_path_buf()),
            admin: self.global.admin,
            ..self.read
        }
    }

    fn deployments(&mut self, origin: &Origin, bind: &Bind) {
        let plain: Arc<[Listener]> = bind.listeners.clone().into();
        // Whoever names no server gets the first certificate.
        let default = bind.listeners.iter().map(|one| Listener { default: true, ..one.clone() });
        let mut first = Some(Arc::<[Listener]>::from(default.collect::<Vec<_>>()));
        for word in &bind.certificates {
            if !word.variable && !word.text.starts_with('@') {
                let listeners = first.take().unwrap_or_else(|| plain.clone());
                self.certificate(&word.text, origin, &[], bind.updates, &listeners, &plain);
            }
        }
        for word in bind.lists.iter().filter(|word| !word.variable) {
            let path = self.map.ours(&self.resolve(&word.text, None, origin)).ours;
            let text = match read_text(&path) {
                Ok((text, stamp)) => {
                    self.read.sources.push(Source { path: path.clone(), stamp: Some(stamp) });
                    String::from_utf8_lossy(&text).into_owned()
                }
                Err(why) => {
                    let what = What::Include { path: path.to_path_buf(), why: Box::new(why) };
                    self.read.faults.push(Problem::at(origin, what));
                    self.read.sources.push(Source::look(path));
                    continue;
                }
            };
            let (entries, fault) = certificates::list(&text);
            let at = |line| Origin { file: path.clone(), line };
            if let Some((line, why)) = fault {
                let what = What::Syntax(why.to_owned());
                self.read.faults.push(Problem::at(&at(line), what));
            }
            for entry in entries {
                let word = &entry.certificate;
                if word.variable || word.text.starts_with('@') {
                    continue;
                }
                let listeners = first.take().unwrap_or_else(|| plain.clone());
                let updates = bind.updates || entry.updates;
                let origin = at(entry.line);
                self.certificate(&word.text, &origin, &entry.names, updates, &listeners, &plain);
            }
        }
    }

    /// The deployments of one `crt`; the first of its files has `listeners`, the others `plain`.
    fn certificate(
        &mut self,
        text: &str,
        origin: &Origin,
        names: &[ServerName],
        updates: bool,
        listeners: &Arc<[Listener]>,
        plain: &Arc<[Listener]>,
    ) {
        let theirs = self.resolve(text, self.global.certificates.as_deref(), origin);
        let found = certificates::files(&self.map.ours(&theirs).ours);
        self.read.sources.extend(found.folder.map(Source::look));
        let listeners = std::iter::once(listeners).chain(std::iter::repeat(plain));
        for (file, listeners) in found.files.iter().zip(listeners) {
            let staple = (self.global.staples && !updates).then(|| self.staple(file));
            let issuer = certificates::appended(file, "issuer");
            let served = Served {
                certificate: mapped(self.map, file),
                staple: staple.map(|path| mapped(self.map, &path)),
                issuer: issuer.is_file().then(|| mapped(self.map, &issuer)),
            };
            self.deployments.push(served.deployment(origin, names, listeners.clone()));
        }
    }

    /// Where HAProxy looks for the staple of a certificate file.
    fn staple(&self, certificate: &Path) -> PathBuf {
        match certificate.extension() {
            Some(extension) if self.global.drops_extension && extension == "crt" => {
                certificate.with_extension("ocsp")
            }
            _ => certificates::appended(certificate, "ocsp"),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
