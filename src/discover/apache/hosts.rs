//! `Listen`, `<VirtualHost …>`, `ServerName` and `ServerAlias`: where a virtual host is reached, and
//! under which names.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::discover::model::{Address, Listener, ServerName, Transport};

/// `Listen`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    /// `None`: all addresses of the host.
    ip: Option<IpAddr>,
    port: u16,
}

/// Which addresses a virtual host is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// `*` and `_default_`
    Any,
    Ip(IpAddr),
    /// A host name, looked up when Apache starts.
    Name(Box<str>),
}

/// One address of `<VirtualHost …>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostAddress {
    at: At,
    /// `None`: whatever is listened on.
    port: Option<u16>,
}

/// Reads the arguments of `Listen`; `None` where Apache would refuse them. A protocol behind the address
/// switches nothing on: Apache 2.4 speaks plain HTTP on `Listen 8443 https` where no `SSLEngine on` is.
pub(super) fn listen(words: &[&str]) -> Option<Bind> {
    let ([address] | [address, _]) = words else { return None };
    let (ip, port) = match address.parse::<u16>() {
        Ok(port) => (None, port),
        Err(_) => {
            let (host, port) = address.rsplit_once(':')?;
            let ip = match host {
                "*" => None,
                host => Some(ip(host)?),
            };
            (ip, port.parse().ok()?)
        }
    };
    let ip = ip.filter(|ip| !ip.is_unspecified());
    (port > 0).then_some(Bind { ip, port })
}

/// Reads one address of `<VirtualHost …>`; `None` where Apache would refuse it.
pub(super) fn host_address(word: &str) -> Option<HostAddress> {
    let bare = word.starts_with('[') && word.ends_with(']') || !word.contains(':');
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) if !bare => (host, port),
        _ => (word, "*"),
    };
    let port = match port {
        "*" => None,
        port => Some(port.parse().ok().filter(|port| *port > 0)?),
    };
    let at = match host {
        "" => return None,
        "*" | "_default_" => At::Any,
        host => match ip(host) {
            Some(ip) if ip.is_unspecified() => At::Any,
            Some(ip) => At::Ip(ip),
            None if host.starts_with('[') => return None,
            None => At::Name(host.to_ascii_lowercase().into()),
        },
    };
    Some(HostAddress { at, port })
}

fn ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

/// Reads `ServerName [scheme://]host[:port]`.
pub(super) fn server_name(word: &str) -> ServerName {
    let host = word.split_once("://").map_or(word, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    ServerName::Exact(host.to_ascii_lowercase().into())
}

/// Reads one argument of `ServerAlias`.
pub(super) fn server_alias(word: &str) -> ServerName {
    let name = word.to_ascii_lowercase();
    if name.contains(['*', '?']) {
        ServerName::Wildcard(name.into())
    } else {
        ServerName::Exact(name.into())
    }
}

impl HostAddress {
    fn is_reached_by(&self, bind: &Bind) -> bool {
        self.port.is_none_or(|port| port == bind.port)
            && match (&self.at, bind.ip) {
                (At::Ip(own), Some(ip)) => *own == ip,
                _ => true,
            }
    }

    /// What a client connects to in order to reach it by way of `bind`.
    fn reached(&self, bind: &Bind) -> Address {
        match (&self.at, bind.ip.as_ref()) {
            (At::Ip(ip), _) | (At::Any, Some(ip)) => Address::Ip(SocketAddr::new(*ip, bind.port)),
            (At::Any, None) => Address::Ip(SocketAddr::new(EVERYWHERE, bind.port)),
            (At::Name(name), _) => Address::Host(name.clone(), bind.port),
        }
    }
}

/// Stands for all addresses of the host; clients are told a loopback one instead.
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A virtual host as far as addresses matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host<'a> {
    pub(super) addresses: &'a [HostAddress],
    /// `SSLEngine`
    pub(super) engine: bool,
    pub(super) proxy_protocol: bool,
}

/// What each virtual host listens on with TLS, in their order; then the main server, which has what is
/// left.
pub(super) fn tls_listeners(
    hosts: &[Host<'_>],
    main: Host<'_>,
    binds: &[Bind],
) -> Vec<Vec<Listener>> {
    let mut specific = HashSet::new();
    for (address, bind) in hosts.iter().flat_map(|host| reached(host, binds)) {
        if let At::Ip(ip) = address.at {
            specific.insert((ip, bind.port));
        }
    }
    // An address with a virtual host of its own is not served by those for all.
    let keeps = |(address, bind): &(&HostAddress, &Bind)| {
        let taken = bind.ip.is_some_and(|ip| specific.contains(&(ip, bind.port)));
        address.at != At::Any || !taken
    };
    // Who comes first on an address answers to clients that name nobody there.
    let mut first = HashMap::<Address, usize>::new();
    for (at, host) in hosts.iter().enumerate() {
        for (address, bind) in reached(host, binds).filter(keeps) {
            first.entry(address.reached(bind)).or_insert(at);
        }
    }
    let told = |address: Address, bind: &Bind| {
        let taken = |ip| specific.contains(&(ip, bind.port));
        match address {
            // Clients of this machine's loopback address meet the virtual host that is for it.
            Address::Ip(all) if all.ip() == EVERYWHERE && taken(LOOPBACK) => {
                Address::Host("*".into(), bind.port)
            }
            address => address,
        }
    };
    let listener = |host: &Host<'_>, bind: &Bind, address: Address, default: bool| {
        host.engine.then(|| Listener {
            address: told(address, bind),
            transport: Transport::Tls,
            proxy_protocol: host.proxy_protocol,
            default,
        })
    };
    let mut all = Vec::with_capacity(hosts.len() + 1);
    for (at, host) in hosts.iter().enumerate() {
        let mut own = Vec::new();
        for (address, bind) in reached(host, binds).filter(keeps) {
            let reached = address.reached(bind);
            let default = first.get(&reached) == Some(&at);
            let listener = listener(host, bind, reached, default);
            own.extend(listener.filter(|listener| !own.contains(listener)));
        }
        all.push(own);
    }
    let is_left = |bind: &&Bind| {
        let takes = |host: &Host<'_>| {
            let mut reached = reached(host, std::slice::from_ref(*bind));
            reached.any(|(address, _)| address.at == At::Any || bind.ip.is_some())
        };
        !hosts.iter().any(takes)
    };
    let left = binds.iter().filter(is_left).filter_map(|bind| {
        let everywhere = HostAddress { at: At::Any, port: None };
        listener(&main, bind, everywhere.reached(bind), true)
    });
    all.push(left.collect());
    all
}

