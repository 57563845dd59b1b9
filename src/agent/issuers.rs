//! Issuers that are nowhere on disk: fetched from where leaves say they lie (AIA caIssuers), and kept.
//!
//! What comes is believed no more than any other file: only a signature makes an issuer, and that is
//! for the next scan to find.

use std::sync::Arc;

use super::Agent;
use super::message::Message;
use crate::discover::Scan;
use crate::fetch::AskError;
use crate::pki::Certificate;

impl Agent {
    /// Fetches the issuers that leaves name, once per URL and scan period.
    pub(super) fn look_for_issuers(&mut self, scan: &Scan) {
        if self.store.is_none() {
            return;
        }
        for missing in &scan.missing_issuers {
            for url in &missing.ca_issuers_urls {
                if !self.issuers_asked.insert(url.clone()) {
                    continue;
                }
                self.issuers_awaited += 1;
                let (fetcher, outbox) = (self.fetcher.clone(), self.outbox.clone());
                let url = url.clone();
                tokio::spawn(async move {
                    let fetched = fetcher.fetch_issuer(&url, &Default::default()).await;
                    let _ = outbox.send(Message::IssuersFetched { url, outcome: fetched });
                });
            }
        }
    }

    /// Keeps what was fetched from an AIA URL; whether it issued anything is for the next scan to prove.
    pub(super) fn issuers_fetched(&mut self, url: &str, outcome: Result<Vec<Vec<u8>>, AskError>) {
        self.issuers_awaited -= 1;
        let before = self.issuers.len();
        let found = outcome.unwrap_or_else(|error| {
            self.complain(format!("cannot fetch an issuer: {error}; {}", error.hint()));
            Vec::new()
        });
        for der in found {
            match Certificate::from_der(&der) {
                Ok(certificate) => self.learn_issuer(Arc::new(certificate)),
                Err(error) => self.complain(format!("{url}: not a certificate: {error}")),
            }
        }
        // Hooks hold back while issuers are fetched; whatever came of it, that is over now.
        let settled = self.issuers_awaited == 0 && self.hooks_want_a_look();
        if self.issuers.len() > before || settled {
            self.rescan();
        }
    }

    fn learn_issuer(&mut self, issuer: Arc<Certificate>) {
        if self.issuers.iter().any(|known| known.fingerprint() == issuer.fingerprint()) {
            return;
        }
        tracing::info!(issuer = %issuer.subject(), "learned an issuer");
        let mut issuers = self.issuers.to_vec();
        issuers.push(issuer.clone());
        self.issuers = issuers.into();
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.remember_issuer(&issuer)) {
            self.complain(error.to_string());
        }
    }
}
