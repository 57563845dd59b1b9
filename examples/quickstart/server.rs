//! The web server: a real nginx, or an embedded TLS server that handles its files as nginx does.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::agent::stop;

/// A program to serve with.
pub enum Program {
    Nginx { path: PathBuf, version: String },
    StandIn,
}

/// The files that the server reads at its start and at each reload.
#[derive(Clone)]
pub struct Files {
    pub folder: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
    pub staple: PathBuf,
}

/// A running server, gone when the value is dropped.
pub enum Server {
    Nginx(Child),
    StandIn(#[allow(dead_code, reason = "dropping it ends the server")] JoinSet<()>),
}

impl Program {
    /// nginx where it is installed.
    pub fn find() -> Program {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders =
            env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into));
        let found = folders.map(|folder| folder.join("nginx")).find(|nginx| nginx.is_file());
        let version = |nginx: &PathBuf| {
            let output = Command::new(nginx).arg("-v").output().ok()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Some(said.trim().strip_prefix("nginx version: ")?.to_owned())
        };
        let nginx = found.and_then(|path| Some(Program::Nginx { version: version(&path)?, path }));
        nginx.unwrap_or(Program::StandIn)
    }

    /// The agent's configuration, as it is for this program: the embedded server has no pid of its own.
    pub fn reloaded_by(&self, config: &str) -> Result<String> {
        let own = env::current_exe()?.display().to_string();
        let command = format!("[{own:?}, \"reload\", \"/FOLDER/server.sock\"]");
        Ok(match self {
            Program::Nginx { .. } => config.to_owned(),
            Program::StandIn => config.replace("\"signal:/FOLDER/nginx.pid\"", &command),
        })
    }

    /// Starts it; returns when it listens on `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When it does not come up: nginx does not without its staple file.
    pub async fn start(&self, files: &Files, port: u16) -> Result<Server> {
        let nginx = match self {
            Program::Nginx { path, .. } => path,
            Program::StandIn => return stand_in(files.clone(), port).await,
        };
        let mut command = Command::new(nginx);
        command.arg("-p").arg(&files.folder).arg("-c").arg(files.folder.join("nginx.conf"));
        command.arg("-e").arg(files.folder.join("error.log"));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                stop(&mut child);
                let log = fs::read_to_string(files.folder.join("error.log")).unwrap_or_default();
                bail!("nginx does not come up:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Server::Nginx(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Server::Nginx(child) = self {
            stop(child);
        }
    }
}

/// Serves in this process: reads its files now and when somebody asks for it on `server.sock`.
async fn stand_in(files: Files, port: u16) -> Result<Server> {
    let loaded = Arc::new(Mutex::new(files.load()?));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let orders = UnixListener::bind(files.folder.join("server.sock"))?;
    let mut tasks = JoinSet::new();
    let current = Arc::clone(&loaded);
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = Arc::clone(&current.lock().expect("sane"));
            tokio::spawn(async move {
                let mut stream = TlsAcceptor::from(config).accept(stream).await?;
                stream.read_u8().await?;
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nstapled\n").await?;
                stream.shutdown().await
            });
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = orders.accept().await {
            let answer = match files.load() {
                Ok(config) => {
                    *loaded.lock().expect("sane") = config;
                    String::new()
                }
                Err(error) => format!("{error:#}"),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(Server::StandIn(tasks))
}

impl Files {
    /// Refuses to work without a staple file, as nginx does; looks into it as little.
    fn load(&self) -> Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.chain)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let staple = fs::read(&self.staple).context("no staple file")?;
        let config = ServerConfig::builder().with_no_client_auth();
        Ok(Arc::new(config.with_single_cert_with_ocsp(chain, key, staple)?))
    }
}

/// `quickstart reload SOCKET`: what the agent runs to have the embedded server read its files again.
pub async fn reload(socket: &Path) -> Result<()> {
    let mut complaint = String::new();
    UnixStream::connect(socket).await?.read_to_string(&mut complaint).await?;
    ensure!(complaint.is_empty(), "{complaint}");
    Ok(())
}
