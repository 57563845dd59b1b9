//! `crt-store` (HAProxy 3.0): certificates with their files, each under a name that `crt` refers to.
//!
//! Nothing beside a certificate of a store is looked for: it has the staple that `ocsp` names, or none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::words::Word;

/// Every `load`, by the name that it goes by.
#[derive(Debug, Default)]
pub(super) struct Stores {
    loaded: HashMap<String, Loaded>,
}

/// The section that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// Empty: the one without a name.
    pub(super) name: String,
    /// `crt-base`, its own or that of `global`.
    pub(super) base: Option<PathBuf>,
}

/// A `load` line, as HAProxy sees its files; relative ones start from where `crt-base` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) certificate: PathBuf,
    pub(super) files: Named,
}

/// What is said about the files that go with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// `ocsp`
    pub(super) staple: Option<PathBuf>,
    /// `issuer`
    pub(super) issuer: Option<PathBuf>,
    /// `ocsp-update`: HAProxy keeps its staple fresh itself, or does not.
    pub(super) updates: Option<bool>,
    /// Some file is named: those beside the certificate are not looked for.
    pub(super) alone: bool,
}

impl Named {
    /// Takes in one keyword with its value; `false` if it is another's.
    pub(super) fn say(&mut self, keyword: &str, value: &str) -> bool {
        match keyword {
            "ocsp" => self.staple = Some(value.into()),
            "issuer" => self.issuer = Some(value.into()),
            "key" | "sctl" => {}
            "ocsp-update" => {
                self.updates = Some(value == "on");
                return true;
            }
            _ => return false,
        }
        self.alone = true;
        true
    }

    /// The same with all paths made what `resolve` makes of them.
    pub(super) fn resolved(self, resolve: impl Fn(&Path) -> PathBuf) -> Named {
        Named {
            staple: self.staple.as_deref().map(&resolve),
            issuer: self.issuer.as_deref().map(&resolve),
            ..self
        }
    }
}

impl Stores {
    /// Reads the arguments of `load`. `global` is the `crt-base` of that section, `resolve` makes a path
    /// absolute. Gives the first variable that is not known, and then the line is left out.
    pub(super) fn load<'w>(
        &mut self,
        arguments: &'w [Word],
        section: &Section,
        global: Option<&Path>,
        resolve: impl Fn(&Path) -> PathBuf,
    ) -> Result<(), &'w str> {
        let (mut certificate, mut alias, mut files) = (None, None, Named::default());
        for pair in arguments.chunks_exact(2) {
            if let Some(unknown) = &pair[1].unknown {
                return Err(unknown);
            }
            let value = pair[1].text.as_str();
            match pair[0].text.as_str() {
                "crt" => certificate = Some(value),
                "alias" => alias = Some(value),
                keyword => drop(files.say(keyword, value)),
            }
        }
        let Some(certificate) = certificate else { return Ok(()) };
        let name = match (alias, section.name.as_str()) {
            (Some(alias), store) => format!("@{store}/{alias}"),
            (None, "") => key(certificate, global),
            (None, store) => format!("@{store}/{}", certificate.trim_start_matches('/')),
        };
        let base = section.base.as_deref().unwrap_or(Path::new(""));
        let resolve = |path: &Path| resolve(&base.join(path));
        let certificate = resolve(Path::new(certificate));
        let files = Named { alone: true, ..files.resolved(resolve) };
        self.loaded.entry(name).or_insert(Loaded { certificate, files });
        Ok(())
    }

    /// What `crt` refers to, if it was loaded before under that name.
    pub(super) fn get(&self, text: &str, global: Option<&Path>) -> Option<&Loaded> {
        self.loaded.get(&key(text, global))
    }
}

/// The name that a `crt` looks a certificate up by: as it is written, but for the `crt-base` of `global`.
pub(super) fn key(text: &str, global: Option<&Path>) -> String {
    match global {
        Some(base) if !text.starts_with(['/', '@']) => format!("{}/{text}", base.display()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::Variables;
    use super::super::words::words;
    use super::*;

    fn check(store: &str, base: Option<&str>, load: &str, asked: &str, expected: &str) {
        let mut stores = Stores::default();
        let section = Section { name: store.to_owned(), base: base.map(Into::into) };
        let arguments = words(load, &Variables::default()).expect(load);
        let global = Path::new("certs");
        let resolve = |path: &Path| Path::new("/start").join(path);
        stores.load(&arguments, &section, Some(global), resolve).expect("no variables");
        let told = stores.get(asked, Some(global)).map(|loaded| {
            let Loaded { certificate, files } = loaded;
            let shown =
                |path: &Option<PathBuf>| path.as_deref().unwrap_or(Path::new("-")).to_owned();
            let (staple, issuer) = (shown(&files.staple), shown(&files.issuer));
            let updates = files.updates.map_or("-", |on| if on { "on" } else { "off" });
            assert!(files.alone);
            let (certificate, staple) = (certificate.display(), staple.display());
            format!("{certificate} {staple} {} {updates}", issuer.display())
        });
        assert_eq!(told.as_deref().unwrap_or("unknown"), expected, "{load} as {asked}");
    }

    /// Names and bases as in HAProxy's manual, 3.0 §3.11.
    #[test]
    fn certificates_go_by_the_names_of_the_manual() {
        let site = "crt site1.crt key site1.key ocsp site1.ocsp alias site1";
        check("", None, site, "@/site1", "/start/site1.crt /start/site1.ocsp - -");
        check("", None, site, "site1.crt", "unknown");
        check(
            "",
            Some("certs"),
            "crt site2.crt key k",
            "site2.crt",
            "/start/certs/site2.crt - - -",
        );
        check("", None, "crt /a/b.crt", "/a/b.crt", "/a/b.crt - - -");
        let base = Some("/etc/ssl/certs/");
        check(
            "web",
            base,
            "crt site3.crt alias site3",
            "@web/site3",
            "/etc/ssl/certs/site3.crt - - -",
        );
        check("web", base, "crt site4.crt", "@web/site4.crt", "/etc/ssl/certs/site4.crt - - -");
        check("web", base, "crt site4.crt", "site4.crt", "unknown");
        check("web", base, "crt /x/y.crt", "@web/x/y.crt", "/x/y.crt - - -");
        let updated = "crt a ocsp a.der issuer i.pem ocsp-update on";
        check("w", Some("b"), updated, "@w/a", "/start/b/a /start/b/a.der /start/b/i.pem on");
        check("w", None, "ocsp a.der", "@w/a", "unknown");
    }
}
