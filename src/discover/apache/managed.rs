//! mod_md: domains whose certificates Apache gets by itself, and where it keeps them and their staples.

use super::level::{Paths, Words, bad_value, only, text};
use super::stapling::{Sayings, StapleStore};
use crate::discover::model::{Origin, Presented, ServerName};
use crate::discover::problem::Problem;
use crate::discover::settings::MappedPath;

/// `MDomain` or `<MDomainSet>`.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// The first of its names: what its folders are called.
    name: String,
    names: Vec<String>,
    /// `MDCertificateFile`
    certificates: Vec<Presented>,
    /// `MDStapling` and the like, where they are said for it alone.
    sayings: Sayings,
}

impl Domain {
    /// From the words of the directive; `auto` and `manual` are no names.
    pub(super) fn new(words: &Words<'_>) -> Self {
        let names = words.iter().map(|word| text(word).to_lowercase());
        let names: Vec<_> = names.filter(|word| word != "auto" && word != "manual").collect();
        Domain {
            name: names.first().cloned().unwrap_or_default(),
            names,
            certificates: Vec::new(),
            sayings: Sayings::default(),
        }
    }

    /// Takes in what stands in its section.
    ///
    /// # Errors
    /// Apache would refuse it.
    pub(super) fn take(
        &mut self,
        name: &str,
        words: &Words<'_>,
        origin: &Origin,
        paths: &Paths<'_>,
    ) -> Result<(), Box<Problem>> {
        match name {
            "mdmember" => self.names.extend(words.iter().map(|word| text(word).to_lowercase())),
            "mdcertificatefile" => {
                let file = only(words).ok_or_else(|| bad_value(name, words, origin))?;
                let file = paths.resolve(file);
                self.certificates.push(Presented { file, origin: origin.clone() });
            }
            "mdstapling" => {
                let mut level = super::level::Level::default();
                level.take(name, words, origin, paths)?;
                self.sayings = level.sayings.within(&self.sayings);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a virtual host of these names has its certificates from here.
    pub(super) fn covers(&self, names: &[ServerName]) -> bool {
        names.iter().any(|name| match name {
            ServerName::Exact(name) => self.names.iter().any(|own| **own == **name),
            _ => false,
        })
    }

    /// The certificates that Apache presents for it: those it is told of, else those in its store, one
    /// for each kind of key.
    pub(super) fn certificates(
        &self,
        store: &Store<'_>,
        keys: &[String],
        origin: &Origin,
    ) -> Vec<Presented> {
        if !self.certificates.is_empty() {
            return self.certificates.clone();
        }
        // `RSA 3072` is one kind, of a size.
        let is_kind = |word: &&String| word.parse::<u32>().is_err() && *word != "default";
        let file = |kind: &str| match kind {
            "rsa" => "pubcert.pem".to_owned(),
            curve => format!("pubcert.{curve}.pem"),
        };
        let mut files: Vec<_> = keys.iter().filter(is_kind).map(|kind| file(kind)).collect();
        if files.is_empty() {
            files.push(file("rsa"));
        }
        let present = |file: String| Presented {
            file: store.at(&format!("domains/{}/{file}", self.name)),
            origin: origin.clone(),
        };
        files.into_iter().map(present).collect()
    }
}

/// mod_md's folder.
pub(super) struct Store<'a> {
    pub(super) folder: &'a MappedPath,
    pub(super) paths: &'a Paths<'a>,
}

impl Store<'_> {
    fn at(&self, inside: &str) -> MappedPath {
        self.paths.map.ours(&self.folder.theirs.join(inside))
    }

    /// Where the staples of a virtual host lie, if mod_md staples there.
    pub(super) fn staples(&self, domain: Option<&Domain>, said: &Sayings) -> Option<StapleStore> {
        let own = domain.and_then(|domain| domain.sayings.by_md.as_ref());
        if !own.or(said.by_md.as_ref()).is_some_and(|by_md| by_md.value) {
            return None;
        }
        let name = match domain {
            Some(domain) => domain.name.as_str(),
            None if said.others == Some(false) => return None,
            None => "other",
        };
        Some(StapleStore { folder: self.at(&format!("ocsp/{name}")), renew_window: said.window() })
    }
}
