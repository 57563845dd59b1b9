//! Why a server did not take up its files, and what the operator can do.

use std::time::Duration;

use super::process::{Stopped, Unseen};
use crate::command::CommandError;
use crate::plan::ReloadFault;
use crate::time::format_duration;

/// Why a server did not take up its files.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It does not run.
    #[error("the server does not run: {0}")]
    Inactive(#[from] Stopped),
    /// systemd says it does not run.
    #[error("{unit} is not active")]
    UnitInactive {
        /// The unit.
        unit: String,
    },
    /// Its process cannot be seen, or is another one's.
    #[error(transparent)]
    Unseen(#[from] Unseen),
    /// The kernel does not let us signal it.
    #[error("not allowed to send process {pid} a signal")]
    NotPermitted {
        /// The master.
        pid: i32,
    },
    /// It was told, and its workers are still the old ones.
    #[error(
        "process {pid} kept its workers for {}: it could not load its configuration or a staple",
        format_duration(*limit)
    )]
    Unchanged {
        /// The master.
        pid: i32,
        /// How long it was watched.
        limit: Duration,
    },
    /// A command did not do its work.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// systemd is not the init process here.
    #[error("cannot reload {unit}: systemd does not run here")]
    NoSystemd {
        /// The unit.
        unit: String,
    },
    /// polkit does not let us, or is missing, and root's path unit does not either.
    #[error("not allowed to have systemd reload {unit}")]
    Forbidden {
        /// The unit.
        unit: String,
    },
    /// There is no such unit.
    #[error("systemd knows no unit {unit}")]
    NoSuchUnit {
        /// The unit.
        unit: String,
    },
    /// The unit has no `ExecReload=`.
    #[error("{unit} cannot be reloaded: it has no ExecReload=")]
    NoReload {
        /// The unit.
        unit: String,
    },
    /// The job ended otherwise than "done".
    #[error("systemd's reload of {unit} ended with result {result:?}")]
    Unit {
        /// The unit.
        unit: String,
        /// org.freedesktop.systemd1(5), JobRemoved.
        result: String,
    },
    /// Root, asked where polkit is missing, did not succeed either.
    #[error("systemd's reload of {unit} failed: {words}")]
    ByRoot {
        /// The unit.
        unit: String,
        /// The last lines that systemctl said.
        words: String,
    },
    /// The job did not end in time.
    #[error("systemd's reload of {unit} did not end within {}", format_duration(*limit))]
    UnitTooLong {
        /// The unit.
        unit: String,
        /// The time it had.
        limit: Duration,
    },
    /// systemd could not be asked; the cause is its source.
    #[error("cannot ask systemd to reload {unit}")]
    Bus {
        /// The unit.
        unit: String,
        /// What the bus, or systemd, said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No signal reloads this kind of server.
    #[error("no signal is known that reloads this kind of server")]
    NoSignal,
    /// `reload = "none"`.
    #[error("reloading is switched off")]
    Off,
}

impl ReloadError {
    /// What it means to the planner.
    pub fn fault(&self) -> ReloadFault {
        match self {
            ReloadError::Inactive(_) | ReloadError::UnitInactive { .. } => ReloadFault::Inactive,
            _ => ReloadFault::Failed,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            ReloadError::Unchanged { .. } => {
                "run the server's own test as root (`nginx -t`, `apachectl configtest`), and look into its error log"
            }
            ReloadError::Unseen(Unseen::OtherProcess { .. }) => {
                "the pid file is stale or another server's: set `pid` in its configuration, or `reload = \"signal:PIDFILE\"`; for one in a container use `reload = [command, …]`"
            }
            ReloadError::Unseen(Unseen::Hidden { .. }) => {
                "drop `ProtectProc=` from this service and `hidepid` from /proc, or use `reload = \"systemd:UNIT\"`"
            }
            ReloadError::NotPermitted { .. } => {
                "use `reload = \"systemd:UNIT\"`, or give this service CAP_KILL"
            }
            ReloadError::Forbidden { .. } => {
                "with polkit, a rule must allow this user org.freedesktop.systemd1.manage-units for that unit and the verb reload; without it, `systemctl start staplekeeper-reload.path`, and name a unit of your own there: see RIGHTS in `man staplekeeper`"
            }
            ReloadError::NoSystemd { .. } => {
                "use `reload = \"signal:PIDFILE\"` or `reload = [command, …]`"
            }
            ReloadError::NoSuchUnit { .. } => "`systemctl list-units` tells the units there are",
            ReloadError::NoReload { .. } | ReloadError::NoSignal => {
                "use `reload = [command, …]` with the server's own way to reload"
            }
            ReloadError::Unit { .. }
            | ReloadError::ByRoot { .. }
            | ReloadError::UnitTooLong { .. } => {
                "`systemctl status` and `journalctl -u` of that unit tell more"
            }
            ReloadError::Command(CommandError::NotStarted { .. }) => {
                "the command is run without a shell: give the program's whole path"
            }
            _ => return None,
        })
    }
}
