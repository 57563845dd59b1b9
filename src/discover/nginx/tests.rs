#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::discover::model::{Listener, Origin, Stated, Transport};

/// Writes `files` ("# name" lines begin one) below a folder of its own.
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
        let context =
            if deployment.context == crate::discover::Context::Http { "" } else { "stream" };
        write!(text, "{context} {} [{}]", names.join(" "), listeners.join(" ")).unwrap();
        for presented in &deployment.certificates {
            write!(text, " {}", presented.file.ours.display()).unwrap();
        }
        if deployment.dynamic.is_some() {
            text.push_str(" dynamic");
        }
        let mut fact = |name: &str, said: Option<(String, &Origin)>| {
            if let Some((value, origin)) = said {
                let file = origin.file.file_name().unwrap().to_string_lossy();
                write!(text, " {name}={value}@{file}:{}", origin.line).unwrap();
            }
        };
        fn path(said: &Stated<crate::discover::MappedPath>) -> (String, &Origin) {
            (said.value.ours.display().to_string(), &said.origin)
        }
        fn plain<T: ToString>(said: &Stated<T>) -> (String, &Origin) {
            (said.value.to_string(), &said.origin)
        }
        fact("stapling", deployment.stapling.as_deref().map(plain));
        fact("file", deployment.stapling_file.as_deref().map(path));
        fact("responder", deployment.stapling_responder.as_deref().map(plain));
        fact("verify", deployment.stapling_verify.as_deref().map(plain));
        fact("trusted", deployment.trusted_certificate.as_deref().map(path));
        fact("resolver", deployment.resolver.as_deref().map(plain));
        fact("compression", deployment.certificate_compression.as_deref().map(plain));
        text.push('\n');
    }
    for fault in &configuration.faults {
        writeln!(text, "! {fault}").unwrap();
    }
    text
}

fn listener(listener: &Listener) -> String {
    let quic = if listener.transport == Transport::Quic { "+quic" } else { "" };
    let proxy = if listener.proxy_protocol { "+proxy" } else { "" };
    let default = if listener.default { "+default" } else { "" };
    format!("{}{quic}{proxy}{default}", listener.address)
}

