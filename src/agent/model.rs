//! From scans to events: what has come, changed or gone since the last look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::kinds;
use super::message::Message;
use super::places::Folders;
use super::prepare::{self, Inspected};
use super::profiles::Profile;
use super::server::Server;
use super::world::{Deployed, Known, Place, Spot};
use super::{Agent, SIGHT_SOON_FOR};
use crate::config::{Settings, settings};
use crate::digest::Fingerprint;
use crate::discover::{self, Kind, Names, PathMap, Scan, Scanner, Standing};
use crate::fetch::Validators;
use crate::happening::Happening;
use crate::lint;
use crate::ocsp::Staple;
use crate::pki::signature::Checked;
use crate::pki::{Certificate, Issued};
use crate::plan::{self, Attempts, CertId, Event, Loaded, ResponderId, ServerId, TargetId};
use crate::publish::Target;

/// Between two scans, as a multiple of how long the last one took.
const SCAN_REST: u32 = 3;

/// What a scan needs and gives back.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) scanner: Scanner,
    pub(super) names: Names,
    pub(super) scan: Scan,
}

/// What `discover` is told by the configuration.
pub fn scan_settings(settings: &Settings) -> discover::Settings {
    let server = |server: &settings::Server| discover::Server {
        kind: server.kind,
        config: server.config.clone(),
        path_map: PathMap::new(server.path_map.iter().cloned()),
    };
    discover::Settings {
        servers: settings.servers.as_ref().map(|all| all.iter().map(server).collect()),
        watches: settings.watches.clone(),
        state_dir: settings.state_dir.clone(),
        bundles: Vec::new(),
    }
}

/// A certificate as a scan shows it.
pub(super) struct Seen {
    pub(super) leaf: Arc<Certificate>,
    issued: Option<Issued>,
    pub(super) names: Box<[Arc<str>]>,
}

/// A target as a scan shows it.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) deployments: Vec<Deployed>,
    pub(super) claimants: Vec<Fingerprint>,
    /// What is written, where the spot does not tell.
    pub(super) entry: Option<Target>,
}

impl Agent {
    /// Looks at everything as the settings now say, with the servers set up anew.
    pub(super) fn rescan_from_scratch(&mut self) {
        self.new_settings = true;
        self.rescan();
    }

    /// Looks at everything, elsewhere; the result comes as a message.
    pub(super) fn rescan(&mut self) {
        // One scan at a time: what changes meanwhile is looked at after it.
        self.scan_again = true;
        let now = Instant::now();
        if self.scanner.is_some() && now < self.scan_rest {
            self.scan_due =
                Some(self.scan_due.map_or(self.scan_rest, |due| due.min(self.scan_rest)));
            return;
        }
        let Some((mut scanner, names)) = self.scanner.take() else { return };
        self.scan_begun = now;
        self.scans_begun += 1;
        self.reloads_next.append(&mut self.reloads);
        if std::mem::take(&mut self.new_settings) {
            scanner.set_settings(scan_settings(&self.settings));
            self.forget_servers();
        }
        self.scan_again = false;
        let (known, outbox) = (self.issuers.clone(), self.outbox.clone());
        tokio::task::spawn_blocking(move || {
            let scanned = look(scanner, names, &known);
            let _ = outbox.send(Message::Scanned(Box::new(scanned)));
        });
    }

    /// Whether what is known may be about to change.
    pub(super) fn scan_is_under_way(&self) -> bool {
        self.scanner.is_none() || self.scan_again || self.issuers_awaited > 0
    }

    /// Forgets servers and targets, to set them up anew. What each server holds is remembered on disk.
    fn forget_servers(&mut self) {
        for id in std::mem::take(&mut self.world.places).into_keys() {
            self.forgotten.insert(id);
            self.handle(Event::Unplaced(id));
        }
        for id in std::mem::take(&mut self.world.servers).into_keys() {
            self.handle(Event::Unserved(id));
        }
    }

