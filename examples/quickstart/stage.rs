//! What stands on stage: folder, CA, certificate, agent, server and clients.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use staplekeeper::pki::Certificate;
use tempfile::TempDir;

use crate::NAME;
use crate::agent::Agent;
use crate::authority::{Authority, LIFE};
use crate::ca::Identity;
use crate::client::{Crowd, Handshake};
use crate::port::free_port;
use crate::server::{Files, Program, Server};

/// Everything on stage. Fields go in their order: clients and agent leave before server and folder.
pub struct Stage {
    pub crowd: Option<Crowd>,
    pub agent: Option<Agent>,
    pub server: Option<Server>,
    pub program: Program,
    pub port: u16,
    pub files: Files,
    pub leaf: Identity,
    pub root: Arc<Certificate>,
    pub authority: Authority,
    pub folder: TempDir,
}

impl Stage {
    /// The folder with a certificate and both configurations; nothing but the responder runs.
    pub fn set(program: Program) -> Result<Stage> {
        let folder = tempfile::Builder::new().prefix("staplekeeper-quickstart-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for needed in ["state", "run", &format!("certs/{NAME}")] {
            fs::create_dir_all(path(needed))?;
        }
        let files = Files {
            folder: folder.path().to_owned(),
            chain: path("certs").join(NAME).join("fullchain.pem"),
            key: path("certs").join(NAME).join("privkey.pem"),
            staple: path("state/staples").join(format!("{NAME}.der")),
        };
        let authority = Authority::new();
        fs::write(path("root.pem"), authority.root.pem())?;
        let port = free_port();
        for (name, text) in [
            ("nginx.conf", include_str!("nginx.conf").to_owned()),
            ("staplekeeper.toml", program.reloaded_by(include_str!("staplekeeper.toml"))?),
        ] {
            let here = folder.path().display().to_string();
            let text = text.replace("/FOLDER", &here).replace("PORT", &port.to_string());
            fs::write(path(name), text)?;
        }
        let (crowd, agent, server) = (None, None, None);
        let leaf = authority.issue_must_staple(NAME);
        let root = Arc::new(Certificate::from_der(&authority.root.der)?);
        let stage =
            Stage { crowd, agent, server, program, port, files, leaf, root, authority, folder };
        stage.install(&stage.leaf)?;
        Ok(stage)
    }

    /// Says who plays.
    pub fn announce(&self) {
        let server = match &self.program {
            Program::Nginx { version, .. } => version,
            Program::StandIn => "an embedded TLS server (nginx is not installed, or not wanted)",
        };
        println!("A Must-Staple certificate for {NAME}, on 127.0.0.1:{}", self.port);
        println!("served by {server}; its CA's OCSP answers live for {LIFE:?}.");
    }

    /// Key and chain arrive by rename, as from an ACME client.
    pub fn install(&self, leaf: &Identity) -> Result<()> {
        let Files { key, chain, .. } = &self.files;
        for (path, text) in [(key, leaf.key_pem()), (chain, leaf.chain_pem())] {
            let temporary = path.with_extension("new");
            fs::write(&temporary, text)?;
            fs::rename(&temporary, path)?;
        }
        Ok(())
    }

    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("the agent runs")
    }

    pub fn crowd(&self) -> Result<&Crowd> {
        self.crowd.as_ref().context("clients come")
    }

    /// What the last client was handed.
    pub fn latest(&self) -> Result<Handshake> {
        self.crowd()?.tally().latest.context("no client has connected yet")
    }

    /// The ends of the logs, before they are removed.
    pub fn show_logs(&self) {
        for name in ["agent.log", "error.log"] {
            let log = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(20)..];
            eprintln!("\nThe end of {name}:\n{}\n", end.join("\n"));
        }
    }
}
