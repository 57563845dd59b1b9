#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::discover::model::Stated;

/// Writes `files` ("#file name" lines begin one) below a folder of its own.
fn tree(files: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for part in files.split("#file ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap();
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("ROOT", &root.path().display().to_string())).unwrap();
    }
    root
}

fn outline(configuration: &Configuration) -> String {
    let mut text = String::new();
    for deployment in configuration.deployments.iter() {
        let names: Vec<_> = deployment.names.iter().map(ToString::to_string).collect();
        let listeners: Vec<_> = deployment.listeners.iter().map(listener).collect();
        write!(text, "{} [{}]", names.join(" "), listeners.join(" ")).unwrap();
        for presented in &deployment.certificates {
            write!(text, " {}", presented.file.ours.display()).unwrap();
        }
        if deployment.dynamic.is_some() {
            text.push_str(" dynamic");
        }
        fn at(origin: &Origin) -> String {
            let file = origin.file.file_name().unwrap().to_string_lossy().into_owned();
            format!("@{file}:{}", origin.line)
        }
        fn said<T: ToString>(text: &mut String, name: &str, said: Option<&Arc<Stated<T>>>) {
            if let Some(said) = said {
                let value = said.value.to_string();
                write!(text, " {name}={value}{}", at(&said.origin)).unwrap();
            }
        }
        said(&mut text, "stapling", deployment.stapling.as_ref());
        said(&mut text, "url", deployment.stapling_responder.as_ref());
        for file in deployment.issuer_files.iter().flat_map(|files| files.iter()) {
            write!(text, " issuer={}", file.ours.display()).unwrap();
        }
        let (own, usual) = (deployment.apache.as_ref().unwrap(), ApacheStapling::default());
        let mut differs = |name: &str, own: String, usual: String| {
            if own != usual {
                write!(text, " {name}={own}").unwrap();
            }
        };
        let seconds = |length: std::time::Duration| length.as_secs().to_string();
        differs("cache", own.cache.as_deref().unwrap_or_default().to_owned(), String::new());
        differs("keeps", seconds(own.keeps_answers), seconds(usual.keeps_answers));
        differs("errors", seconds(own.keeps_errors), seconds(usual.keeps_errors));
        differs("waits", seconds(own.waits), seconds(usual.waits));
        differs("returns", own.returns_errors.to_string(), usual.returns_errors.to_string());
        differs("fakes", own.fakes_try_later.to_string(), usual.fakes_try_later.to_string());
        if let Some(store) = &own.store {
            let (folder, window) = (store.folder.ours.display(), store.renew_window);
            write!(text, " store={folder} {window:?}").unwrap();
        }
        writeln!(text, " {}", at(&deployment.origin)).unwrap();
    }
    for fault in &configuration.faults {
        writeln!(text, "! {fault}").unwrap();
    }
    text
}

fn listener(listener: &Listener) -> String {
    let proxy = if listener.proxy_protocol { "+proxy" } else { "" };
    let default = if listener.default { "+default" } else { "" };
    format!("{}{proxy}{default}", listener.address)
}

#[track_caller]
fn check(files: &str, expected: &str) {
    let root = tree(files);
    let main = ["apache2.conf", "conf/httpd.conf"].map(|name| root.path().join(name));
    let main = main.iter().find(|path| path.exists()).unwrap();
    let found = outline(&configuration(main, &PathMap::default()));
    let found = found.replace(&root.path().display().to_string(), "");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected: Vec<_> = expected.lines().map(words).collect();
    let found: Vec<_> = found.lines().map(words).collect();
    assert_eq!(found, expected, "of {files}");
}

