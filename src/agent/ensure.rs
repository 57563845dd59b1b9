//! What should lie in a target before its server starts, with no agent running and no network.
//!
//! The boot unit's `adopt --ensure` asks this. It is no second planner: it fills what is missing and takes
//! away what speaks of no certificate of the target; everything else is left for the agent.

use super::prepare;
use super::profiles::{ProfileError, Profiles};
use crate::config::Settings;
use crate::ocsp::{Status, TRY_LATER};
use crate::pki::Issued;
use crate::pki::signature::Checked;
use crate::store::StateDir;
use crate::time::UnixTime;

/// The last good responses on disk, and the rules they are judged by.
#[derive(Debug)]
pub struct Shelf {
    state: StateDir,
    profiles: Profiles,
    now: UnixTime,
}

impl Shelf {
    /// Looks into `settings.state_dir`; staples are judged as of `now` (UTC).
    ///
    /// # Errors
    /// A file that a responder profile names cannot be used.
    pub fn new(settings: &Settings, now: UnixTime) -> Result<Shelf, ProfileError> {
        let profiles = Profiles::read(&settings.issuers)?;
        Ok(Shelf { state: StateDir::new(&settings.state_dir), profiles, now })
    }

    /// What is to replace `there`, the bytes in a target (`None`: no file) that belongs to
    /// `claimants`; `None`: leave it. `placeholder`: `tryLater` may stand there.
    ///
    /// A staple that has run out is left where it is, since the clock of a machine that starts may
    /// be wrong; none is put anywhere.
    pub fn better_than(
        &self,
        there: Option<&[u8]>,
        claimants: &[Issued],
        placeholder: bool,
    ) -> Option<Vec<u8>> {
        let something = there.filter(|bytes| **bytes != TRY_LATER);
        if let Some(bytes) = something {
            let speaks = |issued: &Issued| self.judge(bytes, issued).is_some();
            // Whose it is cannot be told where no certificate could be read.
            if claimants.is_empty() || claimants.iter().any(speaks) {
                return None;
            }
        }
        let held = claimants.iter().find_map(|issued| self.current(issued));
        let missing = there != Some(TRY_LATER.as_slice()) && placeholder;
        held.or_else(|| missing.then(|| TRY_LATER.to_vec()))
    }

    /// The last good response about a certificate, if it is good still.
    fn current(&self, issued: &Issued) -> Option<Vec<u8>> {
        let bytes = self.state.load(issued.fingerprint()).ok().flatten()?;
        let staple = self.judge(&bytes, issued)?;
        let good = staple.status() == Status::Good && staple.expires() > self.now;
        good.then_some(bytes)
    }

    /// The staple that a response (DER) is for a certificate; `None`: none, or one that has run out.
    pub fn judge(&self, bytes: &[u8], issued: &Issued) -> Option<crate::ocsp::Staple> {
        prepare::judge(bytes, issued, self.profiles.of(issued), self.now, &Checked::default())
    }
}
