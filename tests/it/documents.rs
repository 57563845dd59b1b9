//! What is written for users holds: every example is read by the program or the server that it is for, and man pages
//! say what `--help` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::agent::Agent;
use crate::support::apache::Apache;
use crate::support::authority::{Authority, now};
use crate::support::ca::{Draft, Forge};
use crate::support::nginx::Nginx;
use crate::support::port::free_port;
use crate::support::program::program;

#[allow(dead_code, reason = "the generator's own program uses the rest")]
#[path = "../../man/generator/pages.rs"]
mod pages;
#[allow(dead_code, reason = "the generator's own program uses the rest")]
#[path = "../../man/generator/roff.rs"]
mod roff;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose names end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// The blocks of code of this language in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let (mut within, mut indent) = (false, 0);
    for line in text.lines() {
        let bare = line.trim_start();
        match (within, bare.strip_prefix("```")) {
            (false, Some(named)) if named == language => {
                (within, indent) = (true, line.len() - bare.len());
                blocks.push(String::new());
            }
            (true, Some(_)) => within = false,
            (true, None) => {
                let block = blocks.last_mut().expect("one is open");
                *block += line.get(indent..).unwrap_or(bare);
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

/// Every configuration in the documents and the examples is one that the program takes.
#[test]
fn examples_are_valid_configurations() {
    let agent = Agent::new();
    let mut texts = Vec::new();
    for path in files(&root().join("examples"), "staplekeeper.toml") {
        let text = fs::read_to_string(&path).expect("readable");
        // The quickstart fills in its own places.
        if !text.contains('@') {
            texts.push((path.display().to_string(), text));
        }
    }
    texts.push(("packaging/config.toml".to_owned(), read("packaging/config.toml")));
    for path in files(&root().join("man"), ".md").into_iter().chain([root().join("README.md")]) {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).expect("readable");
        texts.extend(blocks(&text, "toml").into_iter().map(|block| (name.clone(), block)));
    }
    assert!(texts.len() > 20, "only {} were found", texts.len());
    for (name, text) in texts {
        fs::write(agent.config(), &text).expect("ours");
        let said = agent.command(&["config", "check"]);
        assert_eq!(said.code, 0, "{name}: {}\n{text}", said.err);
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a file of the project")
}

/// The folders that examples name, with certificates in them, somewhere else.
struct Elsewhere {
    folder: PathBuf,
    port: u16,
    /// A good answer about www's certificate.
    answer: Vec<u8>,
}

impl Elsewhere {
    fn new(folder: &Path) -> Elsewhere {
        let authority = Authority::new(600);
        let mut answer = Vec::new();
        for name in ["www", "www-rsa", "www-ecdsa"] {
            let leaf = authority.issue(Draft::leaf("www.example.org"));
            let live = folder.join("letsencrypt/live").join(name);
            fs::create_dir_all(&live).expect("ours");
            fs::write(live.join("fullchain.pem"), leaf.chain_pem()).expect("ours");
            fs::write(live.join("privkey.pem"), leaf.key_pem()).expect("ours");
            if name == "www" {
                answer = Forge::new(&leaf, now()).der();
            }
        }
        let staples = folder.join("staples");
        fs::create_dir_all(&staples).expect("ours");
        fs::write(staples.join("www.der"), staplekeeper::ocsp::TRY_LATER).expect("ours");
        Elsewhere { folder: folder.to_owned(), port: free_port(), answer }
    }

    fn moved(&self, text: &str) -> String {
        let folder = self.folder.display();
        text.replace("/etc/letsencrypt", &format!("{folder}/letsencrypt"))
            .replace("/var/lib/staplekeeper/staples", &format!("{folder}/staples"))
            .replace("listen 443", &format!("listen 127.0.0.1:{}", self.port))
            .replace("*:443", &format!("127.0.0.1:{}", self.port))
            .replace("${APACHE_RUN_DIR}", &folder.to_string())
    }
}

#[test]
fn nginx_takes_its_examples() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let elsewhere = Elsewhere::new(folder.path());
    let whole = ["examples/nginx/site.conf", "examples/dual-key/site.conf"].map(read);
    let documents = [read("README.md"), read("man/staplekeeper-servers.7.md")];
    let snippets = documents.iter().flat_map(|text| blocks(text, "nginx"));
    let certificate = "listen 443 ssl;\nssl_certificate /etc/letsencrypt/live/www/fullchain.pem;\n\
                       ssl_certificate_key /etc/letsencrypt/live/www/privkey.pem;\n";
    let snippets: Vec<_> = snippets
        .map(|text| match text.contains("server {") {
            true => text,
            false => format!("server {{\n{certificate}{text}}}\n"),
        })
        .collect();
    assert!(snippets.len() >= 3, "{snippets:?}");
    for text in whole.iter().chain(&snippets) {
        let mut nginx = Nginx::new();
        nginx.http(&elsewhere.moved(text));
        assert_eq!(nginx.test(), Ok(()), "{text}");
    }
}

#[test]
fn apache_takes_its_examples() {
    let apache = Apache::new(&["ssl", "socache_shmcb"]);
    let elsewhere = Elsewhere::new(apache.folder());
    let documents = [read("README.md"), read("man/staplekeeper-servers.7.md")];
    let snippets: Vec<_> = documents.iter().flat_map(|text| blocks(text, "apache")).collect();
    assert!(!snippets.is_empty());
    for text in snippets.iter().chain([&read("examples/apache/site.conf")]) {
        let text = elsewhere.moved(text);
        apache.hosts(&format!("Listen 127.0.0.1:{}\n{text}", elsewhere.port));
        assert_eq!(apache.test(), Ok(()), "{text}");
    }
}

/// Has a server test each text as its configuration.
fn taken(folder: &Path, words: &[&str], texts: &[String]) {
    assert!(!texts.is_empty());
    let path = folder.join("configuration");
    for text in texts {
        fs::write(&path, text).expect("ours");
        let mut server = Command::new(program(words[0]));
        let said = server.args(&words[1..]).arg(&path).output().expect("it can be executed");
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{words}\n{text}");
    }
}

#[test]
fn haproxy_and_hitch_take_their_examples() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let elsewhere = Elsewhere::new(folder.path());
    let live = folder.path().join("letsencrypt/live/www");
    let parts = ["privkey.pem", "fullchain.pem"].map(|name| fs::read(live.join(name)));
    let pem = parts.map(|part| part.expect("it was written")).concat();
    fs::create_dir(folder.path().join("certs")).expect("ours");
    fs::write(folder.path().join("certs/www.pem"), &pem).expect("ours");
    let man = read("man/staplekeeper-servers.7.md");
    let at = folder.path().display();
    let haproxy = blocks(&man, "haproxy").into_iter().chain([read("examples/haproxy/haproxy.cfg")]);
    let haproxy: Vec<_> = haproxy
        .map(|text| {
            // The package makes the group.
            let text =
                text.replace(" group staplekeeper", "").replace("/run/haproxy", &at.to_string());
            let text = text.replace("/etc/haproxy/certs", &format!("{at}/certs"));
            text.replace("bind :443", &format!("bind 127.0.0.1:{}", elsewhere.port))
        })
        .collect();
    assert!(haproxy.iter().any(|text| text.contains("crt")), "{haproxy:?}");
    taken(folder.path(), &["haproxy", "-c", "-f"], &haproxy);
    // hitch takes no placeholder.
    fs::write(folder.path().join("staples/www.der"), &elsewhere.answer).expect("ours");
    let hitch = blocks(&man, "hitch").into_iter().map(|text| {
        let text = elsewhere.moved(&text).replace("/etc/hitch", &format!("{at}/certs"));
        let frontend = format!("frontend = \"[127.0.0.1]:{}\"", elsewhere.port);
        format!("{frontend}\nbackend = \"[127.0.0.1]:1\"\nuser = \"nobody\"\n{text}")
    });
    taken(folder.path(), &["hitch", "--test", "--config"], &hitch.collect::<Vec<_>>());
}

/// What README quotes as errors of servers and clients is in the programs that say it.
#[test]
fn errors_that_people_search_for_are_said() {
    let readme = read("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let modules = "/usr/lib/apache2/modules/mod_ssl.so";
    let gnutls = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
    let nginx = program("nginx");
    let table = [
        ("no OCSP responder URL in the certificate", nginx.as_path()),
        ("issuer certificate not found for certificate", &nginx),
        ("BIO_new_file(", &nginx),
        ("d2i_OCSP_RESPONSE_bio(", &nginx),
        ("AH02217: ssl_stapling_init_cert: can't retrieve issuer certificate!", modules.as_ref()),
        (
            "AH02218: ssl_stapling_init_cert: no OCSP URI in certificate and no SSLStaplingForceURL set",
            modules.as_ref(),
        ),
        ("AH01941: stapling_renew_response: responder error", modules.as_ref()),
        (
            "The certificate requires the server to include an OCSP status in its response, but the \
             OCSP status is missing.",
            gnutls.as_ref(),
        ),
        ("not allowed to have systemd reload", env!("CARGO_BIN_EXE_staplekeeper").as_ref()),
    ];
    for (words, path) in table {
        assert!(readme.contains(words), "README does not quote {words:?}");
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let said = bytes.windows(words.len()).any(|part| part == words.as_bytes());
        assert!(said, "{} does not say {words:?}", path.display());
    }
}

/// Every option of every command, and its words, are on its man page.
#[test]
fn man_pages_say_what_help_says() {
    let pages = pages::all(&root().join("man")).expect("sources can be read");
    let page = |file: &str| {
        let found = pages.iter().find(|page| page.file == file);
        found.unwrap_or_else(|| panic!("there is no page {file}"))
    };
    let help = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_staplekeeper"));
        let said = command.args(words).arg("--help").output().expect("it can be executed");
        String::from_utf8(said.stdout).expect("words")
    };
    let all = help(&[]);
    let listed = all.split_once("Commands:\n").expect("there are commands").1;
    let listed = listed.split_once("\n\n").map_or(listed, |(commands, _)| commands);
    // Two blanks in front of a name; more, where the words go on.
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"verify") && names.len() > 5, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(page("staplekeeper.8").markdown.contains(&format!("**staplekeeper-{name}**(8)")));
        let page = page(&format!("staplekeeper-{name}.8"));
        for option in options(&help(&[name])) {
            assert!(page.markdown.contains(&format!("`{option}`")), "{}: {option}", page.file);
        }
    }
    for option in options(&all) {
        assert!(page("staplekeeper.8").markdown.contains(&format!("`{option}`")), "{option}");
    }
    for page in &pages {
        assert!(page.roff.starts_with(".TH STAPLEKEEPER") && page.roff.contains(".SH NAME"));
    }
}

/// The options that help shows, at the beginning of their lines.
fn options(help: &str) -> Vec<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',', '=', '[']).take(3));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

/// Every setting that `config show` prints is on the page, with that default.
#[test]
fn the_page_of_the_configuration_knows_every_default() {
    let agent = Agent::new();
    fs::write(agent.config(), "").expect("ours");
    let shown = agent.command(&["config", "show"]);
    let page = read("man/staplekeeper.toml.5.md");
    let mut settings = 0;
    for line in shown.out.lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let (_, words) = page
            .split_once(&format!("\n`{key}`\n: "))
            .unwrap_or_else(|| panic!("{key} is missing"));
        let words = words.split("\n\n").next().unwrap_or_default();
        // A day is printed as one, and written as hours by people.
        let value = value.replace("\"1d\"", "\"24h\"");
        assert!(words.contains(&format!("`{value}`")), "{key} = {value}: {words}");
        settings += 1;
    }
    assert!(settings > 10, "{}", shown.out);
}
