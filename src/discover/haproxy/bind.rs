//! `bind`: where a frontend listens, and with which certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::words::Word;
use crate::discover::model::{Address, Listener, Transport};

/// A port range stands for this many listeners at most: one would do to ask the server.
const MAX_RANGE: u16 = 16;

/// A `bind` line with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) listeners: Vec<Listener>,
    /// `crt`: files and folders, in their order.
    pub(super) certificates: Vec<Word>,
    /// `crt-list`.
    pub(super) lists: Vec<Word>,
    /// It keeps its staples fresh itself, or does not, where that is said.
    pub(super) updates: Option<bool>,
}

/// Reads the arguments of `bind`; `None` where it has no TLS.
pub(super) fn bind(arguments: &[Word]) -> Option<Bind> {
    let (addresses, options) = arguments.split_first()?;
    let mut bind = Bind::default();
    let (mut tls, mut proxy_protocol) = (false, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.text.as_str() {
            "ssl" => tls = true,
            "accept-proxy" => proxy_protocol = true,
            "crt" => bind.certificates.extend(options.next().cloned()),
            "default-crt" => {
                let first = options.next().cloned();
                bind.certificates.splice(0..0, first);
            }
            "crt-list" => bind.lists.extend(options.next().cloned()),
            "ocsp-update" => bind.updates = options.next().map(|word| word.text == "on"),
            _ => {}
        }
    }
    if !tls || (bind.certificates.is_empty() && bind.lists.is_empty()) {
        return None;
    }
    let found = addresses.text.split(',').filter(|_| addresses.unknown.is_none()).flat_map(listen);
    let listener =
        |(address, transport)| Listener { address, transport, proxy_protocol, default: false };
    bind.listeners = found.map(listener).collect();
    Some(bind)
}

/// The addresses that a word stands for, however they are spoken to.
pub(super) fn addresses(text: &str) -> Vec<Address> {
    listen(text).into_iter().map(|(address, _)| address).collect()
}

/// The addresses that one word stands for; none that could be connected to for `fd@` and `abns@`.
fn listen(text: &str) -> Vec<(Address, Transport)> {
    let (family, rest) = text.split_once('@').unwrap_or(("", text));
    let transport = if family.starts_with("quic") { Transport::Quic } else { Transport::Tls };
    let addresses = match family {
        "unix" | "uxst" => vec![Address::Unix(Path::new(rest).into())],
        "" if rest.starts_with('/') => vec![Address::Unix(Path::new(rest).into())],
        "" | "ipv4" | "ipv6" | "quic4" | "quic6" | "tcp" | "tcp4" | "tcp6" => tcp(family, rest),
        _ => Vec::new(),
    };
    addresses.into_iter().map(|address| (address, transport)).collect()
}

fn tcp(family: &str, text: &str) -> Vec<Address> {
    // The last colon is before the port, in IPv6 addresses too.
    let Some((host, ports)) = text.rsplit_once(':') else { return Vec::new() };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
        return Vec::new();
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let any = if family.ends_with('6') {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let ip = match host {
        "" | "*" => Some(any),
        host => host.parse().ok(),
    };
    let ports = first..=last.min(first.saturating_add(MAX_RANGE - 1));
    let address = |port| match ip {
        Some(ip) => Address::Ip(SocketAddr::new(ip, port)),
        None => Address::Host(host.to_ascii_lowercase().into(), port),
    };
    ports.map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::super::variables::Variables;
    use super::super::words;
    use super::*;

    fn words(line: &str) -> Result<Vec<Word>, &'static str> {
        words::words(line, &Variables::default())
    }

    fn check(line: &str, listeners: &[&str], certificates: &[&str]) {
        let bind = bind(&words(line).expect(line)).expect(line);
        let found: Vec<_> = bind.listeners.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(found, listeners, "{line}");
        let found: Vec<_> = bind.certificates.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(found, certificates, "{line}");
    }

    #[test]
    fn binds_tell_addresses_and_certificates() {
        check("*:443 ssl crt a.pem", &["0.0.0.0:443"], &["a.pem"]);
        check(":443 ssl crt a.pem alpn h2 crt b.pem", &["0.0.0.0:443"], &["a.pem", "b.pem"]);
        check("127.0.0.1:1,[::1]:2 ssl crt a", &["127.0.0.1:1", "[::1]:2"], &["a"]);
        check(":::443 v4v6 ssl crt a", &["[::]:443"], &["a"]);
        check("ipv6@*:443 ssl crt a", &["[::]:443"], &["a"]);
        check(":8443-8445 ssl crt a", &["0.0.0.0:8443", "0.0.0.0:8444", "0.0.0.0:8445"], &["a"]);
        check("unix@/run/h.sock ssl crt a", &["unix:/run/h.sock"], &["a"]);
        check("/run/h.sock ssl crt a", &["unix:/run/h.sock"], &["a"]);
        check("www.example.org:443 ssl crt a", &["www.example.org:443"], &["a"]);
        check("fd@3 ssl crt a", &[], &["a"]);
        check("\"${IP}:443\" ssl crt a", &[], &["a"]);
        let proxied = bind(&words(":1 accept-proxy ssl crt a").expect("words")).expect("TLS");
        assert!(proxied.listeners[0].proxy_protocol);
        for plain in ["*:80", "*:443 ssl", "", "*:80 crt a.pem"] {
            assert_eq!(bind(&words(plain).expect(plain)), None, "{plain}");
        }
    }
}
