//! Looks at servers and folders and remembers what it saw, so as not to read it twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{Certificates, Content};
use super::folders::Listings;
use super::issuers::{Issuers, Proofs, Search};
use super::lineages::{self, LeafFile};
use super::links::Links;
use super::model::{Deployment, ServerModel};
use super::names::{LineageKey, Names};
use super::nginx::Configuration;
use super::problem::{Problem, What};
use super::scan::{Found, Lineage, NeedsIssuer, Place, Scan, Standing};
use super::settings::{
    self, Kind, NGINX_CONFIG, PathMap, STAPLE_TEMPLATE, Server, Settings, Watch,
};
use super::survey::{Spot, Survey};
use crate::digest::Fingerprint;
use crate::pki::Certificate;

/// A lineage whose files are gone is kept this long: clients replace files by removing them first.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// Gives [`Scan`]s.
#[derive(Debug)]
pub struct Scanner {
    settings: Settings,
    configurations: HashMap<PathBuf, Known>,
    listings: Listings,
    certificates: Certificates,
    proofs: Proofs,
    held: BTreeMap<LineageKey, Draft>,
    held_places: HashMap<Arc<Path>, (LineageKey, Fingerprint)>,
}

/// A configuration as it stands, and the deployments of the last one that was complete.
#[derive(Debug)]
struct Known {
    map: PathMap,
    now: Configuration,
    deployments: Arc<[Deployment]>,
}

/// A lineage before it has a name.
#[derive(Clone, Debug)]
struct Draft {
    wanted: String,
    /// The watch it lies in, by its place in the settings.
    watch: Option<usize>,
    path: Arc<Path>,
    leaf: Arc<Certificate>,
    /// This is what the last scan found: its files are gone since then, or cannot be read now.
    stale: Option<Instant>,
}

/// What was read, sorted into lineages.
#[derive(Default)]
struct Drafts {
    lineages: BTreeMap<LineageKey, Draft>,
    /// Which lineage a file belongs to, and its leaf.
    files: HashMap<Spot, (LineageKey, Fingerprint)>,
    /// Every leaf, with the lineages that hold it.
    leaves: BTreeMap<Fingerprint, (Arc<Certificate>, BTreeSet<LineageKey>)>,
    /// Leaves of unknown standing.
    searches: Vec<Search>,
}

