//! lighttpd: its configuration with includes and conditions, as deployments.
//!
//! [`tokens`] splits a text, [`read`] collects what each block says. A certificate, its key and its staple
//! belong to the block they are named in (`ssl.pemfile`, `ssl.privkey`, `ssl.stapling-file`); a block
//! inside `$HTTP["host"]` presents its own to clients that ask for that name.

mod read;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use super::configuration::Configuration;
use super::model::{Address, Listener, ServerName, Transport};
use super::plain::Served;
use super::settings::PathMap;
use read::{Block, Collected, Condition};

const SOCKET: &str = "SERVER socket";
const HOST: &str = "HTTP host";

/// Reads the configuration in `main`, as we see it.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let Collected { blocks, sources, faults } = read::read(main, map);
    let pid_file = blocks.first().and_then(|block| block.settings.get("server.pid-file"));
    let pid_file = pid_file.map(|stated| map.ours(Path::new(&stated.value)).ours.to_path_buf());
    let mut deployments = Vec::new();
    let sockets = sockets(&blocks);
    for block in &blocks {
        let Some(certificate) = block.settings.get("ssl.pemfile") else { continue };
        let file = |name: &str| {
            let stated = block.settings.get(name)?;
            Some(map.ours(Path::new(&stated.value)))
        };
        let names = names(block);
        let of_its_own = socket_of(block);
        // The outermost block's certificate is that of every socket without its own.
        let default = names.is_empty();
        let listeners: Arc<[Listener]> = sockets
            .iter()
            .filter(|socket| match of_its_own {
                Some(address) => socket.address == address,
                None => !(default && socket.has_certificate),
            })
            .flat_map(|socket| address(socket.address, socket.port))
            .map(|address| listener(address, default))
            .collect();
        if listeners.is_empty() {
            continue;
        }
        let served = Served {
            certificate: map.ours(Path::new(&certificate.value)),
            staple: file("ssl.stapling-file"),
            issuer: file("ssl.ca-file"),
        };
        let mut deployment = served.deployment(&certificate.origin, &names, listeners);
        deployment.origin = block.origin.clone();
        deployments.push(deployment);
    }
    let deployments = deployments.into();
    Configuration { deployments, pid_file, sources, faults, ..Configuration::default() }
}

/// A socket with TLS.
struct Socket<'a> {
    address: &'a str,
    port: Option<&'a str>,
    /// Its block names one of its own.
    has_certificate: bool,
}

fn sockets(blocks: &[Block]) -> Vec<Socket<'_>> {
    let mut found = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let said = |name: &str| block.settings.get(name).map(|stated| stated.value.as_str());
        let on = said("ssl.engine").is_some_and(|value| value.eq_ignore_ascii_case("enable"));
        if !on {
            continue;
        }
        let has_certificate = at > 0 && said("ssl.pemfile").is_some();
        match (at, socket_of(block)) {
            (0, _) => found.push(Socket {
                address: said("server.bind").unwrap_or(""),
                port: Some(said("server.port").unwrap_or("443")),
                has_certificate,
            }),
            (_, Some(address)) if block.conditions.len() == 1 => {
                found.push(Socket { address, port: None, has_certificate });
            }
            _ => {}
        }
    }
    found
}

fn socket_of(block: &Block) -> Option<&str> {
    let is = |one: &&Condition| one.about == SOCKET && one.operator == "==";
    block.conditions.iter().find(is).map(|one| one.value.as_str())
}

/// The names of the hosts that a block is for.
fn names(block: &Block) -> Vec<ServerName> {
    let hosts = block.conditions.iter().filter(|one| one.about == HOST);
    let name = |one: &Condition| {
        let value = one.value.to_ascii_lowercase();
        match one.operator {
            "==" => ServerName::Exact(value.into()),
            "=$" => ServerName::Wildcard(format!("*{value}").into()),
            _ => ServerName::Pattern(one.value.as_str().into()),
        }
    };
    hosts.map(name).collect()
}