fn check(files: &str, expected: &str) {
    let root = tree(files);
    let configuration = super::configuration(&root.path().join("nginx.conf"), &PathMap::default());
    let found = outline(&configuration).replace(&root.path().display().to_string(), "");
    let expected: Vec<_> = expected.lines().map(words).collect();
    let found: Vec<_> = found.lines().map(words).collect();
    assert_eq!(found, expected, "of {files}");
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn one_server_with_everything_of_its_own() {
    check(
        "#file nginx.conf
        events { worker_connections 768; }
        http {
            server {
                listen 443 ssl http2;
                listen [::]:443 ssl;
                listen 80;
                server_name example.org *.Example.org;
                ssl_certificate live/www/fullchain.pem;
                ssl_certificate_key live/www/privkey.pem;
                ssl_stapling on;
                ssl_stapling_file /staples/www.der;
                ssl_stapling_verify off;
                ssl_trusted_certificate chain.pem;
                resolver 127.0.0.53 valid=10s;
                location / { root /srv; if ($a) { return 403; } }
            }
        }",
        "example.org *.example.org [0.0.0.0:443+default [::]:443+default] /live/www/fullchain.pem \
         stapling=true@nginx.conf:10 file=/staples/www.der@nginx.conf:11 verify=false@nginx.conf:12 \
         trusted=/chain.pem@nginx.conf:13 resolver=127.0.0.53 valid=10s@nginx.conf:14",
    );
}

#[test]
fn http_level_is_inherited_even_from_below_the_block() {
    check(
        "#file nginx.conf
        http {
            ssl_certificate a.pem;
            server { listen 443 ssl; server_name inherits; }
            server { listen 443 ssl; server_name own; ssl_certificate b.pem; ssl_stapling off; }
            server { listen 80; server_name plain; }
            ssl_stapling on;
            ssl_stapling_responder http://unix:/run/r.sock:/;
            ssl_certificate_compression on;
        }",
        "inherits [0.0.0.0:443+default] /a.pem stapling=true@nginx.conf:6 \
             responder=http://unix:/run/r.sock:/@nginx.conf:7 compression=true@nginx.conf:8
         own [0.0.0.0:443] /b.pem stapling=false@nginx.conf:4 \
             responder=http://unix:/run/r.sock:/@nginx.conf:7 compression=true@nginx.conf:8",
    );
}

#[test]
fn two_key_types() {
    check(
        "#file nginx.conf
        http { server {
            listen 443 ssl;
            ssl_certificate rsa.pem; ssl_certificate_key rsa.key;
            ssl_certificate ecdsa.pem; ssl_certificate_key ecdsa.key;
        } }",
        " [0.0.0.0:443+default] /rsa.pem /ecdsa.pem",
    );
}

#[test]
fn includes_start_from_the_main_folder_and_globs_are_sorted() {
    check(
        "#file nginx.conf
        http { include conf.d/*.conf; include 'sites/[ab]'; include none/*.conf; }
        #file conf.d/2.conf
        server { listen 443 ssl; server_name two; include snippets/tls.conf; }
        #file conf.d/1.conf
        server { listen 443 ssl; server_name one; include ROOT/snippets/tls.conf; }
        #file snippets/tls.conf
        ssl_certificate \"with blank.pem\";
        include snippets/staple.con[f];
        #file snippets/staple.conf
        ssl_stapling on;
        #file sites/b
        # nothing here
        #file sites/a
        server { listen 443 default_server ssl; server_name a; ssl_certificate a.pem; }",
        "one [0.0.0.0:443] /with blank.pem stapling=true@staple.conf:1
         two [0.0.0.0:443] /with blank.pem stapling=true@staple.conf:1
         a [0.0.0.0:443+default] /a.pem",
    );
}

#[test]
fn what_one_block_says_of_an_address_holds_for_all_on_it() {
    check(
        "#file nginx.conf
        http {
            ssl_certificate a.pem;
            server { listen 443; server_name first; }
            server { listen 443 ssl proxy_protocol; server_name second; }
            server { listen 8443 quic; listen 8443; listen unix:/run/n.sock ssl; server_name udp; }
            server { server_name silent; }
            server { ssl on; listen 127.0.0.1:4433; server_name old; }
        }",
        "first [0.0.0.0:443+proxy+default] /a.pem
         second [0.0.0.0:443+proxy] /a.pem
         udp [0.0.0.0:8443+quic+default unix:/run/n.sock+default] /a.pem
         old [127.0.0.1:4433+default] /a.pem",
    );
}

#[test]
fn certificates_that_are_no_files() {
    check(
        "#file nginx.conf
        http {
            ssl_certificate default.pem;
            server { listen 443 ssl; server_name v; ssl_certificate /c/$ssl_server_name.pem; }
            server { listen 443 ssl; server_name d; ssl_certificate data:$cert; }
            server { listen 443 ssl; server_name l; ssl_certificate_by_lua_block { a = \"}\" } }
            server { listen 443 ssl; server_name r; ssl_reject_handshake on; }
            server { listen 443 ssl; server_name b; ssl_certificate b.pem; ssl_certificate $c; }
        }",
        "v [0.0.0.0:443+default] dynamic
         d [0.0.0.0:443] dynamic
         l [0.0.0.0:443] /default.pem dynamic
         b [0.0.0.0:443] /b.pem dynamic",
    );
}

#[test]
fn stream_servers_and_foreign_blocks() {
    check(
        "#file nginx.conf
        load_module modules/ngx_stream_module.so;
        stream {
            ssl_certificate s.pem;
            map $ssl_preread_server_name $up { include maps/names.map; default b; }
            upstream b { server 127.0.0.1:9; }
            server { listen 853 ssl; proxy_pass b; ssl_stapling on; ssl_stapling_file s.der; }
        }
        mail { server { listen 993 ssl; ssl_certificate m.pem; } }
        http {
            map $uri $new { include maps/broken.map; default { a b; } }
            init_by_lua_block { local server = { listen = 'x{' } -- } }
            }
            types { text/html html; }
            server { listen 443 ssl; ssl_certificate h.pem; location / { content_by_lua_block { } } }
        }
        #file maps/broken.map
        server {",
        "[0.0.0.0:443+default] /h.pem
         stream [0.0.0.0:853+default] /s.pem stapling=true@nginx.conf:6 file=/s.der@nginx.conf:6",
    );
}

#[test]
fn what_is_broken_costs_as_little_as_can_be() {
    check(
        "#file nginx.conf
        http {
            include missing.conf;
            include loop.conf;
            include bad.conf;
            include folder*;
            server { listen 443 ssl; listen 0; ssl_certificate a.pem; ssl_stapling perhaps; }
            ssl_stapling on;
            ssl_stapling on;
        }
        #file loop.conf
        include loop.conf;
        #file bad.conf
        server { listen 443 ssl; ssl_certificate b.pem;
        #file folder/x
        ",
        " [0.0.0.0:443+default] /b.pem stapling=true@nginx.conf:7
          [0.0.0.0:443] /a.pem stapling=true@nginx.conf:7
         ! /nginx.conf:2: includes /missing.conf, which does not exist
         ! /loop.conf:1: includes /loop.conf again, which is being read already
         ! /bad.conf:2: unexpected end of file, expecting \"}\"
         ! /nginx.conf:5: includes /folder, which is not a regular file
         ! /nginx.conf:6: \"listen\" cannot have the value \"0\"
         ! /nginx.conf:6: \"ssl_stapling\" cannot have the value \"perhaps\"
         ! /nginx.conf:8: \"ssl_stapling\" is given a second time; the first is in /nginx.conf:7",
    );
    check("#file other.conf\n", "! /nginx.conf: does not exist");
}

#[test]
fn paths_are_mapped_for_a_container() {
    let root = tree(
        "#file srv/nginx/nginx.conf
        pid /run/own.pid;
        http { include conf.d/*; }
        #file srv/nginx/conf.d/a
        server { listen 443 ssl; ssl_certificate /certs/a.pem; ssl_stapling_file a.der;
                 ssl_stapling_responder http://unix:/run/responder.sock:/ocsp; }",
    );
    let at = |path: &str| root.path().join(path);
    let map = PathMap::new([
        ("/etc/nginx".into(), at("srv/nginx")),
        ("/certs".into(), at("srv/certs")),
        ("/run".into(), at("run")),
    ]);
    let configuration = super::configuration(&at("srv/nginx/nginx.conf"), &map);
    let deployment = &configuration.deployments[0];
    let file = &deployment.stapling_file.as_ref().unwrap().value;
    assert_eq!(&*file.theirs, Path::new("/etc/nginx/a.der"));
    assert_eq!(&*file.ours, at("srv/nginx/a.der"));
    assert_eq!(&*deployment.certificates[0].file.ours, at("srv/certs/a.pem"));
    assert_eq!(configuration.pid_file, Some(at("run/own.pid")));
    let url = &deployment.stapling_responder.as_ref().unwrap().value;
    assert_eq!(*url, format!("http://unix:{}:/ocsp", at("run/responder.sock").display()));
    assert_eq!(deployment.target(), None);
}

#[test]
fn read_again_only_when_something_changed() {
    let root = tree("#file nginx.conf\nhttp { include c/*; }\n#file c/a\nserver { listen 443; }");
    let read = || configuration(&root.path().join("nginx.conf"), &PathMap::default());
    assert!(!read().is_current(), "a file this young may change within the same tick");
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let configuration = read();
    assert!(configuration.is_current());
    fs::write(root.path().join("c/b"), "").unwrap();
    assert!(!configuration.is_current());
}

proptest! {
    #[test]
    fn never_panics(text in r#"((http|stream|server|ssl|listen|include|\*|ssl_certificate|443|pid|on|"|'|\\|\$|x_by_lua_block) ?[;{}# \n]{0,2}){0,40}"#) {
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("nginx.conf");
        fs::write(&main, text).unwrap();
        configuration(&main, &PathMap::default());
    }
}
