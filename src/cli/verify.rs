//! `staplekeeper verify`: judges one response about one certificate, off line.
//!
//! Exit status: 0 authentic, current and good; 1 refused; 3 revoked; 4 unknown; 2 usage, or a file
//! that cannot be read. Whatever is wrong with the response, or between the two certificates, is a
//! refusal and not a usage error: a script asks "may this be stapled?" and gets a no.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde::Serialize;

use super::format::Format;
use crate::ocsp::{self, MissingNextUpdate, Response, Rules, Staple, Status};
use crate::pki::{self, Certificate, Issued, NotIssued, ReadError, printable};
use crate::plan::Policy;
use crate::time::{UnixTime, parse_duration};

/// Judge an OCSP response about a certificate
///
/// Exit status: 0 good, 1 refused, 3 revoked, 4 unknown, 2 usage or an unreadable file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The certificate asked about: PEM or DER, of a chain the first
    #[arg(long, value_name = "LEAF")]
    cert: PathBuf,
    /// Its issuer: PEM or DER, of several the one that signed it
    #[arg(long, value_name = "ISSUER")]
    issuer: PathBuf,
    /// Judge at this instant instead of now
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
    /// Certificates whose signature counts like the issuer's: PEM or DER
    #[arg(long, value_name = "FILE")]
    trusted_signer: Vec<PathBuf>,
    /// How far clocks may differ
    #[arg(long, value_name = "D", default_value = "5m", value_parser = parse_duration)]
    max_skew: Duration,
    /// What a response without nextUpdate is worth: nothing, or this long from thisUpdate
    #[arg(long, value_name = "reject|D", default_value = "1d", value_parser = missing_next_update)]
    missing_next_update: MissingNextUpdate,
    /// Accept SHA-1 signatures
    #[arg(long)]
    allow_sha1_signatures: bool,
    /// How to print the verdict
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The response: DER, or PEM labelled OCSP RESPONSE; - reads standard input
    response: PathBuf,
}

/// Judges and prints; the exit status is the verdict.
///
/// # Errors
/// A file that cannot be read, a certificate file that holds none.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = judge(&Files::read(&args)?, &args);
    if let Verdict::Refused = report.verdict {
        let reason = report.reason.as_deref().unwrap_or_default();
        writeln!(io::stderr(), "refused: {}", printable(reason))?;
    }
    match args.format {
        Format::Text => report.write_text(&mut io::stdout().lock())?,
        Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?,
    }
    Ok(ExitCode::from(report.verdict.exit_status()))
}

/// What the command line names, read.
struct Files {
    leaf: Arc<Certificate>,
    issuers: Vec<Certificate>,
    trusted_signers: Vec<Arc<Certificate>>,
    response: Vec<u8>,
}

impl Files {
    fn read(args: &Args) -> anyhow::Result<Files> {
        let leaf = certificates(&args.cert)?.into_iter().next();
        let mut trusted_signers = Vec::new();
        for path in &args.trusted_signer {
            trusted_signers.extend(certificates(path)?.into_iter().map(Arc::new));
        }
        Ok(Files {
            leaf: Arc::new(leaf.context("no certificate was read")?),
            issuers: certificates(&args.issuer)?,
            trusted_signers,
            response: bytes(&args.response)?,
        })
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    pki::read_certificates(&bytes(path)?).with_context(|| path.display().to_string())
}

/// Reads a file as far as one of these could go.
fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    const LIMIT: u64 = 4 << 20;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn judge(files: &Files, args: &Args) -> Report {
    let now = args.at.unwrap_or_else(now);
    let rules = Rules {
        max_skew: args.max_skew,
        missing_next_update: args.missing_next_update,
        trusted_signers: files.trusted_signers.clone(),
        allow_sha1_signatures: args.allow_sha1_signatures,
        nonce: None,
    };
    let der = match pki::pem::read_one(&files.response, "OCSP RESPONSE") {
        Ok(der) => der,
        // The decoder has better words for web pages and empty files.
        Err(ReadError::NeitherPemNorDer) => files.response.clone(),
        Err(error) => return Report::refused(None, &files.leaf, format!("the response {error}")),
    };
    let response = match Response::decode(&der) {
        Ok(response) => response,
        Err(error) => return Report::refused(None, &files.leaf, format!("the response {error}")),
    };
    let issued = match prove(&files.leaf, &files.issuers) {
        Ok(issued) => issued,
        Err(error) => {
            let reason = format!("the certificate {error}");
            return Report::refused(Some(&response), &files.leaf, reason);
        }
    };
    match ocsp::verify(response.clone(), &issued, &rules, now) {
        Ok(staple) => Report::accepted(&staple),
        Err(reason) => Report::refused(Some(&response), &files.leaf, reason.to_string()),
    }
}

/// Pairs the leaf with the first of `issuers` that signed it, or says why the first did not.
fn prove(leaf: &Arc<Certificate>, issuers: &[Certificate]) -> Result<Issued, NotIssued> {
    let mut tried = issuers.iter().map(|one| Issued::prove(leaf.clone(), Arc::new(one.clone())));
    let first = tried.next().expect("a file without certificates is not read");
    match first {
        Ok(issued) => Ok(issued),
        Err(error) => tried.find_map(Result::ok).ok_or(error),
    }
}

fn now() -> UnixTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(0) + since_1970
}

