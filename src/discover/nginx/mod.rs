//! nginx: its configuration with includes, inheritance and shared listeners, as deployments.
//!
//! [`syntax`] reads words, [`read`] walks through the files, [`inherit`] knows the TLS directives and
//! [`listen`] the addresses. A configuration that was read once is read again
//! only when one of its files or folders has changed.

mod inherit;
mod listen;
mod read;
mod syntax;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::configuration::Configuration;
use super::model::{Deployment, Listener};
use super::settings::PathMap;
use inherit::{Level, Paths};
use read::{Block, Collected};

/// Where nginx keeps its process number if the configuration does not say: packages, then a build of
/// its own.
const PID_FILES: [&str; 3] =
    ["/run/nginx.pid", "/run/nginx/nginx.pid", "/usr/local/nginx/logs/nginx.pid"];

/// What nginx is commonly built with as `--prefix`: a relative `pid` starts there. With `-p` it is
/// often the configuration's own folder.
const PREFIXES: [&str; 3] = ["/usr/share/nginx", "/etc/nginx", "/usr/local/nginx"];

/// Reads the configuration in `main`, a file as we see it.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let theirs = map.theirs(main);
    let base = theirs.parent().unwrap_or(Path::new("/")).to_owned();
    let paths = Paths { base, map };
    let collected = read::read(main, &paths);
    Configuration {
        pid_file: Some(pid_file(&collected, &paths)),
        deployments: deployments(collected.blocks, &collected.http, &collected.stream).into(),
        faults: collected.faults,
        sources: collected.sources,
        ..Configuration::default()
    }
}

/// As we see it: the one stated, else the likeliest that is there.
fn pid_file(collected: &Collected, paths: &Paths<'_>) -> PathBuf {
    let candidates: Vec<_> = match (&collected.pid, &collected.pid_word) {
        (Some(stated), _) => return stated.value.ours.to_path_buf(),
        (None, Some(word)) => {
            let prefixes = PREFIXES.iter().map(Path::new).chain([&*paths.base]);
            prefixes.map(|prefix| prefix.join(word)).collect()
        }
        (None, None) => PID_FILES.map(PathBuf::from).to_vec(),
    };
    let mut ours = candidates.iter().map(|path| paths.map.ours(path).ours.to_path_buf());
    let there = ours.clone().find(|path| path.exists());
    there.or_else(|| ours.next()).expect("the lists are not empty")
}

fn deployments(blocks: Vec<Block>, http: &Level, stream: &Level) -> Vec<Deployment> {
    use crate::discover::model::Context;

    let (http_blocks, stream_blocks): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| block.context == Context::Http);
    let mut found = Vec::new();
    for (blocks, outer) in [(http_blocks, http), (stream_blocks, stream)] {
        found.extend(within(blocks, outer));
    }
    found
}

/// The deployments of one context, whose own level is `outer`.
fn within(mut blocks: Vec<Block>, outer: &Level) -> impl Iterator<Item = Deployment> {
    for block in &mut blocks {
        if block.listens.is_empty() {
            block.listens.push(listen::Listen::unstated());
        }
        block.level = std::mem::take(&mut block.level).within(outer);
    }
    let on = |block: &Block| block.level.ssl.as_ref().is_some_and(|ssl| ssl.value);
    let listens: Vec<_> = blocks.iter().map(|block| (&*block.listens, on(block))).collect();
    let listeners = listen::tls_listeners(&listens);
    let pairs = blocks.into_iter().zip(listeners);
    let mut alike = HashSet::<Arc<[Listener]>>::new();
    pairs.filter_map(move |(block, listeners)| {
        let Block { context, origin, names, level, .. } = block;
        let rejects = level.rejects.is_some_and(|rejects| rejects.value);
        let dynamic = level.dynamic.or(level.lua);
        let presents = !level.certificates.is_empty() || dynamic.is_some();
        if !presents || rejects || listeners.is_empty() {
            return None;
        }
        let known = alike.get(&*listeners).cloned();
        let listeners = known.unwrap_or_else(|| {
            let listeners: Arc<[Listener]> = listeners.into();
            alike.insert(listeners.clone());
            listeners
        });
        Some(Deployment {
            context,
            origin,
            names: names.into(),
            listeners,
            certificates: level.certificates.into(),
            dynamic,
            stapling: level.stapling,
            stapling_file: level.stapling_file,
            stapling_responder: level.responder,
            stapling_verify: level.verify,
            trusted_certificate: level.trusted,
            resolver: level.resolver,
            certificate_compression: level.compression,
            issuer_files: None,
            apache: None,
            needs_staple: false,
            called: None,
        })
    })
}

#[cfg(test)]
mod tests;
