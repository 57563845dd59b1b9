//! What lies in a target or in a server's memory, with the facts planning needs of it.

use super::facts::{CertId, Content, Facts, Loaded, Policy};
use super::window::{Lead, Window};
use crate::digest::Digest;
use crate::ocsp::Status;
use crate::time::UnixTime;

/// A [`Content`], with the facts of the staple where they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// A staple for this certificate.
    Staple(CertId, Facts),
    /// A staple of which only the digest is known: an older one than any the planner was told of.
    Unknown(CertId, Digest),
    Placeholder,
    Nothing,
    Foreign,
}

impl Holding {
    /// `content`, with `facts` if they are those of its staple.
    pub(super) fn new(content: Content, facts: Option<Facts>) -> Self {
        match content {
            Content::Staple(cert, digest) => match facts {
                Some(facts) if facts.digest == digest => Holding::Staple(cert, facts),
                _ => Holding::Unknown(cert, digest),
            },
            Content::Placeholder => Holding::Placeholder,
            Content::Nothing => Holding::Nothing,
            Content::Foreign => Holding::Foreign,
        }
    }

    pub(super) fn content(&self) -> Content {
        match *self {
            Holding::Staple(cert, facts) => Content::Staple(cert, facts.digest),
            Holding::Unknown(cert, digest) => Content::Staple(cert, digest),
            Holding::Placeholder => Content::Placeholder,
            Holding::Nothing => Content::Nothing,
            Holding::Foreign => Content::Foreign,
        }
    }

    /// Whose staple it is.
    pub(super) fn cert(&self) -> Option<CertId> {
        match *self {
            Holding::Staple(cert, _) | Holding::Unknown(cert, _) => Some(cert),
            _ => None,
        }
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        match self {
            Holding::Staple(_, facts) => Some(facts),
            _ => None,
        }
    }

    /// It says that the certificate is revoked.
    pub(super) fn revoked(&self) -> bool {
        self.facts().is_some_and(|facts| facts.status == Status::Revoked)
    }

    /// It is a staple that has not expired; one of which nothing is known was valid when it was read.
    pub(super) fn in_date(&self, now: UnixTime) -> bool {
        match self {
            Holding::Staple(_, facts) => facts.expires > now,
            Holding::Unknown(..) => true,
            _ => false,
        }
    }
}

/// What a server holds for a target: proved, or concluded from a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub holding: Holding,
    /// The leaf it presents there, where known.
    pub leaf: Option<CertId>,
    /// Whether that leaf carries Must-Staple.
    pub must_staple: bool,
    pub proved: bool,
    /// Unless proved: the expiry of what it held before, if that is sooner.
    pub older: UnixTime,
}

impl Taken {
    /// The leaf it presents, as far as can be told.
    pub(super) fn presents(&self) -> Option<CertId> {
        self.leaf.or_else(|| self.holding.cert())
    }

    /// Until then clients are surely handed a staple that is in date, as far as can be told.
    pub(super) fn safe_until(&self) -> UnixTime {
        let expires = self.holding.facts().map_or(UnixTime::MAX, |facts| facts.expires);
        expires.min(self.older)
    }

    /// The window of the staple it holds.
    pub(super) fn window(
        &self,
        stops_early: std::time::Duration,
        policy: &Policy,
    ) -> Option<Window> {
        let facts = self.holding.facts()?;
        let lead = Lead::stops_early(stops_early);
        Some(Window::of(facts.this_update, facts.expires, lead, policy))
    }

    /// As it is kept on disk; `facts` are the digest's and status's home in [`Holding`].
    pub(super) fn memory(&self) -> Loaded {
        let facts = self.holding.facts();
        Loaded {
            content: self.holding.content(),
            leaf: self.leaf,
            must_staple: self.must_staple,
            this_update: facts.map_or(UnixTime::default(), |facts| facts.this_update),
            expires: facts.map_or(UnixTime::default(), |facts| facts.expires),
            proved: self.proved,
        }
    }
}

impl From<&Loaded> for Taken {
    fn from(loaded: &Loaded) -> Self {
        let holding = match loaded.content {
            Content::Staple(cert, digest) if loaded.expires > loaded.this_update => {
                let (this_update, expires) = (loaded.this_update, loaded.expires);
                // Whether it says revoked is not remembered; a revoked one is replaced all the same.
                let status = Status::Good;
                Holding::Staple(cert, Facts { digest, status, this_update, expires })
            }
            content => Holding::new(content, None),
        };
        Taken {
            holding,
            leaf: loaded.leaf,
            must_staple: loaded.must_staple,
            proved: loaded.proved,
            older: UnixTime::MAX,
        }
    }
}