impl Scanner {
    /// A scanner that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Scanner {
            settings,
            configurations: HashMap::new(),
            listings: Listings::default(),
            certificates: Certificates::default(),
            proofs: Proofs::default(),
            held: BTreeMap::new(),
            held_places: HashMap::new(),
        }
    }

    /// Where it looks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks elsewhere from now on. What only the old settings named is gone at the next scan.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.held.clear();
            self.held_places.clear();
        }
    }

    /// Looks at everything. `known` are issuers learned otherwise (AIA); they are believed no more
    /// than any other: only a signature makes an issuer. New lineages get their names from `names`.
    ///
    /// Blocks on files, and at the first time for a signature check per certificate.
    pub fn scan(&mut self, known: &[Arc<Certificate>], names: &mut Names) -> Scan {
        let mut links = Links::default();
        let mut survey = Survey::default();
        let servers = self.servers(&mut survey, &mut links);
        let watches = self.settings.watches();
        survey.watch.extend(self.settings.awaited());
        survey.watch.extend(watches.iter().map(|watch| watch.path.clone()));
        let walked = self.listings.walk(watches.iter().map(|watch| &*watch.path), &mut links);
        survey.folders(walked, &mut links);
        let presented = presented(&servers, &mut survey, &mut links);
        let bundles = self.bundles(&servers, &mut survey, &mut links);

        self.load(&mut survey, &mut links);
        let mut drafts = self.drafts(&mut survey, &presented);
        let again_in = self.hold_on(&mut drafts, &survey);
        self.prove(&mut drafts, bundles, known);

        survey.watch.append(&mut links.folder_links);
        let places = self.places(&presented, &drafts);
        let mut scan = Scan { servers, again_in, ..Scan::default() };
        scan.watch = survey.watch;
        scan.problems = survey.problems;
        scan.problems.extend(scan.servers.iter().flat_map(|server| server.problems.clone()));
        scan.problems.sort();
        scan.problems.dedup();
        let order = self.name(&mut scan, &drafts.lineages, &watches, names);
        self.tell(&mut scan, &drafts, &order);
        let place = |(path, (key, leaf)): (&Arc<Path>, &(LineageKey, Fingerprint))| {
            (path.clone(), Place { lineage: order[key], leaf: *leaf })
        };
        scan.places = places.iter().map(place).collect();
        self.held = drafts.lineages;
        self.held_places = places;
        scan
    }

    fn servers(&mut self, survey: &mut Survey, links: &mut Links) -> Vec<ServerModel> {
        let mut used = HashSet::new();
        let mut models = Vec::new();
        for server in self.settings.servers() {
            models.push(match server.kind {
                Kind::Nginx => {
                    let config = server.config.clone().unwrap_or_else(|| NGINX_CONFIG.into());
                    used.insert(config.clone());
                    self.nginx(&server, config, survey, links)
                }
                kind => ServerModel {
                    kind,
                    config: server.config,
                    pid_file: None,
                    complete: true,
                    deployments: Arc::default(),
                    problems: Vec::new(),
                },
            });
        }
        self.configurations.retain(|config, _| used.contains(config));
        models
    }

    fn nginx(
        &mut self,
        server: &Server,
        config: PathBuf,
        survey: &mut Survey,
        links: &mut Links,
    ) -> ServerModel {
        let before = self.configurations.remove(&config);
        let before = before.filter(|known| known.map == server.path_map);
        let known = match before {
            Some(known) if known.now.is_current() => known,
            before => {
                let map = server.path_map.clone();
                let now = Configuration::read(&config, &map);
                let last = before.filter(|_| !now.faults.is_empty()).map(|last| last.deployments);
                Known { deployments: last.unwrap_or_else(|| now.deployments.clone()), map, now }
            }
        };
        for source in known.now.watch() {
            survey.source(source, links);
        }
        let model = ServerModel {
            kind: Kind::Nginx,
            config: Some(config.clone()),
            pid_file: Some(known.now.pid_file.clone()),
            complete: known.now.faults.is_empty(),
            deployments: known.deployments.clone(),
            problems: known.now.faults.clone(),
        };
        self.configurations.insert(config, known);
        model
    }

    /// The files that are trusted to hold issuers.
    fn bundles(
        &self,
        servers: &[ServerModel],
        survey: &mut Survey,
        links: &mut Links,
    ) -> Vec<Arc<Path>> {
        let stated = servers.iter().flat_map(|server| server.deployments.iter());
        let stated = stated.filter_map(|deployment| deployment.trusted_certificate.as_ref());
        let mut paths: BTreeSet<&Path> = stated.map(|stated| &*stated.value.ours).collect();
        paths.extend(self.settings.bundles.iter().map(PathBuf::as_path));
        paths.into_iter().filter_map(|path| survey.bundle(path, links)).collect()
    }

    /// Reads what has changed.
    fn load(&mut self, survey: &mut Survey, links: &mut Links) {
        self.certificates.begin();
        self.certificates.load(std::mem::take(&mut survey.files));
        for (folder, name) in self.alone(survey) {
            survey.issuer_files(folder, &name, links);
        }
        self.certificates.load(std::mem::take(&mut survey.files));
        self.certificates.end();
    }

    /// The files outside of watched folders that hold a leaf alone, of unknown issuer.
    fn alone(&self, survey: &Survey) -> Vec<Spot> {
        let unwatched =
            survey.folders.iter().enumerate().filter(|(_, folder)| folder.watch.is_none());
        let files = unwatched
            .flat_map(|(at, folder)| folder.files.iter().map(move |(name, file)| (at, name, file)));
        let alone = files.filter(|(.., file)| {
            let content = file.real.as_ref().map(|real| self.certificates.get(real));
            matches!(content, Some(Content::Chain(chain))
                if chain.len() == 1 && self.proofs.standing(&chain[0].fingerprint()).is_none())
        });
        alone.map(|(at, name, _)| (at, name.clone())).collect()
    }

    fn drafts(&mut self, survey: &mut Survey, presented: &Presented) -> Drafts {
        let mut drafts = Drafts::default();
        for (at, folder) in survey.folders.iter().enumerate() {
            let mut leaves = Vec::new();
            let mut authorities = Vec::new();
            for (name, file) in &folder.files {
                let Some(real) = &file.real else { continue };
                let mut complain =
                    |what| survey.problems.push(Problem::new(folder.path.join(name), what));
                match self.certificates.get(real) {
                    Content::Chain(chain) if file.presented || !chain[0].is_ca() => {
                        leaves.push(LeafFile { name: name.clone(), role: file.role, chain });
                    }
                    Content::Chain(chain) => authorities.push(chain),
                    Content::Nothing if file.presented => complain(What::NoCertificate),
                    Content::Nothing => {}
                    Content::Bad(what) => {
                        complain((*what).clone());
                        survey.unread.insert(folder.path.join(name));
                    }
                }
            }
            self.searches(&mut drafts.searches, &leaves, &authorities);
            for group in lineages::group(&folder.path, leaves) {
                let spots = group.files.iter().map(|file| (at, file.name.clone()));
                let server_name = spots.filter_map(|spot| presented.names.get(&spot)).next();
                let first = &group.files[0];
                let draft = Draft {
                    wanted: group.wanted_name(server_name.map(String::as_str)),
                    watch: folder.watch,
                    path: folder.path.join(&first.name).into(),
                    leaf: first.leaf().clone(),
                    stale: None,
                };
                for file in &group.files {
                    drafts.found(file.leaf(), &group.key);
                    let fact = (group.key.clone(), file.leaf().fingerprint());
                    drafts.files.insert((at, file.name.clone()), fact);
                }
                drafts.lineages.insert(group.key, draft);
            }
        }
        drafts
    }

    /// Notes down the leaves of one folder whose standing is unknown.
    fn searches(
        &self,
        searches: &mut Vec<Search>,
        leaves: &[LeafFile],
        authorities: &[Arc<[Arc<Certificate>]>],
    ) {
        let unknown = |file: &&LeafFile| self.proofs.standing(&file.leaf().fingerprint()).is_none();
        let mut unknown = leaves.iter().filter(unknown).peekable();
        if unknown.peek().is_none() {
            return;
        }
        let mut beside = Issuers::default();
        for chain in authorities {
            chain.iter().for_each(|one| beside.add(one));
        }
        for file in leaves {
            file.chain.iter().skip(1).for_each(|one| beside.add(one));
        }
        let beside = Arc::new(beside);
        searches.extend(unknown.map(|file| Search {
            leaf: file.leaf().clone(),
            own: file.chain.clone(),
            beside: beside.clone(),
        }));
    }

    /// Puts back the lineages of the last scan that are not known to be gone.
    fn hold_on(&mut self, drafts: &mut Drafts, survey: &Survey) -> Option<Duration> {
        let now = Instant::now();
        let mut again_in = None;
        for (key, mut draft) in std::mem::take(&mut self.held) {
            if drafts.lineages.contains_key(&key) {
                continue;
            }
            let since = *draft.stale.get_or_insert(now);
            let hidden = survey.unread.contains(&*draft.path)
                || survey.unseen.iter().any(|folder| draft.path.starts_with(folder));
            if !hidden {
                if now.duration_since(since) >= GRACE {
                    continue;
                }
                again_in = Some(GRACE);
            }
            drafts.found(&draft.leaf, &key);
            drafts.lineages.insert(key, draft);
        }
        again_in
    }

    fn prove(&mut self, drafts: &mut Drafts, bundles: Vec<Arc<Path>>, known: &[Arc<Certificate>]) {
        let mut pool = Issuers::default();
        for bundle in bundles {
            if let Content::Chain(chain) = self.certificates.get(&bundle) {
                chain.iter().for_each(|one| pool.add(one));
            }
        }
        known.iter().for_each(|one| pool.add(one));
        self.proofs.search(std::mem::take(&mut drafts.searches), pool);
        self.proofs.retain(|leaf| drafts.leaves.contains_key(leaf));
    }

    /// What lies where servers look; of files that cannot be read now, what lay there.
    fn places(
        &self,
        presented: &Presented,
        drafts: &Drafts,
    ) -> HashMap<Arc<Path>, (LineageKey, Fingerprint)> {
        let place = |(path, spot): (&Arc<Path>, &Option<Spot>)| {
            let now = spot.as_ref().and_then(|spot| drafts.files.get(spot));
            let before = self.held_places.get(path);
            let before = before.filter(|(key, _)| drafts.lineages.contains_key(key));
            now.or(before).map(|place| (path.clone(), place.clone()))
        };
        presented.spots.iter().filter_map(place).collect()
    }

    /// Gives the lineages their names and says where each of them is in the scan.
    fn name(
        &self,
        scan: &mut Scan,
        drafts: &BTreeMap<LineageKey, Draft>,
        watches: &[Watch],
        names: &mut Names,
    ) -> HashMap<LineageKey, usize> {
        // The watches' own names come before those of files that servers name.
        let (watched, others): (Vec<_>, Vec<_>) =
            drafts.iter().partition(|(_, draft)| draft.watch.is_some());
        for (key, draft) in watched.into_iter().chain(others) {
            let name = names.assign(key, &draft.wanted);
            let template = draft.watch.and_then(|watch| watches.get(watch));
            let template = template.map_or(STAPLE_TEMPLATE, |watch| &watch.staple);
            let standing = self.proofs.standing(&draft.leaf.fingerprint());
            scan.lineages.push(Lineage {
                key: key.clone(),
                staple: settings::staple_path(template, &self.settings.state_dir, &name),
                name,
                path: draft.path.clone(),
                leaf: draft.leaf.clone(),
                standing: standing.cloned().unwrap_or(Standing::NeedsIssuer),
                watched: draft.watch.is_some(),
                stale: draft.stale.is_some(),
            });
        }
        scan.lineages.sort_by(|a, b| a.name.cmp(&b.name));
        let places = scan.lineages.iter().enumerate();
        places.map(|(at, lineage)| (lineage.key.clone(), at)).collect()
    }

    /// Tells each leaf once, with or without its issuer.
    fn tell(&self, scan: &mut Scan, drafts: &Drafts, order: &HashMap<LineageKey, usize>) {
        for (fingerprint, (leaf, keys)) in &drafts.leaves {
            let lineages = keys.iter().map(|key| order[key]).collect();
            match self.proofs.standing(fingerprint) {
                Some(Standing::Proven(issued)) => {
                    scan.certificates.push(Found { issued: issued.clone(), lineages });
                }
                Some(Standing::SelfSigned) => {}
                _ => scan.missing_issuers.push(NeedsIssuer {
                    leaf: leaf.clone(),
                    ca_issuers_urls: leaf.ca_issuers_urls(),
                    lineages,
                }),
            }
        }
    }
}

