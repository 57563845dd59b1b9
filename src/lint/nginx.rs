//! nginx: what is switched on, for which certificates, and where its staples come from.

mod between;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::finding::{Finding, Severity, Step, in_short};
use super::own;
use super::sources::{Lines, Sharing};
use super::sunset;
use super::view::{Block, View, mixed};
use crate::discover::{Kind, Origin, Scan};

/// Who says what, for the directives that fixes change.
struct Said {
    stapling: Lines,
    file: Lines,
    compression: Lines,
}

/// Certificates of two key types share a staple file there: half of the clients are handed the staple of
/// the other certificate (facts/servers.md 12).
pub(super) fn shares_a_file(block: &Block<'_>) -> bool {
    block.deployment.target().is_some() && block.deployment.dynamic.is_none() && block.mixes_keys()
}

/// nginx's blocks in which certificates of two key types share a staple file, in words for the agent's
/// status. `socket` is our responder's.
pub fn two_keys_one_file(scan: &Scan, socket: &Path) -> Vec<String> {
    let socket = socket.display();
    let mut found = Vec::new();
    for model in scan.servers.iter().filter(|model| model.kind == Kind::Nginx) {
        for deployment in model.deployments.iter().filter(|one| one.target().is_some()) {
            let presented = deployment.certificates.iter();
            let places = presented.filter_map(|one| scan.place(&one.file.ours));
            let types = places.map(|place| scan.lineages[place.lineage].leaf.key_type());
            if mixed(types) {
                found.push(format!(
                    "{}: certificates of two key types share one ssl_stapling_file, and half of the clients \
                     are handed the other one's staple; write `ssl_stapling_responder \
                     http://unix:{socket}:/;` instead of it, and `listen = [\"unix:{socket}\"]` under \
                     [responder] in staplekeeper's configuration",
                    deployment.origin,
                ));
            }
        }
    }
    found
}

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    let said = Said {
        stapling: Lines::of(blocks, |one| one.deployment.stapling.as_ref()),
        file: Lines::of(blocks, |one| one.deployment.stapling_file.as_ref()),
        compression: Lines::of(blocks, |one| one.deployment.certificate_compression.as_ref()),
    };
    let mut idle = BTreeMap::new();
    let mut told = HashSet::new();
    for block in blocks {
        let on = block.deployment.stapling.as_ref().is_some_and(|stapling| stapling.value);
        if on {
            found.extend(compression(block, &said, &mut told));
        }
        if block.deployment.dynamic.is_some() {
            found.extend(on.then(|| by_variable(block, &said)));
        } else if block.shows.is_empty() {
            // Nothing is known of it; the scan says why.
        } else if !block.is_answered() {
            if let Some(stapling) = block.deployment.stapling.as_ref().filter(|_| on) {
                idle.entry(stapling.origin.clone()).or_insert_with(Vec::new).push(block);
            }
        } else {
            found.extend(switched(view, block, on, &said));
        }
    }
    for (origin, idle) in idle {
        found.extend(without_responder(&origin, &idle, &said));
    }
    between::default_servers(blocks, &said, found);
    between::shared_files(view, blocks, &said, found);
}