    /// Takes in what a scan found.
    pub(super) fn take_in(&mut self, scanned: Scanned) {
        let Scanned { mut scanner, mut names, scan } = scanned;
        if names.take_changed() || self.names_trouble.is_some() {
            self.remember_names(&names);
        }
        scanner.set_checked(Checked::default());
        self.scanner = Some((scanner, names));
        self.watch_paths = Some(scan.watch.clone());
        self.problems.clear();
        self.take_problems(&scan);
        let servers = self.servers(&scan);
        let (seen, order) = seen(&scan);
        let wanted = self.wanted(&scan, &seen, &servers);
        self.certificates(&seen, &order);
        // All that was there at the start has been read.
        self.checked = Checked::default();
        self.places(wanted);
        self.look_for_lost(&seen);
        self.gone(&seen, &servers);
        self.all_found();
        self.look_for_issuers(&scan);
        self.scan_due = scan.again_in.map(|wait| Instant::now() + wait);
        // With very many certificates a scan takes its time: changes must not take all of ours.
        self.scan_rest = Instant::now() + self.scan_begun.elapsed() * SCAN_REST;
        if !std::mem::replace(&mut self.scanned, true) {
            self.tidy();
            self.open_responder();
        }
        for due in std::mem::take(&mut self.reloads_next) {
            self.reload_if_right(due);
        }
        self.hooks_see(&scan);
        self.remember_seen();
        if self.scan_again {
            self.rescan();
        }
    }

