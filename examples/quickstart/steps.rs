//! The five steps. Each fails with what went wrong, or gives its evidence, line by line.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use staplekeeper::clock::{Clock, SystemClock};
use staplekeeper::digest::Fingerprint;
use staplekeeper::ocsp::{Status, TRY_LATER};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::authority::LIFE;
use crate::ca::Identity;
use crate::client::{Crowd, Handshake, gnutls, shake_hands};
use crate::stage::Stage;

/// For what should take a second or two.
const PATIENCE: Duration = Duration::from_secs(15);

/// The agent first, the server second: the order in which a host boots.
pub async fn start(stage: &mut Stage) -> Result<Vec<String>> {
    let begun = Instant::now();
    let (config, log) = ("staplekeeper.toml", "agent.log");
    let agent = Agent::start(&stage.folder.path().join(config), &stage.folder.path().join(log))?;
    let agent = stage.agent.insert(agent);
    agent.until("a good staple", PATIENCE, |it| it["state"] == "good").await?;
    let placed = fs::metadata(&stage.files.staple)?.len();
    ensure!(placed > TRY_LATER.len() as u64, "the file still holds the placeholder");
    let after = seconds(begun);
    stage.server = Some(stage.program.start(&stage.files, stage.port).await?);
    let first = shake_hands(stage.port, &stage.root).await?;
    stage.crowd = Some(Crowd::gather(stage.port, Arc::clone(&stage.root)));
    Ok(vec![
        format!(
            "{placed} bytes lay there {after} after the agent's start; then the server started"
        ),
        format!("its first handshake: {}, {}", first.summary, life(&first)),
        second_opinion(stage, None).await?,
    ])
}

/// Nothing happens but time.
pub async fn rotate(stage: &mut Stage) -> Result<Vec<String>> {
    let old = stage.latest()?;
    let new = rotation(stage, &old).await?;
    let left = remaining(&old);
    let agent = stage.agent()?;
    let confirmed = agent.until("what is served", PATIENCE, |it| {
        it["served"] == "match" && it["targets"][0]["loaded"] == "staple"
    });
    confirmed.await?;
    Ok(vec![
        format!("the new one was handed out with {left} s of the old one left: {}", life(&new)),
        "the agent has shaken hands itself and reports: served = match".to_owned(),
        none_refused(stage)?,
        second_opinion(stage, None).await?,
    ])
}

/// Its port refuses connections until the agent has noticed.
pub async fn lose_responder(stage: &mut Stage) -> Result<Vec<String>> {
    let old = stage.latest()?;
    stage.authority.responder.kill();
    let agent = stage.agent()?;
    let report = agent.until("the failure", LIFE, |it| it["last_error"].is_string()).await?;
    // Behind the semicolon it says what to do about it.
    let report = report["last_error"].as_str().unwrap_or_default().split(';').next();
    let meanwhile = shake_hands(stage.port, &stage.root).await?;
    ensure!(meanwhile.staple.digest() == old.staple.digest(), "a staple without a responder");
    let survived = life(&meanwhile);
    stage.authority.responder.restart();
    rotation(stage, &old).await?;
    Ok(vec![
        format!("the agent reports: {}", report.unwrap_or_default()),
        format!("meanwhile the staple from before was served: {survived}"),
        format!("the responder came back, and a new one came with {} s to spare", remaining(&old)),
        none_refused(stage)?,
    ])
}

/// An ACME client writes the new pair and reloads nothing.
pub async fn renew(stage: &mut Stage) -> Result<Vec<String>> {
    let begun = Instant::now();
    let renewed = stage.authority.issue_must_staple(crate::NAME);
    stage.install(&renewed)?;
    // Anybody's reload would load the new pair from here on, with what the file holds.
    while holds_staple_of(&stage.leaf, stage)? {
        ensure!(begun.elapsed() < PATIENCE, "the file still holds the old certificate's staple");
        sleep(Duration::from_millis(1)).await;
    }
    let swapped = begun.elapsed().as_millis();
    let fingerprint = Fingerprint::of(&renewed.der);
    let of_renewed = |handshake: &Handshake| handshake.leaf == fingerprint;
    let new = stage.crowd()?.until("the new certificate", PATIENCE, of_renewed).await?;
    let served = seconds(begun);
    stage.leaf = renewed;
    Ok(vec![
        format!("the old certificate's staple was out of the file after {swapped} ms"),
        format!(
            "the new pair was loaded after {served}, as adopt_renewed_after says: {}",
            life(&new)
        ),
        none_refused(stage)?,
        second_opinion(stage, None).await?,
    ])
}

/// Must-Staple is about this: the key is in wrong hands, and every client knows within one answer's life.
pub async fn revoke(stage: &mut Stage) -> Result<Vec<String>> {
    let begun = Instant::now();
    stage.authority.revoke(&stage.leaf);
    let clients = none_refused(stage)?;
    let told = |handshake: &Handshake| handshake.staple.status() == Status::Revoked;
    let seen = stage.crowd()?.until("the revocation", LIFE, told).await?;
    let revocation = seen.staple.revocation().context("a revoked staple says when")?;
    Ok(vec![
        format!("until then: {clients}"),
        format!(
            "{} after the CA did it, clients were told: revoked at {}",
            seconds(begun),
            revocation.time
        ),
        second_opinion(stage, Some("revoked")).await?,
    ])
}

/// A staple other than `old`, while that one is good still: a client that is refused ends the waiting.
async fn rotation(stage: &Stage, old: &Handshake) -> Result<Handshake> {
    let other = |new: &Handshake| new.staple.digest() != old.staple.digest();
    stage.crowd()?.until("a new staple", LIFE, other).await
}

fn holds_staple_of(leaf: &Identity, stage: &Stage) -> Result<bool> {
    let file = fs::read(&stage.files.staple)?;
    // 16 random bytes are in no other answer.
    Ok(file.windows(leaf.serial.len()).any(|bytes| bytes == leaf.serial))
}

fn none_refused(stage: &Stage) -> Result<String> {
    let tally = stage.crowd()?.tally();
    let complaint = tally.complaint.unwrap_or_default();
    ensure!(tally.refused == 0, "{} strict clients were refused: {complaint}", tally.refused);
    Ok(format!("{} strict handshakes so far, none without a good staple", tally.handshakes))
}

/// Another implementation's verdict: it connects, or it complains in the word `expected`.
async fn second_opinion(stage: &Stage, expected: Option<&str>) -> Result<String> {
    let verdict = gnutls(stage.port, &stage.folder.path().join("root.pem")).await;
    match (verdict, expected) {
        (None, _) => Ok("gnutls-cli is not installed: no second opinion".to_owned()),
        (Some(Ok(())), None) => Ok("gnutls-cli connects too".to_owned()),
        (Some(Err(complaint)), Some(word)) if complaint.contains(word) => {
            Ok(format!("gnutls-cli: {complaint}"))
        }
        (Some(verdict), _) => bail!("gnutls-cli says {verdict:?}, expected was {expected:?}"),
    }
}

fn life(handshake: &Handshake) -> String {
    let until = handshake.staple.expires();
    format!("good until {until}, {} s from now", remaining(handshake))
}

fn remaining(handshake: &Handshake) -> i64 {
    handshake.staple.expires().seconds_since(SystemClock.now().wall)
}

fn seconds(begun: Instant) -> String {
    format!("{:.1} s", begun.elapsed().as_secs_f64())
}
