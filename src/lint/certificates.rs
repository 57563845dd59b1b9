//! Certificates that are presented: what they ask for, who stands behind them, and how long.

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::finding::{Finding, Severity, Step};
use super::own;
use super::sunset;
use super::view::{Block, Leaf, View};
use crate::discover::{Kind, Presented};
use crate::pki::Certificate;
use crate::time::{MINUTE, format_duration};

pub(super) fn judge(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    let (mut leaves, mut files) = (HashSet::new(), HashSet::new());
    let mut silent: BTreeMap<String, Vec<(&Block<'_>, &Leaf)>> = BTreeMap::new();
    for block in blocks {
        for (presented, place, leaf) in &block.shows {
            if files.insert(presented.file.ours.clone()) && !place.with_issuer {
                found.extend(chain(view, block, presented, leaf));
            }
            if !leaves.insert(place.leaf) {
                continue;
            }
            if leaf.must() && !leaf.is_answered() {
                found.push(unanswerable(block, presented, leaf));
            }
            match ends(view, block, presented, leaf) {
                Some(finding) => found.push(finding),
                None => found.extend(schedule(view, block, presented, leaf)),
            }
            let kept = leaf.kept.as_ref();
            if kept.is_some_and(|kept| kept.next_update().is_none()) {
                let responder = leaf.responders.first().cloned().unwrap_or_default();
                silent.entry(responder).or_default().push((block, leaf));
            }
        }
    }
    found.extend(silent.iter().map(|(url, leaves)| no_next_update(url, leaves)));
}

fn about(finding: Finding, block: &Block<'_>, leaf: &Leaf) -> Finding {
    let certificates = vec![leaf.name.to_string()];
    Finding { certificates, server: Some(block.model.kind.to_string()), ..finding }
}

const UNANSWERABLE: &str =
    "there is nothing to staple: clients that obey Must-Staple refuse it, whatever is configured";

fn unanswerable(block: &Block<'_>, presented: &Presented, leaf: &Leaf) -> Finding {
    let finding = Finding {
        what: format!("{} carries Must-Staple and names no OCSP responder", leaf.name),
        why: match sunset::lost(leaf) {
            Some(lost) => format!("{lost}; {UNANSWERABLE}"),
            None => UNANSWERABLE.to_owned(),
        },
        fix: vec![Step::act(format!(
            "have {} issued again without Must-Staple, or by a CA that runs OCSP; if its responder is known, \
             name it under [[issuer]] responders",
            leaf.name
        ))],
        ..Finding::at("must-staple-without-responder", Severity::Error, &presented.origin)
    };
    about(finding, block, leaf)
}

/// The certificate ends, or its staples do not reach as far as they say.
fn ends(view: &View<'_>, block: &Block<'_>, presented: &Presented, leaf: &Leaf) -> Option<Finding> {
    let until = leaf.certificate.not_after();
    let renew = vec![Step::act(format!("renew {}", leaf.name))];
    if until <= view.at {
        let finding = Finding {
            what: format!("{} ran out at {until}", leaf.name),
            why: "every client refuses it, and its CA answers for it no more".to_owned(),
            fix: renew,
            ..Finding::at("certificate-expired", Severity::Error, &presented.origin)
        };
        return Some(about(finding, block, leaf));
    }
    let next = leaf.kept.as_ref()?.next_update()?;
    if until >= next {
        return None;
    }
    let finding = Finding {
        what: format!(
            "{} ends in {}, before the staple it has now",
            leaf.name,
            format_duration(until.since(view.at))
        ),
        why: format!(
            "its staple is good until {next}, the certificate until {until}: no refresh helps past that"
        ),
        fix: renew,
        ..Finding::at("certificate-ends-first", Severity::Warning, &presented.origin)
    };
    Some(about(finding, block, leaf))
}

/// Answers that live too short for a server that has to be reloaded for each.
fn schedule(
    view: &View<'_>,
    block: &Block<'_>,
    presented: &Presented,
    leaf: &Leaf,
) -> Option<Finding> {
    let reloads = matches!(block.model.kind, Kind::Nginx | Kind::Lighttpd | Kind::Hitch);
    block.deployment.target().filter(|_| reloads)?;
    let kept = leaf.kept.as_ref()?;
    kept.next_update()?;
    let life = kept.expires().since(kept.this_update());
    // A refresh has from the middle of its life to a quarter before its end: one reload has to fit.
    let every = view.own.reload_at_most_every;
    if life / 4 >= every {
        return None;
    }
    let better = (life / 8).max(MINUTE / 2);
    let finding = Finding {
        what: format!(
            "answers about {} live {}, and {} is reloaded at most every {}",
            leaf.name,
            format_duration(life),
            block.model.kind,
            format_duration(every)
        ),
        why: "a new staple may have to wait for its reload until the old one has run out"
            .to_owned(),
        fix: vec![own::reload_every(view, &format!("{}s", better.as_secs()))],
        ..Finding::at("staple-outlived-by-schedule", Severity::Warning, &presented.origin)
    };
    Some(about(finding, block, leaf))
}

/// A certificate file without the issuer that clients need.
fn chain(
    view: &View<'_>,
    block: &Block<'_>,
    presented: &Presented,
    leaf: &Leaf,
) -> Option<Finding> {
    let deployment = block.deployment;
    let barred = view.scan.bars_staples(block.model.kind, deployment) && leaf.is_answered();
    // Servers complete the chain from these.
    let elsewhere = leaf.issued.is_some()
        && (deployment.issuer_files.is_some() || deployment.trusted_certificate.is_some());
    // Clients have the root.
    let by_root = leaf.issued.as_ref().is_some_and(|issued| issued.issuer.is_self_issued());
    if leaf.is_self_signed() || (!barred && (elsewhere || by_root)) {
        return None;
    }
    let file = &presented.file.ours;
    let mut why = match &leaf.issued {
        Some(_) => "clients that do not know the issuer already cannot build its chain".to_owned(),
        None => {
            "clients cannot build its chain, and without the issuer no staple can be had".to_owned()
        }
    };
    if barred {
        why = "HAProxy cannot tell which staple is its own, and would not start with an .ocsp file beside it: \
               none is put there"
            .to_owned();
    }
    let grave = if leaf.must() && (barred || leaf.issued.is_none()) {
        Severity::Error
    } else {
        Severity::Warning
    };
    let finding = Finding {
        what: format!("{} holds {} without its issuer", file.display(), leaf.name),
        why,
        fix: complete(view, block, presented, leaf),
        ..Finding::at("chain-without-issuer", grave, &presented.origin)
    };
    Some(about(finding, block, leaf))
}

fn complete(view: &View<'_>, block: &Block<'_>, presented: &Presented, leaf: &Leaf) -> Vec<Step> {
    let file = &presented.file.ours;
    let lineage = view.scan.place(file).map(|place| &view.scan.lineages[place.lineage]);
    let whole = lineage.map(|lineage| &lineage.path).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        **path != *file && (name == "fullchain.pem" || name == "fullchain.cer")
    });
    let directive = match block.model.kind {
        Kind::Nginx => Some(("ssl_certificate", ";")),
        Kind::Apache => Some(("SSLCertificateFile", "")),
        _ => None,
    };
    if let (Some(whole), Some((directive, end))) = (whole, directive) {
        let line = format!("{directive} {}{end}", whole.display());
        return vec![Step::replace(&presented.origin, directive, [line])];
    }
    if let Some(issued) = &leaf.issued {
        let mut steps = vec![Step::Append {
            file: file.display().to_string(),
            what: format!("the certificate of {}", issued.issuer.subject()),
            lines: pem(&issued.issuer),
        }];
        if block.model.kind == Kind::Haproxy && leaf.is_answered() {
            steps.push(Step::run(format!("staplekeeper --refresh-now {}", leaf.name)));
        }
        return steps;
    }
    let file = file.display().to_string();
    match leaf.certificate.ca_issuers_urls().first() {
        Some(url) => vec![Step::run(format!(
            "curl -fsS {} | openssl x509 -inform der >> {}",
            for_shell(url),
            for_shell(&file)
        ))],
        None => vec![Step::act(format!(
            "put the certificate of {} behind it in {file}",
            leaf.certificate.issuer()
        ))],
    }
}

