//! Programs of others that judge staples by themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::judge::{Door, Worth};
use super::program::program;
use super::scene::Scene;

/// Whether gnutls-cli connects to `name` at a loopback port; it knows Must-Staple and judges every
/// staple. `root` is the CA's certificate, PEM.
///
/// # Errors
/// What it says.
pub fn gnutls(root: &Path, door: impl Into<Door>, name: &str) -> Result<(), String> {
    let Door { port, starttls, .. } = door.into();
    let mut command = Command::new(program("gnutls-cli"));
    command.args(["--sni-hostname", name, "--verify-hostname", name]);
    command.args(starttls.map(|_| "--starttls-proto=smtp"));
    command.args(["--port", &port.to_string(), "--x509cafile"]).arg(root);
    judge(command.arg("127.0.0.1"))
}

/// Whether `curl --cert-status` connects to `name` at a loopback port; it demands a staple always.
///
/// # Errors
/// What it says.
pub fn curl(root: &Path, door: impl Into<Door>, name: &str) -> Result<(), String> {
    let Door { port, starttls, .. } = door.into();
    let mut command = Command::new(program("curl"));
    command.args(["--silent", "--show-error", "--cert-status", "--noproxy", "*", "--cacert"]);
    command.arg(root).args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
    match starttls {
        Some(_) => command.args(["--ssl-reqd", &format!("smtp://{name}:{port}")]),
        None => command.arg(format!("https://{name}:{port}/")),
    };
    judge(&mut command)
}

impl Scene {
    /// Whether gnutls-cli connects to a site.
    ///
    /// # Errors
    /// What it says.
    pub fn gnutls(&self, name: &str) -> Result<(), String> {
        gnutls(&self.root(), self.port, name)
    }

    /// Whether `curl --cert-status` connects to a site.
    ///
    /// # Errors
    /// What it says.
    pub fn curl(&self, name: &str) -> Result<(), String> {
        curl(&self.root(), self.port, name)
    }

    /// Asserts that gnutls-cli, curl and the library's own client, in this order, find a site well.
    ///
    /// # Panics
    /// With what the first says that does not.
    pub fn clients_connect(&self, name: &str) {
        assert_eq!(self.gnutls(name), Ok(()), "gnutls-cli, {name}");
        assert_eq!(self.curl(name), Ok(()), "curl --cert-status, {name}");
        let shown = self.handshake(name).expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{name}: {shown:?}");
    }

    /// The root's certificate, PEM.
    fn root(&self) -> PathBuf {
        self.nginx.write("root.pem", self.authority.root.pem())
    }
}

fn judge(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().expect("it can be executed");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}