#[test]
fn one_host_with_everything_of_its_own() {
    check(
        "#file apache2.conf
        Listen 443
        SSLStaplingCache shmcb:/run/ocsp(32768)
        <VirtualHost *:443>
            ServerName https://www.Example.org:443
            ServerAlias example.org \\
                *.example.org
            SSLEngine on
            SSLCertificateFile live/www/fullchain.pem
            SSLCertificateKeyFile live/www/privkey.pem
            SSLCertificateFile \"/etc/ssl/with blank.pem\"
            SSLCertificateChainFile chain.pem
            SSLUseStapling On
            SSLStaplingForceURL http://127.0.0.1:8889/
            SSLStaplingStandardCacheTimeout 60
            SSLStaplingErrorCacheTimeout 30
            SSLStaplingReturnResponderErrors off
            SSLStaplingFakeTryLater off
            SSLStaplingResponderTimeout 2
            <Directory /srv>
                Require all granted
            </Directory>
        </VirtualHost>",
        "www.example.org example.org *.example.org [0.0.0.0:443+default] /live/www/fullchain.pem \
         /etc/ssl/with blank.pem stapling=true@apache2.conf:12 \
         url=http://127.0.0.1:8889/@apache2.conf:13 issuer=/chain.pem cache=shmcb:/run/ocsp(32768) \
         keeps=60 errors=30 waits=2 returns=false fakes=false @apache2.conf:3",
    );
}

#[test]
fn virtual_hosts_inherit_from_the_main_server_even_from_below() {
    check(
        "#file conf/httpd.conf
        ServerRoot ROOT
        Listen 443 https
        <VirtualHost *:443>
            ServerName inherits
        </VirtualHost>
        <VirtualHost *:443>
            ServerName own
            SSLCertificateFile b.pem
            SSLUseStapling off
        </VirtualHost>
        <VirtualHost *:443>
            ServerName plain
            SSLEngine optional
        </VirtualHost>
        SSLEngine on
        SSLCertificateFile a.pem
        SSLCertificateFile a-ecdsa.pem
        SSLUseStapling on
        SSLStaplingForceURL http://127.0.0.1:8889/
        SSLCACertificateFile ca.pem",
        "inherits [0.0.0.0:443+default] /a.pem /a-ecdsa.pem stapling=true@httpd.conf:18 \
             url=http://127.0.0.1:8889/@httpd.conf:19 issuer=/ca.pem @httpd.conf:3
         own [0.0.0.0:443] /b.pem /a-ecdsa.pem stapling=false@httpd.conf:9 \
             url=http://127.0.0.1:8889/@httpd.conf:19 issuer=/ca.pem @httpd.conf:6",
    );
}

#[test]
fn the_main_server_has_what_no_virtual_host_takes() {
    check(
        "#file apache2.conf
        Listen 80
        Listen 127.0.0.1:8443 https
        ServerName main
        SSLEngine on
        SSLCertificateFile a.pem
        <VirtualHost *:80>
            ServerName plain
            SSLEngine off
        </VirtualHost>",
        "main [127.0.0.1:8443+default] /a.pem @apache2.conf:5",
    );
}

#[test]
fn includes_by_name_folder_and_pattern() {
    check(
        "#file apache2.conf
        Listen 443
        IncludeOptional none/*.conf
        IncludeOptional none.conf
        Include conf.d
        Include sites/[ab].conf
        Include ROOT/more/*/host.conf
        #file conf.d/2.conf
        <VirtualHost *:443>
            ServerName two
            Include snippets/tls.conf
        </VirtualHost>
        #file conf.d/1/x
        <VirtualHost *:443>
            ServerName one
            Include \"snippets/tls.conf\"
        </VirtualHost>
        #file snippets/tls.conf
        SSLEngine on
        SSLCertificateFile a.pem
        #file sites/c.conf
        <Broken
        #file sites/b.conf
        # nothing
        #file more/m/host.conf
        <VirtualHost _default_:443>
            Include snippets/tls.conf
        </VirtualHost>",
        "one [0.0.0.0:443+default] /a.pem @x:1
         two [0.0.0.0:443] /a.pem @2.conf:1
         [0.0.0.0:443] /a.pem @host.conf:1",
    );
}

