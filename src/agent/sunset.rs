//! Certificates that lost their OCSP URL at a renewal, kept for `lint`: most ACME clients keep nothing of
//! what they renewed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Agent;
use super::model::Seen;
use crate::digest::Fingerprint;

impl Agent {
    /// Compares what a scan shows with what was known before: what is gone is still known here.
    pub(super) fn look_for_lost(&mut self, seen: &HashMap<Fingerprint, Seen>) {
        let mut before: HashMap<Arc<str>, String> = HashMap::new();
        let gone = self.world.certificates.values();
        for known in gone.filter(|known| !seen.contains_key(&known.leaf.fingerprint())) {
            let Some(url) = known.leaf.ocsp_urls().into_iter().next() else { continue };
            before.extend(known.names.iter().map(|name| (name.clone(), url.clone())));
        }
        if before.is_empty() && self.lost.is_empty() {
            return;
        }
        let mut lost: BTreeMap<String, String> = BTreeMap::new();
        for one in seen.values() {
            let concerned = |name: &&Arc<str>| {
                before.contains_key(&***name) || self.lost.contains_key(&***name)
            };
            let mut names = one.names.iter().filter(concerned).peekable();
            // Read from the certificate itself, so only where it matters.
            if names.peek().is_none() || !one.leaf.ocsp_urls().is_empty() {
                continue;
            }
            lost.extend(names.map(|name| {
                let url = before.get(name).or_else(|| self.lost.get(&**name));
                (name.to_string(), url.expect("one of the two knows it").clone())
            }));
        }
        // What cannot be read for a while is not forgotten for that.
        let here: HashSet<&str> =
            seen.values().flat_map(|one| one.names.iter().map(|name| &**name)).collect();
        let is_away = |name: &str| !lost.contains_key(name) && !here.contains(name);
        let away = self.lost.iter().filter(|(name, _)| is_away(name));
        lost.extend(away.map(|(name, url)| (name.clone(), url.clone())).collect::<Vec<_>>());
        if lost == self.lost {
            return;
        }
        for (name, url) in lost.iter().filter(|(name, _)| !self.lost.contains_key(*name)) {
            tracing::info!(
                cert = name,
                before = url,
                "lost its OCSP URL at its renewal: there is nothing to staple any more"
            );
        }
        self.lost = lost;
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.remember_lost(&self.lost)) {
            self.complain(error.to_string());
        }
    }
}
