//! HAProxy, lighttpd, hitch and exim: each certificate file with a staple file of its own.

use super::finding::{Finding, Severity, Step};
use super::view::{Block, View};
use crate::discover::{Kind, Origin, What};

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    for block in blocks {
        let deployment = block.deployment;
        let bare = deployment.target().is_none() && deployment.dynamic.is_none();
        let Some(leaf) = block.must().filter(|_| bare) else { continue };
        found.push(Finding {
            what: format!("{} carries Must-Staple and is presented without a staple", leaf.name),
            why: "clients that obey Must-Staple (Firefox, GnuTLS) refuse to connect".to_owned(),
            certificates: block.all_names(),
            server: Some(block.model.kind.to_string()),
            fix: staple(view, block, &leaf.name),
            ..Finding::at("must-staple-not-stapled", Severity::Error, &deployment.origin)
        });
    }
    let Some(model) = blocks.first().map(|block| block.model) else { return };
    for problem in model.problems.iter().filter(|problem| problem.what == What::AsksItself) {
        let file = problem.path.as_path().into();
        let origin = Origin { file, line: problem.line };
        let line = "ocsp-dir = \"\"".to_owned();
        let fix = match model.kind {
            Kind::Hitch if problem.line > 1 => Step::replace(&origin, "ocsp-dir", [line]),
            _ => Step::above(&origin, [line]),
        };
        found.push(Finding {
            what: "hitch's `ocsp-dir` is on, as it is where nothing is said".to_owned(),
            why:
                "hitch asks responders by itself, and what it gets wins over every `ocsp-resp-file`"
                    .to_owned(),
            server: Some("hitch".to_owned()),
            fix: vec![fix],
            ..Finding::at("hitch-asks-itself", Severity::Warning, &origin)
        });
    }
}

/// What to write so that a server takes a staple.
fn staple(view: &View<'_>, block: &Block<'_>, name: &str) -> Vec<Step> {
    let path = view.staple_file(name);
    let certificate = block.deployment.certificates.first();
    let origin = certificate.map_or(&block.deployment.origin, |presented| &presented.origin);
    let refresh = Step::run(format!("staplekeeper --refresh-now {name}"));
    let stored = block.deployment.called.as_ref().is_some_and(|name| name.starts_with('@'));
    match block.model.kind {
        // HAProxy looks for nothing beside a certificate of a store.
        Kind::Haproxy if stored => vec![
            refresh,
            Step::act(format!(
                "leave out `ocsp-update on` in its `load` line of `crt-store`, and add: ocsp {path}"
            )),
        ],
        Kind::Haproxy => vec![
            Step::act(
                "let HAProxy load staples: leave out `ocsp-update on`, and have \"ocsp\" among \
                 `ssl-load-extra-files`, or leave that out",
            ),
            refresh,
        ],
        Kind::Lighttpd => {
            vec![refresh, Step::below(origin, [format!("ssl.stapling-file = \"{path}\"")])]
        }
        Kind::Hitch => {
            let file = certificate.map(|one| one.file.theirs.display().to_string());
            let lines = [
                "pem-file = {".to_owned(),
                format!("    cert = \"{}\"", file.unwrap_or_default()),
                format!("    ocsp-resp-file = \"{path}\""),
                "}".to_owned(),
            ];
            vec![refresh, Step::replace(origin, "pem-file", lines)]
        }
        _ => vec![refresh, Step::below(origin, [format!("tls_ocsp_file = {path}")])],
    }
}
