//! Apache: its configuration with includes, conditions, macros and inheritance, as deployments.
//!
//! [`syntax`] takes lines apart, [`read`] walks through the files ([`includes`], [`sections`],
//! [`conditions`], [`variables`] and [`macros`] say what counts), [`level`] knows the TLS directives, [`stapling`] those
//! about staples, [`managed`] mod_md's and [`hosts`] the addresses.

mod conditions;
mod hosts;
mod includes;
mod level;
mod macros;
mod managed;
mod read;
mod sections;
mod stapling;
mod syntax;
mod variables;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::configuration::Configuration;
use super::model::{Context, Deployment, Listener, Origin, Presented};
use super::settings::{MappedPath, PathMap};
use super::sources::{Source, read_text};
use hosts::{Bind, Host};
use level::{Certificate, Paths};
use managed::Store;
use read::{Block, Collected};
pub use stapling::{ApacheStapling, RenewWindow, StapleStore};
use variables::Variables;

/// Where Apache keeps its process number if the configuration does not say: below its root as
/// packages and a build of its own have it, then Debian's without its main file.
const PID_FILES: [&str; 4] =
    ["run/httpd.pid", "logs/httpd.pid", "/run/httpd/httpd.pid", "/var/run/apache2/apache2.pid"];

/// Files of hashed names in a folder of CA certificates that are looked at.
const MAX_ISSUER_FILES: usize = 1_024;

/// Reads the configuration in `main`, a file as we see it.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let theirs = map.theirs(main);
    let folder = theirs.parent().unwrap_or(Path::new("/"));
    // Red Hat's and upstream's main file is `conf/httpd.conf` below the root.
    let root = match folder.parent() {
        Some(above) if folder.ends_with("conf") => above,
        _ => folder,
    };
    let mut variables = Variables::new(folder);
    let mut sources = Vec::new();
    let sysconfig = Path::new("/etc/sysconfig/httpd");
    let mut scripts = vec![folder.join("envvars")];
    scripts.extend((root == Path::new("/etc/httpd")).then(|| sysconfig.to_owned()));
    for script in scripts {
        let script = map.ours(&script).ours;
        if let Ok((text, stamp)) = read_text(&script) {
            variables.source(&text);
            sources.push(Source { path: script, stamp: Some(stamp) });
        }
    }
    let paths = Paths { root: root.to_owned(), map };
    let mut collected = read::read(main, paths, variables);
    sources.append(&mut collected.sources);
    let paths = Paths { root: collected.root.clone(), map };
    let pid_file = pid_file(&collected, &paths);
    let faults = std::mem::take(&mut collected.faults);
    let deployments = deployments(collected, &paths, &mut sources).into();
    Configuration {
        deployments,
        pid_file: Some(pid_file),
        faults,
        sources,
        ..Configuration::default()
    }
}

/// As we see it: the one stated, else the likeliest that is there.
fn pid_file(collected: &Collected, paths: &Paths<'_>) -> PathBuf {
    let at = |path: &Path| paths.map.ours(&paths.root.join(path)).ours.to_path_buf();
    let candidates: Vec<PathBuf> = match (&collected.pid, &collected.runtime) {
        (Some(pid), Some(folder)) => vec![at(&folder.join(pid))],
        (Some(pid), None) => vec![at(pid), at(&Path::new("run").join(pid))],
        (None, Some(folder)) => vec![at(&folder.join("httpd.pid"))],
        (None, None) => PID_FILES.iter().map(|path| at(Path::new(path))).collect(),
    };
    let there = candidates.iter().find(|path| path.exists());
    there.unwrap_or(&candidates[0]).clone()
}

