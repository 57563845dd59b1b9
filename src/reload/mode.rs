//! The ways to have a server reload, as configured or as found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::process::{Snapshot, arguments, service_of};
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

/// Where Apache's control script lies: packages, then a build of its own.
const APACHECTL: [&str; 3] =
    ["/usr/sbin/apachectl", "/usr/sbin/apache2ctl", "/usr/local/apache2/bin/apachectl"];

/// How to reload a server that nothing was configured for: by the systemd service that its master
/// runs in, or would run in; else nginx by signal to its pid file, and Apache by `apachectl` with the
/// options it runs with; else not at all.
pub fn default_mode(kind: Kind, pid_file: Option<&Path>) -> Mode {
    let (units, own) = kind.units();
    if units.is_empty() {
        return Mode::Off;
    }
    let running = pid_file.and_then(|path| Snapshot::take(kind, path).ok()?.ok());
    let is_own = |unit: &String| own.iter().any(|name| unit.contains(name));
    let service = match &running {
        // A service of another name may have started it without being able to reload it.
        Some(snapshot) => service_of(snapshot.master()).filter(is_own),
        None => units.iter().find(|unit| systemd::knows(unit)).map(|unit| (*unit).to_owned()),
    };
    match (service, kind, pid_file) {
        (Some(unit), ..) if systemd::is_init() => Mode::Systemd(unit),
        (_, Kind::Apache, _) => {
            let started = running.map(|running| arguments(running.master())).unwrap_or_default();
            Mode::Command(graceful(&started))
        }
        (_, _, Some(path)) => Mode::Signal(path.to_owned()),
        _ => Mode::Off,
    }
}

/// `apachectl` with the options that Apache was started with. It reads the configuration before it sends
/// a signal, and sends none if that is broken (facts/servers.md 39).
fn graceful(started: &[String]) -> Vec<String> {
    let there = APACHECTL.iter().find(|path| Path::new(path).exists());
    let mut words = vec![(*there.unwrap_or(&"apachectl")).to_owned()];
    let mut options = started.iter().skip(1);
    while let Some(option) = options.next() {
        let foreground = ["FOREGROUND", "NO_DETACH"];
        match (option.as_str(), option.strip_prefix("-D")) {
            ("-k", _) => drop(options.next()),
            ("-X", _) => {}
            (_, Some("")) => match options.next() {
                Some(name) if !foreground.contains(&name.as_str()) => {
                    words.extend(["-D".to_owned(), name.clone()]);
                }
                _ => {}
            },
            (_, Some(name)) if foreground.contains(&name) => {}
            _ => words.push(option.clone()),
        }
    }
    words.extend(["-k", "graceful"].map(str::to_owned));
    words
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

    #[test]
    fn apache_is_told_with_the_options_it_runs_with() {
        let table = [
            ("/usr/sbin/apache2 -k start", "-k graceful"),
            ("httpd -DFOREGROUND -D NO_DETACH -X", "-k graceful"),
            (
                "httpd -d /srv -f a.conf -DBlue -D Red -k start",
                "-d /srv -f a.conf -DBlue -D Red -k graceful",
            ),
            ("", "-k graceful"),
        ];
        for (started, expected) in table {
            let started: Vec<_> = started.split_whitespace().map(str::to_owned).collect();
            let words = graceful(&started);
            assert!(words[0].ends_with("apachectl"), "{words:?}");
            assert_eq!(words[1..].join(" "), expected, "{started:?}");
        }
    }
}
