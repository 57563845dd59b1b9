//! `listen` and `server_name`: where a block listens, and under which names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::discover::model::{Address, Listener, ServerName, Transport};

/// A port range stands for this many listeners at most: one would do to ask the server.
const MAX_RANGE: u16 = 64;

/// One address of a `listen` directive with its own parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    address: Address,
    tls: bool,
    quic: bool,
    proxy_protocol: bool,
    default: bool,
}

impl Listen {
    /// What nginx listens on where a block has no `listen`.
    pub(super) fn unstated() -> Self {
        Listen {
            address: Address::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80)),
            tls: false,
            quic: false,
            proxy_protocol: false,
            default: false,
        }
    }
}

/// Reads the arguments of `listen`; `None` where nginx would refuse the address.
pub(super) fn listen(arguments: &[Cow<'_, [u8]>]) -> Option<Vec<Listen>> {
    let (address, parameters) = arguments.split_first()?;
    let has = |name: &[u8]| parameters.iter().any(|parameter| **parameter == *name);
    let listen = |address| Listen {
        address,
        tls: has(b"ssl"),
        quic: has(b"quic"),
        proxy_protocol: has(b"proxy_protocol"),
        default: has(b"default_server") || has(b"default"),
    };
    Some(addresses(std::str::from_utf8(address).ok()?)?.into_iter().map(listen).collect())
}

fn addresses(text: &str) -> Option<Vec<Address>> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| vec![Address::Unix(Path::new(path).into())]);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let ip = IpAddr::V6(ip.parse().ok()?);
        let ports = if port.is_empty() { (80, 80) } else { ports(port.strip_prefix(':')?)? };
        return Some(each(ports, |port| Address::Ip(SocketAddr::new(ip, port))));
    }
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (host, ports) = match text.split_once(':') {
        Some((host, port)) => (host, ports(port)?),
        None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {
            ("*", ports(text)?)
        }
        None => (text, (80, 80)),
    };
    match host.parse::<Ipv4Addr>() {
        _ if host.is_empty() => None,
        _ if host == "*" => Some(each(ports, |port| Address::Ip(SocketAddr::new(any, port)))),
        Ok(ip) => Some(each(ports, |port| Address::Ip(SocketAddr::new(ip.into(), port)))),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            Some(each(ports, |port| Address::Host(host.as_str().into(), port)))
        }
    }
}

/// `443` or `8443-8450`, both ends included.
fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

fn each((first, last): (u16, u16), address: impl Fn(u16) -> Address) -> Vec<Address> {
    (first..=last.min(first.saturating_add(MAX_RANGE - 1))).map(address).collect()
}

/// Reads one argument of `server_name`.
pub(super) fn server_name(word: &[u8]) -> ServerName {
    let text = String::from_utf8_lossy(word);
    if let Some(pattern) = text.strip_prefix('~') {
        return ServerName::Pattern(pattern.into());
    }
    let name = text.to_ascii_lowercase();
    if name.is_empty() {
        ServerName::Unnamed
    } else if name.contains('$') {
        ServerName::Pattern(name.into())
    } else if name.contains('*') || name.starts_with('.') {
        ServerName::Wildcard(name.into())
    } else {
        ServerName::Exact(name.into())
    }
}

/// An address as nginx tells them apart: QUIC listens on UDP, beside TLS on the same port.
type Key<'a> = (&'a Address, bool);

/// What is in effect on one address, whichever block said it.
#[derive(Default)]
struct Shared {
    tls: bool,
    proxy_protocol: bool,
    /// The block that declared itself the default, else the first one there.
    default: Option<usize>,
    declared: bool,
}

/// What each of `blocks` listens on with TLS, in their order.
///
/// `ssl` and `proxy_protocol` belong to the address: one block's word holds for all on it. A block
/// with the old `ssl on` (second of the pair) takes TLS on all it has.
pub(super) fn tls_listeners(blocks: &[(&[Listen], bool)]) -> Vec<Vec<Listener>> {
    let mut addresses = HashMap::<Key<'_>, Shared>::new();
    for (block, (listens, _)) in blocks.iter().enumerate() {
        for listen in *listens {
            let shared = addresses.entry((&listen.address, listen.quic)).or_default();
            shared.tls |= listen.tls;
            shared.proxy_protocol |= listen.proxy_protocol;
            if shared.default.is_none() || (listen.default && !shared.declared) {
                shared.default = Some(block);
                shared.declared = listen.default;
            }
        }
    }
    let listeners = |(block, (listens, ssl_on)): (usize, &(&[Listen], bool))| {
        let effective = listens.iter().filter_map(|listen| {
            let shared = &addresses[&(&listen.address, listen.quic)];
            (shared.tls || listen.quic || *ssl_on).then(|| Listener {
                address: listen.address.clone(),
                transport: if listen.quic { Transport::Quic } else { Transport::Tls },
                proxy_protocol: shared.proxy_protocol,
                default: shared.default == Some(block),
            })
        });
        effective.collect()
    };
    blocks.iter().enumerate().map(listeners).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<Cow<'_, [u8]>> {
        text.split_whitespace().map(|word| Cow::Borrowed(word.as_bytes())).collect()
    }

    fn check(text: &str, expected: &str) {
        let listens = listen(&arguments(text)).map(|listens| {
            let texts = listens.iter().map(|listen| {
                let flags = [
                    (listen.tls, "ssl"),
                    (listen.quic, "quic"),
                    (listen.proxy_protocol, "proxy"),
                    (listen.default, "default"),
                ];
                let set = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
                let words: Vec<_> = std::iter::once(listen.address.to_string())
                    .chain(set.map(str::to_owned))
                    .collect();
                words.join(" ")
            });
            texts.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(listens.as_deref().unwrap_or("refused"), expected, "of {text}");
    }

    #[test]
    fn addresses_and_parameters() {
        check("443 ssl", "0.0.0.0:443 ssl");
        check("*:443 ssl http2 default_server", "0.0.0.0:443 ssl default");
        check("127.0.0.1", "127.0.0.1:80");
        check("127.0.0.1:8443 quic reuseport", "127.0.0.1:8443 quic");
        check("[::]:443 ssl ipv6only=on", "[::]:443 ssl");
        check("[::1]", "[::1]:80");
        check("LocalHost:443 ssl", "localhost:443 ssl");
        check("example", "example:80");
        check("unix:/run/nginx.sock ssl proxy_protocol", "unix:/run/nginx.sock ssl proxy");
        check(
            "8443-8445 ssl default",
            "0.0.0.0:8443 ssl default, 0.0.0.0:8444 ssl default, 0.0.0.0:8445 ssl default",
        );
    }

    #[test]
    fn refused_addresses() {
        for text in ["", "unix:", "0", "65536", ":443", "[::1", "[::1]443", "1.2.3.4:99999", "9-8"]
        {
            check(text, "refused");
        }
    }

    #[test]
    fn names() {
        let table = [
            ("WWW.example.ORG", "www.example.org", Some("www.example.org")),
            ("*.example.org", "*.example.org", Some("staplekeeper-probe.example.org")),
            (".example.org", ".example.org", Some("example.org")),
            ("www.*", "www.*", Some("www.staplekeeper-probe")),
            ("~^W(\\d+)$", "~^W(\\d+)$", None),
            ("$hostname", "~$hostname", None),
            ("_", "_", None),
            ("", "\"\"", None),
        ];
        for (text, printed, example) in table {
            let name = server_name(text.as_bytes());
            assert_eq!((name.to_string().as_str(), name.example().as_deref()), (printed, example));
        }
    }
}
