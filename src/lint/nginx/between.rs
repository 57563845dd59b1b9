//! What is wrong between nginx's blocks: a default server that stands back behind others, a file that
//! several share.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{Said, file_line, has_variable};
use crate::digest::Fingerprint;
use crate::discover::Address;
use crate::lint::finding::{Finding, Severity, Step};
use crate::lint::view::{Block, View};

/// Default servers that present without a staple what others on their address staple.
pub(super) fn default_servers(blocks: &[Block<'_>], said: &Said, found: &mut Vec<Finding>) {
    let mut stapled: HashMap<(&Address, Fingerprint), &Block<'_>> = HashMap::new();
    for block in blocks.iter().filter(|block| block.deployment.target().is_some()) {
        for listener in block.deployment.listeners.iter() {
            for (_, place, _) in &block.shows {
                stapled.entry((&listener.address, place.leaf)).or_insert(block);
            }
        }
    }
    let bare = |block: &&Block<'_>| {
        let stapling = block.deployment.stapling.as_ref().is_some_and(|one| one.value);
        // Must-Staple without stapling has a rule of its own.
        block.must().is_none() && !stapling && block.deployment.stapling_file.is_none()
    };
    for block in blocks.iter().filter(bare) {
        let defaults = block.deployment.listeners.iter().filter(|listener| listener.default);
        let other = defaults
            .flat_map(|listener| block.shows.iter().map(move |(_, place, _)| (listener, place)))
            .find_map(|(listener, place)| stapled.get(&(&listener.address, place.leaf)));
        let Some(file) = other.and_then(|other| other.deployment.stapling_file.as_ref()) else {
            continue;
        };
        let stated = block.deployment.stapling.as_ref().map(|one| &one.origin);
        let on = "ssl_stapling on;".to_owned();
        let line = file_line(&file.value.theirs.display().to_string());
        found.push(Finding {
            what: format!("the default server presents {} without its staple", block.names()),
            why: "clients that name no server, or an unknown one, get the certificate bare; the others on \
                  this address are handed its staple"
                .to_owned(),
            certificates: block.all_names(),
            server: Some("nginx".to_owned()),
            fix: vec![
                said.stapling.say(block, stated, "ssl_stapling", on),
                Step::below(&block.deployment.origin, [line]),
            ],
            ..Finding::at("default-server-bare", Severity::Warning, &block.deployment.origin)
        });
    }
}

/// Staple files that blocks with different certificates name.
pub(super) fn shared_files(
    view: &View<'_>,
    blocks: &[Block<'_>],
    said: &Said,
    found: &mut Vec<Finding>,
) {
    let mut files: BTreeMap<&Path, Vec<&Block<'_>>> = BTreeMap::new();
    for block in blocks {
        let single = block.shows.len() == 1 && block.deployment.dynamic.is_none();
        let target = block.deployment.target().filter(|_| single && block.is_answered());
        if let Some(target) = target.filter(|path| !has_variable(&path.theirs.to_string_lossy())) {
            files.entry(&target.ours).or_default().push(block);
        }
    }
    for (path, blocks) in files {
        let leaf = |block: &Block<'_>| block.shows[0].1.leaf;
        let first = leaf(blocks[0]);
        if blocks.iter().all(|block| leaf(block) == first) {
            continue;
        }
        // Whose name the file bears keeps it.
        let named = |block: &&&Block<'_>| {
            path.file_stem().is_some_and(|stem| *stem == *block.shows[0].2.name.as_ref())
        };
        let keeps = leaf(blocks.iter().find(named).unwrap_or(&blocks[0]));
        let mut fix = Vec::new();
        for block in blocks.iter().filter(|block| leaf(block) != keeps) {
            let own = file_line(&view.staple_file(&block.shows[0].2.name));
            let origin = block.deployment.stapling_file.as_ref().map(|file| &file.origin);
            fix.push(said.file.say(block, origin, "ssl_stapling_file", own));
            fix.push(Step::run(format!("staplekeeper --refresh-now {}", block.shows[0].2.name)));
        }
        let mut names: Vec<_> = blocks.iter().flat_map(|block| block.all_names()).collect();
        names.dedup();
        let origin = blocks.iter().find(|block| leaf(block) != keeps);
        let origin = origin.and_then(|block| block.deployment.stapling_file.as_ref());
        let Some(origin) = origin.map(|file| &file.origin) else { continue };
        found.push(Finding {
            what: format!("{} is the staple file of different certificates: {}", path.display(), names.join(", ")),
            why: "it holds the staple of one of them; clients of the others are handed a staple that is not \
                  theirs, and strict ones refuse"
                .to_owned(),
            certificates: names,
            server: Some("nginx".to_owned()),
            fix,
            ..Finding::at("one-file-several-certificates", Severity::Error, origin)
        });
    }
}
