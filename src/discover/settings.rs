//! What to look at: servers and watched folders, and where both usually are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Where servers that are looked for keep their configuration: nginx (Debian, Red Hat, Alpine,
/// nginx.org), Apache (Debian, Red Hat).
const USUAL: [(Kind, &str); 3] = [
    (Kind::Nginx, "/etc/nginx/nginx.conf"),
    (Kind::Apache, "/etc/apache2/apache2.conf"),
    (Kind::Apache, "/etc/httpd/conf/httpd.conf"),
];

/// Where a watch publishes its staples unless it says otherwise.
pub const STAPLE_TEMPLATE: &str = "{state_dir}/staples/{name}.der";

/// The ACME clients' folders that are watched when the configuration names none; those that do not
/// exist are left out. In order: certbot; acme.sh; dehydrated (Debian's package, then upstream's
/// default); lego as root, then as its service units have it; getssl; debops.pki.
pub const CERTIFICATE_FOLDERS: &[&str] = &[
    "/etc/letsencrypt/live",
    "/root/.acme.sh",
    "/var/lib/dehydrated/certs",
    "/etc/dehydrated/certs",
    "/root/.lego/certificates",
    "/etc/lego/certificates",
    "/var/lib/lego/certificates",
    "/root/.getssl",
    "/etc/pki/realms",
];

/// What this module is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[[server]]`; `None`: those found at their usual places, looked for at each scan.
    pub servers: Option<Vec<Server>>,
    /// `[[watch]]`; `None`: those of [`CERTIFICATE_FOLDERS`] that exist, looked for at each scan.
    pub watches: Option<Vec<Watch>>,
    /// What `{state_dir}` stands for in a staple template.
    pub state_dir: PathBuf,
    /// PEM bundles of CA certificates, trusted to hold issuers.
    pub bundles: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: None,
            watches: None,
            state_dir: PathBuf::from("/var/lib/staplekeeper"),
            bundles: Vec::new(),
        }
    }
}

impl Settings {
    /// The servers to read now.
    pub fn servers(&self) -> Vec<Server> {
        let usual = || {
            let there = USUAL.iter().filter(|(_, path)| Path::new(path).exists());
            there.map(|(kind, path)| Server::new(*kind, *path)).collect()
        };
        self.servers.clone().unwrap_or_else(usual)
    }

    /// Where servers and folders would turn up that are looked for and not there yet.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &'static Path> {
        let servers = USUAL.iter().filter(|_| self.servers.is_none()).map(|(_, path)| *path);
        let folders = CERTIFICATE_FOLDERS.iter().filter(|_| self.watches.is_none());
        servers.chain(folders.copied()).map(Path::new)
    }

    /// The folders to watch now.
    pub fn watches(&self) -> Vec<Watch> {
        let usual = || {
            let there = CERTIFICATE_FOLDERS.iter().filter(|path| Path::new(path).is_dir());
            there.map(|path| Watch::new(*path)).collect()
        };
        self.watches.clone().unwrap_or_else(usual)
    }
}

/// One `[[server]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How it is to be read.
    pub kind: Kind,
    /// Its main configuration file as we see it; `None`: at its usual place.
    pub config: Option<PathBuf>,
    /// How the paths in that file are to be found from here.
    pub path_map: PathMap,
}

impl Server {
    /// A server that sees the paths we see.
    pub fn new(kind: Kind, config: impl Into<PathBuf>) -> Self {
        Server { kind, config: Some(config.into()), path_map: PathMap::default() }
    }
}

/// The kinds of server that can be configured.
///
/// The configurations of nginx and Apache are read for deployments; the others take their staples where
/// a watch's template puts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is a server's name")]
pub enum Kind {
    Nginx,
    Apache,
    Haproxy,
    Lighttpd,
    Hitch,
    Exim,
    /// No server known: staples are files that somebody else reads.
    Files,
}

