//! Asking systemd to reload a unit, and waiting for the job to end.
//!
//! Over D-Bus, which tells the job's result and lets polkit grant exactly this unit and verb; where
//! there is no bus (or the feature `dbus` is off), by `systemctl reload`. A unit's `ExecReload=` runs
//! the server's own configuration test first, for nginx, Apache and HAProxy as Debian packages them.

use std::path::Path;
use std::time::Duration;

#[cfg(feature = "dbus")]
use super::bus;
use super::{ReloadError, command};
use crate::command::CommandError;

/// There if, and only if, systemd is the init process (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Where unit files lie, in systemd's order.
const UNIT_FOLDERS: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether systemd is the init process.
pub(super) fn is_init() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Whether there is a unit file of this name.
pub(super) fn knows(unit: &str) -> bool {
    UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join(unit).exists())
}

/// Reloads `unit` and waits until that is done.
///
/// # Errors
/// No systemd, no such unit, no permission, or a job that ended otherwise than "done".
pub(super) async fn reload(unit: &str, limit: Duration) -> Result<(), ReloadError> {
    if !is_init() {
        return Err(ReloadError::NoSystemd { unit: unit.to_owned() });
    }
    #[cfg(feature = "dbus")]
    match bus::connect().await {
        Ok(system) => return bus::reload(&system, unit, limit).await,
        Err(error) => tracing::debug!(%error, "no system bus, falling back to systemctl"),
    }
    by_systemctl(unit, limit).await
}

async fn by_systemctl(unit: &str, limit: Duration) -> Result<(), ReloadError> {
    let words = ["systemctl", "--no-ask-password", "reload", unit].map(str::to_owned);
    let outcome = command(words.into(), limit).await;
    match outcome {
        Err(ReloadError::Command(CommandError::Failed { output, .. }))
            if output.contains("is not active") =>
        {
            Err(ReloadError::UnitInactive { unit: unit.to_owned() })
        }
        outcome => outcome,
    }
}
