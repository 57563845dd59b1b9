//! The second opinion: what the openssl program makes of the same response.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::ca::Identity;
use crate::support::program::program;

/// What openssl is expected to say, and why that differs from us where it does.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the reasons are for whoever reads the tables and the failures")]
pub(super) enum Openssl {
    /// It takes the response, with this status.
    Takes(&'static str),
    /// It turns the response away too.
    Refuses,
    /// It takes what we refuse; the reason is for the reader.
    IsLaxer(&'static str),
    /// It refuses what we take; the reason is for the reader.
    IsStricter(&'static str),
    /// It has no opinion on the matter, for this reason.
    CannotSay(&'static str),
}

/// Asks openssl about `response` to the question about `leaf`; `trusted` is a configured signer.
///
/// Gives the status it believes, or what it said against it.
pub(super) fn judge(
    folder: &Path,
    response: &[u8],
    leaf: &Identity,
    trusted: Option<&Identity>,
) -> Result<String, String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
    write("response.der", response);
    write("leaf.pem", leaf.pem().as_bytes());
    write("issuer.pem", leaf.issuer().pem().as_bytes());
    let (issuer, leaf, response) = (path("issuer.pem"), path("leaf.pem"), path("response.der"));
    let mut command = Command::new(program("openssl"));
    command.args(["ocsp", "-no_nonce", "-issuer", &issuer, "-cert", &leaf, "-respin", &response]);
    // Issuers in these tests stand alone: partial chains make a root of any of them.
    command.args(["-partial_chain", "-CAfile", &issuer]);
    if let Some(trusted) = trusted {
        write("trusted.pem", trusted.pem().as_bytes());
        command.args(["-VAfile", &path("trusted.pem")]);
    }
    let output = command.output().expect("openssl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let status = said.lines().find_map(|line| {
        line.strip_prefix("leaf.pem: ").or_else(|| line.split("leaf.pem: ").nth(1))
    });
    let verified = said.contains("Response verify OK") && !said.contains("Status times invalid");
    match status {
        Some(status) if verified && output.status.success() => Ok(status.to_owned()),
        _ => Err(said),
    }
}

impl Openssl {
    /// Asks openssl, unless it cannot say, and complains where it says something else than is written down.
    pub(super) fn compare(
        self,
        ask: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), String> {
        if matches!(self, Openssl::CannotSay(_)) {
            return Ok(());
        }
        match (self, ask()) {
            (Openssl::Takes(wanted), Ok(status)) if status == wanted => Ok(()),
            (Openssl::IsLaxer(_), Ok(_)) => Ok(()),
            (Openssl::Refuses | Openssl::IsStricter(_), Err(_)) => Ok(()),
            (expected, said) => Err(format!("openssl: wanted {expected:?}, it says {said:?}")),
        }
    }
}
