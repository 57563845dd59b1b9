//! From what happened to what a hook is told: the event, a sentence, and facts by name.

use super::Event;
use crate::happening::{Condition, Happening, Subject};
use crate::ocsp::Status;
use crate::plan::Facts;

/// Something that a hook may be run at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// Which event it is.
    pub event: Event,
    /// In one sentence, for people.
    pub text: String,
    /// For the environment, without their prefix `STAPLEKEEPER_`.
    pub facts: Vec<(&'static str, String)>,
}

impl Occasion {
    /// The occasion that a happening is, if it is one.
    pub fn of(happening: &Happening) -> Option<Occasion> {
        match happening {
            Happening::Discovered { certificate, issuer, not_after, .. } => Some(Occasion {
                event: Event::Discovered,
                text: format!("{certificate}: found, good until {not_after}"),
                facts: [
                    about(certificate),
                    vec![
                        ("STAPLEKEEPER_ISSUER", issuer.clone()),
                        ("STAPLEKEEPER_NOT_AFTER", not_after.to_string()),
                    ],
                ]
                .concat(),
            }),
            Happening::Answered { certificate, responder, staple, unchanged: false } => {
                answered(certificate, responder, staple)
            }
            Happening::NotAnswered { certificate, responder, error, unknown: true, news: true } => {
                let mut facts = about(certificate);
                facts.push(("STAPLEKEEPER_RESPONDER", responder.clone()));
                let text = format!("{certificate}: {error}");
                Some(Occasion { event: Event::Unknown, text, facts })
            }
            Happening::Begins { condition } => begins(condition),
            Happening::Ends { condition: Condition::ResponderDown { responder } } => {
                Some(Occasion {
                    event: Event::ResponderUp,
                    text: format!("{responder}: the responder answers again"),
                    facts: vec![("STAPLEKEEPER_RESPONDER", responder.clone())],
                })
            }
            _ => None,
        }
    }
}

fn answered(certificate: &Subject, responder: &str, staple: &Facts) -> Option<Occasion> {
    // A revocation is a condition, told when it begins.
    if staple.status != Status::Good {
        return None;
    }
    let text = format!("{certificate}: a new staple, good until {}", staple.expires);
    let mut facts = about(certificate);
    facts.push(("STAPLEKEEPER_RESPONDER", responder.to_owned()));
    facts.push(("STAPLEKEEPER_THIS_UPDATE", staple.this_update.to_string()));
    facts.push(("STAPLEKEEPER_EXPIRES", staple.expires.to_string()));
    Some(Occasion { event: Event::Refreshed, text, facts })
}

fn begins(condition: &Condition) -> Option<Occasion> {
    let (event, facts) = match condition {
        Condition::AtRisk { certificate } => (Event::AtRisk, about(certificate)),
        Condition::Revoked { certificate } => (Event::Revoked, about(certificate)),
        Condition::Expiring { certificate, not_after } => {
            let mut facts = about(certificate);
            facts.push(("STAPLEKEEPER_NOT_AFTER", not_after.to_string()));
            (Event::Expiring, facts)
        }
        Condition::ResponderDown { responder } => {
            (Event::ResponderDown, vec![("STAPLEKEEPER_RESPONDER", responder.clone())])
        }
        Condition::ServedMismatch { target, server } => (
            Event::ServedMismatch,
            vec![("STAPLEKEEPER_TARGET", target.clone()), ("STAPLEKEEPER_SERVER", server.clone())],
        ),
        Condition::ReloadFailed { server } => {
            (Event::ReloadFailed, vec![("STAPLEKEEPER_SERVER", server.clone())])
        }
        Condition::ClockSuspect => (Event::ClockSuspect, Vec::new()),
        Condition::Late { .. } | Condition::PublishFailed { .. } => return None,
    };
    Some(Occasion { event, text: condition.to_string(), facts })
}

fn about(certificate: &Subject) -> Vec<(&'static str, String)> {
    vec![
        ("STAPLEKEEPER_NAME", certificate.name.clone()),
        ("STAPLEKEEPER_FINGERPRINT", certificate.fingerprint.to_string()),
    ]
}
