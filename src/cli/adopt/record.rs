//! What `adopt` did, for the audit trail.

use std::path::Path;

use nix::unistd::getuid;

use super::claimants;
use crate::agent::Shelf;
use crate::audit::{self, FOLDER};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::digest::Digest;
use crate::discover::Scan;
use crate::happening::{Happening, Lying, Subject};
use crate::pki::Issued;
use crate::publish::adopt::{self, ActError, AdoptStep, Filling};

/// Leaves word of what was done for whoever writes the trail next; nothing where there is no trail yet.
///
/// # Errors
/// The trail's folder may not be written, or somebody else led it elsewhere.
pub(super) fn leave(
    ensure: bool,
    settings: &Settings,
    scan: &Scan,
    done: &[&AdoptStep],
) -> Result<(), ActError> {
    let folder = settings.state_dir.join(FOLDER);
    let now = SystemClock.now().wall;
    // A profile that cannot be read leaves a staple unjudged.
    let shelf = Shelf::new(settings, now).ok();
    let mut happened = happened(scan, shelf.as_ref(), done);
    if happened.is_empty() || !folder.exists() {
        return Ok(());
    }
    let command = if ensure { "adopt --ensure" } else { "adopt" };
    happened.insert(0, Happening::by_hand(command, getuid().as_raw()));
    let (name, bytes) = audit::to_leave(now, happened);
    adopt::leave(&folder, &name, &bytes)
}

fn happened(scan: &Scan, shelf: Option<&Shelf>, done: &[&AdoptStep]) -> Vec<Happening> {
    let claimants = claimants(scan);
    let told = done.iter().enumerate().filter_map(|(at, step)| match step {
        AdoptStep::Fill { staple, with } => {
            // The step behind it says for which path a server asks.
            let path = done[at..].iter().find_map(|step| match step {
                AdoptStep::Link { path, .. } | AdoptStep::Leave { path, .. } => Some(path),
                _ => None,
            });
            let path = path.unwrap_or(staple);
            let claimants = claimants.get(&**path).map(Vec::as_slice).unwrap_or_default();
            Some(Happening::Published {
                target: staple.display().to_string(),
                written: true,
                servers: servers(scan, path),
                content: lying(scan, shelf, claimants, with),
            })
        }
        AdoptStep::Link { path, staple } => {
            Some(Happening::Linked { target: staple.display().to_string(), path: path.clone() })
        }
        _ => None,
    });
    told.collect()
}

/// The servers that name a staple path.
fn servers(scan: &Scan, path: &Path) -> Vec<String> {
    let named = scan
        .deployments()
        .filter(|(_, deployment)| deployment.target().is_some_and(|target| *target.ours == *path));
    let mut servers: Vec<_> = named.map(|(at, _)| scan.servers[at].label()).collect();
    servers.dedup();
    servers
}

/// What was put there, as far as it can be told.
fn lying(scan: &Scan, shelf: Option<&Shelf>, claimants: &[Issued], with: &Filling) -> Lying {
    let bytes = match with {
        Filling::Placeholder => return Lying::Placeholder,
        Filling::From { bytes, .. } | Filling::Held(bytes) => bytes,
    };
    let judged = claimants.iter().find_map(|issued| {
        let staple = shelf?.judge(bytes, issued)?;
        let found = scan.certificates.iter();
        let mut found = found.filter(|one| one.issued.fingerprint() == issued.fingerprint());
        let lineage = found.next().and_then(|one| one.lineages.first());
        let name = lineage.map(|at| scan.lineages[*at].name.to_string()).unwrap_or_default();
        let certificate = Subject { name, fingerprint: issued.fingerprint() };
        Some(Lying::Staple { certificate, staple: staple.facts() })
    });
    judged.unwrap_or_else(|| Lying::Foreign { sha256: Some(Digest::of(bytes)) })
}