fn missing_next_update(text: &str) -> Result<MissingNextUpdate, jiff::Error> {
    match text {
        "reject" => Ok(MissingNextUpdate::Reject),
        length => parse_duration(length).map(MissingNextUpdate::Assume),
    }
}

/// What is printed; the JSON is fixed.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    verdict: Verdict,
    /// Why it is not good.
    reason: Option<String>,
    this_update: Option<UnixTime>,
    next_update: Option<UnixTime>,
    produced_at: Option<UnixTime>,
    effective_expiry: Option<UnixTime>,
    signer: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Revoked,
    Unknown,
    Refused,
}

impl Verdict {
    fn exit_status(self) -> u8 {
        match self {
            Verdict::Good => 0,
            Verdict::Refused => 1,
            Verdict::Revoked => 3,
            Verdict::Unknown => 4,
        }
    }
}

impl Report {
    fn accepted(staple: &Staple) -> Report {
        // Clients stop believing older answers whatever they say: `max_age`, by its default.
        let effective_expiry =
            staple.expires().min(staple.this_update() + Policy::default().max_age);
        let (verdict, reason) = match staple.status() {
            Status::Good => (Verdict::Good, None),
            Status::Revoked => (Verdict::Revoked, Some(revocation(staple))),
            Status::Unknown => {
                let reason = "the responder does not know the certificate";
                (Verdict::Unknown, Some(reason.to_owned()))
            }
        };
        Report {
            schema: 1,
            verdict,
            reason,
            this_update: Some(staple.this_update()),
            next_update: staple.next_update(),
            produced_at: Some(staple.produced_at()),
            effective_expiry: Some(effective_expiry),
            signer: Some(staple.signer()),
        }
    }

    /// With the times that the response claims, as far as it could be read.
    fn refused(response: Option<&Response>, leaf: &Certificate, reason: String) -> Report {
        let answers = response.map(Response::answers).unwrap_or_default();
        let about = answers.iter().find(|answer| answer.serial == leaf.serial());
        Report {
            schema: 1,
            verdict: Verdict::Refused,
            reason: Some(reason),
            this_update: about.map(|answer| answer.this_update),
            next_update: about.and_then(|answer| answer.next_update),
            produced_at: response.and_then(Response::produced_at),
            effective_expiry: None,
            signer: None,
        }
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let verdict = format!("{:?}", self.verdict).to_lowercase();
        let time = |time: Option<UnixTime>| time.map(|time| time.to_string());
        let lines = [
            ("verdict", Some(verdict)),
            ("reason", self.reason.clone()),
            ("this update", time(self.this_update)),
            ("next update", time(self.next_update)),
            ("produced at", time(self.produced_at)),
            ("effective expiry", time(self.effective_expiry)),
            ("signer", self.signer.clone()),
        ];
        for (label, value) in lines {
            if let Some(value) = value {
                writeln!(out, "{label:<17} {}", printable(&value))?;
            }
        }
        Ok(())
    }
}

fn revocation(staple: &Staple) -> String {
    let Some(revocation) = staple.revocation() else { return "revoked".to_owned() };
    match revocation.reason {
        Some(reason) => format!("revoked at {}: {reason}", revocation.time),
        None => format!("revoked at {}", revocation.time),
    }
}
