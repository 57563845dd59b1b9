//! Certificates whose CA has ended OCSP, and ACME clients that still ask for Must-Staple: what to undo, and
//! in which order, so that no client is refused on the way.

use super::finding::{Finding, Severity, Step};
use super::view::{Block, View};

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    for asking in &view.asking {
        let leaf = view.leaves.values().find(|leaf| leaf.name == asking.certificate);
        // With a responder behind it, Must-Staple is the operator's choice.
        let Some(leaf) = leaf.filter(|leaf| !leaf.is_answered()) else { continue };
        let name = &asking.certificate;
        let presented =
            blocks.iter().any(|block| block.shows.iter().any(|(_, _, one)| one.name == *name));
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
        let grave = if leaf.must() || !presented { Severity::Warning } else { Severity::Note };
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
            ..Finding::of("must-staple-at-renewal", grave.max(Severity::Warning))
        });
    }
}
