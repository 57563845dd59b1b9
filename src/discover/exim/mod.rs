//! exim: the certificates of its main section, as deployments, one a certificate file.
//!
//! What exim works out for every connection (`$` and `{` in an option) is left alone: which file that is,
//! is not known here. [`options`] reads the text.

mod options;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::configuration::Configuration;
use super::model::{Address, Context, Listener, Origin, Stated, Transport};
use super::plain::Served;
use super::problem::{Problem, What};
use super::settings::PathMap;
use options::Options;

/// Where Debian's package has exim write its process number.
const PID_FILE: &str = "/run/exim4/exim.pid";

/// Reads the configuration in `main`, as we see it.
pub(super) fn configuration(main: &Path, map: &PathMap) -> Configuration {
    let options = Options::read(main, map);
    let said = |name: &str| options.get(name).map(|stated| stated.value.as_str());
    let pid_file = said("pid_file_path").filter(|path| is_plain(path)).unwrap_or(PID_FILE);
    let pid_file = Some(map.ours(Path::new(pid_file)).ours.to_path_buf());
    let mut deployments = Vec::new();
    let mut remarks = Vec::new();
    if let Some(certificates) = options.get("tls_certificate")
        && said("tls_advertise_hosts").is_none_or(|hosts| !hosts.is_empty())
    {
        let listeners: Arc<[Listener]> = listeners(&options).into();
        let staples = options.get("tls_ocsp_file").filter(|stated| is_plain(&stated.value));
        let staples = staples.map(|stated| list(&stated.value)).unwrap_or_default();
        let files = if is_plain(&certificates.value) { list(&certificates.value) } else { vec![] };
        for (at, file) in files.iter().enumerate() {
            let staple = staples.get(at).and_then(|text| staple(text, certificates, &mut remarks));
            let served = Served {
                certificate: map.ours(Path::new(file)),
                staple: staple.map(|path| map.ours(Path::new(path))),
                issuer: None,
            };
            let mut deployment = served.deployment(&certificates.origin, &[], listeners.clone());
            deployment.context = Context::Stream;
            deployments.push(deployment);
        }
        if files.is_empty() && !certificates.value.is_empty() {
            let origin: &Origin = &certificates.origin;
            let what = What::Dynamic("tls_certificate".to_owned());
            remarks.push(Problem::at(origin, what));
        }
    }
    Configuration { deployments: deployments.into(), pid_file, remarks, ..options.read }
}

/// The path of a staple file: exim reads DER unless it is told otherwise.
fn staple<'a>(
    text: &'a str,
    stated: &Stated<String>,
    remarks: &mut Vec<Problem>,
) -> Option<&'a str> {
    let (format, path) = text.split_once(char::is_whitespace).unwrap_or(("", text));
    match format.to_ascii_lowercase().as_str() {
        "" | "der" => Some(path.trim()).filter(|path| path.starts_with('/')),
        _ => {
            remarks.push(Problem::at(&stated.origin, What::NotDer(path.trim().to_owned())));
            None
        }
    }
}

/// Nothing is worked out at run time.
fn is_plain(text: &str) -> bool {
    !text.contains(['$', '{'])
}

/// exim's lists: `a : b`, `::` is a colon, `<; a ; b` has a separator of its own.
fn list(text: &str) -> Vec<String> {
    let text = text.trim();
    let (separator, text) = match text.strip_prefix('<').and_then(|rest| {
        let separator = rest.chars().next()?;
        Some((separator, &rest[separator.len_utf8()..]))
    }) {
        Some((separator, rest)) => (separator, rest),
        None => (':', text),
    };
    let doubled = format!("{separator}{separator}");
    let text = text.replace(&doubled, "\u{0}");
    let items = text.split(separator).map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.replace('\u{0}', &separator.to_string())).collect()
}

