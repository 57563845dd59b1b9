//! Where a URL out of a certificate may lead (DESIGN §9): certificates are uploaded by others, and
//! the agent stands inside the network. Loopback and private ranges are open, since private PKI lives there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::AskError;

/// Where clouds tell a machine its secrets, apart from the link-local addresses most of them use.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
];

/// A name resolves to nothing but addresses that must not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to {address}")]
pub(super) struct Forbidden {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// Parses `url` and refuses what must not be asked; `asked` is the URL that errors name.
pub(super) fn check(url: &str, asked: &str) -> Result<Url, AskError> {
    let parsed = Url::parse(url).map_err(|_| AskError::NotAUrl { url: url.to_owned() })?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(AskError::NotHttp { url: url.to_owned() });
    }
    if let Some(address) = literal(&parsed).filter(|address| is_forbidden(*address)) {
        return Err(AskError::ForbiddenAddress { url: asked.to_owned(), address });
    }
    Ok(parsed)
}

/// Whether the URL's host is this machine by name or number.
pub(super) fn is_loopback(url: &Url) -> bool {
    let by_name = url.host_str().is_some_and(|host| host == "localhost");
    by_name || literal(url).is_some_and(|address| address.to_canonical().is_loopback())
}

/// The host as an address, however it was written: the parser has made `0xa9fe.43518` dotted.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether nothing of ours may connect there.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => {
            address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || METADATA_V6.contains(&address)
                || embedded(address).is_some_and(is_forbidden_v4)
        }
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA_V4.contains(&address)
}

/// The IPv4 address that a packet to this one ends at: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// The system's resolver, without the addresses that must not be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver {
    /// Which those are.
    pub(super) is_forbidden: fn(IpAddr) -> bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_forbidden = self.is_forbidden;
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<_> = tokio::net::lookup_host((name, 0)).await?.collect();
            let refused = found.first().map(SocketAddr::ip);
            let (_, open): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| is_forbidden(address.ip()));
            match (open.is_empty(), refused) {
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
                (true, Some(address)) => Err(Forbidden { name: name.to_owned(), address }.into()),
                (true, None) => Err(io::Error::other(format!("{name} has no address")).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(url: &str) -> String {
        check(url, url).map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    #[test]
    fn open_urls() {
        for url in [
            "http://ocsp.example/",
            "https://ocsp.example:8443/x/y",
            "http://127.0.0.1:8080/",
            "http://[::1]/",
            "http://10.1.2.3/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://[fd12::7]/",
        ] {
            assert_eq!(verdict(url), url);
        }
    }

    #[test]
    fn refused_urls() {
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://0xa9fea9fe/",
            "http://2852039166/",
            "http://169.254.43518/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::a9fe:a9fe]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd20:ce::254]/",
            "http://[ff02::1]/",
            "http://[::]/",
            "http://0.0.0.0/",
            "http://0.1.2.3/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://192.0.0.192/",
        ] {
            assert!(verdict(url).contains("must not be asked"), "{url}: {}", verdict(url));
        }
        for url in ["ldap://ldap.example/cn=x", "file:///etc/passwd", "unix:/run/x.sock", "http:"] {
            assert!(verdict(url).contains(url), "{url}: {}", verdict(url));
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.9/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://10.0.0.1/", false),
            ("http://localhost.example/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect(url)), expected, "{url}");
        }
    }
}
