//! The ways to have a server reload, as configured or as found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::process::{Snapshot, service_of};
use super::{Kind, systemd};

/// How a server is reloaded: `[[server]] reload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `"systemd:UNIT"`.
    Systemd(String),
    /// `"signal:PIDFILE"`.
    Signal(PathBuf),
    /// `["command", "argument", …]`, run without a shell.
    Command(Vec<String>),
    /// `"none"`: somebody else does.
    Off,
}

/// The text is no [`Mode`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no way to reload: \"systemd:UNIT\", \"signal:PIDFILE\", \"none\" and [\"command\", …] are"
)]
pub struct NotAMode(String);

impl FromStr for Mode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, NotAMode> {
        match text.split_once(':') {
            None if text == "none" => Ok(Mode::Off),
            Some(("systemd", unit)) if is_unit_name(unit) => Ok(Mode::Systemd(with_suffix(unit))),
            Some(("signal", path)) if path.starts_with('/') => Ok(Mode::Signal(path.into())),
            _ => Err(NotAMode(text.to_owned())),
        }
    }
}

/// systemd.unit(5): the characters of unit names; no option and no path.
fn is_unit_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(known)
}

/// The bus wants the whole name, people write `nginx`.
fn with_suffix(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Systemd(unit) => write!(f, "systemd:{unit}"),
            Mode::Signal(path) => write!(f, "signal:{}", path.display()),
            Mode::Command(words) => write!(f, "{}", words.join(" ")),
            Mode::Off => write!(f, "none"),
        }
    }
}

/// How to reload a server that nothing was configured for: by the systemd service that its master
/// runs in, or would run in; else by signal to its pid file; else not at all.
pub fn default_mode(kind: Kind, pid_file: Option<&Path>) -> Mode {
    if kind != Kind::Nginx {
        return Mode::Off;
    }
    let running = pid_file.and_then(|path| Snapshot::take(path).ok()?.ok());
    let service = match &running {
        // A service of another name may have started nginx without being able to reload it.
        Some(snapshot) => service_of(snapshot.master()).filter(|unit| is_nginx(unit)),
        None => Some("nginx.service".to_owned()).filter(|unit| systemd::knows(unit)),
    };
    match (service, pid_file) {
        (Some(unit), _) if systemd::is_init() => Mode::Systemd(unit),
        (_, Some(path)) => Mode::Signal(path.to_owned()),
        _ => Mode::Off,
    }
}

fn is_nginx(unit: &str) -> bool {
    ["nginx", "angie", "openresty"].iter().any(|name| unit.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let mode = text.parse::<Mode>().map(|mode| mode.to_string());
        assert_eq!(mode.ok().as_deref(), expected, "{text:?}");
    }

    #[test]
    fn modes_are_read_as_configured() {
        check("systemd:nginx.service", Some("systemd:nginx.service"));
        check("systemd:nginx", Some("systemd:nginx.service"));
        check("systemd:nginx@www.service", Some("systemd:nginx@www.service"));
        check("signal:/run/nginx.pid", Some("signal:/run/nginx.pid"));
        check("none", Some("none"));
        for wrong in ["", "nginx", "systemd:", "systemd:--force", "systemd:a b", "signal:nginx.pid"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn nothing_is_assumed_of_other_kinds() {
        assert_eq!(default_mode(Kind::Other, Some(Path::new("/run/x.pid"))), Mode::Off);
    }
}
