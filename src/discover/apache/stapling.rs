//! What Apache says about stapling that other servers have no words for.

use std::sync::Arc;
use std::time::Duration;

use crate::discover::model::{Origin, Stated};
use crate::discover::settings::MappedPath;
use crate::time::HOUR;

/// How an Apache virtual host staples, besides `SSLUseStapling` and `SSLStaplingForceURL`. Virtual hosts
/// that say the same share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApacheStapling {
    /// `SSLStaplingCache`: with `SSLUseStapling on` and without one, Apache does not start.
    pub cache: Option<Arc<str>>,
    /// `SSLStaplingStandardCacheTimeout`: so old, a good answer is asked for again.
    pub keeps_answers: Duration,
    /// `SSLStaplingErrorCacheTimeout`: so long, a failure is handed to clients.
    pub keeps_errors: Duration,
    /// `SSLStaplingReturnResponderErrors`: what the responder says is passed on, whatever it is.
    pub returns_errors: bool,
    /// Where that is said; nowhere: it is the default.
    pub returns_errors_at: Option<Origin>,
    /// `SSLStaplingFakeTryLater`: clients are handed `tryLater` where no answer could be had.
    pub fakes_try_later: bool,
    /// Where that is said.
    pub fakes_try_later_at: Option<Origin>,
    /// `SSLStaplingResponderTimeout`: so long, all handshakes wait for a responder that hangs.
    pub waits: Duration,
    /// mod_md staples, from here; it comes before mod_ssl.
    pub store: Option<StapleStore>,
}

impl Default for ApacheStapling {
    /// What Apache does where nothing is said.
    fn default() -> Self {
        ApacheStapling {
            cache: None,
            keeps_answers: HOUR,
            keeps_errors: HOUR / 6,
            returns_errors: true,
            returns_errors_at: None,
            fakes_try_later: true,
            fakes_try_later_at: None,
            waits: Duration::from_secs(10),
            store: None,
        }
    }
}

/// Where mod_md keeps the staples of a virtual host's certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StapleStore {
    /// `<MDStoreDir>/ocsp/other`, or the managed domain's folder beside it.
    pub folder: MappedPath,
    /// `MDStaplingRenewWindow`: when mod_md looks for a newer one.
    pub renew_window: RenewWindow,
}

/// How long before a staple's end mod_md looks for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenewWindow {
    /// A part of the staple's life, in percent.
    Percent(u8),
    /// A length of time.
    Before(Duration),
}

impl RenewWindow {
    /// Its length for a staple of this life.
    pub fn of(self, life: Duration) -> Duration {
        match self {
            RenewWindow::Percent(percent) => life * u32::from(percent) / 100,
            RenewWindow::Before(length) => length.min(life),
        }
    }
}

/// One virtual host's own words about stapling; what is missing is inherited.
#[derive(Clone, Debug, Default)]
pub(super) struct Sayings {
    pub(super) keeps_answers: Option<Duration>,
    pub(super) keeps_errors: Option<Duration>,
    pub(super) returns_errors: Option<Arc<Stated<bool>>>,
    pub(super) fakes_try_later: Option<Arc<Stated<bool>>>,
    pub(super) waits: Option<Duration>,
    /// `MDStapling`
    pub(super) by_md: Option<Arc<Stated<bool>>>,
    /// `MDStapleOthers`
    pub(super) others: Option<bool>,
    pub(super) renew_window: Option<RenewWindow>,
}

impl Sayings {
    /// What is in effect where `self` is said inside of `outer`.
    pub(super) fn within(self, outer: &Sayings) -> Sayings {
        Sayings {
            keeps_answers: self.keeps_answers.or(outer.keeps_answers),
            keeps_errors: self.keeps_errors.or(outer.keeps_errors),
            returns_errors: self.returns_errors.or_else(|| outer.returns_errors.clone()),
            fakes_try_later: self.fakes_try_later.or_else(|| outer.fakes_try_later.clone()),
            waits: self.waits.or(outer.waits),
            by_md: self.by_md.or_else(|| outer.by_md.clone()),
            others: self.others.or(outer.others),
            renew_window: self.renew_window.or(outer.renew_window),
        }
    }

    /// The same with Apache's defaults for the rest.
    pub(super) fn settled(
        &self,
        cache: Option<Arc<str>>,
        store: Option<StapleStore>,
    ) -> ApacheStapling {
        let usual = ApacheStapling::default();
        let value = |said: &Option<Arc<Stated<bool>>>| said.as_ref().map(|stated| stated.value);
        let place =
            |said: &Option<Arc<Stated<bool>>>| said.as_ref().map(|stated| stated.origin.clone());
        ApacheStapling {
            cache,
            keeps_answers: self.keeps_answers.unwrap_or(usual.keeps_answers),
            keeps_errors: self.keeps_errors.unwrap_or(usual.keeps_errors),
            returns_errors: value(&self.returns_errors).unwrap_or(usual.returns_errors),
            returns_errors_at: place(&self.returns_errors),
            fakes_try_later: value(&self.fakes_try_later).unwrap_or(usual.fakes_try_later),
            fakes_try_later_at: place(&self.fakes_try_later),
            waits: self.waits.unwrap_or(usual.waits),
            store,
        }
    }

    /// The window that mod_md uses unless it is told another.
    pub(super) fn window(&self) -> RenewWindow {
        self.renew_window.unwrap_or(RenewWindow::Percent(33))
    }
}

/// Reads `MDStaplingRenewWindow`: `33%`, `12h`, `3d`; a bare number counts days.
pub(super) fn renew_window(word: &str) -> Option<RenewWindow> {
    if let Some(percent) = word.strip_suffix('%') {
        let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
        return Some(RenewWindow::Percent(percent));
    }
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "" | "d" => 86_400,
        "h" => 3_600,
        "mi" | "m" => 60,
        "s" => 1,
        _ => return None,
    };
    number.checked_mul(seconds).map(|length| RenewWindow::Before(Duration::from_secs(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DAY;

    #[test]
    fn windows_are_parts_or_lengths() {
        let table = [
            ("33%", Some(Duration::from_secs(33 * 864))),
            ("12h", Some(12 * HOUR)),
            ("1", Some(DAY)),
            ("90s", Some(Duration::from_secs(90))),
            ("5mi", Some(Duration::from_secs(300))),
            ("2d", Some(DAY)),
            ("101%", None),
            ("soon", None),
            ("3w", None),
        ];
        for (text, expected) in table {
            let found = renew_window(text).map(|window| window.of(DAY));
            assert_eq!(found, expected, "{text}");
        }
    }
}
