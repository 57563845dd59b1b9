//! Goes through the configuration's files, line by line, and makes deployments of what they say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bind::{self, Bind};
use super::certificates::{self, Files};
use super::global::Global;
use super::store::{self, Named, Section, Stores};
use super::variables::Variables;
use super::words::{Word, lines, words};
use crate::discover::configuration::Configuration;
use crate::discover::model::{Deployment, Listener, Origin, ServerName};
use crate::discover::plain::{Served, mapped};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::PathMap;
use crate::discover::sources::{Source, read_text};

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

/// A `bind` line and what held when it was read.
#[derive(Debug)]
struct Bound {
    origin: Origin,
    bind: Bind,
    /// Where relative paths start, as HAProxy sees it.
    start: PathBuf,
    /// `crt-base`
    base: Option<PathBuf>,
}

/// A certificate that is to be presented, wherever it is named.
struct Wanted<'a> {
    text: &'a str,
    origin: &'a Origin,
    names: &'a [ServerName],
    /// What is said about its files beside its name.
    files: Named,
    /// Said for all of its `bind`.
    updates: Option<bool>,
}

/// What has been read so far.
pub(super) struct Walk<'a> {
    map: &'a PathMap,
    pub(super) variables: Variables,
    global: Global,
    stores: Stores,
    store: Section,
    bound: Vec<Bound>,
    pub(super) read: Configuration,
    deployments: Vec<Deployment>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(map: &'a PathMap) -> Self {
        Walk {
            map,
            variables: Variables::default(),
            global: Global::new(),
            stores: Stores::default(),
            store: Section::default(),
            bound: Vec::new(),
            read: Configuration::default(),
            deployments: Vec::new(),
        }
    }

    /// Reads a file, as we see it.
    pub(super) fn file(&mut self, path: &Path) {
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
            match words(&text, &self.variables) {
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
        let start = self.global.start(&self.map.theirs(&origin.file));
        let base = &self.global.certificates;
        match (first.text.as_str(), section.as_str()) {
            (name, _) if SECTIONS.contains(&name) => {
                section.clone_from(&first.text);
                let name = rest.first().map(|word| word.text.clone()).unwrap_or_default();
                self.store = Section { name, base: base.clone() };
            }
            (name, "global") => self.global.say(name, rest, &mut self.variables, self.map),
            ("crt-base", "crt-store") => {
                self.store.base = rest.first().map(|word| PathBuf::from(&word.text));
            }
            ("load", "crt-store") => {
                let resolve = |path: &Path| start.join(path);
                let loaded = self.stores.load(rest, &self.store, base.as_deref(), resolve);
                if let Err(unknown) = loaded {
                    let what = What::Variable(unknown.to_owned());
                    self.read.remarks.push(Problem::at(&origin, what));
                }
            }
            ("bind", "frontend" | "listen" | "peers") => {
                let Some(bind) = bind::bind(rest) else { return };
                let words = rest.first().into_iter().chain(&bind.certificates).chain(&bind.lists);
                for name in words.filter_map(|word| word.unknown.as_deref()) {
                    let what = What::Variable(name.to_owned());
                    self.read.remarks.push(Problem::at(&origin, what));
                }
                self.bound.push(Bound { origin, bind, start, base: base.clone() });
            }
            _ => {}
        }
    }

    /// What has been read, as a whole.
    pub(super) fn finish(mut self) -> Configuration {
        for bound in std::mem::take(&mut self.bound) {
            self.deployments(&bound);
        }
        let pid_file = self.global.pid_file.as_deref().unwrap_or(Path::new(PID_FILE));
        Configuration {
            deployments: self.deployments.into(),
            pid_file: Some(self.map.ours(pid_file).ours.to_path_buf()),
            admin: self.global.admin,
            ..self.read
        }
    }

    fn deployments(&mut self, bound: &Bound) {
        let bind = &bound.bind;
        let plain: Arc<[Listener]> = bind.listeners.clone().into();
        // Whoever names no server gets the first certificate.
        let default = bind.listeners.iter().map(|one| Listener { default: true, ..one.clone() });
        let mut first = Some(Arc::<[Listener]>::from(default.collect::<Vec<_>>()));
        for word in bind.certificates.iter().filter(|word| word.unknown.is_none()) {
            let listeners = first.take().unwrap_or_else(|| plain.clone());
            let (text, origin, files) = (&word.text, &bound.origin, Named::default());
            let wanted = Wanted { text, origin, names: &[], files, updates: bind.updates };
            self.certificate(wanted, bound, &listeners, &plain);
        }
        for word in bind.lists.iter().filter(|word| word.unknown.is_none()) {
            let path = self.map.ours(&bound.start.join(&word.text)).ours;
            let text = match read_text(&path) {
                Ok((text, stamp)) => {
                    self.read.sources.push(Source { path: path.clone(), stamp: Some(stamp) });
                    String::from_utf8_lossy(&text).into_owned()
                }
                Err(why) => {
                    let what = What::Include { path: path.to_path_buf(), why: Box::new(why) };
                    self.read.faults.push(Problem::at(&bound.origin, what));
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
                if entry.certificate.unknown.is_some() {
                    continue;
                }
                let listeners = first.take().unwrap_or_else(|| plain.clone());
                let wanted = Wanted {
                    text: &entry.certificate.text,
                    origin: &at(entry.line),
                    names: &entry.names,
                    // No base is put before these.
                    files: entry.files.resolved(|path| bound.start.join(path)),
                    updates: bind.updates,
                };
                self.certificate(wanted, bound, &listeners, &plain);
            }
        }
    }

    /// The deployments of one `crt`; the first of its files has `listeners`, the others `plain`.
    fn certificate(
        &mut self,
        wanted: Wanted<'_>,
        bound: &Bound,
        listeners: &Arc<[Listener]>,
        plain: &Arc<[Listener]>,
    ) {
        let Wanted { text, origin, names, files: mut named, updates } = wanted;
        let base = bound.base.as_deref();
        let (path, found) = match self.stores.get(text, base) {
            Some(loaded) => {
                named = Named { updates: loaded.files.updates, ..loaded.files.clone() };
                let path = self.map.ours(&loaded.certificate).ours.to_path_buf();
                (path.clone(), Files { files: vec![path], folder: None })
            }
            // HAProxy does not start without it.
            None if text.starts_with('@') => return,
            None => {
                let theirs = bound.start.join(base.unwrap_or(Path::new(""))).join(text);
                let path = self.map.ours(&theirs).ours.to_path_buf();
                let found = certificates::files(&path);
                (path, found)
            }
        };
        let name = store::key(text, base);
        self.read.sources.extend(found.folder.map(Source::look));
        let updates = named.updates.or(updates).unwrap_or(self.global.updates);
        let listeners = std::iter::once(listeners).chain(std::iter::repeat(plain));
        for (file, listeners) in found.files.iter().zip(listeners) {
            let served = if named.alone {
                let ours = |path: &PathBuf| self.map.ours(path);
                Served {
                    certificate: mapped(self.map, file),
                    staple: named.staple.as_ref().filter(|_| !updates).map(ours),
                    issuer: named.issuer.as_ref().map(ours),
                }
            } else {
                let staple = (self.global.staples && !updates).then(|| self.staple(file));
                let issuer = certificates::appended(file, "issuer");
                Served {
                    certificate: mapped(self.map, file),
                    staple: staple.map(|path| mapped(self.map, &path)),
                    issuer: issuer.is_file().then(|| mapped(self.map, &issuer)),
                }
            };
            let mut deployment = served.deployment(origin, names, listeners.clone());
            deployment.needs_staple = named.staple.is_some() && !updates;
            deployment.called = called(&name, &path, file);
            self.deployments.push(deployment);
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

/// What HAProxy calls one of the files that `path` stands for, which it was told as `name`; `None`: as its
/// path is.
fn called(name: &str, path: &Path, file: &Path) -> Option<Box<str>> {
    if name.starts_with('/') {
        return None;
    }
    let (path, file) = (path.to_str()?.trim_end_matches('/'), file.to_str()?);
    let rest = file.strip_prefix(path)?;
    Some(format!("{}{rest}", name.trim_end_matches('/')).into())
}