    /// Keeps what the scan could not read for the status, and logs what is new of it.
    fn take_problems(&mut self, scan: &Scan) {
        let of_servers = scan.servers.iter().flat_map(|server| &server.problems);
        let all = scan.problems.iter().chain(of_servers);
        let mut problems: Vec<String> = all.map(ToString::to_string).collect();
        let socket = self.settings.runtime_dir.join("responder.sock");
        problems.extend(lint::two_keys_one_file(scan, &socket));
        for problem in problems.iter().filter(|problem| !self.scan_problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.scan_problems = problems;
    }

    /// The numbers of the configured servers, in the scan's order.
    fn servers(&mut self, scan: &Scan) -> Vec<ServerId> {
        let configured = self.settings.servers.clone().unwrap_or_default();
        let mut ids = Vec::new();
        for (at, model) in scan.servers.iter().enumerate() {
            let key = Server::key(model);
            let id = ServerId(self.world.server_keys.number(&key));
            ids.push(id);
            let before = self.world.servers.get(&id).map(Server::facts);
            match self.world.servers.get_mut(&id) {
                Some(server) => server.update(model),
                None => {
                    let loaded = self.state.loaded(&key).unwrap_or_else(|error| {
                        tracing::warn!(%error, "what a server has loaded has to be found out anew");
                        Default::default()
                    });
                    let server = Server::new(key, model, configured.get(at), loaded);
                    self.world.servers.insert(id, server);
                }
            }
            let facts = self.world.servers[&id].facts();
            if before != Some(facts) {
                self.handle(Event::Served(id, facts));
            }
        }
        ids
    }

    /// The targets that configurations and watches name.
    fn wanted(
        &mut self,
        scan: &Scan,
        seen: &HashMap<Fingerprint, Seen>,
        servers: &[ServerId],
    ) -> BTreeMap<Spot, Wanted> {
        let mut wanted: BTreeMap<Spot, Wanted> = BTreeMap::new();
        let mut served = HashSet::new();
        self.sha1_wanted.clear();
        let mut folders = Folders::default();
        for (server, model) in servers.iter().zip(&scan.servers) {
            for (at, deployment) in model.deployments.iter().enumerate() {
                let one = (*server, at);
                if self.want_entries(scan, one, deployment, seen, &mut served, &mut wanted) {
                    continue;
                }
                let Some(target) = deployment.target() else {
                    self.want_answers(scan, one, deployment, seen, &mut wanted);
                    continue;
                };
                let spot = Spot::Written(Target::File(folders.resolve(&target.ours)));
                let entry = wanted.entry(spot).or_default();
                let mut leaves = Vec::new();
                let default = deployment.listeners.iter().any(|listener| listener.default);
                for presented in &deployment.certificates {
                    let Some(place) = scan.place(&presented.file.ours) else { continue };
                    if !seen.contains_key(&place.leaf) {
                        continue;
                    }
                    served.insert(place.lineage);
                    if default && !entry.claimants.contains(&place.leaf) {
                        entry.claimants.insert(0, place.leaf);
                    }
                    add(&mut entry.claimants, place.leaf);
                    leaves.push(self.world.cert_id(&place.leaf));
                }
                let barred = scan.bars_staples(model.kind, deployment);
                if kinds::wants_sha1(model.kind) {
                    self.sha1_wanted.extend(leaves.iter().copied());
                }
                entry.deployments.push(Deployed { server: *server, at, leaves, barred });
            }
        }
        for (at, lineage) in scan.lineages.iter().enumerate() {
            if lineage.watched || !served.contains(&at) {
                let spot = Spot::Written(Target::File(folders.resolve(&lineage.staple)));
                let leaf = self.world.cert_id(&lineage.leaf.fingerprint());
                let entry = wanted.entry(spot).or_default();
                add(&mut entry.claimants, lineage.leaf.fingerprint());
                // Servers whose configuration is not read take whatever is watched.
                let plain = servers.iter().zip(&scan.servers);
                let plain = plain.filter(|(_, model)| model.kind == Kind::Files);
                entry.deployments.extend(plain.filter(|_| lineage.watched).map(|(id, _)| {
                    Deployed { server: *id, at: 0, leaves: vec![leaf], barred: false }
                }));
            }
            if self.answering.is_some() {
                let entry = wanted.entry(Spot::Answered(lineage.path.clone())).or_default();
                if entry.claimants.is_empty() {
                    entry.claimants.push(lineage.leaf.fingerprint());
                }
            }
        }
        wanted
    }

    /// Tells the planner of certificates that are new, or that are to be asked about otherwise.
    fn certificates(&mut self, seen: &HashMap<Fingerprint, Seen>, order: &[Fingerprint]) {
        let mut fresh = Vec::new();
        for fingerprint in order {
            let one = &seen[fingerprint];
            let id = self.world.cert_id(fingerprint);
            let profile = one.issued.as_ref().map(|issued| self.profiles.of(issued).clone());
            let profile = profile.unwrap_or_default();
            match self.world.certificates.get_mut(&id) {
                Some(known)
                    if known.issued.is_some() == one.issued.is_some()
                        && known.profile == profile =>
                {
                    known.names.clone_from(&one.names);
                }
                _ => fresh.push((id, one, profile)),
            }
        }
        let jobs: Vec<_> = fresh
            .iter()
            .filter_map(|(_, one, profile)| Some((one.issued.clone()?, profile.clone())))
            .collect();
        let held = prepare::load(&self.state, &jobs, self.clock.now().wall, &self.checked);
        for (id, one, profile) in fresh {
            let known = self.know(id, one, profile, &held);
            let facts = plan::Certificate {
                id,
                identity: one.leaf.fingerprint(),
                must_staple: one.leaf.must_staple(),
                not_after: one.leaf.not_after(),
                responders: known.responders.clone(),
                held: known.held.as_ref().map(|staple| staple.facts()),
                attempts: self.earlier_attempts(&one.leaf.fingerprint()),
            };
            self.answer_about(&known);
            self.world.certificates.insert(id, Box::new(known));
            self.discovered(id);
            self.follow_life(id);
            self.handle(Event::Found(facts));
            self.still_frozen(id);
        }
    }

    /// All there is to know of a certificate; what was under way about it goes on.
    fn know(
        &mut self,
        id: CertId,
        one: &Seen,
        profile: Arc<Profile>,
        held: &HashMap<Fingerprint, Staple>,
    ) -> Known {
        let urls = one.issued.as_ref().map(|issued| profile.responders(issued)).unwrap_or_default();
        let responders = urls.iter().map(|url| self.world.responder_id(url)).collect();
        let before = self.world.certificates.remove(&id);
        let (fetched, last_error) =
            before.map(|known| (known.fetched, known.last_error)).unwrap_or_default();
        let known = Known {
            leaf: one.leaf.clone(),
            issued: one.issued.clone(),
            profile,
            names: one.names.clone(),
            responders,
            // One that its server would refuse is as good as none: another is asked for.
            held: held
                .get(&one.leaf.fingerprint())
                .filter(|staple| !self.is_unfit(id, staple))
                .cloned(),
            fetched,
            validators: None,
            last_error,
        };
        Known { validators: self.validators(&known).map(Box::new), ..known }
    }

    /// Tells the planner of targets that are new or whose certificates or servers are others.
    fn places(&mut self, wanted: BTreeMap<Spot, Wanted>) {
        let mut changed = Vec::new();
        let mut named = HashSet::new();
        for (spot, one) in wanted {
            let id = self.world.target_id(&spot);
            named.insert(id);
            let claimants: Vec<CertId> =
                one.claimants.iter().map(|leaf| self.world.cert_id(leaf)).collect();
            let Wanted { deployments, entry, .. } = one;
            let place = Place { spot, entry, deployments, claimants, stamp: None, served: None };
            match self.world.places.get_mut(&id) {
                Some(before) if before.same_for_planning(&place) => {
                    before.deployments = place.deployments;
                }
                before => {
                    let servers = before.map(|before| before.servers());
                    let named = servers.is_none() && !self.forgotten.contains(&id)
                        || servers.is_some_and(|servers| servers != place.servers());
                    changed.push((id, place, named));
                }
            }
        }
        let inspected: Vec<Inspected> = {
            let world = &self.world;
            let now = self.clock.now().wall;
            prepare::inspect(changed.iter().map(|(_, place, _)| place), world, now)
        };
        if !changed.is_empty() {
            // A certificate was renewed or a server configured: its owner may reload at any moment.
            self.sight_soon_until = Instant::now() + SIGHT_SOON_FOR;
        }
        self.guard_anew |= !changed.is_empty();
        for ((id, place, named), inspected) in changed.into_iter().zip(inspected) {
            let written = place.written().is_some();
            let place = Place { stamp: inspected.stamp, ..place };
            self.world.places.insert(id, Box::new(place));
            if named && written {
                let (target, servers) = (self.target_label(id), self.readers(id));
                let content = self.lying(inspected.content);
                self.observe(Happening::Placed { target, servers, content });
            }
            self.replace(id, inspected);
        }
        let unnamed: Vec<TargetId> =
            self.world.places.keys().copied().filter(|id| !named.contains(id)).collect();
        self.guard_anew |= !unnamed.is_empty();
        for id in unnamed {
            self.world.places.remove(&id);
            self.obstacles.remove(&id);
            self.forgotten.insert(id);
            self.handle(Event::Unplaced(id));
        }
        for id in std::mem::take(&mut self.forgotten) {
            if !named.contains(&id) {
                let target = self.target_label(id);
                self.observe(Happening::Unplaced { target });
            }
        }
    }

    /// Tells the planner of a target and what lies in it.
    pub(super) fn replace(&mut self, id: TargetId, inspected: Inspected) {
        let asked_for = self.world.is_asked_for_by_workers(id);
        let Some(place) = self.world.places.get(&id) else { return };
        let (spot, servers, claimants) =
            (place.spot.clone(), place.servers(), place.claimants.clone());
        for id in servers.iter().filter(|_| asked_for) {
            if let Some(server) = self.world.servers.get_mut(id) {
                server.asks_us |= server.kind == Kind::Nginx;
            }
        }
        let readers = servers.iter().filter(|_| place.written().is_some());
        let kinds = || match asked_for {
            true => kinds::ASKING_WORKERS,
            false => kinds::delivery(readers.map(|id| self.world.servers[id].kind)),
        };
        let deployment = |one: &Deployed| {
            self.world.servers.get(&one.server).and_then(|server| server.deployments.get(one.at))
        };
        let mut deployments = place.deployments.iter().filter_map(deployment);
        let needed = deployments.any(|deployment| deployment.needs_staple);
        let apaches = self.apaches_delivery(place, inspected.facts.as_ref());
        let target = plan::Target {
            claimants,
            delivery: kinds::needed(apaches.unwrap_or_else(kinds), needed),
            published: inspected.content,
            published_facts: inspected.facts,
            loaded: self.loaded(&spot.key(), &servers),
            servers,
        };
        let published = target.published;
        self.handle(Event::Placed(id, target));
        // What runs may hold something else than what lies there.
        self.tell_running(id, published);
    }

    /// What each server was proved to have taken up for a target, as the disk remembers it. A server
    /// that was restarted or reloaded since then may hold something else: nothing is known then.
    fn loaded(&mut self, key: &str, servers: &[ServerId]) -> Vec<(ServerId, Loaded)> {
        let mut known = Vec::new();
        for id in servers {
            let Some(server) = self.world.servers.get(id) else { continue };
            let Some(loaded) = server.remembered(key).cloned() else { continue };
            known.push((*id, self.loaded_facts(&loaded)));
        }
        known
    }

    fn gone(&mut self, seen: &HashMap<Fingerprint, Seen>, servers: &[ServerId]) {
        let gone: Vec<CertId> = self
            .world
            .certificates
            .iter()
            .filter(|(_, known)| !seen.contains_key(&known.leaf.fingerprint()))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.life_is_over(id);
            let certificate = self.subject(id);
            self.observe(Happening::Removed { certificate });
            self.world.certificates.remove(&id);
            self.world.answers.forget(self.world.fingerprint(id), self.clock.now().wall);
            self.handle(Event::Gone(id));
        }
        let unserved: Vec<ServerId> =
            self.world.servers.keys().copied().filter(|id| !servers.contains(id)).collect();
        for id in unserved {
            self.world.servers.remove(&id);
            self.handle(Event::Unserved(id));
        }
    }

