//! `global`: what concerns certificates in it.

use std::path::{Path, PathBuf};

use super::bind;
use super::variables::Variables;
use super::words::Word;
use crate::discover::model::Address;
use crate::discover::settings::PathMap;

/// What `global` has said so far: HAProxy reads its configuration once, from the top.
#[derive(Debug)]
pub(super) struct Global {
    /// `crt-base`
    pub(super) certificates: Option<PathBuf>,
    base: Base,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) admin: Vec<Address>,
    /// `.ocsp` files are loaded.
    pub(super) staples: bool,
    /// `x.crt` has its staple in `x.ocsp`.
    pub(super) drops_extension: bool,
    /// HAProxy keeps staples fresh itself where nothing else is said.
    pub(super) updates: bool,
}

/// What relative paths start from: `default-path`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    /// Where HAProxy was started: a service's is `/`.
    Current,
    /// The folder of the configuration file.
    Configuration,
    /// The one above it.
    Parent,
    /// This one.
    Origin(PathBuf),
}

impl Global {
    pub(super) fn new() -> Global {
        Global {
            certificates: None,
            base: Base::Current,
            pid_file: None,
            admin: Vec::new(),
            staples: true,
            drops_extension: false,
            updates: false,
        }
    }

    /// Where relative paths start that are named in `file` from now on, all as HAProxy sees them.
    pub(super) fn start(&self, file: &Path) -> PathBuf {
        let folder = file.parent().unwrap_or(Path::new("/"));
        match &self.base {
            Base::Current => Path::new("/").to_owned(),
            Base::Configuration => folder.to_owned(),
            Base::Parent => folder.parent().unwrap_or(Path::new("/")).to_owned(),
            Base::Origin(path) => Path::new("/").join(path),
        }
    }

    /// Takes in a line.
    pub(super) fn say(
        &mut self,
        name: &str,
        arguments: &[Word],
        variables: &mut Variables,
        map: &PathMap,
    ) {
        let known = || arguments.iter().filter(|word| word.unknown.is_none());
        let first = || known().next().map(|word| word.text.as_str());
        match name {
            "crt-base" => self.certificates = first().map(PathBuf::from),
            "pidfile" => self.pid_file = first().map(PathBuf::from),
            "ssl-load-extra-del-ext" => self.drops_extension = true,
            "ssl-load-extra-files" => {
                self.staples = known().any(|word| matches!(word.text.as_str(), "ocsp" | "all"));
            }
            "ocsp-update.mode" | "tune.ssl.ocsp-update.mode" => {
                self.updates = first() == Some("on")
            }
            "default-path" => self.default_path(arguments),
            "stats" => self.stats(arguments, map),
            "setenv" | "presetenv" | "unsetenv" | "resetenv" => {
                let names: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
                let value = arguments.get(1).filter(|word| word.unknown.is_none());
                variables.directive(name, &names, value.map(|word| word.text.as_str()));
            }
            _ => {}
        }
    }

    fn default_path(&mut self, arguments: &[Word]) {
        let words: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
        let base = match words[..] {
            ["current", ..] => Base::Current,
            ["config", ..] => Base::Configuration,
            ["parent", ..] => Base::Parent,
            ["origin", path, ..] if arguments[1].unknown.is_none() => Base::Origin(path.into()),
            // HAProxy does not start with anything else.
            _ => return,
        };
        self.base = base;
    }

    /// `stats socket ADDRESS … level admin`.
    fn stats(&mut self, arguments: &[Word], map: &PathMap) {
        let [socket, address, options @ ..] = arguments else { return };
        let pair = |pair: &[Word]| pair[0].text == "level" && pair[1].text == "admin";
        if socket.text == "socket" && address.unknown.is_none() && options.windows(2).any(pair) {
            let ours = bind::addresses(&address.text).into_iter().map(|address| match address {
                Address::Unix(path) => Address::Unix(map.ours(&path).ours),
                other => other,
            });
            self.admin.extend(ours);
        }
    }
}
