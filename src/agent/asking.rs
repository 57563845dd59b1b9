//! One `Fetch` action: from a certificate and a responder to a staple, or to the reason why not.
//!
//! What one attempt may try in turn is settled here and below: the other HTTP method by `fetch`, the
//! other CertID hash, and no nonce, by [`Errand::run`]. Every wait between attempts is the planner's.

use std::sync::Arc;
use std::time::Duration;

use super::profiles::Profile;
use crate::clock::Clock;
use crate::config::settings::{CertIdHashChoice, Nonce};
use crate::fetch::{AskError, AskOptions, Fetcher, Question, Validators};
use crate::ocsp::{self, CertIdHash, Rejection, Response, ResponseStatus, Rules, Staple, Status};
use crate::pki::Issued;
use crate::plan::FetchFault;

/// What is to be asked, of whom and how.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) issued: Issued,
    pub(super) url: Arc<str>,
    pub(super) profile: Arc<Profile>,
    /// The hash this responder answered to before.
    pub(super) hash: Option<CertIdHash>,
    /// It is presented by a server that takes no CertID but SHA-1's.
    pub(super) sha1_first: bool,
    /// Of the answer held.
    pub(super) validators: Option<Validators>,
    pub(super) afresh: bool,
}

/// What a request brought.
#[derive(Clone, Debug)]
pub(super) enum Brought {
    Staple(Box<Fresh>),
    /// The responder says that the answer held is still the newest.
    NotModified {
        fresh_for: Option<Duration>,
    },
}

/// A staple, verified, and what came with it.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) staple: Staple,
    pub(super) validators: Validators,
    /// What the responder was asked by.
    pub(super) hash: CertIdHash,
    pub(super) fresh_for: Option<Duration>,
}

/// Why a request brought nothing: how the planner takes it, and what the operator reads.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) fault: FetchFault,
    pub(super) text: String,
    /// The responder says that its CA issued no such certificate.
    pub(super) unknown: bool,
}

impl Errand {
    /// Asks until there is an answer or nothing left to try.
    pub(super) async fn run(
        &self,
        fetcher: &Fetcher,
        clock: &dyn Clock,
    ) -> Result<Brought, Failure> {
        let mut with_nonce = self.profile.nonce != Nonce::Never;
        let mut failure = None;
        for hash in self.hashes() {
            let mut outcome = self.once(hash, with_nonce, fetcher, clock).await;
            let stumbled = outcome.as_ref().is_err_and(|setback| setback.other_request);
            if stumbled && with_nonce && self.profile.nonce == Nonce::Try {
                with_nonce = false;
                outcome = self.once(hash, with_nonce, fetcher, clock).await;
            }
            match outcome {
                Ok(brought) => return Ok(brought),
                Err(Setback { failure: why, other_hash, .. }) => {
                    let first = failure.get_or_insert(why);
                    if !other_hash {
                        return Err(first.clone());
                    }
                }
            }
        }
        Err(failure.expect("at least one hash was tried"))
    }

    /// The one that was answered before comes first; a responder may have learned another since.
    fn hashes(&self) -> Vec<CertIdHash> {
        match (self.profile.cert_id_hash, self.hash) {
            (CertIdHashChoice::Only(hash), _) => vec![hash],
            (CertIdHashChoice::Auto, Some(CertIdHash::Sha256)) if !self.sha1_first => {
                vec![CertIdHash::Sha256, CertIdHash::Sha1]
            }
            (CertIdHashChoice::Auto, _) => vec![CertIdHash::Sha1, CertIdHash::Sha256],
        }
    }

    async fn once(
        &self,
        hash: CertIdHash,
        with_nonce: bool,
        fetcher: &Fetcher,
        clock: &dyn Clock,
    ) -> Result<Brought, Setback> {
        let nonce = with_nonce.then(nonce);
        let request = ocsp::request(&self.issued, hash, nonce.as_deref());
        let options = AskOptions {
            method: self.profile.method,
            no_cache: self.afresh,
            validators: self.validators.clone().filter(|_| !self.afresh && nonce.is_none()),
            route: self.profile.route.clone(),
        };
        let question = Question { url: &self.url, request: &request, options: &options };
        let decodes = |body: &[u8]| Response::decode(body).is_ok();
        let answered = fetcher.ask(&question, decodes).await.map_err(Setback::from)?;
        if answered.not_modified {
            return Ok(Brought::NotModified { fresh_for: answered.fresh_for });
        }
        let response = Response::decode(&answered.body)
            .map_err(|error| Setback::certificate(format!("{}: {error}", self.url)))?;
        if let Some(setback) = self.unsuccessful(response.status(), answered.retry_after) {
            return Err(setback);
        }
        let rules = match self.profile.nonce {
            Nonce::Require => Rules { nonce, ..self.profile.rules.clone() },
            _ => self.profile.rules.clone(),
        };
        let staple = ocsp::verify(response, &self.issued, &rules, clock.now().wall)
            .map_err(|rejection| Setback::rejected(&self.url, &rejection))?;
        if staple.status() == Status::Unknown {
            let text = format!(
                "{} does not know the certificate (unknown); ask the CA whether it was ever issued",
                self.url
            );
            let mut setback = Setback::certificate(text);
            (setback.other_hash, setback.failure.unknown) = (true, true);
            return Err(setback);
        }
        let validators = answered.validators;
        let fresh_for = answered.fresh_for;
        Ok(Brought::Staple(Box::new(Fresh { staple, validators, hash, fresh_for })))
    }

