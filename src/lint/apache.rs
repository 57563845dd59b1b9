//! Apache: mod_ssl's stapling. Where mod_md staples there is nothing to write.

use std::collections::BTreeMap;

use super::finding::{Finding, Severity, Step};
use super::own;
use super::sources::{Lines, Sharing};
use super::sunset;
use super::view::{Block, View};
use crate::discover::{ApacheStapling, Origin};

const ERRORS: &str = "SSLStaplingReturnResponderErrors";
const LATER: &str = "SSLStaplingFakeTryLater";

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    let stapling = Lines::of(blocks, |one| one.deployment.stapling.as_ref());
    let mut on: BTreeMap<Origin, Vec<(&Block<'_>, &ApacheStapling)>> = BTreeMap::new();
    let mut off = Vec::new();
    for block in blocks {
        let Some(apache) = block.deployment.apache.as_deref() else { continue };
        // mod_md comes before mod_ssl.
        if apache.store.is_some() || block.shows.is_empty() {
            continue;
        }
        let stated = block.deployment.stapling.as_ref();
        match (stated.filter(|stapling| stapling.value), block.is_answered()) {
            (Some(stated), true) => {
                on.entry(stated.origin.clone()).or_default().push((block, apache));
            }
            (Some(stated), false) => found.extend(idle(block, &stated.origin, &stapling)),
            (None, true) => off.push((block, apache)),
            (None, false) => {}
        }
    }
    // The cache is the whole server's, and missed as soon as stapling is on anywhere, staples or not.
    let caches = blocks.iter().filter(|block| {
        let apache = block.deployment.apache.as_deref();
        apache.is_some_and(|apache| apache.cache.is_none())
    });
    let cacheless = caches
        .filter_map(|block| {
            Some((block, block.deployment.stapling.as_ref().filter(|on| on.value)?))
        })
        .next();
    found.extend(cacheless.map(|(block, stated)| without_cache(block, &stated.origin)));
    let mut cached = cacheless.is_some();
    for (block, apache) in off {
        found.extend(not_stapled(view, block, apache, &stapling, &mut cached));
    }
    for (origin, said) in &on {
        let origin = match stapling.sharing(origin) {
            Sharing::Included => &said[0].0.deployment.origin,
            _ => origin,
        };
        asked(view, origin, said, found);
    }
}

