//! A host on which everything that `lint` knows is wrong once, beside things that are right.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::agent::{Agent, Said};
use crate::support::apache::Apache;
use crate::support::authority::{Answer, Authority, now};
use crate::support::ca::{Draft, Forge, Identity, Kind};
use crate::support::port::free_port;
use crate::support::program::program;
use crate::support::responder::Reply;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The agent's user: whoever `nobody` is.
const NOBODY: u32 = 65_534;

/// The host.
pub(super) struct Host {
    pub(super) agent: Agent,
    pub(super) apache: Apache,
    pub(super) authority: Arc<Authority>,
    folder: TempDir,
    apache_port: u16,
    leaves: Vec<(&'static str, Identity)>,
}

/// What nginx says for each certificate, besides the certificate: `ssl_stapling` and so on. `@` is the
/// certificate's own staple file.
const NGINX: &[(&str, &str)] = &[
    ("good.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("good-must.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("bare.test", ""),
    ("bare-must.test", ""),
    ("hopeless-must.test", ""),
    ("missing.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("garbage.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("other.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("expired.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("placeholder.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("half.test", "ssl_stapling_file @;"),
    ("variable.test", "ssl_stapling on;\nssl_stapling_file ROOT/open/$ssl_server_name.der;"),
    ("itself-must.test", "ssl_stapling on;"),
    ("idle.test", "ssl_stapling on;"),
    ("packed.test", "ssl_stapling on;\nssl_stapling_file @;\nssl_certificate_compression on;"),
    ("chainless.test", ""),
    ("shared-a.test", "ssl_stapling on;\nssl_stapling_file ROOT/open/shared-a.test.der;"),
    ("shared-b.test", "ssl_stapling on;\nssl_stapling_file ROOT/open/shared-a.test.der;"),
    ("short.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("endless.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("ends.test", "ssl_stapling on;\nssl_stapling_file @;"),
    ("past.test", ""),
    ("closed.test", "ssl_stapling on;\nssl_stapling_file ROOT/closed/closed.test.der;"),
];

/// What Apache says, likewise.
const APACHE: &[(&str, &str)] = &[
    (
        "a-good.test",
        "SSLUseStapling on\nSSLStaplingForceURL @\nSSLStaplingReturnResponderErrors off\nSSLStaplingFakeTryLater off",
    ),
    ("a-bare.test", ""),
    ("a-bare-must.test", ""),
    (
        "a-asks.test",
        "SSLUseStapling on\nSSLStaplingReturnResponderErrors off\nSSLStaplingFakeTryLater off",
    ),
    (
        "a-errors.test",
        "SSLUseStapling on\nSSLStaplingForceURL @\nSSLStaplingReturnResponderErrors on\nSSLStaplingFakeTryLater off",
    ),
    (
        "a-later.test",
        "SSLUseStapling on\nSSLStaplingForceURL @\nSSLStaplingReturnResponderErrors off",
    ),
    ("a-idle.test", "SSLUseStapling on"),
];

const HAPROXY: &[&str] = &["h-good.test", "h-bare.test", "h-chainless.test"];

/// Every finding there is to be: rule, certificate.
pub(super) const FAULTS: &[(&str, &str)] = &[
    ("apache-asks-ca", "a-asks.test"),
    ("apache-fakes-try-later", "a-later.test"),
    ("apache-passes-errors", "a-errors.test"),
    ("apache-without-cache", "a-good.test"),
    ("certificate-by-variable", ""),
    ("certificate-compression", ""),
    ("certificate-ends-first", "ends.test"),
    ("certificate-expired", "past.test"),
    ("chain-without-issuer", "chainless.test"),
    ("chain-without-issuer", "h-chainless.test"),
    ("default-server-bare", "good.test"),
    ("haproxy-without-ocsp-file", "h-bare.test"),
    ("must-staple-at-renewal", "asking.test"),
    ("must-staple-not-stapled", "a-bare-must.test"),
    ("must-staple-not-stapled", "bare-must.test"),
    ("must-staple-own-fetching", "itself-must.test"),
    ("must-staple-without-responder", "hopeless-must.test"),
    ("no-next-update", "endless.test"),
    ("one-file-several-certificates", "shared-a.test, shared-b.test"),
    ("reload-not-allowed", ""),
    ("staple-expired", "expired.test"),
    ("staple-file-without-stapling", "half.test"),
    ("staple-missing", "missing.test"),
    ("staple-of-another", "other.test"),
    ("staple-outlived-by-schedule", "short.test"),
    ("staple-path-variable", "variable.test"),
    ("staple-placeholder", "placeholder.test"),
    ("staple-unreadable", "garbage.test"),
    ("stapling-without-responder", "a-idle.test"),
    ("stapling-without-responder", "idle.test"),
    ("target-not-writable", "closed.test"),
    ("two-keys-one-file", "dual-rsa.test, dual-ec.test"),
];

impl Host {
    /// Sets everything up, has the agent fetch once, and then breaks what is to be broken.
    pub(super) fn new() -> Host {
        let folder = tempfile::Builder::new().prefix("lint-").tempdir().expect("a temp folder");
        for name in ["", "certs", "open", "closed", "haproxy", "le/live/asking.test", "le/renewal"]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).expect("ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let authority = Arc::new(Authority::new(7 * DAY));
        let (agent, apache) = (Agent::new(), Apache::new(&["ssl", "socache_shmcb"]));
        let apache_port = free_port();
        let leaves = Vec::new();
        let mut host = Host { agent, apache, authority, folder, apache_port, leaves };
        let nginx = NGINX.iter().map(|(name, _)| *name);
        let apache = APACHE.iter().map(|(name, _)| *name);
        for name in nginx.chain(apache).chain(["dual-ec.test", "dual-rsa.test"]) {
            host.issue(name);
        }
        HAPROXY.iter().for_each(|name| host.issue(name));
        host.issue("asking.test");
        host.answers();
        let port = free_port();
        host.servers(free_port(), apache_port, free_port(), port);
        let (root, state) = (host.folder.path().to_owned(), host.agent.state_dir());
        for path in [state.clone(), state.join("staples")] {
            fs::create_dir_all(&path).expect("ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        if geteuid().is_root() {
            for path in
                [state.clone(), state.join("staples"), root.join("open"), root.join("haproxy")]
            {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
        }
        host.agent.command(&["refresh", "--no-reload"]);
        host.break_staples();
        host
    }

    /// A path on the host.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn leaf(&self, name: &str) -> &Identity {
        &self.leaves.iter().rev().find(|(known, _)| *known == name).expect("one of ours").1
    }

    /// Issues a certificate as its name wants it, and puts it where its server looks.
    fn issue(&mut self, name: &'static str) {
        let draft = Draft { must_staple: name.contains("must"), ..Draft::leaf(name) };
        let draft = match name {
            "ends.test" => Draft { not_after: now() + 3 * DAY + HOUR / 2, ..draft },
            "past.test" => Draft { not_after: now() - DAY, ..draft },
            "dual-rsa.test" => draft.keyed(Kind::Rsa2048, 7),
            _ => draft,
        };
        self.install(name, draft);
    }

    fn install(&mut self, name: &'static str, draft: Draft) {
        let silent = ["hopeless-must.test", "idle.test", "a-idle.test", "asking.test"];
        let leaf = match silent.contains(&name) {
            true => self.authority.issue_as_it_is(draft),
            false => self.authority.issue(draft),
        };
        let chain = match name.contains("chainless") {
            true => leaf.pem(),
            false => leaf.chain_pem(),
        };
        if HAPROXY.contains(&name) {
            let whole = format!("{chain}{}", leaf.key_pem());
            fs::write(self.path(&format!("haproxy/{name}.pem")), whole).expect("ours");
        } else if name == "asking.test" {
            let folder = self.path("le/live/asking.test");
            fs::write(folder.join("fullchain.pem"), chain).expect("ours");
            fs::write(folder.join("privkey.pem"), leaf.key_pem()).expect("ours");
            let conf = "version = 4.0.0\n[renewalparams]\nmust_staple = True\nserver = x\n";
            fs::write(self.path("le/renewal/asking.test.conf"), conf).expect("ours");
        } else {
            fs::write(self.path(&format!("certs/{name}.pem")), chain).expect("ours");
            fs::write(self.path(&format!("certs/{name}.key")), leaf.key_pem()).expect("ours");
        }
        self.leaves.push((name, leaf));
    }

    /// What the CA says about those whose answers are odd.
    fn answers(&self) {
        self.authority.says(self.leaf("short.test"), Answer::Between(now(), now() + 1_500));
        let endless = Forge::new(self.leaf("endless.test"), now()).from(now()).until(None).der();
        self.authority.says(self.leaf("endless.test"), Answer::Reply(Reply::ocsp(endless)));
    }

    fn servers(&self, web: u16, other: u16, proxy: u16, responder: u16) {
        let root = self.folder.path().display().to_string();
        let block = |listen: &str, name: &str, files: &[&str], more: &str| {
            let mut text = format!("server {{\nlisten {listen};\nserver_name {name};\n");
            for file in files {
                text += &format!("ssl_certificate {file}.pem;\nssl_certificate_key {file}.key;\n");
            }
            text + more + "\n}\n"
        };
        let staple = |name: &str, more: &str| {
            more.replace('@', &format!("{root}/open/{name}.der")).replace("ROOT", &root)
        };
        let own = |name: &str| format!("{root}/certs/{name}");
        let listen = format!("127.0.0.1:{web} ssl");
        let mut blocks = block(&format!("{listen} default_server"), "_", &[&own("good.test")], "");
        for (name, more) in NGINX {
            blocks += &block(&listen, name, &[&own(name)], &staple(name, more));
        }
        let dual = [own("dual-rsa.test"), own("dual-ec.test")];
        let on = staple("dual.test", "ssl_stapling on;\nssl_stapling_file @;");
        blocks += &block(&listen, "dual.test", &[&dual[0], &dual[1]], &on);
        let variable = format!("{root}/certs/$ssl_server_name");
        blocks += &block(&listen, "any.test", &[&variable], &on);
        // certbot's files have names of their own.
        let live = format!("{root}/le/live/asking.test");
        blocks += &format!(
            "server {{\nlisten {listen};\nserver_name asking.test;\nssl_certificate {live}/fullchain.pem;\n\
             ssl_certificate_key {live}/privkey.pem;\n}}\n"
        );
        let nginx = format!(
            "pid {root}/nginx.pid;\nerror_log {root}/nginx.log;\nevents {{\n}}\nhttp {{\naccess_log off;\n\
             server_names_hash_bucket_size 128;\n{blocks}}}\n"
        );
        fs::write(self.path("nginx.conf"), nginx).expect("ours");

        let mut hosts = format!("Listen 127.0.0.1:{other}\n");
        for (name, more) in APACHE {
            let more = more.replace('@', &format!("http://127.0.0.1:{responder}/"));
            let file = own(name);
            hosts += &format!(
                "<VirtualHost 127.0.0.1:{other}>\nServerName {name}\nSSLEngine on\nSSLCertificateFile \
                 {file}.pem\nSSLCertificateKeyFile {file}.key\n{more}\n</VirtualHost>\n"
            );
        }
        self.apache.hosts(&hosts);

        let haproxy = format!(
            "global\n    stats socket {root}/haproxy.sock level admin\ndefaults\n    mode http\n    timeout \
             client 5s\n    timeout server 5s\n    timeout connect 5s\nfrontend web\n    bind \
             127.0.0.1:{proxy} ssl crt {root}/haproxy/\n    http-request return status 200\n"
        );
        fs::write(self.path("haproxy.cfg"), haproxy).expect("ours");

        let apache = self.apache.configuration();
        self.agent.configure(&format!(
            "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{root}/nginx.conf\"\nreload = \"none\"\n\
             [[server]]\nkind = \"apache\"\nconfig = \"{}\"\nreload = \"none\"\n[[server]]\nkind = \
             \"haproxy\"\nconfig = \"{root}/haproxy.cfg\"\nreload = \"none\"\n[responder]\nlisten = \
             [\"127.0.0.1:{responder}\"]\n",
            apache.display()
        ));
    }

    /// What has gone wrong since the agent was there.
    fn break_staples(&self) {
        let at = |name: &str| self.path(&format!("open/{name}.der"));
        fs::remove_file(at("missing.test")).expect("it was published");
        fs::write(at("garbage.test"), "no response").expect("ours");
        fs::copy(at("good.test"), at("other.test")).expect("ours");
        fs::write(at("placeholder.test"), [0x30, 3, 0x0a, 1, 3]).expect("ours");
        let placeholder = fs::File::options().append(true).open(at("placeholder.test"));
        let long_ago = SystemTime::now() - Duration::from_secs(7_200);
        placeholder.and_then(|file| file.set_modified(long_ago)).expect("ours");
        fs::remove_file(self.path("haproxy/h-bare.test.pem.ocsp")).expect("it was published");
        let expired = Forge::new(self.leaf("expired.test"), now() - 8 * DAY)
            .from(now() - 8 * DAY)
            .until(Some(now() - DAY))
            .der();
        fs::write(at("expired.test"), expired).expect("ours");
    }

    /// What only people can do: the CA and the ACME client are theirs.
    pub(super) fn act(&mut self, rule: &str, certificate: &str) {
        match rule {
            "must-staple-without-responder" => {
                self.install("hopeless-must.test", Draft::leaf("hopeless-must.test"));
            }
            "certificate-ends-first" => self.install("ends.test", Draft::leaf("ends.test")),
            "certificate-expired" => self.install("past.test", Draft::leaf("past.test")),
            "no-next-update" => {
                let sound = Answer::Between(now() + 1, now() + 7 * DAY);
                self.authority.says(self.leaf("endless.test"), sound);
            }
            // The certificates chosen by variable are those of other blocks.
            "certificate-by-variable" => {}
            _ => panic!("{rule} of {certificate:?} is to be mended by the lines it prints"),
        }
    }

    /// Runs a command of a fix.
    pub(super) fn run(&self, command: &str) {
        match command.strip_prefix("staplekeeper ") {
            Some(arguments) => {
                let arguments: Vec<&str> = arguments.split(' ').collect();
                let said: Said = self.agent.command(&arguments);
                assert!(said.code != 2, "{command}: {}", said.err);
            }
            None => {
                let status = Command::new("sh").args(["-c", command]).status();
                assert!(status.expect("there is a shell").success(), "{command}");
            }
        }
    }

    /// Starts Apache, and returns when it answers.
    pub(super) fn start_apache(&mut self) {
        self.apache.start(self.apache_port);
    }

    /// The servers' own tests of their configurations.
    pub(super) fn servers_agree(&self) -> Result<(), String> {
        let config = |name: &str| self.path(name).display().to_string();
        let said = |name: &str, words: &[&str]| {
            let output =
                Command::new(program(name)).args(words).output().expect("it can be executed");
            match output.status.success() {
                true => Ok(()),
                false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
            }
        };
        said("nginx", &["-t", "-c", &config("nginx.conf")])?;
        self.apache.test()?;
        said("haproxy", &["-c", "-q", "-f", &config("haproxy.cfg")])
    }
}

/// Whether a path is on the host.
pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
