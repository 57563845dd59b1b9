//! Apache: mod_md's store as a place that staples are published to, and how soon it takes up what it finds
//! there or is answered.
//!
//! An entry belongs to one certificate, a place to a lineage: a renewed certificate has another entry beside
//! the old one's, which stays until mod_md clears it away, since Apache presents the old certificate until
//! it is restarted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::Agent;
use super::model::{Seen, Wanted, add};
use super::world::{Deployed, Place, Spot};
use crate::digest::Fingerprint;
use crate::discover::{Deployment, RenewWindow, Scan};
use crate::plan::{Bare, Delivery, Facts, ServerId, TakesUp};
use crate::publish::{Target, store_entry};
use crate::time::{DAY, HOUR, MINUTE};

impl Agent {
    /// The entries of mod_md's store that a deployment is stapled from; says whether there are any. The
    /// lineages of these certificates are added to `served`.
    pub(super) fn want_entries(
        &mut self,
        scan: &Scan,
        (server, at): (ServerId, usize),
        deployment: &Deployment,
        seen: &HashMap<Fingerprint, Seen>,
        served: &mut HashSet<usize>,
        wanted: &mut BTreeMap<Spot, Wanted>,
    ) -> bool {
        let apache = deployment.apache.as_deref();
        let Some(store) = apache.and_then(|apache| apache.store.as_ref()) else { return false };
        let mut some = false;
        for place in deployment.certificates.iter().filter_map(|one| scan.place(&one.file.ours)) {
            // mod_md takes up no certificate that names no responder (facts/servers.md 46).
            let Some(leaf) = seen.get(&place.leaf).map(|seen| &seen.leaf) else { continue };
            if leaf.ocsp_urls().is_empty() {
                continue;
            }
            let lineage = scan.lineages[place.lineage].path.clone();
            let spot = Spot::Stored(store.folder.ours.clone(), lineage);
            let entry = wanted.entry(spot).or_default();
            add(&mut entry.claimants, place.leaf);
            entry.entry.get_or_insert_with(|| {
                Target::StoreEntry(store_entry::path(&store.folder.ours, leaf.der()).into())
            });
            let leaves = vec![self.world.cert_id(&place.leaf)];
            entry.deployments.push(Deployed { server, at, leaves, barred: false });
            served.insert(place.lineage);
            some = true;
        }
        some
    }
}

impl Agent {
    /// How the Apaches that read a place take up what is put there; `None` where none does.
    ///
    /// `published` lies there, or is about to.
    pub(super) fn apaches_delivery(
        &self,
        place: &Place,
        published: Option<&Facts>,
    ) -> Option<Delivery> {
        let apache = |one: &Deployed| {
            let server = self.world.servers.get(&one.server)?;
            let apache = server.deployments.get(one.at)?.apache.as_deref()?;
            Some(match (place.written(), &apache.store) {
                (Some(_), Some(store)) => looks_within(store.renew_window, published),
                // It asks again for what it was told and for what it was not told.
                _ => apache.keeps_answers.max(apache.keeps_errors),
            })
        };
        let within = place.deployments.iter().filter_map(apache).max()?;
        Some(Delivery {
            takes_up: TakesUp::ByItself { within },
            per_worker: false,
            stops_early: Duration::ZERO,
            bare: Bare::Nothing,
            takes_revoked: true,
        })
    }
}

/// How long after a publication mod_md sees it, where the staple in its memory lives as long as this one.
///
/// It looks when its window has opened: each hour, each minute in the last day, each second in the
/// last minute (facts/servers.md 44). Ours comes at half of the life. With nothing in its memory it
/// looks at each handshake.
fn looks_within(window: RenewWindow, published: Option<&Facts>) -> Duration {
    let Some(staple) = published else { return Duration::ZERO };
    let life = staple.expires.since(staple.this_update);
    let window = window.of(life);
    let pause = match window {
        window if window <= MINUTE => Duration::from_secs(1),
        window if window <= DAY => MINUTE,
        _ => HOUR,
    };
    (life / 2).saturating_sub(window) + pause
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::ocsp::Status;
    use crate::time::UnixTime;

    #[test]
    fn mod_md_looks_when_its_window_has_opened() {
        let table = [
            (7 * DAY, RenewWindow::Percent(33), 17 * 7 * DAY / 100 + HOUR),
            (12 * HOUR, RenewWindow::Percent(33), 17 * 12 * HOUR / 100 + MINUTE),
            (Duration::from_secs(24), RenewWindow::Percent(33), Duration::from_millis(5_080)),
            (DAY, RenewWindow::Percent(75), MINUTE),
            (DAY, RenewWindow::Before(2 * HOUR), 10 * HOUR + MINUTE),
        ];
        for (life, window, expected) in table {
            let this_update = UnixTime::from_secs(1_800_000_000);
            let facts = Facts {
                digest: Digest::of(b""),
                status: Status::Good,
                this_update,
                expires: this_update + life,
            };
            assert_eq!(looks_within(window, Some(&facts)), expected, "{life:?} {window:?}");
        }
        assert_eq!(looks_within(RenewWindow::Percent(33), None), Duration::ZERO);
    }
}
