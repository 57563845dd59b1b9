//! Looks at servers and folders and remembers what it saw, so as not to read it twice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::configuration::Configuration;
use super::files::{Certificates, Content};
use super::folders::Listings;
use super::issuers::{Issuers, Proofs, Search};
use super::lineages::{self, Group, LeafFile};
use super::links::Links;
use super::model::{Address, Deployment, ServerModel};
use super::names::{LineageKey, Names};
use super::problem::{Problem, What};
use super::scan::{Found, Lineage, NeedsIssuer, Place, Scan, Standing};
use super::settings::{self, Kind, PathMap, STAPLE_TEMPLATE, Server, Settings, Watch};
use super::survey::{FolderSurvey, Spot, Survey};
use super::{apache, exim, haproxy, hitch, lighttpd, nginx};
use crate::digest::Fingerprint;
use crate::pki::Certificate;
use crate::pki::signature::Checked;

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
    last: Last,
}

/// A configuration as it stands, and the last one that was complete.
#[derive(Debug)]
struct Known {
    map: PathMap,
    now: Configuration,
    good: Option<Good>,
}

/// What a complete configuration said.
#[derive(Clone, Debug)]
struct Good {
    deployments: Arc<[Deployment]>,
    pid_file: Option<PathBuf>,
    admin: Arc<[Address]>,
}

impl Known {
    fn new(map: PathMap, now: Configuration, good: Option<Good>) -> Self {
        let complete = now.faults.is_empty().then(|| Known::said(&now));
        Known { map, good: complete.or(good), now }
    }

    fn said(now: &Configuration) -> Good {
        Good {
            deployments: now.deployments.clone(),
            pid_file: now.pid_file.clone(),
            admin: now.admin.as_slice().into(),
        }
    }
}

/// What the last scan found: what cannot be read now is taken from there, and what has not changed
/// is not made anew.
#[derive(Debug, Default)]
struct Last {
    lineages: Arc<[Lineage]>,
    by_key: HashMap<LineageKey, u32>,
    places: Arc<HashMap<Arc<Path>, Place>>,
    /// Since when the files of lineages are gone.
    gone: HashMap<LineageKey, Instant>,
}

