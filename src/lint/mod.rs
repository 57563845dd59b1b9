//! What in the servers' configuration and in what lies on disk will hurt users, and what to write instead.
//!
//! [`lint`] puts a [`View`], facts gathered beforehand, through the rules, a file for each subject, and gives
//! [`Finding`]s: each fault once, where it is written, with the fact behind it and the exact fix. A rule
//! that cannot tell is silent: a stock configuration has no findings.
//!
//! | file | rules |
//! | --- | --- |
//! | `nginx` | stapling switched half on, variables, shared files, the default server, own fetching |
//! | `apache` | `SSLUseStapling` without cache, without a responder near by, what it hands on |
//! | `plain` | HAProxy, lighttpd, hitch and exim: the staple beside the certificate |
//! | `staples` | what lies in the staple files |
//! | `certificates` | Must-Staple without responder, chains, ends, answers without nextUpdate |
//! | `own` | what the agent itself may not do, and what it could not read |
//! | `sunset` | certificates that have lost their OCSP URL, or ask for Must-Staple without one, and the order in which to undo it |

mod apache;
mod certificates;
mod finding;
mod nginx;
mod own;
mod plain;
mod sources;
mod staples;
mod sunset;
mod view;

pub use finding::{Finding, Severity, Step};
pub use nginx::two_keys_one_file;
pub use sources::{own_lines, own_reload_lines};
pub use view::{Asking, Block, Leaf, Lying, Own, OwnResponder, Reload, Unwritable, View};

use crate::discover::Kind;

/// Puts everything through every rule. The worst come first, then by file and line.
pub fn lint(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for server in 0..view.scan.servers.len() {
        let blocks = view.blocks(server);
        match view.scan.servers[server].kind {
            Kind::Nginx => nginx::judge(view, &blocks, &mut found),
            Kind::Apache => apache::judge(view, &blocks, &mut found),
            Kind::Haproxy | Kind::Lighttpd | Kind::Hitch | Kind::Exim => {
                plain::judge(view, &blocks, &mut found);
            }
            Kind::Files => {}
        }
        found.extend(own::unread(&view.scan.servers[server]));
        staples::judge(view, &blocks, &mut found);
        own::reload(view, server, &blocks, &mut found);
    }
    let blocks: Vec<_> =
        (0..view.scan.servers.len()).flat_map(|server| view.blocks(server)).collect();
    certificates::judge(view, &blocks, &mut found);
    own::targets(view, &blocks, &mut found);
    sunset::judge(view, &blocks, &mut found);
    for finding in &mut found {
        finding.fix = finding::merged(std::mem::take(&mut finding.fix));
        let names = &finding.certificates;
        finding.certificate = (!names.is_empty()).then(|| finding::in_short(names));
    }
    found.sort_by(|one, other| {
        let key = |it: &Finding| (it.file.clone(), it.line, it.rule, it.certificate.clone());
        other.severity.cmp(&one.severity).then_with(|| key(one).cmp(&key(other)))
    });
    found
}