fn listener(address: Address, default: bool) -> Listener {
    Listener { address, transport: Transport::Tls, proxy_protocol: false, default }
}

/// `127.0.0.1:443`, `:443`, `[::]:443`, `/run/x.sock`; with `port` the address stands alone.
fn address(text: &str, port: Option<&str>) -> Option<Address> {
    if text.starts_with('/') {
        return Some(Address::Unix(Path::new(text).into()));
    }
    let (host, port) = match port {
        Some(port) => (text, port),
        None => text.rsplit_once(':')?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Address::of(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_without_end_are_not_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let main = root.path().join("lighttpd.conf");
        let condition = "$HTTP[\"host\"] == \"a\" {\n";
        let text = [&condition.repeat(100_000), "}\n".repeat(100_000).as_str()].concat();
        let text = text + "server.pid-file = \"/run/lighttpd.pid\"\n" + &"else {\n".repeat(100_000);
        std::fs::write(&main, text).expect("ours");
        let read = configuration(&main, &PathMap::default());
        let told: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
        let wanted = |line: u32| {
            let path = main.display();
            format!(
                "{path}:{line}: more than 100 blocks in each other: what is in here is not read"
            )
        };
        assert_eq!(told, [wanted(101), wanted(200_102)]);
        assert_eq!(read.pid_file.as_deref(), Some(Path::new("/run/lighttpd.pid")));
    }

    #[test]
    fn a_configuration_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("conf-enabled")).expect("ours");
        let main = "server.modules = (\n\t\"mod_access\",\n)\nserver.port = 80\n\
                    server.pid-file = \"/run/lighttpd.pid\"\nvar.certs = \"/etc/certs\"\n\
                    server.feature-flags += (\"server.h2proto\" => \"enable\")\n\
                    include_shell \"/usr/share/lighttpd/create-mime.conf.pl\"\n\
                    include \"conf-enabled/*.conf\"\n";
        let tls = "server.modules += ( \"mod_openssl\" )\nssl.pemfile = var.certs + \"/all.pem\"\n\
                   ssl.stapling-file = var.certs + \"/all.der\"\n\
                   $SERVER[\"socket\"] == \"0.0.0.0:443\" {\n  ssl.engine = \"enable\"\n\
                   \x20 $HTTP[\"host\"] == \"A.test\" {\n    ssl.pemfile = \"/etc/a.pem\"\n\
                   \x20   ssl.privkey = \"/etc/a.key\"\n    ssl.stapling-file = \"/etc/a.der\"\n  }\n}\n\
                   $HTTP[\"host\"] =~ \"^b\\.\" {\n  ssl.pemfile = \"/etc/b.pem\"\n}\n";
        std::fs::write(at("lighttpd.conf"), main).expect("ours");
        std::fs::write(at("conf-enabled/10-ssl.conf"), tls).expect("ours");
        let read = configuration(&at("lighttpd.conf"), &PathMap::default());
        assert!(read.faults.is_empty(), "{:?}", read.faults);
        assert_eq!(read.pid_file.as_deref(), Some(Path::new("/run/lighttpd.pid")));
        let told: Vec<_> = read
            .deployments
            .iter()
            .map(|one| {
                let file = one.certificates[0].file.ours.display();
                let staple = one.target().map(|file| file.ours.display().to_string());
                let names: Vec<_> = one.names.iter().map(ToString::to_string).collect();
                let Listener { address, default, .. } = &one.listeners[0];
                let staple = staple.unwrap_or_default();
                format!("{file} {staple} {address} {default} {}", names.join(","))
            })
            .collect();
        assert_eq!(
            told,
            [
                "/etc/certs/all.pem /etc/certs/all.der 0.0.0.0:443 true ",
                "/etc/a.pem /etc/a.der 0.0.0.0:443 false a.test",
                "/etc/b.pem  0.0.0.0:443 false ~^b\\.",
            ]
        );
    }
}