#[test]
fn definitions_conditions_and_macros() {
    check(
        "#file envvars
        export CERTS=/srv/certs$SUFFIX
        export APACHE_ARGUMENTS='-D FromArguments'
        #file apache2.conf
        Define LIVE ${CERTS}/live
        Define WITHOUT_VALUE
        UnDefine GONE
        LoadModule ssl_module modules/mod_ssl.so
        <IfModule mod_ssl.c>
            <IfModule !ssl_module>
                Listen 1
            </IfModule>
            Listen 443
        </IfModule>
        <IfModule md_module>
            <VirtualHost *:443>
                Broken
            </VirtualHost>
        </IfModule>
        <IfDefine WITHOUT_VALUE>
            <IfVersion >= 2.4>
                <IfFile apache2.conf>
                    SSLUseStapling on
                </IfFile>
            </IfVersion>
        </IfDefine>
        <IfDefine GONE>
            Listen 2
        </IfDefine>
        <IfDefine !FromArguments>
            Listen 3
        </IfDefine>
        <IfVersion < 2.4>
            Listen 4
        </IfVersion>
        <Macro Host $name $dir>
            <VirtualHost *:443>
                ServerName $name.org
                SSLEngine on
                SSLCertificateFile $dir/$name.pem
            </VirtualHost>
        </Macro>
        Use HOST one ${LIVE}
        use Host two /a
        Use Host three",
        "one.org [0.0.0.0:443+default] /srv/certs/live/one.pem stapling=true@apache2.conf:19 \
             @apache2.conf:33
         two.org [0.0.0.0:443] /a/two.pem stapling=true@apache2.conf:19 @apache2.conf:33
         ! /apache2.conf:41: \"use\" cannot have the value \"Host three\"",
    );
}

#[test]
fn mod_md_staples_from_its_store() {
    check(
        "#file apache2.conf
        Listen 443
        MDStoreDir /var/md
        MDStapling on
        MDomain managed.org www.managed.org auto
        MDPrivateKeys RSA 3072 secp384r1
        <MDomainSet manual.org>
            MDMember www.manual.org
            MDCertificateFile manual.pem
            MDStapling off
        </MDomainSet>
        <VirtualHost *:443>
            ServerName www.managed.org
            SSLEngine on
        </VirtualHost>
        <VirtualHost *:443>
            ServerName manual.org
            SSLEngine on
        </VirtualHost>
        <VirtualHost *:443>
            ServerName other.org
            SSLEngine on
            SSLCertificateFile other.pem
            MDStaplingRenewWindow 12h
        </VirtualHost>
        <VirtualHost *:443>
            ServerName not.org
            SSLEngine on
            SSLCertificateFile not.pem
            MDStapleOthers off
        </VirtualHost>",
        "www.managed.org [0.0.0.0:443+default] /var/md/domains/managed.org/pubcert.pem \
             /var/md/domains/managed.org/pubcert.secp384r1.pem \
             store=/var/md/ocsp/managed.org Percent(33) @apache2.conf:11
         manual.org [0.0.0.0:443] /manual.pem @apache2.conf:15
         other.org [0.0.0.0:443] /other.pem store=/var/md/ocsp/other Before(43200s) @apache2.conf:19
         not.org [0.0.0.0:443] /not.pem @apache2.conf:25",
    );
}

#[test]
fn certificates_on_tokens_issuers_in_folders_and_proxies_in_front() {
    check(
        "#file apache2.conf
        Listen 443
        SSLCACertificatePath ca
        <VirtualHost *:443>
            SSLEngine on
            SSLCertificateFile pkcs11:object=www
            RemoteIPProxyProtocol On
        </VirtualHost>
        #file ca/0123abcd.0
        #file ca/README
        #file ca/toy.pem
        ",
        "[0.0.0.0:443+proxy+default] dynamic issuer=/ca/0123abcd.0 @apache2.conf:3",
    );
}

