//! What is known of each kind of server: how it is told to reload, and how that is seen from outside.

use std::path::Path;

use nix::sys::signal::Signal;

/// The kinds of servers whose reload is known in detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// HUP to the master; new workers prove it.
    Nginx,
    /// `apachectl graceful` or systemd, never a signal of ours: with a broken configuration USR1 ends it
    /// (facts/servers.md 39). Its pid file, written anew, proves it.
    Apache,
    /// USR2 to the master (`-W`), which executes itself anew; a new worker proves it.
    Haproxy,
    /// USR1; one process, that closes its pipes and makes new ones. With a bad configuration it ends.
    Lighttpd,
    /// HUP to the parent; new children prove it.
    Hitch,
    /// Reads certificate and staple again by itself.
    Exim,
    /// Anything else: systemd or a command, whose word is taken.
    Other,
}

impl Kind {
    /// What its master takes for a reload.
    pub(super) fn signal(self) -> Option<Signal> {
        match self {
            Kind::Nginx | Kind::Hitch => Some(Signal::SIGHUP),
            Kind::Haproxy => Some(Signal::SIGUSR2),
            Kind::Lighttpd => Some(Signal::SIGUSR1),
            Kind::Apache | Kind::Exim | Kind::Other => None,
        }
    }

    /// The names of its program, as the kernel keeps them, where the program alone tells the master.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Kind::Haproxy => &["haproxy"],
            Kind::Lighttpd => &["lighttpd"],
            Kind::Hitch => &["hitch"],
            Kind::Exim => &["exim4", "exim"],
            Kind::Nginx | Kind::Apache | Kind::Other => &[],
        }
    }

    /// Whether old workers stay beside the new ones, looking like them, until their last client leaves:
    /// then any new one tells of a reload.
    pub(super) fn keeps_old_workers(self) -> bool {
        matches!(self, Kind::Haproxy | Kind::Lighttpd | Kind::Hitch)
    }

    /// The systemd units that it usually runs in, and parts of the names of such units.
    pub(super) fn units(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Kind::Nginx => (&["nginx.service"], &["nginx", "angie", "openresty"]),
            Kind::Apache => (&["apache2.service", "httpd.service"], &["apache", "httpd"]),
            Kind::Haproxy => (&["haproxy.service"], &["haproxy"]),
            Kind::Lighttpd => (&["lighttpd.service"], &["lighttpd"]),
            Kind::Hitch => (&["hitch.service"], &["hitch"]),
            Kind::Exim | Kind::Other => (&[], &[]),
        }
    }

    /// A command that tests `config`, where the server would end over a bad one.
    pub(super) fn test(self, config: &Path) -> Option<Vec<String>> {
        let usual = "/usr/sbin/lighttpd";
        let program = if Path::new(usual).exists() { usual } else { "lighttpd" };
        let words = [program, "-tt", "-f"].map(str::to_owned).into_iter();
        let words = words.chain([config.display().to_string()]);
        (self == Kind::Lighttpd).then(|| words.collect())
    }
}
