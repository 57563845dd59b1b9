//! One HTTP client per way out, built when the first question goes that way.
//!
//! A client for plain `http` knows no roots at all: the system's store costs a megabyte, and most
//! responders never need it. A machine without one can still ask them.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url, redirect};
use rustls::crypto::aws_lc_rs;

use super::Settings;
use super::address::{self, Resolver};
use super::error::AskError;
use super::question::Route;

/// As many as are asked at once: what a batch opened serves the next one.
const IDLE_PER_HOST: usize = 16;
/// Shorter than servers' own patience (nginx 75 s), so that they seldom close under us.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Clients {
    connect_timeout: Duration,
    pub(super) resolver: Resolver,
    built: Mutex<HashMap<Key, Client>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    proxy: ProxyChoice,
    trust: Trust,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ProxyChoice {
    None,
    Environment,
    This(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    /// No TLS will be spoken.
    Nobody,
    System,
    Bundle(PathBuf),
}

impl Clients {
    pub(super) fn new(settings: &Settings) -> Clients {
        let resolver = Resolver { is_forbidden: address::is_forbidden };
        Clients { connect_timeout: settings.connect_timeout, resolver, built: Mutex::default() }
    }

    /// The client for this URL; another hop of the same question may need another one.
    pub(super) fn client(&self, route: &Route, url: &Url) -> Result<Client, AskError> {
        let key = Key::of(route, url);
        let mut built = self.built.lock().expect("nothing panics while it holds this");
        if let Some(client) = built.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        built.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, key: &Key) -> Result<Client, AskError> {
        let builder = Client::builder()
            .user_agent(concat!("staplekeeper/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .http1_only()
            .dns_resolver(Arc::new(self.resolver))
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT);
        let builder = match &key.proxy {
            ProxyChoice::None => builder.no_proxy(),
            ProxyChoice::Environment => builder,
            ProxyChoice::This(url) => builder.proxy(Proxy::all(url).map_err(|source| {
                AskError::Proxy { proxy: url.clone(), source: source.without_url() }
            })?),
        };
        match &key.trust {
            Trust::Nobody => without_roots(builder),
            Trust::System => builder,
            Trust::Bundle(path) => builder.tls_certs_only(read_bundle(path)?),
        }
        .build()
        .map_err(|source| AskError::Roots { source })
    }
}

impl Key {
    fn of(route: &Route, url: &Url) -> Key {
        let proxy = match &route.proxy {
            Some(proxy) => ProxyChoice::This(proxy.clone()),
            // As Go has it: a proxy's loopback is not ours.
            None if address::is_loopback(url) => ProxyChoice::None,
            None => ProxyChoice::Environment,
        };
        let tls_to_proxy = match &proxy {
            ProxyChoice::None => false,
            ProxyChoice::This(proxy) => proxy.starts_with("https:"),
            ProxyChoice::Environment => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .iter()
                .any(|name| env::var(name).is_ok_and(|value| value.starts_with("https:"))),
        };
        let trust = match &route.tls_ca {
            _ if url.scheme() == "http" && !tls_to_proxy => Trust::Nobody,
            Some(path) => Trust::Bundle(path.clone()),
            None => Trust::System,
        };
        Key { proxy, trust }
    }
}

fn without_roots(builder: ClientBuilder) -> ClientBuilder {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    builder.tls_backend_preconfigured(tls)
}

fn read_bundle(path: &PathBuf) -> Result<Vec<Certificate>, AskError> {
    let pem =
        fs::read(path).map_err(|source| AskError::ReadBundle { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(AskError::EmptyBundle { path: path.clone() }),
    }
}
