//! Finds the real programs that tests run against; a missing one fails the test and says what to install.

use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where each program comes from on Debian.
const PACKAGES: &[(&str, &str)] = &[
    ("apache2", "apache2"),
    ("apachectl", "apache2"),
    ("certbot", "certbot"),
    ("cfssl", "golang-cfssl"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dehydrated", "dehydrated"),
    ("exim4", "exim4-daemon-light"),
    ("gnutls-cli", "gnutls-bin"),
    ("haproxy", "haproxy"),
    ("hitch", "hitch"),
    ("lego", "lego"),
    ("lighttpd", "lighttpd"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("pebble", "pebble"),
    ("promtool", "prometheus"),
];

/// The path of a program, looked for in `PATH` and the system's own folders.
///
/// # Panics
/// When it is not installed: a test that cannot see its server has proved nothing.
pub fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        let package = PACKAGES.iter().find(|(program, _)| *program == name);
        let package = package.map_or(name, |(_, package)| package);
        panic!(
            "{name} is not installed, and this test needs the real one: apt-get install {package}"
        )
    })
}

/// A program that serves, ended with the value.
pub struct Running(Child);

impl Running {
    /// Starts it, with nothing to read and nobody to hear it.
    pub fn start(command: &mut Command) -> Running {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(quiet.spawn().expect("it can be executed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