impl Kind {
    /// Where its configuration is when nothing else is said: where one is, else where it would be;
    /// `None` for kinds that are not looked for.
    pub fn usual_config(self) -> Option<&'static Path> {
        let own =
            || USUAL.iter().filter(|(kind, _)| *kind == self).map(|(_, path)| Path::new(*path));
        own().find(|path| path.exists()).or_else(|| own().next())
    }

    /// Every kind with the name that configurations use.
    pub const NAMED: [(&'static str, Kind); 7] = [
        ("nginx", Kind::Nginx),
        ("apache", Kind::Apache),
        ("haproxy", Kind::Haproxy),
        ("lighttpd", Kind::Lighttpd),
        ("hitch", Kind::Hitch),
        ("exim", Kind::Exim),
        ("files", Kind::Files),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Kind::NAMED.iter().find(|(_, kind)| kind == self).expect("each has one");
        f.write_str(name)
    }
}

/// The text names no kind of server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown server kind {0:?}: the kinds are nginx, apache, haproxy, lighttpd, hitch, exim and files"
)]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let named = Kind::NAMED.iter().find(|(name, _)| *name == text);
        named.map(|(_, kind)| *kind).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// One `[[watch]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// A folder of certificates, or one file.
    pub path: PathBuf,
    /// Where the staple of a lineage goes: `{state_dir}` and `{name}` are filled in.
    pub staple: String,
}

impl Watch {
    /// A watch that publishes to the usual place.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Watch { path: path.into(), staple: STAPLE_TEMPLATE.to_owned() }
    }
}

/// Fills in a staple template.
pub(super) fn staple_path(template: &str, state_dir: &Path, name: &str) -> Arc<Path> {
    let state_dir = state_dir.to_string_lossy();
    let path = template.replace("{state_dir}", &state_dir).replace("{name}", name);
    Path::new(&path).into()
}

/// A path that a server names: the server may run in a container and see other paths than we do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappedPath {
    /// As the server sees it, absolute.
    pub theirs: Arc<Path>,
    /// As we see it, absolute; the same path unless the server has a `path_map`.
    pub ours: Arc<Path>,
}

/// `path_map`: folders as a server sees them, and as we see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap(Vec<(PathBuf, PathBuf)>);

impl PathMap {
    /// A map of pairs (as the server sees it, as we see it); the longest that fits is used.
    pub fn new(pairs: impl IntoIterator<Item = (PathBuf, PathBuf)>) -> Self {
        PathMap(pairs.into_iter().collect())
    }

    /// Finds a path that the server sees as `theirs`; what no pair covers is the same for both.
    pub fn ours(&self, theirs: &Path) -> MappedPath {
        let ours = replace(theirs, self.0.iter().map(|(theirs, ours)| (theirs, ours)));
        let theirs: Arc<Path> = theirs.into();
        MappedPath { ours: ours.map_or_else(|| theirs.clone(), Arc::from), theirs }
    }

    /// How the server sees `ours`.
    pub fn theirs(&self, ours: &Path) -> PathBuf {
        let theirs = replace(ours, self.0.iter().map(|(theirs, ours)| (ours, theirs)));
        theirs.unwrap_or_else(|| ours.to_owned())
    }
}

fn replace<'a>(
    path: &Path,
    pairs: impl Iterator<Item = (&'a PathBuf, &'a PathBuf)>,
) -> Option<PathBuf> {
    let fitting = pairs.filter_map(|(from, to)| {
        path.strip_prefix(from).ok().map(|rest| (from.components().count(), to, rest))
    });
    let (_, to, rest) = fitting.max_by_key(|(length, ..)| *length)?;
    Some(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mapping_wins_and_is_undone() {
        let map = PathMap::new([
            ("/certs".into(), "/srv/certs".into()),
            ("/certs/shared".into(), "/mnt/shared".into()),
        ]);
        let table = [
            ("/certs/www/fullchain.pem", "/srv/certs/www/fullchain.pem"),
            ("/certs", "/srv/certs"),
            ("/certs/shared/a.pem", "/mnt/shared/a.pem"),
            ("/certsx/a.pem", "/certsx/a.pem"),
        ];
        for (theirs, ours) in table {
            let mapped = map.ours(Path::new(theirs));
            assert_eq!((&*mapped.theirs, &*mapped.ours), (Path::new(theirs), Path::new(ours)));
            assert_eq!(map.theirs(Path::new(ours)), Path::new(theirs));
        }
    }

    #[test]
    fn kinds_read_as_they_print() {
        for (name, kind) in Kind::NAMED {
            assert_eq!((kind.to_string().as_str(), name.parse()), (name, Ok(kind)));
        }
        assert!("ngnix".parse::<Kind>().is_err());
    }
}