fn names(said: &[(&Block<'_>, &ApacheStapling)]) -> Vec<String> {
    said.iter().flat_map(|(block, _)| block.all_names()).collect()
}

fn about(finding: Finding, certificates: Vec<String>) -> Finding {
    Finding { certificates, server: Some("apache".to_owned()), ..finding }
}

fn cache(block: &Block<'_>) -> Step {
    Step::above(
        &block.deployment.origin,
        ["SSLStaplingCache shmcb:ssl_stapling(131072)".to_owned()],
    )
}

fn without_cache(block: &Block<'_>, origin: &Origin) -> Finding {
    let finding = Finding {
        what: "`SSLUseStapling on` without `SSLStaplingCache`".to_owned(),
        why: "`apachectl configtest` passes, and Apache does not start: AH01958, no stapling cache available"
            .to_owned(),
        fix: vec![cache(block)],
        ..Finding::at("apache-without-cache", Severity::Error, origin)
    };
    about(finding, block.all_names())
}

/// What is said at `origin` for these virtual hosts.
fn asked(
    view: &View<'_>,
    origin: &Origin,
    said: &[(&Block<'_>, &ApacheStapling)],
    found: &mut Vec<Finding>,
) {
    let some = |fits: &dyn Fn(&(&Block<'_>, &ApacheStapling)) -> bool| -> Vec<_> {
        said.iter().filter(|one| fits(one)).copied().collect()
    };
    let alone = some(&|(block, _)| block.deployment.stapling_responder.is_none());
    if !alone.is_empty() {
        let must = alone.iter().find_map(|(block, _)| block.must());
        let mut fix =
            vec![Step::below(origin, [format!("SSLStaplingForceURL {}", own::tcp_url(view))])];
        fix.extend(own::listen_tcp(view));
        let grave = if must.is_some() { Severity::Error } else { Severity::Warning };
        let finding = Finding {
            what: "`SSLUseStapling on` without `SSLStaplingForceURL`".to_owned(),
            why: format!(
                "Apache asks the CA while its clients wait, up to 10 s each, forgets good staples at every \
                 reload and throws them away when the CA does not answer{}",
                must.map(|leaf| format!("; {} carries Must-Staple", leaf.name)).unwrap_or_default()
            ),
            fix,
            ..Finding::at("apache-asks-ca", grave, origin)
        };
        found.push(about(finding, names(&alone)));
    }
    let passing = some(&|(_, apache)| apache.returns_errors);
    if !passing.is_empty() {
        let at = passing.iter().find_map(|(_, apache)| apache.returns_errors_at.as_ref());
        let finding = Finding {
            what: format!("`{ERRORS}` is on{}", usual(at)),
            why: "whatever the responder says goes out to clients, expired or about another certificate, and \
                  strict ones refuse that even without Must-Staple"
                .to_owned(),
            fix: vec![turn_off(origin, at, ERRORS)],
            ..Finding::at("apache-passes-errors", Severity::Warning, at.unwrap_or(origin))
        };
        found.push(about(finding, names(&passing)));
    }
    let faking = some(&|(_, apache)| apache.fakes_try_later);
    if !faking.is_empty() {
        let at = faking.iter().find_map(|(_, apache)| apache.fakes_try_later_at.as_ref());
        let finding = Finding {
            what: format!("`{LATER}` is on{}", usual(at)),
            why: "where no answer can be had, clients are handed `tryLater`; some take it worse than no staple"
                .to_owned(),
            fix: vec![turn_off(origin, at, LATER)],
            ..Finding::at("apache-fakes-try-later", Severity::Warning, at.unwrap_or(origin))
        };
        found.push(about(finding, names(&faking)));
    }
}

fn usual(stated: Option<&Origin>) -> &'static str {
    if stated.is_some() { "" } else { ", as it is where nothing is said" }
}

fn turn_off(origin: &Origin, stated: Option<&Origin>, directive: &str) -> Step {
    let line = format!("{directive} off");
    match stated {
        Some(stated) => Step::replace(stated, directive, [line]),
        None => Step::below(origin, [line]),
    }
}

/// Stapling is on and there is nothing to staple.
fn idle(block: &Block<'_>, origin: &Origin, stapling: &Lines) -> Option<Finding> {
    // Must-Staple without a responder has a rule of its own.
    if block.shows.iter().any(|(_, _, leaf)| leaf.must()) {
        return None;
    }
    let (at, step) = match stapling.sharing(origin) {
        Sharing::Alone => (origin, Step::remove(origin, "SSLUseStapling")),
        _ => {
            let at = &block.deployment.origin;
            (at, Step::below(at, ["SSLUseStapling off".to_owned()]))
        }
    };
    let mut why =
        "Apache staples nothing and complains at every start: AH02218, no OCSP URI in certificate"
            .to_owned();
    let lost: Vec<_> = block.shows.iter().filter_map(|(_, _, leaf)| sunset::lost(leaf)).collect();
    if let Some(first) = lost.first() {
        why = format!("{first}; {why}");
    }
    let all = lost.len() == block.shows.len();
    let rule = if all { sunset::RULE } else { "stapling-without-responder" };
    let finding = Finding {
        what: format!("`SSLUseStapling on` for {}, which names no OCSP responder", block.names()),
        why,
        fix: vec![step],
        ..Finding::at(rule, Severity::Note, at)
    };
    Some(about(finding, block.all_names()))
}

/// Stapling is off; that matters to Must-Staple certificates. `cached`: somebody was told to write a cache.
fn not_stapled(
    view: &View<'_>,
    block: &Block<'_>,
    apache: &ApacheStapling,
    stapling: &Lines,
    cached: &mut bool,
) -> Option<Finding> {
    let leaf = block.must()?;
    let origin = &block.deployment.origin;
    let stated = block.deployment.stapling.as_ref().map(|stated| &stated.origin);
    let mut fix =
        vec![stapling.say(block, stated, "SSLUseStapling", "SSLUseStapling on".to_owned())];
    let mut more = Vec::new();
    if block.deployment.stapling_responder.is_none() {
        more.push(format!("SSLStaplingForceURL {}", own::tcp_url(view)));
    }
    for (on, at, directive) in [
        (apache.returns_errors, &apache.returns_errors_at, ERRORS),
        (apache.fakes_try_later, &apache.fakes_try_later_at, LATER),
    ] {
        match at {
            Some(stated) if on => fix.push(turn_off(origin, Some(stated), directive)),
            None if on => more.push(format!("{directive} off")),
            _ => {}
        }
    }
    if !more.is_empty() {
        fix.push(Step::below(origin, more));
    }
    if apache.cache.is_none() && !std::mem::replace(cached, true) {
        fix.push(cache(block));
    }
    fix.extend(own::listen_tcp(view));
    let finding = Finding {
        what: format!("{} carries Must-Staple and is presented without a staple", leaf.name),
        why: "clients that obey Must-Staple (Firefox, GnuTLS) refuse to connect".to_owned(),
        fix,
        ..Finding::at("must-staple-not-stapled", Severity::Error, origin)
    };
    Some(about(finding, block.all_names()))
}