/// What was read, sorted into lineages.
#[derive(Default)]
struct Sorted {
    lineages: Vec<Lineage>,
    /// Every leaf with a lineage that holds it.
    leaves: Vec<(Arc<Certificate>, usize)>,
    /// What lies where servers look.
    presented: HashMap<Spot, Place>,
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
            last: Last::default(),
        }
    }

    /// Signatures that were found good before need not be checked again.
    pub fn set_checked(&mut self, checked: Checked) {
        self.proofs.checked = checked;
    }

    /// Where it looks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks elsewhere from now on. What only the old settings named is gone at the next scan.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.last = Last::default();
        }
    }

    /// Looks at everything. `known` are issuers learned otherwise (AIA); they are believed no more
    /// than any other: only a signature makes an issuer. New lineages get their names from `names`.
    ///
    /// Blocks on files, and at the first time for a signature check per certificate.
    pub fn scan(&mut self, known: &[Arc<Certificate>], names: &mut Names) -> Scan {
        let servers = self.servers();
        let watches = self.settings.watches();
        let mut links = Links::default();
        let walked = self.listings.walk(watches.iter().map(|watch| &*watch.path), &mut links);
        let mut survey = Survey::new(walked, links, &mut self.certificates);
        survey.watch.extend(self.settings.awaited().map(Arc::from));
        survey.watch.extend(watches.iter().map(|watch| Arc::from(&*watch.path)));
        for source in self.configurations.values().flat_map(|known| known.now.watch()) {
            survey.source(source);
        }
        let presented = Presented::of(&servers, &mut survey);
        let bundles = bundles(&self.settings, &servers);
        let bundles: Vec<_> = bundles.into_iter().filter_map(|path| survey.bundle(path)).collect();
        let proofs = &self.proofs;
        survey.read(|leaf| proofs.standing(&leaf.fingerprint()).is_some());

        let mut sorted = self.last.sort(&mut survey, &presented, proofs, |key, group, folder| {
            name(&self.settings, &watches, names, &presented, key, group, folder)
        });
        let again_in = self.last.hold_on(&mut sorted, &survey);
        let mut pool = Issuers::default();
        for bundle in bundles {
            if let Content::Chain(chain) = survey.bundled(bundle) {
                chain.iter().for_each(|one| pool.add(one));
            }
        }
        known.iter().for_each(|one| pool.add(one));
        self.proofs.search(std::mem::take(&mut sorted.searches), pool);

        let (watch, mut problems) = survey.into_watch();
        problems.sort();
        problems.dedup();
        let scan = self.tell(sorted, &presented);
        Scan { servers, problems, watch, again_in, ..scan }
    }

    fn servers(&mut self) -> Vec<ServerModel> {
        let mut used = HashSet::new();
        let mut models = Vec::new();
        for server in self.settings.servers() {
            models.push(match server.kind {
                Kind::Nginx => self.read(&server, nginx::configuration, &mut used),
                Kind::Apache => self.read(&server, apache::configuration, &mut used),
                Kind::Haproxy => self.read(&server, haproxy::configuration, &mut used),
                Kind::Lighttpd => self.read(&server, lighttpd::configuration, &mut used),
                Kind::Hitch => self.read(&server, hitch::configuration, &mut used),
                Kind::Exim => self.read(&server, exim::configuration, &mut used),
                kind @ Kind::Files => ServerModel {
                    kind,
                    config: server.config,
                    pid_file: None,
                    admin: Arc::default(),
                    complete: true,
                    deployments: Arc::default(),
                    problems: Vec::new(),
                },
            });
        }
        self.configurations.retain(|config, _| used.contains(config));
        models
    }

    /// Reads a server's configuration, unless nothing of it has changed.
    fn read(
        &mut self,
        server: &Server,
        configuration: fn(&Path, &PathMap) -> Configuration,
        used: &mut HashSet<PathBuf>,
    ) -> ServerModel {
        let usual = || server.kind.usual_config().map(Path::to_owned).unwrap_or_default();
        let config = server.config.clone().unwrap_or_else(usual);
        used.insert(config.clone());
        let before = self.configurations.remove(&config);
        let before = before.filter(|known| known.map == server.path_map);
        let known = match before {
            Some(known) if known.now.is_current() => known,
            before => {
                let map = server.path_map.clone();
                let now = configuration(&config, &map);
                Known::new(map, now, before.and_then(|before| before.good))
            }
        };
        let good = known.good.clone().unwrap_or_else(|| Known::said(&known.now));
        let model = ServerModel {
            kind: server.kind,
            config: Some(config.clone()),
            pid_file: good.pid_file,
            admin: good.admin,
            complete: known.now.faults.is_empty(),
            deployments: good.deployments,
            problems: known.now.faults.iter().chain(&known.now.remarks).cloned().collect(),
        };
        self.configurations.insert(config, known);
        model
    }

    /// Puts the lineages in order, with each leaf told once.
    fn tell(&mut self, sorted: Sorted, presented: &Presented<'_>) -> Scan {
        let mut scan = Scan::default();
        let Sorted { mut lineages, mut leaves, presented: found, .. } = sorted;
        for lineage in &mut lineages {
            let standing = self.proofs.standing(&lineage.leaf.fingerprint());
            lineage.standing = standing.cloned().unwrap_or(Standing::NeedsIssuer);
        }
        let mut order: Vec<_> = (0..lineages.len()).collect();
        order.sort_by(|a, b| lineages[*a].name.cmp(&lineages[*b].name));
        let mut now_at = vec![0; order.len()];
        order.iter().enumerate().for_each(|(now, before)| now_at[*before] = now);
        lineages.sort_by(|a, b| a.name.cmp(&b.name));

        leaves.iter_mut().for_each(|(_, lineage)| *lineage = now_at[*lineage]);
        leaves.sort_unstable_by_key(|(leaf, lineage)| (leaf.fingerprint(), *lineage));
        leaves.dedup_by_key(|(leaf, lineage)| (leaf.fingerprint(), *lineage));
        for same in leaves.chunk_by(|(a, _), (b, _)| a.fingerprint() == b.fingerprint()) {
            let (leaf, lineages) = (&same[0].0, same.iter().map(|(_, lineage)| *lineage).collect());
            match self.proofs.standing(&leaf.fingerprint()) {
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
        let known = |leaf: &Fingerprint| {
            leaves.binary_search_by_key(leaf, |(leaf, _)| leaf.fingerprint()).is_ok()
        };
        self.proofs.retain(known);

        let by_key = lineages.iter().enumerate();
        let by_key: HashMap<_, _> = by_key
            .map(|(at, lineage)| (lineage.key.clone(), u32::try_from(at).expect("so few")))
            .collect();
        let place = |(path, spot): (&Arc<Path>, &Option<Spot>)| {
            let now = spot.as_ref().and_then(|spot| found.get(spot));
            let now = now.map(|place| Place { lineage: now_at[place.lineage], ..*place });
            let place = now.or_else(|| self.last.place(path, &by_key))?;
            Some((path.clone(), place))
        };
        let places: HashMap<_, _> = presented.spots.iter().filter_map(place).collect();
        scan.lineages = lineages.into();
        scan.places = places.into();
        self.last.lineages = scan.lineages.clone();
        self.last.places = scan.places.clone();
        self.last.by_key = by_key;
        scan
    }
}

impl Last {
    /// Sorts what was read into lineages; `name` gives those that are new a name and a staple path.
    fn sort(
        &self,
        survey: &mut Survey<'_>,
        presented: &Presented<'_>,
        proofs: &Proofs,
        mut name: impl FnMut(&LineageKey, &Group, &FolderSurvey) -> (Arc<str>, Arc<Path>),
    ) -> Sorted {
        let mut sorted = Sorted::default();
        let mut problems = Vec::new();
        let mut unread = Vec::new();
        for (at, folder) in survey.folders.iter().enumerate() {
            let mut leaves = Vec::new();
            let mut authorities = Vec::new();
            for (file_at, file) in folder.files.iter().enumerate() {
                let mut complain = |what| {
                    problems.push(Problem::new(folder.path.join(&*file.name), what));
                };
                match survey.content(file) {
                    Some(Content::Chain(chain)) if file.presented || !chain[0].is_ca() => {
                        leaves.push(LeafFile {
                            spot: Spot::new(at, file_at),
                            name: file.name.clone(),
                            role: file.role,
                            chain: chain.clone(),
                        });
                    }
                    Some(Content::Chain(chain)) => authorities.push(chain.clone()),
                    Some(Content::Nothing) if file.presented => complain(What::NoCertificate),
                    Some(Content::Bad(what)) => {
                        complain((**what).clone());
                        unread.push(folder.path.join(&*file.name));
                    }
                    Some(Content::Nothing) | None => {}
                }
            }
            search(&mut sorted.searches, proofs, &leaves, &authorities);
            for group in lineages::group(&folder.path, leaves) {
                let lineage = sorted.lineages.len();
                for file in &group.files {
                    let leaf = file.leaf();
                    sorted.leaves.push((leaf.clone(), lineage));
                    if presented.servers.contains_key(&file.spot) {
                        let named = leaf.issuer_der();
                        let with_issuer =
                            file.chain[1..].iter().any(|one| one.subject_der() == named);
                        let place = Place { lineage, leaf: leaf.fingerprint(), with_issuer };
                        sorted.presented.insert(file.spot, place);
                    }
                }
                sorted.lineages.push(self.lineage(&group, folder, &mut name));
            }
        }
        survey.problems.append(&mut problems);
        survey.unread.extend(unread);
        sorted
    }

    /// The lineage that a group is, as it was last time where nothing has changed.
    fn lineage(
        &self,
        group: &Group,
        folder: &FolderSurvey,
        name: impl FnOnce(&LineageKey, &Group, &FolderSurvey) -> (Arc<str>, Arc<Path>),
    ) -> Lineage {
        let first = &group.files[0];
        let last = self.by_key.get(&group.key).map(|at| &self.lineages[*at as usize]);
        let path = folder.path.join(&*first.name);
        let (key, name, staple) = match last {
            Some(last) => (last.key.clone(), last.name.clone(), last.staple.clone()),
            None => {
                let (name, staple) = name(&group.key, group, folder);
                (group.key.clone(), name, staple)
            }
        };
        Lineage {
            key,
            name,
            path: match last.filter(|last| *last.path == *path) {
                Some(last) => last.path.clone(),
                None => path.into(),
            },
            leaf: first.leaf().clone(),
            standing: Standing::NeedsIssuer,
            staple,
            watched: folder.watch.is_some(),
            stale: false,
        }
    }

    /// Puts back the lineages of the last scan that are not known to be gone.
    fn hold_on(&mut self, sorted: &mut Sorted, survey: &Survey<'_>) -> Option<Duration> {
        let now = Instant::now();
        let found: HashSet<_> = sorted.lineages.iter().map(|one| one.key.clone()).collect();
        self.gone.retain(|key, _| !found.contains(key));
        let mut again_in = None;
        for lineage in self.lineages.iter().filter(|one| !found.contains(&one.key)) {
            let hidden = survey.unread.contains(&*lineage.path)
                || survey.unseen.iter().any(|folder| lineage.path.starts_with(folder));
            if !hidden {
                let since = *self.gone.entry(lineage.key.clone()).or_insert(now);
                if now.duration_since(since) >= GRACE {
                    continue;
                }
                again_in = Some(GRACE);
            }
            sorted.leaves.push((lineage.leaf.clone(), sorted.lineages.len()));
            sorted.lineages.push(Lineage { stale: true, ..lineage.clone() });
        }
        again_in
    }

    /// What lay at `path`, if its lineage is still there.
    fn place(&self, path: &Path, by_key: &HashMap<LineageKey, u32>) -> Option<Place> {
        let place = self.places.get(path)?;
        let lineage = *by_key.get(&self.lineages[place.lineage].key)? as usize;
        Some(Place { lineage, ..*place })
    }
}

/// Notes down the leaves of one folder whose standing is unknown.
fn search(
    searches: &mut Vec<Search>,
    proofs: &Proofs,
    leaves: &[LeafFile],
    authorities: &[Arc<[Arc<Certificate>]>],
) {
    let unknown = |file: &&LeafFile| proofs.standing(&file.leaf().fingerprint()).is_none();
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

/// The name of a lineage, and where its staple goes.
fn name(
    settings: &Settings,
    watches: &[Watch],
    names: &mut Names,
    presented: &Presented<'_>,
    key: &LineageKey,
    group: &Group,
    folder: &FolderSurvey,
) -> (Arc<str>, Arc<Path>) {
    let name = names.get(key).cloned().unwrap_or_else(|| {
        let servers = group.files.iter().filter_map(|file| presented.servers.get(&file.spot));
        let server_name = servers.filter_map(|server| server.telling_name()).next();
        names.assign(key, &group.wanted_name(&folder.path, server_name))
    });
    let template = folder.watch.and_then(|watch| watches.get(watch));
    let template = template.map_or(STAPLE_TEMPLATE, |watch| &watch.staple);
    let staple = settings::staple_path(template, &settings.state_dir, &name);
    (name, staple)
}

/// The files that are trusted to hold issuers.
fn bundles<'a>(settings: &'a Settings, servers: &'a [ServerModel]) -> BTreeSet<&'a Path> {
    let deployments = || servers.iter().flat_map(|server| server.deployments.iter());
    let trusted = deployments().filter_map(|deployment| deployment.trusted_certificate.as_ref());
    let trusted = trusted.map(|stated| &*stated.value.ours);
    let others = deployments().filter_map(|deployment| deployment.issuer_files.as_deref());
    let others = others.flatten().map(|file| &*file.ours);
    trusted.chain(others).chain(settings.bundles.iter().map(PathBuf::as_path)).collect()
}

/// The certificate files that servers present.
#[derive(Default)]
struct Presented<'a> {
    /// Where they are in the survey; `None` where there is no such file.
    spots: HashMap<Arc<Path>, Option<Spot>>,
    /// The first deployment with a name that presents it, else the first one.
    servers: HashMap<Spot, &'a Deployment>,
}

impl<'a> Presented<'a> {
    fn of(servers: &'a [ServerModel], survey: &mut Survey<'_>) -> Self {
        let mut all = Presented::default();
        for deployment in servers.iter().flat_map(|server| server.deployments.iter()) {
            for presented in &deployment.certificates {
                let path = &presented.file.ours;
                let spot = match all.spots.get(path) {
                    Some(spot) => *spot,
                    None => {
                        let spot = survey.present(path);
                        all.spots.insert(path.clone(), spot);
                        spot
                    }
                };
                let Some(spot) = spot else { continue };
                let known = all.servers.entry(spot).or_insert(deployment);
                if known.telling_name().is_none() {
                    *known = deployment;
                }
            }
        }
        all
    }
}