fn deployments(
    collected: Collected,
    paths: &Paths<'_>,
    sources: &mut Vec<Source>,
) -> Vec<Deployment> {
    let Collected { mut main, hosts: mut blocks, binds, cache, domains, store, keys, .. } =
        collected;
    let store = store.unwrap_or_else(|| paths.resolve(b"md"));
    let store = Store { folder: &store, paths };
    for block in &mut blocks {
        block.level = std::mem::take(&mut block.level).within(&main.level);
    }
    let listeners = listeners(&blocks, &main, &binds);
    // It is told by the line that makes it present something.
    if let Some(Certificate::File(presented)) = main.level.certificates.first() {
        main.origin = presented.origin.clone();
    }
    blocks.push(main);
    let mut alike = Alike::default();
    let mut found = Vec::new();
    for (block, listeners) in blocks.into_iter().zip(listeners) {
        let Block { origin, name, aliases, level, .. } = block;
        let names: Box<[_]> = name.into_iter().chain(aliases).collect();
        let domain = domains.iter().find(|domain| domain.covers(&names));
        let (certificates, dynamic) = match domain {
            Some(domain) => (domain.certificates(&store, &keys, &origin), None),
            None => told_apart(level.certificates),
        };
        if listeners.is_empty() || (certificates.is_empty() && dynamic.is_none()) {
            continue;
        }
        let staples = store.staples(domain, &level.sayings);
        let stapling = level.sayings.settled(cache.clone(), staples);
        found.push(Deployment {
            context: Context::Http,
            origin,
            names,
            listeners: alike.listeners(listeners),
            certificates: certificates.into(),
            dynamic,
            stapling: level.stapling,
            stapling_file: None,
            stapling_responder: level.force_url,
            stapling_verify: None,
            trusted_certificate: None,
            resolver: None,
            certificate_compression: None,
            issuer_files: alike.issuers(level.issuers, level.issuer_folders, sources),
            apache: Some(alike.stapling(stapling)),
            needs_staple: false,
            called: None,
        });
    }
    found
}

/// What each block listens on with TLS, and then the main server.
fn listeners(blocks: &[Block], main: &Block, binds: &[Bind]) -> Vec<Vec<Listener>> {
    fn host(block: &Block) -> Host<'_> {
        let proxy_protocol = block.level.proxy_protocol.unwrap_or(false);
        let engine = block.level.engine.unwrap_or(false);
        Host { addresses: &block.addresses, engine, proxy_protocol }
    }
    let hosts: Vec<_> = blocks.iter().map(host).collect();
    hosts::tls_listeners(&hosts, host(main), binds)
}

/// The certificates in files, and where one elsewhere is named.
fn told_apart(all: Vec<Certificate>) -> (Vec<Presented>, Option<Arc<Origin>>) {
    let mut files = Vec::new();
    let mut dynamic = None;
    for certificate in all {
        match certificate {
            Certificate::File(presented) => files.push(presented),
            Certificate::Elsewhere(origin) => dynamic = Some(origin),
        }
    }
    (files, dynamic)
}

/// What ten thousand virtual hosts have in common is kept once.
#[derive(Default)]
struct Alike {
    listeners: HashSet<Arc<[Listener]>>,
    stapling: HashSet<Arc<ApacheStapling>>,
    issuers: HashSet<Arc<[MappedPath]>>,
    folders: HashMap<MappedPath, Vec<MappedPath>>,
}

impl Alike {
    fn listeners(&mut self, listeners: Vec<Listener>) -> Arc<[Listener]> {
        once(&mut self.listeners, listeners.into())
    }

    fn stapling(&mut self, stapling: ApacheStapling) -> Arc<ApacheStapling> {
        once(&mut self.stapling, stapling.into())
    }

    fn issuers(
        &mut self,
        files: Option<Arc<[MappedPath]>>,
        folders: Vec<MappedPath>,
        sources: &mut Vec<Source>,
    ) -> Option<Arc<[MappedPath]>> {
        let mut all: Vec<_> = files.iter().flat_map(|files| files.iter().cloned()).collect();
        for folder in folders {
            let inside = self.folders.entry(folder).or_insert_with_key(|folder| {
                sources.push(Source::look(folder.ours.clone()));
                hashed(folder)
            });
            all.extend(inside.iter().cloned());
        }
        (!all.is_empty()).then(|| once(&mut self.issuers, all.into()))
    }
}

fn once<T: ?Sized + Eq + Hash>(known: &mut HashSet<Arc<T>>, one: Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(&one) {
        return known.clone();
    }
    known.insert(one.clone());
    one
}

/// The files that Apache looks at in a folder of CA certificates: `HASH.NUMBER`, as `openssl rehash`
/// names them.
fn hashed(folder: &MappedPath) -> Vec<MappedPath> {
    let is_hashed = |name: &str| {
        let number = name.split_once('.').filter(|(hash, _)| hash.len() == 8);
        number.is_some_and(|(hash, number)| {
            hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && number.parse::<u16>().is_ok()
        })
    };
    // A folder that is missing gives Apache nothing either.
    let entries = std::fs::read_dir(&folder.ours).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| is_hashed(name)).take(MAX_ISSUER_FILES).collect();
    names.sort_unstable();
    let file = |name: &String| MappedPath {
        theirs: folder.theirs.join(name).into(),
        ours: folder.ours.join(name).into(),
    };
    names.iter().map(file).collect()
}

#[cfg(test)]
mod tests;
