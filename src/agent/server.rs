//! One configured server as the agent sees it: whether it runs, how it is reloaded, what happened last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kinds;
use super::warming::Warm;
use crate::config::settings;
use crate::digest::Digest;
use crate::discover;
use crate::discover::{Address, Deployment};
use crate::plan::{self, Sighting, Why};
use crate::reload::{self, Mode, Reloader, Snapshot, Watch};
use crate::store::{Loaded, LoadedServer};
use crate::time::UnixTime;

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: String,
    pub(super) kind: discover::Kind,
    pub(super) deployments: Arc<[Deployment]>,
    pub(super) config: Option<PathBuf>,
    /// Where it takes commands.
    pub(super) admin: Arc<[Address]>,
    pub(super) complete: bool,
    pub(super) reloader: Reloader,
    pub(super) last_reload: Option<(UnixTime, Why)>,
    pub(super) last_error: Option<String>,
    /// How far its workers have their staples.
    pub(super) warm: Warm,
    /// Some deployment of it asks our responder, each worker for itself.
    pub(super) asks_us: bool,
    probe: bool,
    mode: Option<Mode>,
    watch: Option<Watch>,
    remembered: BTreeMap<String, Loaded>,
    facts: plan::Server,
}

impl Server {
    /// A server as it was found. `loaded` is what the disk remembers of it; forgotten if the server
    /// has been started or reloaded since.
    pub(super) fn new(
        key: String,
        model: &discover::ServerModel,
        settings: Option<&settings::Server>,
        loaded: LoadedServer,
    ) -> Server {
        let kind = kinds::reload(model.kind);
        let mode = settings.and_then(|settings| settings.reload.clone());
        let pid_file = match &mode {
            Some(Mode::Signal(path)) => Some(path.clone()),
            _ => model.pid_file.clone(),
        };
        let how = reload::Settings::new(kind, mode.clone(), pid_file.clone());
        let reloader = Reloader::new(reload::Settings { config: model.config.clone(), ..how });
        let known = loaded.identity.and_then(|identity| identity.parse().ok());
        let mut server = Server {
            key,
            kind: model.kind,
            deployments: model.deployments.clone(),
            config: model.config.clone(),
            admin: model.admin.clone(),
            complete: model.complete,
            reloader,
            last_reload: None,
            last_error: None,
            warm: Warm::default(),
            asks_us: false,
            probe: settings.is_none_or(|settings| settings.probe),
            mode,
            watch: pid_file.as_deref().map(|path| Watch::new(kind, path, known)),
            remembered: loaded.targets,
            facts: plan::Server { running: false, reloads: false, probed: false },
        };
        if server.sight().is_some() {
            server.remembered.clear();
        }
        server
    }

    /// The file name that what it loaded is remembered by: the same over restarts.
    pub(super) fn key(model: &discover::ServerModel) -> String {
        let config = model.config.as_deref().unwrap_or(Path::new(""));
        if model.kind.usual_config() == Some(config) {
            return model.kind.to_string();
        }
        let digest = Digest::of(config.as_os_str().as_encoded_bytes()).to_string();
        format!("{}-{}", model.kind, &digest[..8])
    }

    /// What the planner needs to know of it.
    pub(super) fn facts(&self) -> plan::Server {
        self.facts
    }

    /// Takes in what a new scan says of it.
    pub(super) fn update(&mut self, model: &discover::ServerModel) {
        self.complete = model.complete;
        self.deployments = model.deployments.clone();
        self.admin = model.admin.clone();
    }

    /// What it was proved to have taken up for a target before this agent started.
    pub(super) fn remembered(&self, target: &str) -> Option<&Loaded> {
        self.remembered.get(target)
    }

    /// What people call it.
    pub(super) fn label(&self) -> String {
        discover::label(self.kind, self.config.as_deref())
    }

    /// Looks whether it runs, and what others did to it since the last look.
    pub(super) fn sight(&mut self) -> Option<Sighting> {
        let sighting = match self.watch.as_mut().map(Watch::look) {
            Some(Ok(sighting)) => sighting,
            Some(Err(error)) => {
                if self.last_error.is_none() {
                    tracing::warn!(%error, "a server cannot be seen");
                    self.last_error = Some(error.to_string());
                }
                None
            }
            None => None,
        };
        let seen = self.is_seen();
        let told = match &self.mode {
            // A command reaches servers whose processes cannot be seen from here (containers).
            Some(Mode::Command(_)) => true,
            // systemd knows whether there is anything to reload.
            Some(Mode::Systemd(_)) => self.watch.is_none(),
            _ => false,
        };
        self.facts = plan::Server {
            running: seen || told,
            reloads: self.reloader.mode() != Mode::Off,
            probed: self.probe && self.kind != discover::Kind::Files,
        };
        sighting
    }

    /// Takes what a reload of our own left as known.
    pub(super) fn rebase(&mut self, proved: Option<Snapshot>) {
        if let Some(Err(error)) = self.watch.as_mut().map(|watch| watch.rebase(proved)) {
            tracing::warn!(%error, "a server cannot be seen after its reload");
        }
    }

    /// It may be looked at by handshakes.
    pub(super) fn is_probed(&self) -> bool {
        self.probe
    }

    /// Where its processes are found.
    pub(super) fn pid_file(&self) -> Option<&Path> {
        self.watch.as_ref().map(Watch::pid_file)
    }

    /// Its processes are seen: a proved reload means that its new workers have taken over.
    pub(super) fn is_seen(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.last().is_some())
    }

    /// Its processes as last seen, in words that can be read back.
    pub(super) fn identity(&self) -> Option<String> {
        Some(self.watch.as_ref()?.last()?.to_string())
    }
}