/// What is wrong with how a block whose certificates can be stapled is told to.
fn switched(view: &View<'_>, block: &Block<'_>, on: bool, said: &Said) -> Option<Finding> {
    let deployment = block.deployment;
    let file = deployment.stapling_file.as_ref();
    let must = block.must();
    let grave = if must.is_some() { Severity::Error } else { Severity::Warning };
    let about = |finding: Finding| Finding {
        certificates: block.all_names(),
        server: Some("nginx".to_owned()),
        ..finding
    };
    let stated = deployment.stapling.as_ref().map(|one| &one.origin);
    let switch_on =
        || said.stapling.say(block, stated, "ssl_stapling", "ssl_stapling on;".to_owned());
    match (on, file) {
        (false, Some(file)) => Some(about(Finding {
            what: "`ssl_stapling_file` is set and `ssl_stapling` is not on".to_owned(),
            why: match must {
                Some(leaf) => format!(
                    "nginx staples nothing here, and {} carries Must-Staple: clients that obey it refuse it",
                    leaf.name
                ),
                None => "nginx takes the line without a word and staples nothing".to_owned(),
            },
            fix: vec![switch_on()],
            ..Finding::at("staple-file-without-stapling", grave, &file.origin)
        })),
        (false, None) => {
            let leaf = must?;
            let mut fix = vec![switch_on()];
            fix.extend(source(view, block));
            Some(about(Finding {
                what: format!(
                    "{} carries Must-Staple and is presented without a staple",
                    leaf.name
                ),
                why: "clients that obey Must-Staple (Firefox, GnuTLS) refuse to connect".to_owned(),
                fix,
                ..Finding::at("must-staple-not-stapled", Severity::Error, &deployment.origin)
            }))
        }
        (true, None) => {
            let leaf = must?;
            let url = deployment.responder_url();
            let ours = url.is_some_and(|url| view.asks_us(url));
            if ours && block.mixes_keys() {
                return None;
            }
            let origin = stated.unwrap_or(&deployment.origin);
            let origin = match said.stapling.sharing(origin) {
                Sharing::Alone => origin,
                _ => &deployment.origin,
            };
            let mut fix: Vec<_> = deployment
                .stapling_responder
                .iter()
                .filter(|_| block.mixes_keys())
                .map(|stated| Step::remove(&stated.origin, "ssl_stapling_responder"))
                .collect();
            fix.extend(source(view, block));
            Some(about(Finding {
                what: format!("{} carries Must-Staple and nginx fetches its staples by itself", leaf.name),
                why: "each worker asks only when its first client has come: after every start and reload \
                      that client gets no staple and refuses"
                    .to_owned(),
                fix,
                ..Finding::at("must-staple-own-fetching", Severity::Error, origin)
            }))
        }
        (true, Some(file)) if has_variable(file.value.theirs.to_string_lossy().as_ref()) => {
            let (_, _, leaf) = block.shows.first()?;
            let fix = match block.mixes_keys() {
                true => by_responder(view, block, &file.origin, said),
                false => {
                    let line = file_line(&view.staple_file(&leaf.name));
                    vec![
                        said.file.say(block, Some(&file.origin), "ssl_stapling_file", line),
                        Step::run(format!("staplekeeper --refresh-now {}", leaf.name)),
                    ]
                }
            };
            Some(about(Finding {
                what: format!("`ssl_stapling_file {}` has a variable in it", file.value.theirs.display()),
                why: "nginx knows none there: it looks for a file of just that name, and without it neither \
                      starts nor reloads"
                    .to_owned(),
                fix,
                ..Finding::at("staple-path-variable", Severity::Error, &file.origin)
            }))
        }
        (true, Some(file)) if shares_a_file(block) => Some(about(Finding {
            what: "certificates of two key types share one `ssl_stapling_file`".to_owned(),
            why:
                "it holds the staple of one of them, and clients of the other are handed it, too: \
                      strict ones refuse"
                    .to_owned(),
            fix: by_responder(view, block, &file.origin, said),
            ..Finding::at("two-keys-one-file", Severity::Error, &file.origin)
        })),
        (true, Some(_)) => None,
    }
}

/// Has a block for which one file is not enough ask our responder. `file`: where that file is named; it
/// would win over the responder.
fn by_responder(view: &View<'_>, block: &Block<'_>, file: &Origin, said: &Said) -> Vec<Step> {
    let mut fix = vec![match said.file.sharing(file) {
        Sharing::Alone => Step::remove(file, "ssl_stapling_file"),
        _ => Step::act(format!(
            "move `ssl_stapling_file` from {file} into the blocks that have one certificate"
        )),
    }];
    match &block.deployment.stapling_responder {
        Some(stated) if view.asks_us(&stated.value) => {}
        stated => {
            let stated = stated.iter();
            fix.extend(stated.map(|one| Step::remove(&one.origin, "ssl_stapling_responder")));
            fix.extend(source(view, block));
        }
    }
    fix
}

pub(super) fn has_variable(path: &str) -> bool {
    path.contains('$')
}

fn file_line(path: &str) -> String {
    format!("ssl_stapling_file {path};")
}

/// Where a block takes its staples from: a file, or our responder where one file is not enough.
fn source(view: &View<'_>, block: &Block<'_>) -> Vec<Step> {
    let origin = &block.deployment.origin;
    if block.mixes_keys() {
        let url = own::unix_url(view);
        let mut steps = vec![Step::below(origin, [format!("ssl_stapling_responder {url};")])];
        steps.extend(own::listen_unix(view));
        return steps;
    }
    let Some((_, _, leaf)) = block.shows.first() else { return Vec::new() };
    let line = file_line(&view.staple_file(&leaf.name));
    let refresh = Step::run(format!("staplekeeper --refresh-now {}", leaf.name));
    // Until then nginx would find no file, and go on as it is.
    vec![Step::below(origin, [line]), refresh]
}

