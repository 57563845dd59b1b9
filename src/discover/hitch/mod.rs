//! hitch: its `pem-file` entries and frontends, as deployments, one a certificate file.
//!
//! A staple file is named in the block of its certificate (`ocsp-resp-file`). With `ocsp-dir` hitch asks
//! responders itself and what it stores there wins, so that is told as a problem.

mod blocks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::configuration::Configuration;
use super::include;
use super::model::{Address, Listener, Origin, Transport};
use super::plain::{Served, mapped};
use super::problem::{Problem, What};
use super::settings::PathMap;
use super::sources::{Source, read_text};
use blocks::{Assignment, Value};

/// Reads the configuration in `main`, as we see it.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let file: Arc<Path> = main.into();
    let mut read = Configuration::default();
    read.sources.push(Source::look(main));
    let text = match read_text(main) {
        Ok((text, stamp)) => {
            read.sources = vec![Source { path: file.clone(), stamp: Some(stamp) }];
            String::from_utf8_lossy(&text).into_owned()
        }
        Err(why) => {
            read.faults.push(Problem::new(main, why));
            return read;
        }
    };
    let assignments = match blocks::read(&text) {
        Ok(assignments) => assignments,
        Err((line, why)) => {
            let what = What::Syntax(why.to_owned());
            read.faults.push(Problem::at(&Origin { file, line }, what));
            return read;
        }
    };
    let mut walk = Walk { map, file, read };
    let deployments = walk.deployments(&assignments);
    Configuration { deployments: deployments.into(), ..walk.read }
}

struct Walk<'a> {
    map: &'a PathMap,
    file: Arc<Path>,
    read: Configuration,
}

/// One `pem-file`.
struct Pem {
    line: u32,
    certificate: PathBuf,
    staple: Option<PathBuf>,
}

impl Walk<'_> {
    fn deployments(&mut self, all: &[Assignment]) -> Vec<super::model::Deployment> {
        let proxied = text(all, "proxy-proxy") == Some("on");
        let mut everywhere = Vec::new();
        let mut deployments = Vec::new();
        for one in all.iter().filter(|one| one.name == "frontend") {
            let (address, pems) = match &one.value {
                Value::Text(text) => {
                    let (address, pem) = text.rsplit_once('+').unwrap_or((text, ""));
                    let pem = (!pem.is_empty()).then(|| Pem {
                        line: one.line,
                        certificate: pem.into(),
                        staple: None,
                    });
                    (address_of(address), pem.into_iter().collect())
                }
                Value::Block(inner) => {
                    let host = text(inner, "host").unwrap_or("*");
                    let port = text(inner, "port").unwrap_or("443");
                    (address_of(&format!("[{host}]:{port}")), self.pems(inner))
                }
            };
            let listener = address.map(|address| Listener {
                address,
                transport: Transport::Tls,
                proxy_protocol: proxied,
                default: false,
            });
            let own: Arc<[Listener]> = listener.iter().cloned().collect();
            deployments.extend(pems.into_iter().map(|pem| self.deployment(pem, &own)));
            everywhere.extend(listener);
        }
        let everywhere: Arc<[Listener]> = everywhere.into();
        let pems = self.pems(all);
        deployments.extend(pems.into_iter().map(|pem| self.deployment(pem, &everywhere)));
        self.directory(all, &deployments);
        deployments
    }

    /// The `pem-file` and `pem-dir` of one level.
    fn pems(&mut self, all: &[Assignment]) -> Vec<Pem> {
        let mut found = Vec::new();
        for one in all.iter().filter(|one| one.name == "pem-file") {
            let line = one.line;
            match &one.value {
                Value::Text(path) => {
                    found.push(Pem { line, certificate: path.into(), staple: None });
                }
                Value::Block(inner) => {
                    let Some(certificate) = text(inner, "cert") else { continue };
                    let staple = text(inner, "ocsp-resp-file").filter(|path| !path.is_empty());
                    let staple = staple.map(PathBuf::from);
                    found.push(Pem { line, certificate: certificate.into(), staple });
                }
            }
        }
        if let Some(folder) = text(all, "pem-dir").filter(|path| !path.is_empty()) {
            let pattern = text(all, "pem-dir-glob").filter(|glob| !glob.is_empty()).unwrap_or("*");
            let matches = include::matches(&self.map.ours(Path::new(folder)).ours.join(pattern));
            self.read.sources.extend(matches.folders.into_iter().map(Source::look));
            let line = all.iter().find(|one| one.name == "pem-dir").map_or(1, |one| one.line);
            let files = matches.files.into_iter().map(|file| self.map.theirs(&file));
            found.extend(files.map(|certificate| Pem { line, certificate, staple: None }));
        }
        found
    }

    fn deployment(&self, pem: Pem, listeners: &Arc<[Listener]>) -> super::model::Deployment {
        let origin = Origin { file: self.file.clone(), line: pem.line };
        let ours = |path: &Path| mapped(self.map, &self.map.ours(path).ours);
        let served = Served {
            certificate: ours(&pem.certificate),
            staple: pem.staple.as_deref().map(ours),
            issuer: None,
        };
        served.deployment(&origin, &[], listeners.clone())
    }

    /// What hitch stores in `ocsp-dir` wins over the files that its configuration names.
    fn directory(&mut self, all: &[Assignment], deployments: &[super::model::Deployment]) {
        let stated = all.iter().rev().find(|one| one.name == "ocsp-dir");
        let on = stated.is_none_or(|one| one.value != Value::Text(String::new()));
        let staples = deployments.iter().any(|one| one.target().is_some());
        if on && staples {
            let line = stated.map_or(1, |one| one.line);
            let origin = Origin { file: self.file.clone(), line };
            self.read.remarks.push(Problem::at(&origin, What::AsksItself));
        }
    }
}

