//! Asking systemd to reload a unit, and waiting for the job to end.
//!
//! Over D-Bus, which tells the job's result and lets polkit grant exactly this unit and verb; where
//! there is no bus (or the feature `dbus` is off), by `systemctl reload`. Where systemd refuses, since
//! there is no polkit to ask or it has no rule, by root's path unit ([`super::asked`]). A unit's
//! `ExecReload=` runs the server's own configuration test first, for nginx, Apache and HAProxy as Debian
//! packages them.

use std::path::Path;
use std::time::Duration;

use super::asked::Door;
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
    match directly(unit, limit).await {
        Err(ReloadError::Forbidden { .. }) => {
            tracing::debug!(unit, "systemd refuses the reload, asking root's path unit");
            Door::usual().reload(unit, limit).await
        }
        outcome => outcome,
    }
}

async fn directly(unit: &str, limit: Duration) -> Result<(), ReloadError> {
    #[cfg(feature = "dbus")]
    match bus::connect().await {
        Ok(system) => return bus::reload(&system, unit, limit).await,
        Err(error) => tracing::debug!(%error, "no system bus, falling back to systemctl"),
    }
    by_systemctl(unit, limit).await
}

async fn by_systemctl(unit: &str, limit: Duration) -> Result<(), ReloadError> {
    let words = ["systemctl", "--no-ask-password", "reload", unit].map(str::to_owned);
    match command(words.into(), limit).await {
        Err(ReloadError::Command(CommandError::Failed { command, status, output })) => {
            let known = refusal(unit, &output);
            let failed = CommandError::Failed { command, status, output };
            Err(known.unwrap_or(ReloadError::Command(failed)))
        }
        outcome => outcome,
    }
}

/// What `systemctl reload` means by its words, where that is more than a failed reload.
pub(super) fn refusal(unit: &str, words: &str) -> Option<ReloadError> {
    let unit = unit.to_owned();
    let said = |any: &[&str]| any.iter().any(|part| words.contains(part));
    if said(&["is not active"]) {
        Some(ReloadError::UnitInactive { unit })
    } else if said(&["Access denied", "authentication required", "Failed to connect to bus"]) {
        Some(ReloadError::Forbidden { unit })
    } else if said(&["not found.", "not loaded."]) {
        Some(ReloadError::NoSuchUnit { unit })
    } else if said(&["is not applicable"]) {
        Some(ReloadError::NoReload { unit })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemctl_says_why() {
        // As systemd 252 says it, by a user without rights and by root.
        let table = [
            ("nginx.service is not active, cannot reload.", "nginx.service is not active"),
            (
                "Failed to reload nginx.service: Access denied\nSee system logs and 'systemctl status nginx.service' for details.",
                "not allowed to have systemd reload nginx.service",
            ),
            (
                "Failed to reload nginx.service: Interactive authentication required.",
                "not allowed to have systemd reload nginx.service",
            ),
            (
                "Failed to connect to bus: No such file or directory",
                "not allowed to have systemd reload nginx.service",
            ),
            (
                "Failed to reload nginx.service: Unit nginx.service not found.",
                "systemd knows no unit nginx.service",
            ),
            (
                "Failed to reload nginx.service: Job type reload is not applicable for unit nginx.service.",
                "nginx.service cannot be reloaded: it has no ExecReload=",
            ),
            ("Job for nginx.service failed.\nSee \"journalctl -xe\" for details.", "none"),
        ];
        for (words, expected) in table {
            let said = refusal("nginx.service", words);
            let said = said.map_or("none".to_owned(), |error| error.to_string());
            assert_eq!(said, expected, "{words}");
        }
    }
}