fn by_variable(block: &Block<'_>, said: &Said) -> Finding {
    let deployment = block.deployment;
    let origin = deployment.dynamic.as_deref().unwrap_or(&deployment.origin);
    let fix = switch_off(block, said);
    Finding {
        what: "stapling is on for certificates that are chosen by variable or script".to_owned(),
        why: "nginx staples nothing for those and says so nowhere; a Must-Staple certificate among them is \
              refused"
            .to_owned(),
        server: Some("nginx".to_owned()),
        fix: fix
            .into_iter()
            .chain([Step::act(
                "give every certificate that needs a staple a server block with its own `ssl_certificate` \
                 and `ssl_stapling_file`",
            )])
            .collect(),
        ..Finding::at("certificate-by-variable", Severity::Warning, origin)
    }
}

/// Takes stapling away from one block.
fn switch_off(block: &Block<'_>, said: &Said) -> Vec<Step> {
    let deployment = block.deployment;
    let mut steps = Vec::new();
    let file = deployment.stapling_file.as_ref().map(|stated| &stated.origin);
    if let Some(origin) = file.filter(|origin| said.file.sharing(origin) == Sharing::Alone) {
        steps.push(Step::remove(origin, "ssl_stapling_file"));
    }
    let Some(stapling) = &deployment.stapling else { return steps };
    steps.push(match said.stapling.sharing(&stapling.origin) {
        Sharing::Alone => Step::remove(&stapling.origin, "ssl_stapling"),
        _ => {
            let off = "ssl_stapling off;".to_owned();
            said.stapling.say(block, Some(&stapling.origin), "ssl_stapling", off)
        }
    });
    steps
}

/// `ssl_stapling on` at `origin`, and these of the blocks it is said for have nothing to staple.
fn without_responder(origin: &Origin, idle: &[&Block<'_>], said: &Said) -> Vec<Finding> {
    // Where clients are refused, that is what there is to say.
    let quiet = |block: &&&Block<'_>| block.shows.iter().all(|(_, _, leaf)| !leaf.must());
    let finding = |origin: &Origin, blocks: &[&Block<'_>], fix: Vec<Step>| {
        let names: Vec<_> = blocks.iter().flat_map(|block| block.all_names()).collect();
        let mut why = "nginx staples nothing and warns at every start and reload: \"ssl_stapling\" ignored, no \
                       OCSP responder URL"
            .to_owned();
        let leaves: Vec<_> =
            blocks.iter().flat_map(|block| block.shows.iter().map(|(_, _, leaf)| *leaf)).collect();
        let lost: Vec<_> = leaves.iter().filter_map(|leaf| sunset::lost(leaf)).collect();
        if let Some(first) = lost.first() {
            why = format!(
                "{first}{}; {why}",
                match lost.len() {
                    1 => String::new(),
                    number => format!(" (as did {} more of them)", number - 1),
                }
            );
        }
        let all = lost.len() == leaves.len() && !lost.is_empty();
        let rule = if all { sunset::RULE } else { "stapling-without-responder" };
        Finding {
            what: format!(
                "`ssl_stapling on` for {}, which names no OCSP responder",
                in_short(&names)
            ),
            why,
            certificates: names,
            server: Some("nginx".to_owned()),
            fix,
            ..Finding::at(rule, Severity::Note, origin)
        }
    };
    if idle.iter().filter(quiet).count() == said.stapling.count(origin) {
        let files = idle.iter().filter_map(|block| block.deployment.stapling_file.as_ref());
        let files: std::collections::BTreeSet<_> = files.map(|file| file.origin.clone()).collect();
        let mut fix: Vec<_> =
            files.iter().map(|origin| Step::remove(origin, "ssl_stapling_file")).collect();
        fix.push(Step::remove(origin, "ssl_stapling"));
        return vec![finding(origin, idle, fix)];
    }
    let each = idle.iter().filter(quiet);
    each.map(|block| finding(&block.deployment.origin, &[block], switch_off(block, said))).collect()
}

fn compression(block: &Block<'_>, said: &Said, told: &mut HashSet<Origin>) -> Option<Finding> {
    let stated = block.deployment.certificate_compression.as_ref().filter(|one| one.value)?;
    let once = said.compression.sharing(&stated.origin) == Sharing::Alone;
    if !once && !told.insert(stated.origin.clone()) {
        return None;
    }
    Some(Finding {
        what: "`ssl_certificate_compression` is on beside `ssl_stapling`".to_owned(),
        why: "nginx refuses the two together: it neither starts nor reloads".to_owned(),
        server: Some("nginx".to_owned()),
        fix: vec![Step::remove(&stated.origin, "ssl_certificate_compression")],
        ..Finding::at("certificate-compression", Severity::Error, &stated.origin)
    })
}