/// The pairs of a host's addresses and what is listened on.
fn reached<'h>(
    host: &Host<'h>,
    binds: &'h [Bind],
) -> impl Iterator<Item = (&'h HostAddress, &'h Bind)> {
    host.addresses.iter().flat_map(move |address| {
        binds.iter().filter(|bind| address.is_reached_by(bind)).map(move |bind| (address, bind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Option<Bind> {
        listen(&text.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn listens() {
        let table = [
            ("443", Some((None, 443))),
            ("*:8443 https", Some((None, 8443))),
            ("0.0.0.0:443 http", Some((None, 443))),
            ("127.0.0.1:443", Some((Some("127.0.0.1"), 443))),
            ("[::1]:8443 HTTPS", Some((Some("::1"), 8443))),
            ("[::]:443", Some((None, 443))),
            ("0", None),
            ("localhost:443", None),
            ("443 https more", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(ip, port): (Option<&str>, u16)| Bind {
                ip: ip.map(|ip| ip.parse().expect("an address")),
                port,
            });
            assert_eq!(bind(text), expected, "{text}");
        }
    }

    #[test]
    fn names() {
        let name = |word| server_name(word).to_string();
        assert_eq!(name("https://WWW.example.ORG:443"), "www.example.org");
        assert_eq!(name("www.example.org"), "www.example.org");
        let table = [("*.A.org", true), ("w?w.a.org", true), ("a.org", false)];
        for (alias, wild) in table {
            let found = matches!(server_alias(alias), ServerName::Wildcard(_));
            assert_eq!(found, wild, "{alias}");
        }
    }

    /// Hosts by their addresses (`;` between them), against what is listened on.
    fn check(hosts: &str, listens: &[&str], expected: &[&str]) {
        let addresses: Vec<Vec<_>> = hosts
            .split(';')
            .map(|host| {
                host.split_whitespace().map(|word| host_address(word).expect(word)).collect()
            })
            .collect();
        let host = |addresses| Host { addresses, engine: true, proxy_protocol: false };
        let parsed: Vec<_> = addresses.iter().map(|addresses| host(addresses)).collect();
        let binds: Vec<_> = listens.iter().map(|text| bind(text).expect("a bind")).collect();
        let found = tls_listeners(&parsed, host(&[]), &binds);
        let found: Vec<String> = found
            .iter()
            .map(|listeners| {
                let one = |listener: &Listener| {
                    let default = if listener.default { "+default" } else { "" };
                    format!("{}{default}", listener.address)
                };
                listeners.iter().map(one).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(found, expected, "of {hosts} on {listens:?}");
    }

    #[test]
    fn who_answers_where() {
        // The last line is the main server's.
        check("*:443; *:443", &["443"], &["0.0.0.0:443+default", "0.0.0.0:443", ""]);
        check("_default_:443; *:443", &["443"], &["0.0.0.0:443+default", "0.0.0.0:443", ""]);
        check("*:80", &["80", "443"], &["0.0.0.0:80+default", "0.0.0.0:443+default"]);
        check("*", &["443", "8443"], &["0.0.0.0:443+default 0.0.0.0:8443+default", ""]);
        check("*:8443", &["443"], &["", "0.0.0.0:443+default"]);
        check(
            "192.0.2.1:443; *:443; 192.0.2.1:443",
            &["443"],
            &["192.0.2.1:443+default", "0.0.0.0:443+default", "192.0.2.1:443", ""],
        );
        check("192.0.2.1:443", &["443"], &["192.0.2.1:443+default", "0.0.0.0:443+default"]);
        check("127.0.0.1:443; *:443", &["443"], &["127.0.0.1:443+default", "*:443+default", ""]);
        check(
            "*:443; 192.0.2.1:443",
            &["192.0.2.1:443", "192.0.2.2:443"],
            &["192.0.2.2:443+default", "192.0.2.1:443+default", ""],
        );
        check(
            "[2001:db8::1]:443 *:443",
            &["443"],
            &["[2001:db8::1]:443+default 0.0.0.0:443+default", ""],
        );
        check("www.a.org:443", &["443"], &["www.a.org:443+default", "0.0.0.0:443+default"]);
        check("[::1]", &["[::1]:8443"], &["[::1]:8443+default", ""]);
    }

    #[test]
    fn refused_addresses() {
        for word in ["", ":443", "*:0", "*:https", "[::1", "[::zz]:443", "a:99999"] {
            assert_eq!(host_address(word), None, "{word}");
        }
    }
}
