//! Finding: which certificates there are, who issued them, and which server presents them where.
//!
//! A [`Scanner`] looks at the servers' configurations and the watched folders and gives a [`Scan`],
//! a value. It asks no network: what it cannot find on disk (an issuer) it names, for the agent to
//! fetch. Nothing that cannot be read removes what was known: a broken configuration, a half-written
//! file or an unreachable folder leaves the last good model in place, with a [`Problem`] that says
//! so. A scan of what has not changed reads no file. [`Watcher`] tells when to scan again.
//!
//! ```text
//! settings ─> nginx, apache (configuration) ─┐
//!          └> folders ───────────────────────┴> survey ─> files ─> lineages ─> issuers ─> Scan
//! ```

mod apache;
mod configuration;
mod exim;
mod files;
mod folders;
mod former;
mod haproxy;
mod hitch;
mod include;
mod issuers;
mod layout;
mod lighttpd;
mod lineages;
mod links;
mod model;
mod names;
mod nginx;
mod plain;
mod problem;
mod scan;
mod scanner;
mod settings;
mod sources;
mod survey;
mod watch;
mod work;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

pub use apache::{ApacheStapling, RenewWindow, StapleStore};
pub use former::former;
pub use model::{
    Address, Context, Deployment, Listener, Origin, Presented, ServerModel, ServerName, Stated,
    Transport, label,
};
pub use names::{BadNames, LineageKey, Names};
pub use problem::{Problem, What};
pub use scan::{Found, Lineage, NeedsIssuer, Place, Scan, Standing, Watched};
pub use scanner::Scanner;
pub use settings::{
    CERTIFICATE_FOLDERS, Kind, MappedPath, PathMap, STAPLE_TEMPLATE, Server, Settings, UnknownKind,
    Watch,
};
pub use watch::{Changed, Pace, WatchError, Watcher};
