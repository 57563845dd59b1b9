//! Who the agent is, and what that user may have reloaded.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

use crate::cli::adopt::SERVICE_USER;
use crate::config::Settings;
use crate::discover::{Kind, Scan};
use crate::lint::Reload;
use crate::reload::{self, Mode, Reloader};

/// Where polkit's rules lie.
const RULES: [&str; 4] = [
    "/etc/polkit-1/rules.d",
    "/run/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
];

/// The user that the agent runs as.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) name: String,
}

impl Account {
    /// The owner of the folder of staples; before there is one, the user that packages make, if root
    /// asks; else whoever asks.
    pub(super) fn of_agent(staples: &Path) -> Account {
        let owner = fs::metadata(staples).ok().map(|found| Uid::from_raw(found.uid()));
        let service = || {
            let user = User::from_name(SERVICE_USER).ok().flatten();
            user.filter(|_| geteuid().is_root()).map(|user| user.uid)
        };
        let uid = owner.or_else(service).unwrap_or_else(geteuid);
        let user = User::from_uid(uid).ok().flatten();
        Account { uid: uid.as_raw(), name: user.map_or_else(|| uid.to_string(), |user| user.name) }
    }
}

/// Whether the agent may have each server reload.
pub(super) fn reloads(
    scan: &Scan,
    settings: &Settings,
    account: &Account,
    problems: &mut Vec<String>,
) -> Vec<Reload> {
    let folders: Vec<_> = RULES.iter().map(PathBuf::from).collect();
    let mut reloads = Vec::new();
    for (at, model) in scan.servers.iter().enumerate() {
        let configured = settings.servers.as_ref().and_then(|all| all.get(at));
        let mode = configured.and_then(|server| server.reload.clone());
        let mode = match (mode, kind(model.kind)) {
            (Some(mode), _) => mode,
            (None, None) => Mode::Off,
            (None, Some(kind)) => {
                let how = reload::Settings::new(kind, None, model.pid_file.clone());
                Reloader::new(how).mode()
            }
        };
        let stated = configured.is_some_and(|server| server.reload.is_some());
        reloads.push(match mode {
            Mode::Off if stated => Reload::Off,
            Mode::Systemd(unit) if account.uid != 0 => {
                by_systemd(&folders, unit, account, problems)
            }
            Mode::Signal(pid_file) if account.uid != 0 => by_signal(pid_file, account),
            _ => Reload::Fine,
        });
    }
    reloads
}

fn kind(kind: Kind) -> Option<reload::Kind> {
    Some(match kind {
        Kind::Nginx => reload::Kind::Nginx,
        Kind::Lighttpd => reload::Kind::Lighttpd,
        Kind::Hitch => reload::Kind::Hitch,
        // They need no reload for a staple.
        Kind::Apache | Kind::Haproxy | Kind::Exim | Kind::Files => return None,
    })
}

fn by_systemd(
    folders: &[PathBuf],
    unit: String,
    account: &Account,
    problems: &mut Vec<String>,
) -> Reload {
    match grants(folders, &unit, &account.name) {
        Ok(true) => Reload::Fine,
        Ok(false) => Reload::NoRule { unit },
        Err(error) => {
            problems.push(format!("whether the agent may reload {unit} cannot be told: {error}"));
            Reload::Fine
        }
    }
}

/// Whether some rule speaks of this unit and this user: what it says of them is polkit's to work out.
fn grants(folders: &[PathBuf], unit: &str, user: &str) -> io::Result<bool> {
    let mut closed = None;
    for folder in folders {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                closed =
                    Some(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let rules = path.extension().is_some_and(|extension| extension == "rules");
            let text = if rules { fs::read_to_string(&path).unwrap_or_default() } else { continue };
            let words = ["org.freedesktop.systemd1.manage-units", user];
            if words.iter().all(|word| text.contains(word)) && names(&text, unit) {
                return Ok(true);
            }
        }
    }
    closed.map_or(Ok(false), Err)
}

fn names(text: &str, unit: &str) -> bool {
    let quoted = ['"', '\''].map(|quote| format!("{quote}{unit}{quote}"));
    quoted.iter().any(|quoted| text.contains(quoted))
}

fn by_signal(pid_file: PathBuf, account: &Account) -> Reload {
    let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let process = pid.and_then(|pid| fs::metadata(format!("/proc/{pid}")).ok());
    match process.map(|process| process.uid()) {
        Some(uid) if uid != account.uid => Reload::NotOurs { pid_file, uid },
        // It does not run, and nobody can tell whose it is going to be.
        _ => Reload::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_counts_for_its_unit_and_its_user() {
        let folder = tempfile::tempdir().expect("a folder");
        let folders = [folder.path().to_owned(), folder.path().join("missing")];
        let granted =
            |unit: &str, user: &str| grants(&folders, unit, user).expect("it can be read");
        assert!(!granted("nginx.service", "staplekeeper"));
        let rule = "if (action.id == \"org.freedesktop.systemd1.manage-units\" && \
                    action.lookup(\"unit\") == \"nginx.service\" && subject.user == \"staplekeeper\")";
        fs::write(folder.path().join("50-staplekeeper.rules"), rule).expect("ours");
        assert!(granted("nginx.service", "staplekeeper"));
        assert!(!granted("apache2.service", "staplekeeper"));
        assert!(!granted("nginx.service", "nobody"));
    }
}