impl Drafts {
    fn found(&mut self, leaf: &Arc<Certificate>, lineage: &LineageKey) {
        let entry = self.leaves.entry(leaf.fingerprint());
        let (_, lineages) = entry.or_insert_with(|| (leaf.clone(), BTreeSet::new()));
        lineages.insert(lineage.clone());
    }
}

/// The certificate files that servers present.
#[derive(Default)]
struct Presented {
    /// Where they are in the survey; `None` where there is no such file.
    spots: HashMap<Arc<Path>, Option<Spot>>,
    /// A name that the first server with one answers to.
    names: HashMap<Spot, String>,
}

fn presented(servers: &[ServerModel], survey: &mut Survey, links: &mut Links) -> Presented {
    let mut all = Presented::default();
    for deployment in servers.iter().flat_map(|server| server.deployments.iter()) {
        for presented in &deployment.certificates {
            let path = &presented.file.ours;
            let spot = match all.spots.get(path) {
                Some(spot) => spot.clone(),
                None => {
                    let spot = survey.presented(path, links);
                    all.spots.insert(path.clone(), spot.clone());
                    spot
                }
            };
            let Some(spot) = spot else { continue };
            if !all.names.contains_key(&spot)
                && let Some(name) = deployment.telling_name()
            {
                all.names.insert(spot, name);
            }
        }
    }
    all
}