    fn unsuccessful(
        &self,
        status: ResponseStatus,
        retry_after: Option<Duration>,
    ) -> Option<Setback> {
        let text = format!("{} answers {status}{}", self.url, meaning(status));
        match status {
            ResponseStatus::Successful => None,
            ResponseStatus::TryLater => Some(Setback::new(FetchFault::Host { retry_after }, text)),
            ResponseStatus::InternalError => {
                let setback = Setback::new(FetchFault::Host { retry_after }, text);
                Some(Setback { other_request: true, ..setback })
            }
            // A responder that knows the other hash only says so with one of these, as does one
            // that wants no nonce.
            _ => Some(Setback {
                other_hash: true,
                other_request: true,
                ..Setback::certificate(text)
            }),
        }
    }
}

/// A request that failed, and whether something else is worth trying at once.
struct Setback {
    failure: Failure,
    other_hash: bool,
    /// The responder is there and took offence: without a nonce it may not.
    other_request: bool,
}

impl Setback {
    fn new(fault: FetchFault, text: String) -> Self {
        Setback {
            failure: Failure { fault, text, unknown: false },
            other_hash: false,
            other_request: false,
        }
    }

    fn certificate(text: String) -> Self {
        Setback::new(FetchFault::Certificate, text)
    }

    fn rejected(url: &str, rejection: &Rejection) -> Self {
        let fault = match rejection {
            Rejection::Expired { .. } => FetchFault::Expired,
            _ => FetchFault::Certificate,
        };
        let hint = match rejection {
            Rejection::Expired { .. } => {
                "; an old answer, from the responder or from a cache before it: tell the CA"
            }
            Rejection::UnknownSigner { .. } => {
                "; if you trust it, name its certificate: [[issuer]] trusted_signer"
            }
            _ => "",
        };
        let text = format!("{url}: answer refused: {rejection}{hint}");
        // A responder that looks for the other hash among its answers may find somebody else's.
        let other_hash = matches!(
            rejection,
            Rejection::Empty { .. }
                | Rejection::OtherSerial { .. }
                | Rejection::NotAnswered { .. }
                | Rejection::OtherIssuerName { .. }
                | Rejection::OtherIssuerKey { .. }
        );
        Setback { other_hash, ..Setback::new(fault, text) }
    }
}

impl From<AskError> for Setback {
    fn from(error: AskError) -> Self {
        let fault = if error.is_host_fault() {
            FetchFault::Host { retry_after: error.retry_after() }
        } else {
            FetchFault::Certificate
        };
        // Answers made in advance lie in files: a request they were not made for is "not found".
        let other_hash = matches!(error, AskError::NotAResponse { http_status: 400..=428, .. });
        let other_request = other_hash
            || matches!(error, AskError::Broken { .. })
            || matches!(error, AskError::NotAResponse { http_status: 500, .. });
        let setback = Setback::new(fault, format!("{}; {}", with_causes(&error), error.hint()));
        Setback { other_hash, other_request, ..setback }
    }
}

/// What a refusal means, for people who do not know RFC 6960 §2.3 by heart.
fn meaning(status: ResponseStatus) -> &'static str {
    match status {
        ResponseStatus::Successful => "",
        ResponseStatus::MalformedRequest => {
            "; it does not understand the question: [[issuer]] has cert_id_hash, nonce and method"
        }
        ResponseStatus::InternalError => "; the responder is in trouble; it is asked again",
        ResponseStatus::TryLater => "; it is busy, and asked again",
        ResponseStatus::SigRequired => {
            "; it wants signed requests, which are never sent: name another, [[issuer]] responders"
        }
        ResponseStatus::Unauthorized => {
            "; it has nothing about this certificate: not yet, where it is new, else ask the CA"
        }
    }
}

/// An error with everything that caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some libraries repeat their cause in their own words, or have none of their own to add.
        let says_nothing = ["error sending request", "client error ("]
            .iter()
            .any(|words| cause.starts_with(words));
        if says_nothing || text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// 32 random octets (RFC 9654 §2.1).
fn nonce() -> Vec<u8> {
    let mut nonce = vec![0; 32];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system has a source of randomness");
    nonce
}