/// The last assignment to a name that is a text.
fn text<'a>(all: &'a [Assignment], name: &str) -> Option<&'a str> {
    all.iter().rev().find_map(|one| match &one.value {
        Value::Text(text) if one.name == name => Some(text.as_str()),
        _ => None,
    })
}

/// `[*]:443`, `[localhost]:443`, `[::1]:443`.
fn address_of(text: &str) -> Option<Address> {
    let (host, port) = text.trim().strip_prefix('[')?.rsplit_once("]:")?;
    Some(Address::of(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        let main = root.path().join("hitch.conf");
        let text = "frontend = \"[*]:443\"\nfrontend = {\n host = \"::1\"\n port = \"8443\"\n \
                    pem-file = \"/etc/own.pem\"\n}\npem-file = \"/etc/plain.pem\"\n\
                    pem-file = {\n cert = \"/etc/a.pem\"\n ocsp-resp-file = \"/etc/a.der\"\n}\n";
        std::fs::write(&main, text).expect("ours");
        let read = configuration(&main, &PathMap::default());
        let told: Vec<_> = read
            .deployments
            .iter()
            .map(|one| {
                let listeners: Vec<_> =
                    one.listeners.iter().map(|one| one.address.to_string()).collect();
                let staple = one.target().map(|path| path.ours.display().to_string());
                (
                    one.certificates[0].file.ours.display().to_string(),
                    listeners.join(" "),
                    staple.unwrap_or_default(),
                    one.origin.line,
                )
            })
            .collect();
        let row = |file: &str, listeners: &str, staple: &str, line| {
            (file.to_owned(), listeners.to_owned(), staple.to_owned(), line)
        };
        assert_eq!(
            told,
            [
                row("/etc/own.pem", "[::1]:8443", "", 5),
                row("/etc/plain.pem", "0.0.0.0:443 [::1]:8443", "", 7),
                row("/etc/a.pem", "0.0.0.0:443 [::1]:8443", "/etc/a.der", 8),
            ]
        );
        assert!(read.faults.is_empty());
        assert_eq!(read.remarks.len(), 1, "ocsp-dir is on unless it is turned off");
        std::fs::write(&main, format!("{text}ocsp-dir = \"\"\n")).expect("ours");
        assert!(configuration(&main, &PathMap::default()).remarks.is_empty());
    }
}
