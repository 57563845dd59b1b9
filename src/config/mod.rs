//! The configuration: from text to settings, with every complaint at once.
//!
//! `file` reads the TOML as it is written, `settings` says what it means, `report` shows what is
//! wrong. An absent or empty file is valid: everything has a default.

mod file;
mod reader;
mod report;
pub mod settings;
mod show;

use std::io;
use std::path::{Path, PathBuf};

pub use report::{Complaint, Report};
pub use settings::Settings;
pub use show::show;

use crate::digest::Digest;

/// Where the configuration lies unless `--config` says otherwise.
pub const PATH: &str = "/etc/staplekeeper/config.toml";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read, or was named and is not there.
    #[error("cannot read the configuration {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file has faults; all of them.
    #[error("{0}")]
    Faulty(Report),
}

/// Reads the settings from `path`, or from [`PATH`] where none is named; that one may be absent.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong with it.
pub fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    let named = path.unwrap_or(Path::new(PATH));
    match std::fs::read_to_string(named) {
        Ok(source) => parse(named, &source).map_err(ConfigError::Faulty),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && path.is_none() => {
            Ok(parse(named, "").expect("an empty file is valid"))
        }
        Err(cause) => Err(ConfigError::Unreadable { path: named.to_owned(), cause }),
    }
}

/// SHA-256 of the file that [`load`] reads; `None` where there is none to be read.
pub fn digest(path: Option<&Path>) -> Option<Digest> {
    let bytes = std::fs::read(path.unwrap_or(Path::new(PATH))).ok()?;
    Some(Digest::of(&bytes))
}

/// Reads the settings from `source`, the text of the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(path: &Path, source: &str) -> Result<Settings, Report> {
    let complaints = reader::Complaints::default();
    let file = file::read(source, &complaints);
    let settings = Settings::of(file, &complaints);
    match complaints.into_inner() {
        complaints if complaints.is_empty() => Ok(settings),
        complaints => Err(Report::new(path, source, complaints)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY, MINUTE};

    fn complaints(source: &str) -> Vec<String> {
        let report = parse(Path::new("c.toml"), source).expect_err("faulty");
        let shown = report.to_string();
        shown.lines().filter(|line| line.starts_with("c.toml")).map(str::to_owned).collect()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let settings = parse(Path::new("c.toml"), "").expect("valid");
        assert_eq!(settings.state_dir, Path::new(settings::STATE_DIR));
        assert_eq!(settings.servers, None);
        assert_eq!(settings.rescan_every, 15 * MINUTE);
        assert_eq!(settings.policy.max_age, 10 * DAY);
    }

    #[test]
    fn no_server_at_all_differs_from_none_given() {
        let settings = parse(Path::new("c.toml"), "server = []\nwatch = []\n").expect("valid");
        assert_eq!(settings.servers, Some(vec![]));
        assert_eq!(settings.watches, Some(vec![]));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let source = "\
state_dir = \"/var/lib/sk\"
[[server]]
kind = \"ngnix\"
relaod = \"none\"
[schedule]
rescan_every = \"soon\"
";
        let found = complaints(source);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("c.toml:3:8: unknown server kind \"ngnix\""), "{found:?}");
        assert!(found[1].starts_with("c.toml:4:1: unknown key \"relaod\""), "{found:?}");
        assert!(found[2].starts_with("c.toml:6:16: rescan_every is not a length"), "{found:?}");
    }

    #[test]
    fn faults_have_their_place() {
        let cases = [
            ("state_dir = 5\n", "c.toml:1:13: state_dir is a string in quotes, found an integer"),
            ("state_dir = \n", "c.toml:1:13: not TOML"),
            ("[[server]]\nprobe = true\n", "c.toml:1:1: kind is missing here"),
            (
                "[[server]]\nkind = \"nginx\"\nreload = \"HUP\"\n",
                "c.toml:3:10: unknown way to reload \"HUP\"",
            ),
            (
                "[[server]]\nkind = \"apache\"\nreload = \"signal:/run/apache2.pid\"\n",
                "c.toml:3:10: Apache is not reloaded by a bare signal",
            ),
            (
                "[responder]\nlisten = [\"0.0.0.0:80\"]\n",
                "c.toml:2:11: 0.0.0.0:80 is open to other machines",
            ),
            ("[[issuer]]\nnonce = \"try\"\n", "c.toml:1:1: this issuer matches no certificate"),
            ("[[watch]]\npath = \"certs\"\n", "c.toml:2:8: \"certs\" is not an absolute path"),
        ];
        for (source, expected) in cases {
            let found = complaints(source);
            assert!(found.iter().any(|line| line.starts_with(expected)), "{source}: {found:?}");
        }
    }

    #[test]
    fn the_whole_example_is_read() {
        let source = r#"
[[server]]
kind   = "nginx"
config = "/etc/nginx/nginx.conf"
reload = ["systemctl", "reload", "nginx"]
probe  = false
path_map = { "/certs" = "/srv/certs" }

[[watch]]
path   = "/etc/letsencrypt/live"
staple = "{state_dir}/staples/{name}.der"

[[issuer]]
match         = { ocsp_host = "ocsp.corp.example" }
responders    = ["http://ocsp2.corp.example/"]
method        = "post"
cert_id_hash  = "sha256"
nonce         = "require"
missing_next_update = "reject"
proxy         = "http://proxy:3128"
tls_ca        = "/etc/ssl/corp.pem"
trusted_signer = "/etc/ssl/ocsp-va.pem"
allow_sha1_signatures = true
max_skew      = "1m"

[schedule]
reload_at_most_every = "10m"
reload_windows = ["02:00-05:00", "22:00-01:30"]
urgent_below = "24h"
adopt_renewed_after = "24h"
max_age = "10d"
rescan_every = "15m"

[policy]
on_revoked = "keep-last-good"
on_expired = "auto"
placeholder = true

[responder]
listen = ["127.0.0.1:8889", "unix:{runtime_dir}/responder.sock"]

[metrics]
listen = "127.0.0.1:9819"

[expiry]
warn_below = "21d"
renew = ["certbot", "renew", "--cert-name", "{name}"]

[[hook]]
on      = ["revoked", "at-risk"]
command = ["/usr/local/bin/page-me"]
"#;
        let settings = parse(Path::new("c.toml"), source).expect("valid");
        let servers = settings.servers.expect("given");
        let command = ["systemctl", "reload", "nginx"].map(str::to_owned).to_vec();
        assert_eq!(servers[0].reload, Some(crate::reload::Mode::Command(command)));
        assert!(!servers[0].probe);
        assert_eq!(settings.issuers[0].max_skew, MINUTE);
        assert_eq!(
            settings.responder[1],
            settings::Listen::Unix("/run/staplekeeper/responder.sock".into())
        );
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let source = r#"
[[server]]
kind = "files"
reload = "none"
path_map = { "/certs" = "/srv/certs" }
[[watch]]
path = "/srv/certs"
[[issuer]]
match = { issuer = "CN=Corp CA", key_id = "AB:cd" }
missing_next_update = "90m"
[metrics]
listen = "[::1]:9819"
[[hook]]
on = ["revoked"]
command = ["page-me"]
"#;
        for source in ["", source] {
            let settings = parse(Path::new("c.toml"), source).expect("valid");
            let shown = show(&settings);
            assert_eq!(parse(Path::new("shown"), &shown), Ok(settings), "{shown}");
        }
    }
}