/// Where the daemon listens; ports in `tls_on_connect_ports` speak TLS from the first byte.
fn listeners(options: &Options<'_>) -> Vec<Listener> {
    let said = |name: &str| {
        let stated = options.get(name).filter(|stated| is_plain(&stated.value));
        stated.map(|stated| list(&stated.value))
    };
    let ports = said("daemon_smtp_ports").or_else(|| said("daemon_smtp_port"));
    let ports: Vec<u16> =
        ports.unwrap_or_else(|| vec!["25".to_owned()]).iter().filter_map(|one| port(one)).collect();
    let at_once: Vec<u16> = said("tls_on_connect_ports")
        .unwrap_or_default()
        .iter()
        .filter_map(|one| port(one))
        .collect();
    let interfaces = said("local_interfaces").unwrap_or_else(|| vec!["0.0.0.0".to_owned()]);
    let mut found = Vec::new();
    for interface in interfaces {
        let Some((ip, own)) = interface_of(&interface) else { continue };
        let ports = own.map_or(ports.clone(), |port| vec![port]);
        found.extend(ports.into_iter().map(|port| Listener {
            address: Address::Ip(SocketAddr::new(ip, port)),
            transport: if at_once.contains(&port) { Transport::Tls } else { Transport::Smtp },
            proxy_protocol: false,
            // One certificate for whatever name is asked for.
            default: true,
        }));
    }
    found
}

fn port(text: &str) -> Option<u16> {
    match text {
        "smtp" => Some(25),
        "smtps" | "ssmtp" | "submissions" => Some(465),
        "submission" => Some(587),
        text => text.parse().ok(),
    }
}

/// `127.0.0.1`, `127.0.0.1.2525`, `[127.0.0.1]:2525`, `::1`.
fn interface_of(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Some((ip, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
        return Some((ip.parse().ok()?, port));
    }
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    let (ip, port) = text.rsplit_once('.')?;
    let ip: Ipv4Addr = ip.parse().ok()?;
    Some((ip.into(), Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let root = tempfile::tempdir().expect("a folder");
        let main = root.path().join("exim.conf");
        std::fs::write(&main, text).expect("ours");
        let read = configuration(&main, &PathMap::default());
        let told: Vec<_> = read
            .deployments
            .iter()
            .map(|one| {
                let listener = |one: &Listener| format!("{}/{:?}", one.address, one.transport);
                let listeners: Vec<_> = one.listeners.iter().map(listener).collect();
                let staple = one.target().map(|path| path.ours.display().to_string());
                let file = one.certificates[0].file.ours.display();
                format!("{file} {} {}", staple.unwrap_or_default(), listeners.join(" "))
            })
            .collect();
        assert_eq!(told, expected, "{text}");
        assert!(read.faults.is_empty(), "{:?}", read.faults);
    }

    #[test]
    fn the_main_section_is_read() {
        let tls = "tls_certificate = /etc/a.pem\ntls_ocsp_file = /etc/a.der\n";
        check(tls, &["/etc/a.pem /etc/a.der 0.0.0.0:25/Smtp"]);
        check(
            &format!(
                "{tls}daemon_smtp_ports = smtp : 465\ntls_on_connect_ports = 465\n\
                      local_interfaces = <; 127.0.0.1 ; ::1\n"
            ),
            &[
                "/etc/a.pem /etc/a.der 127.0.0.1:25/Smtp 127.0.0.1:465/Tls [::1]:25/Smtp [::1]:465/Tls",
            ],
        );
        check(
            "tls_certificate = /a.pem : /b.pem\ntls_ocsp_file = der /a.der : /b.der\n\
             local_interfaces = 127.0.0.1.2525\n",
            &["/a.pem /a.der 127.0.0.1:2525/Smtp", "/b.pem /b.der 127.0.0.1:2525/Smtp"],
        );
        check(
            "CONFDIR = /etc/exim4\n.ifdef NONE\ntls_certificate = /no.pem\n.else\n\
             tls_certificate = CONFDIR/a.pem\n.endif\nbegin acl\ntls_ocsp_file = /no.der\n",
            &["/etc/exim4/a.pem  0.0.0.0:25/Smtp"],
        );
        check("tls_certificate = ${if exists{/a.pem}{/a.pem}{/b.pem}}\n", &[]);
        check(&format!("{tls}tls_advertise_hosts =\n"), &[]);
        check(
            "tls_certificate = /a.pem\ntls_ocsp_file = PEM /a.ocsp\n",
            &["/a.pem  0.0.0.0:25/Smtp"],
        );
    }

    #[test]
    fn a_file_that_includes_itself_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let main = root.path().join("exim.conf");
        let text = format!("tls_certificate = /a.pem\n.include {}\n", main.display());
        std::fs::write(&main, text).expect("ours");
        let read = configuration(&main, &PathMap::default());
        assert_eq!(read.deployments.len(), 1);
        let told: Vec<_> = read.faults.iter().map(|fault| (fault.line, &fault.what)).collect();
        assert_eq!(told, [(2, &What::IncludeCycle(main))]);
    }
}
