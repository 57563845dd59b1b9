//! What distributions ship has no findings.

use std::fs;
use std::path::Path;

use crate::support::agent::Agent;
use crate::support::ca::Draft;

fn silent(servers: &str) {
    let agent = Agent::new();
    agent.configure(&format!("watch = []\n{servers}"));
    let said = agent.command(&["lint"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{servers}: {}", said.err);
    let said = agent.command(&["lint", "--format", "json"]);
    assert!(said.out.contains("\"findings\": []"), "{}", said.out);
}

#[test]
fn debian() {
    for (kind, config) in [
        ("nginx", "/etc/nginx/nginx.conf"),
        ("apache", "/etc/apache2/apache2.conf"),
        ("haproxy", "/etc/haproxy/haproxy.cfg"),
    ] {
        assert!(Path::new(config).exists(), "{config} is missing: install the package of {kind}");
        silent(&format!("[[server]]\nkind = \"{kind}\"\nconfig = \"{config}\"\n"));
    }
}

/// Debian's `default-ssl` with its snakeoil certificate, as `a2ensite default-ssl` switches it on.
#[test]
fn debian_with_its_own_tls_site() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    copy(Path::new("/etc/apache2"), folder.path());
    let snakeoil = Draft::leaf("host.test").self_signed();
    fs::write(at("snakeoil.pem"), snakeoil.pem()).expect("ours");
    let site =
        fs::read_to_string("/etc/apache2/sites-available/default-ssl.conf").expect("it ships");
    let own = at("snakeoil.pem").display().to_string();
    let site = site.replace("/etc/ssl/certs/ssl-cert-snakeoil.pem", &own);
    fs::write(at("sites-enabled/default-ssl.conf"), site).expect("ours");
    for module in ["ssl.conf", "ssl.load", "socache_shmcb.load"] {
        fs::copy(at(&format!("mods-available/{module}")), at(&format!("mods-enabled/{module}")))
            .expect("it ships");
    }
    let config = at("apache2.conf").display().to_string();
    let map = format!("path_map = {{ \"/etc/apache2\" = \"{}\" }}\n", folder.path().display());
    silent(&format!("[[server]]\nkind = \"apache\"\nconfig = \"{config}\"\n{map}"));
}

/// Copies a folder; links are followed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("ours");
    for entry in fs::read_dir(from).expect("it can be read").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            let _ = fs::copy(path, to);
        }
    }
}

/// The outline of what Red Hat's packages httpd, mod_ssl and nginx install.
#[test]
fn red_hat() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("ours");
        fs::write(path, text).expect("ours");
    };
    write("etc/httpd/conf/httpd.conf", include_str!("rhel/httpd.conf"));
    write("etc/httpd/conf.modules.d/00-ssl.conf", "LoadModule ssl_module modules/mod_ssl.so\n");
    write("etc/httpd/conf.d/ssl.conf", include_str!("rhel/ssl.conf"));
    write("etc/nginx/nginx.conf", include_str!("rhel/nginx.conf"));
    // mod_ssl's package has one made at its first start, of a CA that is thrown away.
    let authority = Draft::authority("localhost CA").self_signed();
    let leaf = authority.issue(Draft::leaf("localhost.localdomain"));
    write("etc/pki/tls/certs/localhost.crt", &leaf.full_chain_pem());
    write("etc/pki/tls/private/localhost.key", &leaf.key_pem());
    let root = folder.path().display();
    let server = |kind: &str, config: &str| {
        format!(
            "[[server]]\nkind = \"{kind}\"\nconfig = \"{root}{config}\"\npath_map = {{ \"/etc\" = \
             \"{root}/etc\" }}\n"
        )
    };
    let httpd = server("apache", "/etc/httpd/conf/httpd.conf");
    silent(&format!("{httpd}{}", server("nginx", "/etc/nginx/nginx.conf")));
}
