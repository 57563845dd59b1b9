//! Strict clients: each demands a good staple for the very certificate it was handed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use staplekeeper::clock::{Clock, SystemClock};
use staplekeeper::confirm::{Address, Look, look};
use staplekeeper::digest::Fingerprint;
use staplekeeper::ocsp::{self, Response, Rules, Staple, Status};
use staplekeeper::pki::{Certificate, Issued};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time;

use crate::NAME;

/// What a strict client believes: the certificate, and what an authentic, current staple says of it.
#[derive(Clone)]
pub struct Handshake {
    pub leaf: Fingerprint,
    pub staple: Staple,
    pub summary: String,
}

/// Shakes hands once and judges what it was handed, as a browser that obeys Must-Staple does.
///
/// # Errors
/// Why such a browser would not connect; a revoked certificate is no error here.
pub async fn shake_hands(port: u16, root: &Arc<Certificate>) -> Result<Handshake> {
    let address = Address::Tcp(([127, 0, 0, 1], port).into());
    let seen = look(&Look { server_name: Some(NAME.to_owned()), ..Look::at(address) }).await?;
    let staple = seen.staple.context("no staple")?;
    let [leaf, issuer, ..] = seen.chain.as_slice() else { bail!("a chain without issuer") };
    let issuer = Arc::new(Certificate::from_der(issuer)?);
    Issued::prove(Arc::clone(&issuer), Arc::clone(root))?;
    let issued = Issued::prove(Arc::new(Certificate::from_der(leaf)?), issuer)?;
    let now = SystemClock.now().wall;
    // No tolerance: a staple that has expired this second counts against us.
    let rules = Rules { max_skew: Duration::ZERO, ..Rules::default() };
    let staple = ocsp::verify(Response::decode(&staple)?, &issued, &rules, now)?;
    let summary = format!("{} in {:.1} ms", seen.tls, seen.took.as_secs_f64() * 1e3);
    Ok(Handshake { leaf: issued.fingerprint(), staple, summary })
}

/// Strict clients that come one after another, fifty a second, for as long as the value lives.
pub struct Crowd {
    tally: watch::Receiver<Tally>,
    clients: JoinHandle<()>,
}

/// What the clients have met so far.
#[derive(Clone, Default)]
pub struct Tally {
    pub handshakes: usize,
    /// Handshakes that ended in anything but a good staple for the certificate presented.
    pub refused: usize,
    /// Why, the last time.
    pub complaint: Option<String>,
    pub latest: Option<Handshake>,
}

impl Crowd {
    pub fn gather(port: u16, root: Arc<Certificate>) -> Crowd {
        let (sender, tally) = watch::channel(Tally::default());
        let clients = tokio::spawn(async move {
            let mut pace = time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                let outcome = shake_hands(port, &root).await;
                sender.send_modify(|tally| tally.count(outcome));
            }
        });
        Crowd { tally, clients }
    }

    /// The state of things.
    pub fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Waits until a client meets a handshake like that.
    ///
    /// # Errors
    /// When a client is refused before, or `patience` ends.
    pub async fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Handshake) -> bool,
    ) -> Result<Handshake> {
        let refused = self.tally().refused;
        let met = |tally: &Tally| tally.latest.as_ref().is_some_and(&wanted);
        let mut tally = self.tally.clone();
        let waiting = tally.wait_for(|tally| met(tally) || tally.refused > refused);
        let waited = time::timeout(patience, waiting).await;
        let tally = waited.map_err(|_| anyhow!("no client saw {what} in {patience:?}"))??.clone();
        match tally.latest {
            Some(handshake) if wanted(&handshake) => Ok(handshake),
            _ => bail!("waiting for {what}: {}", tally.complaint.unwrap_or_default()),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.clients.abort();
    }
}

impl Tally {
    fn count(&mut self, outcome: Result<Handshake>) {
        self.handshakes += 1;
        let complaint = match &outcome {
            Ok(handshake) if handshake.staple.status() == Status::Good => None,
            Ok(_) => Some("revoked".to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
        if complaint.is_some() {
            self.refused += 1;
            self.complaint = complaint;
        }
        self.latest = outcome.ok().or(self.latest.take());
    }
}

/// What gnutls-cli says, which obeys Must-Staple too; none where it is not installed.
pub async fn gnutls(port: u16, root_pem: &Path) -> Option<Result<(), String>> {
    let mut command = Command::new("gnutls-cli");
    command.arg("--x509cafile").arg(root_pem).arg("--port").arg(port.to_string());
    command.args(["--sni-hostname", NAME, "--verify-hostname", NAME, "127.0.0.1"]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    if output.status.success() {
        return Some(Ok(()));
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let verdict = said.lines().find_map(|line| line.strip_prefix("- Status: "));
    Some(Err(verdict.or_else(|| said.lines().last()).unwrap_or("failed").to_owned()))
}