    /// What the next request about the staple held can be made conditional on.
    fn validators(&mut self, known: &Known) -> Option<(ResponderId, Validators)> {
        let held = known.held.as_ref()?.digest();
        let answers = self.answers.remove(&known.leaf.fingerprint())?;
        let answer = answers.into_iter().find(|answer| answer.digest == held)?;
        let validators = Validators { etag: answer.etag, last_modified: answer.last_modified };
        Some((self.world.responder_id(&answer.responder), validators))
    }

    fn earlier_attempts(&self, fingerprint: &Fingerprint) -> Attempts {
        self.attempts.get(fingerprint).copied().unwrap_or_default()
    }
}

pub(super) fn look(mut scanner: Scanner, mut names: Names, known: &[Arc<Certificate>]) -> Scanned {
    let scan = scanner.scan(known, &mut names);
    Scanned { scanner, names, scan }
}

/// The certificates of a scan, each once, and their order.
fn seen(scan: &Scan) -> (HashMap<Fingerprint, Seen>, Vec<Fingerprint>) {
    let names = |lineages: &[usize]| -> Box<[Arc<str>]> {
        lineages.iter().map(|at| scan.lineages[*at].name.clone()).collect()
    };
    let found = scan.certificates.iter().map(|found| Seen {
        leaf: found.issued.leaf.clone(),
        issued: Some(found.issued.clone()),
        names: names(&found.lineages),
    });
    let missing = scan.missing_issuers.iter().map(|missing| Seen {
        leaf: missing.leaf.clone(),
        issued: None,
        names: names(&missing.lineages),
    });
    let lineages = scan.lineages.iter().filter(|one| one.standing == Standing::SelfSigned);
    let self_signed = lineages.map(|lineage| Seen {
        leaf: lineage.leaf.clone(),
        issued: None,
        names: [lineage.name.clone()].into(),
    });
    let mut seen = HashMap::new();
    let mut order = Vec::new();
    for one in found.chain(missing).chain(self_signed).filter(|one| !one.names.is_empty()) {
        let fingerprint = one.leaf.fingerprint();
        seen.entry(fingerprint).or_insert_with(|| {
            order.push(fingerprint);
            one
        });
    }
    (seen, order)
}

pub(super) fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