/// A word as a shell takes it, unchanged where it needs no quotes: root is told to run it.
fn for_shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.:_-+=@%,".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn pem(certificate: &Certificate) -> Vec<String> {
    let text = STANDARD.encode(certificate.der());
    let mut lines = vec!["-----BEGIN CERTIFICATE-----".to_owned()];
    let chunks = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    lines.extend(chunks);
    lines.push("-----END CERTIFICATE-----".to_owned());
    lines
}

/// Where the setting is, by what CA software is known by in URLs.
const SETTINGS: [(&str, &str); 3] = [
    (
        "/publicweb/status/ocsp",
        "EJBCA: in the OCSP key binding, set \"Response validity\" (untilNextUpdate) to 12h or more",
    ),
    ("/ca/ocsp", "Dogtag, FreeIPA: set ocsp.store.defStore.includeNextUpdate=true in CS.cfg"),
    ("/v1/", "Vault, OpenBao: vault write pki/config/crl ocsp_expiry=12h"),
];

fn no_next_update(url: &str, leaves: &[(&Block<'_>, &Leaf)]) -> Finding {
    let must = leaves.iter().any(|(_, leaf)| leaf.must());
    let fitting: Vec<_> = SETTINGS.iter().filter(|(part, _)| url.contains(part)).collect();
    let all = if fitting.is_empty() { SETTINGS.iter().collect() } else { fitting };
    let names = leaves.iter().map(|(_, leaf)| leaf.name.to_string()).collect();
    let mut fix: Vec<_> =
        all.iter().map(|(_, setting)| Step::act(format!("at the CA, {setting}"))).collect();
    fix.push(Step::run(format!(
        "staplekeeper --refresh-now {}",
        leaves.iter().map(|(_, leaf)| &*leaf.name).take(3).collect::<Vec<_>>().join(" ")
    )));
    Finding {
        what: format!("{url} answers without nextUpdate"),
        why: "nobody says how long such a staple is good: HAProxy refuses it, Firefox believes it for a day; we \
              assume as much"
            .to_owned(),
        certificates: names,
        fix,
        ..Finding::of(
            "no-next-update",
            if must { Severity::Error } else { Severity::Warning },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::for_shell;

    #[test]
    fn a_shell_takes_each_word_as_it_is() {
        for word in
            ["/etc/ssl/www.pem", "http://a/b?c=d&e", "/x y.pem", "/a';touch b;'", "$(id)", ""]
        {
            let script = format!("printf %s {}", for_shell(word));
            let said = Command::new("sh").arg("-c").arg(script).output().expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), word);
        }
        assert_eq!(for_shell("/etc/ssl/www.pem"), "/etc/ssl/www.pem");
    }
}
