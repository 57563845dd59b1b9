//! The TLS directives of one level (`http`, `stream` or a `server`) and how a block inherits them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::discover::model::{Origin, Presented, Stated};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::{MappedPath, PathMap};

/// How nginx makes a path absolute, and how we find it.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    /// The folder of the main configuration file as nginx sees it: what relative paths start from.
    pub(super) base: PathBuf,
    /// From there to here.
    pub(super) map: &'a PathMap,
}

impl Paths<'_> {
    /// The file that `word` names.
    pub(super) fn resolve(&self, word: &[u8]) -> MappedPath {
        self.map.ours(&self.base.join(Path::new(OsStr::from_bytes(word))))
    }

    /// `url` as it would read here: the path of a unix socket may be another one.
    fn url(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("unix:") else { return url.to_owned() };
        let (socket, behind) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
        format!("{scheme}unix:{}{behind}", self.map.ours(Path::new(socket)).ours.display())
    }
}

/// What one level says by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) certificates: Vec<Presented>,
    pub(super) dynamic: Option<Arc<Origin>>,
    pub(super) lua: Option<Arc<Origin>>,
    pub(super) ssl: Option<Arc<Stated<bool>>>,
    pub(super) rejects: Option<Arc<Stated<bool>>>,
    pub(super) stapling: Option<Arc<Stated<bool>>>,
    pub(super) stapling_file: Option<Arc<Stated<MappedPath>>>,
    pub(super) responder: Option<Arc<Stated<String>>>,
    pub(super) verify: Option<Arc<Stated<bool>>>,
    pub(super) trusted: Option<Arc<Stated<MappedPath>>>,
    pub(super) resolver: Option<Arc<Stated<String>>>,
    pub(super) compression: Option<Arc<Stated<bool>>>,
}

impl Level {
    /// Takes in a directive if it is one of TLS's.
    ///
    /// # Errors
    /// nginx would refuse it: given twice on one level, or with a value it cannot have.
    pub(super) fn take(
        &mut self,
        words: &[Cow<'_, [u8]>],
        origin: Origin,
        paths: &Paths<'_>,
    ) -> Result<(), Box<Problem>> {
        let (name, arguments) = words.split_first().expect("a directive has a name");
        let slot: &mut Option<Arc<Stated<bool>>> = match &**name {
            b"ssl_certificate" => {
                let value = one(name, arguments, &origin)?;
                self.certificate(value, origin, paths);
                return Ok(());
            }
            b"ssl_certificate_by_lua_block"
            | b"ssl_certificate_by_lua_file"
            | b"ssl_certificate_by_lua" => {
                self.lua.get_or_insert_with(|| origin.into());
                return Ok(());
            }
            b"ssl_stapling_file" => {
                let path = paths.resolve(one(name, arguments, &origin)?);
                return set(&mut self.stapling_file, name, path, origin);
            }
            b"ssl_trusted_certificate" => {
                let path = paths.resolve(one(name, arguments, &origin)?);
                return set(&mut self.trusted, name, path, origin);
            }
            b"ssl_stapling_responder" => {
                let url = paths.url(&text(one(name, arguments, &origin)?));
                return set(&mut self.responder, name, url, origin);
            }
            b"resolver" => {
                let servers: Vec<_> = arguments.iter().map(|word| text(word)).collect();
                return set(&mut self.resolver, name, servers.join(" "), origin);
            }
            b"ssl" => &mut self.ssl,
            b"ssl_reject_handshake" => &mut self.rejects,
            b"ssl_stapling" => &mut self.stapling,
            b"ssl_stapling_verify" => &mut self.verify,
            b"ssl_certificate_compression" => &mut self.compression,
            _ => return Ok(()),
        };
        let value = one(name, arguments, &origin)?;
        let on = if value.eq_ignore_ascii_case(b"on") {
            true
        } else if value.eq_ignore_ascii_case(b"off") {
            false
        } else {
            return Err(bad_value(name, arguments, &origin));
        };
        set(slot, name, on, origin)
    }

    fn certificate(&mut self, value: &[u8], origin: Origin, paths: &Paths<'_>) {
        let elsewhere = [&b"data:"[..], b"engine:", b"store:"];
        let no_file = value.contains(&b'$') || elsewhere.iter().any(|form| value.starts_with(form));
        if no_file {
            self.dynamic.get_or_insert_with(|| origin.into());
        } else {
            self.certificates.push(Presented { file: paths.resolve(value), origin });
        }
    }

    /// What is in effect where `self` is said inside of `outer`.
    pub(super) fn within(self, outer: &Level) -> Level {
        let own = !self.certificates.is_empty() || self.dynamic.is_some();
        let from = if own { &self } else { outer };
        Level {
            certificates: from.certificates.clone(),
            dynamic: from.dynamic.clone(),
            lua: self.lua.or_else(|| outer.lua.clone()),
            ssl: self.ssl.or_else(|| outer.ssl.clone()),
            rejects: self.rejects.or_else(|| outer.rejects.clone()),
            stapling: self.stapling.or_else(|| outer.stapling.clone()),
            stapling_file: self.stapling_file.or_else(|| outer.stapling_file.clone()),
            responder: self.responder.or_else(|| outer.responder.clone()),
            verify: self.verify.or_else(|| outer.verify.clone()),
            trusted: self.trusted.or_else(|| outer.trusted.clone()),
            resolver: self.resolver.or_else(|| outer.resolver.clone()),
            compression: self.compression.or_else(|| outer.compression.clone()),
        }
    }
}

fn set<T>(
    slot: &mut Option<Arc<Stated<T>>>,
    name: &[u8],
    value: T,
    origin: Origin,
) -> Result<(), Box<Problem>> {
    if let Some(stated) = slot {
        let what = What::Duplicate { directive: text(name), first: stated.origin.clone() };
        return Err(Box::new(Problem::at(&origin, what)));
    }
    *slot = Some(Stated { value, origin }.into());
    Ok(())
}

/// The only argument of a directive.
fn one<'w>(
    name: &[u8],
    arguments: &'w [Cow<'_, [u8]>],
    origin: &Origin,
) -> Result<&'w [u8], Box<Problem>> {
    match arguments {
        [argument] if !argument.is_empty() => Ok(argument),
        _ => Err(bad_value(name, arguments, origin)),
    }
}

pub(super) fn bad_value(name: &[u8], arguments: &[Cow<'_, [u8]>], origin: &Origin) -> Box<Problem> {
    let value: Vec<_> = arguments.iter().map(|word| text(word)).collect();
    let what = What::BadValue { directive: text(name), value: value.join(" ") };
    Box::new(Problem::at(origin, what))
}

pub(super) fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}