#[test]
fn what_is_broken_costs_as_little_as_can_be() {
    check(
        "#file apache2.conf
        Listen 443
        Include missing.conf
        Include none/*.conf
        Include loop.conf
        Include bad.conf
        <VirtualHost *:443 *:x>
            SSLEngine on
            SSLEngine perhaps
            SSLCertificateFile a.pem
        </VirtualHost>
        Listen nowhere
        #file loop.conf
        Include loop.conf
        #file bad.conf
        <VirtualHost *:443>
            SSLEngine on
            SSLCertificateFile b.pem
        </Directory>
        Listen 8443",
        "[0.0.0.0:443+default] /a.pem @apache2.conf:6
         ! /apache2.conf:2: includes /missing.conf, which does not exist
         ! /apache2.conf:3: includes /none/*.conf, which no file fits
         ! /loop.conf:1: includes /loop.conf again, which is being read already
         ! /bad.conf:4: expected </virtualhost> and found </directory>
         ! /apache2.conf:6: \"<VirtualHost>\" cannot have the value \"*:443 *:x\"
         ! /apache2.conf:8: \"sslengine\" cannot have the value \"perhaps\"
         ! /apache2.conf:11: \"listen\" cannot have the value \"nowhere\"",
    );
    check(
        "#file apache2.conf\n<IfDefine X>\nListen 1\n",
        "! /apache2.conf:1: <ifdefine> of line 1 is not closed",
    );
    check(
        "#file apache2.conf\n<Directory />\n\nA b\n",
        "! /apache2.conf:3: <directory> of line 1 is not closed",
    );
}

#[test]
fn paths_are_mapped_for_a_container() {
    let root = tree(
        "#file srv/httpd/conf/httpd.conf
        PidFile run/own.pid
        Listen 443
        Include conf.d/*.conf
        #file srv/httpd/conf.d/a.conf
        <VirtualHost *:443>
            SSLEngine on
            SSLCertificateFile /certs/a.pem
            MDStapling on
        </VirtualHost>",
    );
    let at = |path: &str| root.path().join(path);
    let map =
        PathMap::new([("/etc/httpd".into(), at("srv/httpd")), ("/certs".into(), at("srv/certs"))]);
    let found = configuration(&at("srv/httpd/conf/httpd.conf"), &map);
    let deployment = &found.deployments[0];
    assert_eq!(&*deployment.certificates[0].file.ours, at("srv/certs/a.pem"));
    let store = deployment.apache.as_ref().unwrap().store.as_ref().unwrap();
    assert_eq!(&*store.folder.theirs, Path::new("/etc/httpd/md/ocsp/other"));
    assert_eq!(&*store.folder.ours, at("srv/httpd/md/ocsp/other"));
    assert_eq!(found.pid_file, Some(at("srv/httpd/run/own.pid")));
    assert_eq!(found.faults, []);
}

#[test]
fn alike_hosts_share_what_they_have_in_common() {
    let root = tree("#file apache2.conf\n");
    let mut text = String::from("Listen 443\nSSLCACertificateFile ca.pem\nSSLUseStapling on\n");
    for n in 0..2_000 {
        let host = format!("ServerName {n}.org\nSSLEngine on\nSSLCertificateFile {n}.pem\n");
        write!(text, "<VirtualHost *:443>\n{host}</VirtualHost>\n").unwrap();
    }
    let main = root.path().join("apache2.conf");
    fs::write(&main, text).unwrap();
    let found = configuration(&main, &PathMap::default());
    assert_eq!(found.deployments.len(), 2_000);
    let (first, last) = (&found.deployments[1], &found.deployments[1_999]);
    assert!(Arc::ptr_eq(&first.listeners, &last.listeners));
    let apache = |one: &Deployment| one.apache.clone().unwrap();
    assert!(Arc::ptr_eq(&apache(first), &apache(last)));
    let issuers = |one: &Deployment| one.issuer_files.clone().unwrap();
    assert!(Arc::ptr_eq(&issuers(first), &issuers(last)));
}

proptest! {
    #[test]
    fn never_panics(text in r#"((<VirtualHost|</VirtualHost>|<IfDefine|</IfDefine>|<Macro|</Macro>|Use|m|Listen|Include|\*|SSLCertificateFile|SSLEngine|443|on|Define|"|'|\\|\$\{) ?[>{}# \n]{0,2}){0,40}"#) {
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("apache2.conf");
        fs::write(&main, text).unwrap();
        configuration(&main, &PathMap::default());
    }
}
