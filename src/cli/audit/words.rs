//! A line of the trail in words, for people.

use crate::audit::{Entry, Own};
use crate::digest::Digest;
use crate::happening::{Happening, Lying, Sighted};
use crate::ocsp::Status;
use crate::plan::Facts;

/// What happened, in one line.
pub(super) fn of(entry: &Entry) -> String {
    match entry {
        Entry::Own(own) => own_words(own),
        Entry::Happening(happening) => happening_words(happening),
        Entry::Other(fields) => serde_json::Value::Object(fields.clone()).to_string(),
    }
}

/// Enough of a digest to find it again.
pub(super) fn short(digest: Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

fn listed(words: &[String], more: usize) -> String {
    let listed = words.join(" ");
    match more {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// What a staple says, in words.
pub(super) fn facts(staple: &Facts) -> String {
    let Facts { digest, status, this_update, expires } = staple;
    let digest = short(*digest);
    format!("{}, from {this_update} until {expires}, SHA-256 {digest}…", status_word(*status))
}

/// What the CA says about a certificate, in a word.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Good => "good",
        Status::Revoked => "revoked",
        Status::Unknown => "unknown",
    }
}

fn own_words(own: &Own) -> String {
    match own {
        Own::TrailTorn { file, bytes, .. } => {
            format!("a crash had left an unfinished line of {bytes} bytes in {file}")
        }
        Own::TrailDamaged { what } => format!("THE TRAIL WAS TAMPERED WITH: {what}"),
        Own::LinesLost { lines, error } => format!("{lines} lines were lost before this: {error}"),
        Own::TrailPruned { file, first_kept, .. } => {
            format!("{file} was removed for its age; the first line kept is {first_kept}")
        }
    }
}

fn happening_words(happening: &Happening) -> String {
    match happening {
        Happening::Started { version, configuration } => {
            let configuration = configuration.map(short).unwrap_or_else(|| "none".to_owned());
            format!("the agent started: version {version}, configuration {configuration}")
        }
        Happening::ByHand { command, uid, version } => {
            format!("{} ran {command:?} without an agent: version {version}", who(*uid))
        }
        Happening::Stopping => "the agent stopped".to_owned(),
        Happening::Configured { configuration } => {
            let configuration = configuration.map(short).unwrap_or_else(|| "none".to_owned());
            format!("the configuration was read again: {configuration}")
        }
        Happening::NotConfigured { error } => {
            format!("the configuration was refused: {}", error.lines().next().unwrap_or_default())
        }
        Happening::Discovered { certificate, must_staple, not_after, responders, .. } => {
            let must = if *must_staple { ", Must-Staple" } else { "" };
            let asked = match &**responders {
                [] => "no OCSP URL".to_owned(),
                urls => urls.join(" "),
            };
            format!(
                "{certificate}: found{must}, valid until {not_after}, {asked}, SHA-256 {}…",
                short(certificate.fingerprint)
            )
        }
        Happening::Removed { certificate } => format!("{certificate}: is gone"),
        Happening::Answered { certificate, responder, staple, unchanged } => {
            let news = if *unchanged { "nothing new" } else { "a new answer" };
            format!("{certificate}: {news} from {responder}: {}", facts(staple))
        }
        Happening::NotAnswered { certificate, error, .. } => {
            format!("{certificate}: no answer: {error}")
        }
        Happening::Published { target, content, .. } => match content {
            Lying::Staple { certificate, staple } => {
                format!("{certificate}: published to {target}: {}", facts(staple))
            }
            Lying::Placeholder => format!("{target}: the placeholder was put there"),
            Lying::Nothing => format!("{target}: the staple was withdrawn"),
            Lying::Foreign { .. } => format!("{target}: what nobody has judged was put there"),
        },
        Happening::Placed { target, servers, content } => {
            let by = match &**servers {
                [] => "no server, for a watched folder".to_owned(),
                servers => servers.join(", "),
            };
            let lies = match content {
                Lying::Staple { certificate, staple } => {
                    format!("a staple of {certificate}: {}", facts(staple))
                }
                Lying::Placeholder => "the placeholder".to_owned(),
                Lying::Nothing => "nothing".to_owned(),
                Lying::Foreign { .. } => "something that nobody has judged".to_owned(),
            };
            format!("{target}: is named now, by {by}; there lies {lies}")
        }
        Happening::Linked { target, path } => {
            format!("{}: was made a link to {target}", path.display())
        }
        Happening::NotPublished { target, error } => format!("{target}: not written: {error}"),
        Happening::Unplaced { target } => {
            format!("{target}: no server's configuration names it any more")
        }
        Happening::Reloading { server, reason } => format!("{server}: being reloaded: {reason}"),
        Happening::Reloaded { server } => format!("{server}: has taken up its files"),
        Happening::NotReloaded { server, error, put_off } => {
            let how = if *put_off { "not reloaded yet" } else { "NOT RELOADED" };
            format!("{server}: {how}: {error}")
        }
        Happening::Sighted { server, what } => match what {
            Sighted::Started => format!("{server}: was started"),
            Sighted::Stopped => format!("{server}: was stopped"),
            Sighted::Reloaded => format!("{server}: was reloaded by somebody else"),
        },
        Happening::Confirmed { target, server, matches, staple } => {
            let seen = staple.map(|staple| format!(", SHA-256 {}…", short(staple)));
            let seen = seen.unwrap_or_default();
            match matches {
                Some(true) => format!("{target}: clients of {server} get what was published{seen}"),
                Some(false) => format!("{target}: clients of {server} GET SOMETHING ELSE{seen}"),
                None => format!("{target}: {server} could not be asked by a handshake"),
            }
        }
        Happening::Begins { condition } => format!("BEGINS: {condition}"),
        Happening::Ends { condition } => format!("over: {condition}"),
        Happening::RefreshAsked { uid, names, no_reload, more } => {
            let who = who(*uid);
            let names = match (&**names, more) {
                ([], 0) => "all".to_owned(),
                (names, more) => listed(names, *more),
            };
            let how = if *no_reload { ", without reloads" } else { "" };
            format!("{who} asked for a refresh of {names}{how}")
        }
        Happening::Frozen { certificate, uid } => {
            format!("{certificate}: frozen by {}", who(*uid))
        }
        Happening::Thawed { certificate, by_itself: true, .. } => {
            format!("{certificate}: thawed, little was left of what was published")
        }
        Happening::Thawed { certificate, uid, .. } => {
            format!("{certificate}: thawed by {}", who(*uid))
        }
        Happening::Imported { certificate, uid, staple } => {
            format!("{certificate}: brought by {}: {}", who(*uid), facts(staple))
        }
        Happening::NotImported { uid, error } => {
            format!("{} brought a response, not taken: {error}", who(*uid))
        }
        Happening::HookCalled { uid, paths, more } => {
            let who = who(*uid);
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            format!("{who} waits for the staple of what was renewed in {}", listed(&paths, *more))
        }
        #[allow(
            unreachable_patterns,
            reason = "kinds for which there are no words yet are told as they are"
        )]
        other => match serde_json::to_value(other) {
            Ok(fields) => fields.to_string(),
            Err(error) => error.to_string(),
        },
    }
}

fn who(uid: Option<u32>) -> String {
    uid.map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"))
}
