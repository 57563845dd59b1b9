//! Certificates whose CA has ended OCSP, and ACME clients that still ask for Must-Staple: what to undo, and
//! in which order, so that no client is refused on the way.

use std::collections::HashMap;

use super::finding::{Finding, Severity, Step};
use super::view::{Block, Leaf, View};
use crate::discover::Kind;

/// The rule about what is left over of stapling where a certificate lost its OCSP URL.
pub(super) const RULE: &str = "ocsp-url-lost";

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    for block in blocks {
        found.extend(left_over(block));
    }
    let by_name = view.leaves.values().map(|leaf| (&*leaf.name, leaf));
    let by_name: HashMap<&str, &Leaf> =
        if view.asking.is_empty() { HashMap::new() } else { by_name.collect() };
    for asking in &view.asking {
        let leaf = by_name.get(&*asking.certificate);
        // With a responder behind it, Must-Staple is the operator's choice.
        let Some(leaf) = leaf.filter(|leaf| !leaf.is_answered()) else { continue };
        let name = &asking.certificate;
        let mut fix = vec![Step::Replace {
            file: asking.file.display().to_string(),
            line: asking.line,
            directive: asking.directive.to_owned(),
            lines: vec![asking.instead.to_owned()],
        }];
        if leaf.must() {
            fix.push(Step::act(format!(
                "then have {name} issued again, and reload its servers; leave their stapling as it is until \
                 they present the new certificate"
            )));
        }
        found.push(Finding {
            file: Some(asking.file.display().to_string()),
            line: asking.line,
            what: format!(
                "the next {name} will be asked for with Must-Staple, and its CA runs no OCSP"
            ),
            why: "the CA refuses to issue it, or every client that obeys Must-Staple refuses it"
                .to_owned(),
            certificates: vec![name.to_string()],
            fix,
            ..Finding::of("must-staple-at-renewal", Severity::Warning)
        });
    }
}

/// What there is to say of a certificate that lost its OCSP URL.
pub(super) fn lost(leaf: &Leaf) -> Option<String> {
    let url = leaf.lost.as_deref()?;
    Some(format!(
        "{} lost its OCSP URL at its last renewal: the certificate before it named {url}, so its CA has ended \
         OCSP, or it comes from another CA",
        leaf.name
    ))
}

/// A staple file that HAProxy, lighttpd, hitch or exim is told of for a certificate that lost its URL: nginx
/// and Apache are told to staple by a switch, which has a rule of its own.
fn left_over(block: &Block<'_>) -> Option<Finding> {
    let directive = match block.model.kind {
        Kind::Lighttpd => "ssl.stapling-file",
        Kind::Hitch => "ocsp-resp-file",
        Kind::Exim => "tls_ocsp_file",
        _ => return None,
    };
    let [(_, _, leaf)] = block.shows.as_slice() else { return None };
    let (why, file) = (lost(leaf)?, block.deployment.stapling_file.as_ref()?);
    // Where clients are refused, that is what there is to say.
    if leaf.must() {
        return None;
    }
    Some(Finding {
        what: format!("`{directive}` is set for {}, which names no OCSP responder", leaf.name),
        why,
        certificates: block.all_names(),
        server: Some(block.model.kind.to_string()),
        fix: vec![Step::remove(&file.origin, directive)],
        ..Finding::at(RULE, Severity::Note, &file.origin)
    })
}
