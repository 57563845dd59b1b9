//! Gathers the facts that rules look at: reads files, asks nobody and changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rights::{self, Account};
use crate::agent::Survey;
use crate::cli::adopt as adopted;
use crate::config;
use crate::config::settings::{Listen, Settings};
use crate::digest::Fingerprint;
use crate::lint::{self, Asking, Leaf, Own, OwnResponder, Unwritable, View};
use crate::publish::adopt::{self, AdoptStep};
use crate::serve::responder::Address;

/// All that rules need; what cannot be told goes to `problems`. With `only`, what lies on disk is looked at
/// as far as it concerns this certificate.
pub(in crate::cli) fn view<'a>(
    survey: &'a Survey,
    settings: &Settings,
    config: Option<&Path>,
    only: Option<Fingerprint>,
    problems: &mut Vec<String>,
) -> View<'a> {
    let mut leaves = survey.leaves(only);
    survey.look_back(&mut leaves, problems);
    let staples = survey.staples(&leaves, only);
    for lying in staples.values() {
        if let lint::Lying::Hidden(why) = lying {
            problems.push(why.clone());
        }
    }
    let folder = settings.state_dir.join("staples");
    let account = Account::of_agent(&folder);
    let own = own(settings, config, folder, &account);
    View {
        scan: &survey.scan,
        at: survey.at,
        unwritable: unwritable(survey, &own.staples, &staples, problems),
        staples,
        reloads: rights::reloads(&survey.scan, settings, &account, problems),
        responder: responder(survey, settings),
        asking: asking(survey, &leaves),
        own,
        leaves,
    }
}

fn own(settings: &Settings, config: Option<&Path>, staples: PathBuf, account: &Account) -> Own {
    let config = config.unwrap_or(Path::new(config::PATH)).to_owned();
    let text = fs::read_to_string(&config).unwrap_or_default();
    Own {
        responder_lines: lint::own_lines(&text, "responder", "listen"),
        schedule_lines: lint::own_lines(&text, "schedule", "reload_at_most_every"),
        reload_lines: lint::own_reload_lines(&text),
        listen: settings.responder.iter().map(address).map(|one| one.to_string()).collect(),
        config,
        staples,
        runtime: settings.runtime_dir.clone(),
        reload_at_most_every: settings.policy.reload_at_most_every,
        user: account.name.clone(),
    }
}

fn address(listen: &Listen) -> Address {
    match listen {
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(path) => Address::Unix(path.clone()),
    }
}

/// Our responder, and the URLs in configurations that mean it.
fn responder(survey: &Survey, settings: &Settings) -> OwnResponder {
    let addresses: Vec<_> = settings.responder.iter().map(address).collect();
    let tcp = addresses.iter().find(|one| matches!(one, Address::Tcp(_)));
    let unix = addresses.iter().find(|one| matches!(one, Address::Unix(_)));
    let urls = survey.scan.deployments().filter_map(|(_, one)| one.stapling_responder.as_ref());
    let mut meant: Vec<String> = Vec::new();
    for url in urls.map(|stated| &stated.value) {
        if !meant.contains(url) && addresses.iter().any(|address| address.is_meant_by(url)) {
            meant.push(url.clone());
        }
    }
    OwnResponder {
        tcp: tcp.map(|address| format!("http://{address}/")),
        unix: unix.map(|address| format!("http://{address}:/")),
        meant,
    }
}

fn unwritable(
    survey: &Survey,
    staples: &Path,
    lying: &BTreeMap<Arc<Path>, lint::Lying>,
    problems: &mut Vec<String>,
) -> HashMap<Arc<Path>, Unwritable> {
    let mut wanted = adopted::wanted(&survey.scan, None);
    wanted.retain(|target| lying.contains_key(target.path.as_path()));
    // Before the agent's first start nobody knows who is to write.
    if wanted.is_empty() || !staples.exists() {
        return HashMap::new();
    }
    match adopt::plan(&wanted, staples) {
        Ok(steps) => {
            let fault = |step| match step {
                AdoptStep::Refuse { path, why } => {
                    Some((path.into(), Unwritable::Refused(why.to_string())))
                }
                AdoptStep::Link { path, .. } => Some((path.into(), Unwritable::ToAdopt)),
                _ => None,
            };
            steps.into_iter().filter_map(fault).collect()
        }
        Err(error) => {
            problems.push(format!(
                "{}: {error}: who may write staples is not known",
                staples.display()
            ));
            HashMap::new()
        }
    }
}

/// What ACME clients will ask for again, about certificates without a responder.
fn asking(survey: &Survey, leaves: &HashMap<Fingerprint, Leaf>) -> Vec<Asking> {
    let mut found = BTreeMap::new();
    for lineage in survey.scan.lineages.iter() {
        let Some(leaf) = leaves.get(&lineage.leaf.fingerprint()) else { continue };
        if leaf.is_answered() || leaf.is_self_signed() {
            continue;
        }
        let Some(folder) = lineage.path.parent() else { continue };
        for (file, directive, value, instead) in clients(folder) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let says = |line: &str| {
                let (name, said) = line.split_once('=').unwrap_or((line, ""));
                let said = said.trim().trim_matches(['"', '\'']);
                name.trim() == directive && said.eq_ignore_ascii_case(value)
            };
            let line = (1..).zip(text.lines()).find(|(_, line)| says(line)).map(|(line, _)| line);
            if let Some(line) = line {
                let file: Arc<Path> = file.into();
                let asking = Asking {
                    certificate: leaf.name.clone(),
                    file: file.clone(),
                    line,
                    directive,
                    instead,
                };
                found.entry((file, line)).or_insert(asking);
            }
        }
    }
    found.into_values().collect()
}

/// Where ACME clients keep what they ask for, for the certificate in `folder`: certbot, acme.sh, dehydrated.
fn clients(folder: &Path) -> Vec<(PathBuf, &'static str, &'static str, &'static str)> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.trim_end_matches("_ecc");
    let mut all = vec![
        (folder.join(format!("{plain}.conf")), "Le_OCSP_Staple", "1", "Le_OCSP_Staple=''"),
        (folder.join("config"), "OCSP_MUST_STAPLE", "yes", "OCSP_MUST_STAPLE=\"no\""),
    ];
    let live = folder.parent().filter(|live| live.ends_with("live"));
    if let Some(root) = live.and_then(Path::parent) {
        let conf = root.join(format!("renewal/{name}.conf"));
        all.push((conf, "must_staple", "True", "must_staple = False"));
    }
    all
}
