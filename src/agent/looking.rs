//! One `Confirm` action: handshakes with the deployments of a target, and the worst of what they show.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::warming::Warmth;
use crate::confirm::{self, Confirmer, KeyKind, Look, Seen, StartTls};
use crate::digest::{Digest, Fingerprint};
use crate::discover::{Address, Deployment, Listener, Transport};
use crate::ocsp::TRY_LATER;
use crate::pki::KeyType;
use crate::plan::{Content, ServerId, TargetId};

/// What to look at, and what would be right.
#[derive(Clone, Debug)]
pub(super) struct Viewing {
    pub(super) target: TargetId,
    pub(super) server: ServerId,
    pub(super) deployments: Vec<Deployment>,
    /// The key types to ask for; one where a deployment has one certificate.
    pub(super) keys: Vec<Option<KeyKind>>,
    /// Looking ends at once when one of these is shown.
    pub(super) expected: Expected,
    /// How long to look for it.
    pub(super) patience: Duration,
}

/// What would be right, and becomes more while somebody looks: what is published meanwhile is right too, and
/// whoever asks by himself may be handed nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected(Arc<Mutex<Vec<(Shown, Content)>>>);

impl Expected {
    /// This is right too.
    pub(super) fn add(&self, more: impl IntoIterator<Item = (Shown, Content)>) {
        self.lock().extend(more);
    }

    fn find(&self, shown: Shown) -> Option<Content> {
        self.lock().iter().find(|(one, _)| *one == shown).map(|(_, content)| *content)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Shown, Content)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a handshake showed, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) leaf: Option<Fingerprint>,
    pub(super) staple: ShownStaple,
}

/// What was stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShownStaple {
    Nothing,
    TryLater,
    Bytes(Digest),
}

/// What the handshakes for one target came to.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) target: TargetId,
    pub(super) server: ServerId,
    /// The first that was not expected, else the last; none: nobody could be asked.
    pub(super) shown: Option<One>,
    /// Where each worker had to be asked.
    pub(super) warmth: Option<Warmth>,
}

/// What one handshake showed.
#[derive(Debug)]
pub(super) struct One {
    pub(super) shown: Shown,
    /// The content it was expected to show.
    pub(super) expected: Option<Content>,
    /// The staple's bytes.
    pub(super) staple: Arc<[u8]>,
}

impl Viewing {
    /// Looks at every deployment, with every key type, until one shows something unexpected.
    pub(super) async fn run(self, confirmer: &Confirmer) -> Looked {
        let (target, server, mut shown, warmth) = (self.target, self.server, None, None);
        for deployment in &self.deployments {
            for key in &self.keys {
                let Some(seen) = self.deployment(deployment, *key, confirmer).await else {
                    continue;
                };
                let one = self.one(seen);
                let expected = one.expected.is_some();
                shown = Some(one);
                if !expected {
                    return Looked { target, server, shown, warmth };
                }
            }
        }
        Looked { target, server, shown, warmth }
    }

    /// What a handshake showed, compared with what would be right.
    pub(super) fn one(&self, seen: Seen) -> One {
        let shown = Shown::of(&seen);
        let staple = seen.staple.unwrap_or_default().into();
        One { shown, expected: self.expects(shown), staple }
    }

    /// Where to knock at each deployment, for its first key type.
    pub(super) fn looks(&self) -> Vec<Look> {
        let key = self.keys.first().copied().flatten();
        self.deployments.iter().filter_map(|one| looks(one, key).into_iter().next()).collect()
    }

    /// What the first listener that answers shows.
    async fn deployment(
        &self,
        deployment: &Deployment,
        key: Option<KeyKind>,
        confirmer: &Confirmer,
    ) -> Option<Seen> {
        for look in looks(deployment, key) {
            let satisfied = |seen: &Seen| self.expects(Shown::of(seen)).is_some();
            match confirmer.look_for(&look, self.patience, satisfied).await {
                Ok(seen) => return Some(seen),
                Err(error) => {
                    tracing::debug!(address = %look.address, %error, "a listener could not be asked");
                }
            }
        }
        None
    }

    fn expects(&self, shown: Shown) -> Option<Content> {
        self.expected.find(shown)
    }
}

impl Shown {
    fn of(seen: &Seen) -> Shown {
        let staple = match seen.staple.as_deref() {
            None => ShownStaple::Nothing,
            Some(bytes) if *bytes == TRY_LATER => ShownStaple::TryLater,
            Some(bytes) => ShownStaple::Bytes(Digest::of(bytes)),
        };
        Shown { leaf: seen.chain.first().map(|leaf| Digest::of(leaf)), staple }
    }
}

/// The key kinds among some certificates, if there are two; a client asks for one at a time. `each`: the
/// server may have another certificate of another kind for the same name.
pub(super) fn kinds(types: impl Iterator<Item = KeyType>, each: bool) -> Vec<Option<KeyKind>> {
    let rsa = |key: KeyType| if matches!(key, KeyType::Rsa(_)) { 0 } else { 1 };
    let found: BTreeSet<_> = types.map(rsa).collect();
    if found.is_empty() || found.len() < 2 && !each {
        return vec![None];
    }
    let kind = |kind: u8| if kind == 0 { KeyKind::Rsa } else { KeyKind::Elliptic };
    found.into_iter().map(|found| Some(kind(found))).collect()
}

/// Where to knock, in order: addresses of this host, TCP before sockets.
fn looks(deployment: &Deployment, key: Option<KeyKind>) -> Vec<Look> {
    let server_name = deployment.names.iter().find_map(|name| name.example());
    let mut listeners: Vec<_> =
        deployment.listeners.iter().filter(|one| one.transport != Transport::Quic).collect();
    listeners.sort_by_key(|one| one.proxy_protocol);
    let look = |listener: &Listener| {
        // Without a name to ask for, only a default server answers for itself.
        if server_name.is_none() && !listener.default {
            return None;
        }
        let address = match &listener.address {
            Address::Ip(address) => confirm::Address::Tcp(reachable(*address)),
            Address::Unix(path) => confirm::Address::Unix(path.to_path_buf()),
            // Which address a name stands for is the server's resolver's to say.
            Address::Host(..) => return None,
        };
        Some(Look {
            server_name: server_name.clone(),
            key,
            proxy_protocol: listener.proxy_protocol,
            starttls: (listener.transport == Transport::Smtp).then_some(StartTls::Smtp),
            ..Look::at(address)
        })
    };
    listeners.into_iter().filter_map(look).collect()
}

/// An address to connect to; the unspecified one stands for all of this host's.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
