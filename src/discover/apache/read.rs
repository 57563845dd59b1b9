//! Goes through a configuration with its includes, conditions and macros, and collects what concerns TLS.
//!
//! As Apache does: `Include`, `Define`, `LoadModule`, conditions and macros take effect while they are read.
//! One file's text is in memory at a time for each level of inclusion, and no tree is kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::conditions::Modules;
use super::hosts::{self, Bind, HostAddress};
use super::level::{Level, Paths, Words as Arguments, bad_value, only, text};
use super::macros::Macro;
use super::managed::Domain;
use super::syntax::{Line, Lines, Step, SyntaxError, Words};
use super::variables::{Variables, path};
use crate::discover::model::{Origin, ServerName};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::MappedPath;
use crate::discover::sources::{Open, Source};

/// What one server says by itself: the main one, or a `<VirtualHost>`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) origin: Origin,
    pub(super) addresses: Vec<HostAddress>,
    pub(super) name: Option<ServerName>,
    pub(super) aliases: Vec<ServerName>,
    pub(super) level: Level,
}

impl Block {
    pub(super) fn new(origin: Origin, addresses: Vec<HostAddress>) -> Self {
        Block { origin, addresses, name: None, aliases: Vec::new(), level: Level::default() }
    }
}

/// What a whole configuration says.
#[derive(Debug)]
pub(super) struct Collected {
    /// `ServerRoot`, as Apache sees it.
    pub(super) root: PathBuf,
    /// `PidFile`, as written.
    pub(super) pid: Option<PathBuf>,
    /// `DefaultRuntimeDir`, as Apache sees it.
    pub(super) runtime: Option<PathBuf>,
    pub(super) main: Block,
    pub(super) hosts: Vec<Block>,
    pub(super) binds: Vec<Bind>,
    /// `SSLStaplingCache`
    pub(super) cache: Option<Arc<str>>,
    /// `MDomain` and `<MDomainSet>`
    pub(super) domains: Vec<Domain>,
    /// `MDStoreDir`
    pub(super) store: Option<MappedPath>,
    /// `MDPrivateKeys`, in lower case.
    pub(super) keys: Vec<String>,
    /// Every file and folder that was looked at, with what it was like.
    pub(super) sources: Vec<Source>,
    /// Apache would refuse the configuration, or some of it could not be read.
    pub(super) faults: Vec<Problem>,
}

/// Reads `main` (as we see it) and all it includes, with `variables` from the environment.
pub(super) fn read(main: &Path, paths: Paths<'_>, variables: Variables) -> Collected {
    let origin = Origin { file: main.into(), line: 1 };
    let found = Collected {
        root: paths.root.clone(),
        pid: None,
        runtime: None,
        main: Block::new(origin, Vec::new()),
        hosts: Vec::new(),
        binds: Vec::new(),
        cache: None,
        domains: Vec::new(),
        store: None,
        keys: Vec::new(),
        sources: Vec::new(),
        faults: Vec::new(),
    };
    let mut walk = Walk {
        paths,
        open: Open::default(),
        using: 0,
        variables,
        modules: Modules::new(),
        macros: HashMap::new(),
        found,
    };
    walk.file(main, None, &mut Place::Main);
    walk.found.root = walk.paths.root;
    walk.found
}

pub(super) struct Walk<'a> {
    pub(super) paths: Paths<'a>,
    open: Open,
    /// How many macros are in use inside each other.
    pub(super) using: usize,
    pub(super) variables: Variables,
    pub(super) modules: Modules,
    pub(super) macros: HashMap<String, Arc<Macro>>,
    pub(super) found: Collected,
}

/// Where a directive stands.
pub(super) enum Place {
    Main,
    Host(Box<Block>),
    /// In a managed domain's section, by its place in the list.
    Domain(usize),
    /// In a section that says nothing about certificates: `<Directory>` and the like.
    Elsewhere,
}

/// A fault in the grammar, and the line it was found in.
pub(super) type Broken = (u32, SyntaxError);

impl Walk<'_> {
    /// Reads one file into `place`; `named` is the include that asks for it.
    pub(super) fn file(&mut self, path: &Path, named: Option<&Origin>, place: &mut Place) {
        let Collected { sources, faults, .. } = &mut self.found;
        let Some((file, text)) = self.open.open(path, named, sources, faults) else { return };
        if let Err((line, error)) = self.lines(&mut Lines::new(&text), &file, place, None) {
            let origin = Origin { file, line };
            self.found.faults.push(Problem::at(&origin, What::Syntax(error.to_string())));
        }
        self.open.close();
    }

    /// Reads lines up to the end of the section `within` (its line and name), or to the end of the file.
    pub(super) fn lines(
        &mut self,
        lines: &mut dyn Iterator<Item = Line<'_>>,
        file: &Arc<Path>,
        place: &mut Place,
        within: Option<(u32, &str)>,
    ) -> Result<(), Broken> {
        let mut last = 0;
        while let Some(line) = lines.next() {
            let number = line.number;
            last = number;
            match Step::of(&line.text).map_err(|error| (number, error))? {
                Step::Directive(name, arguments) => {
                    let origin = Origin { file: file.clone(), line: number };
                    self.directive(&name, arguments, origin, place);
                }
                Step::Open(name, arguments) => {
                    let origin = Origin { file: file.clone(), line: number };
                    self.section(&name, arguments, origin, lines, place)?;
                }
                Step::Close(found) => {
                    return match within {
                        Some((_, name)) if name == found => Ok(()),
                        Some((_, name)) => {
                            let expected = name.to_owned();
                            Err((number, SyntaxError::OtherClosed { expected, found }))
                        }
                        None => Err((number, SyntaxError::ClosesNothing(found))),
                    };
                }
            }
        }
        match within {
            Some((line, name)) => {
                let name = name.to_owned();
                Err((last.max(line), SyntaxError::NotClosed { name, line }))
            }
            None => Ok(()),
        }
    }

    /// The arguments of a directive, with variables filled in.
    pub(super) fn words<'w>(&self, arguments: &'w [u8]) -> Vec<Cow<'w, [u8]>> {
        Words::new(arguments).map(|word| self.variables.expand(word)).collect()
    }

    fn directive(&mut self, name: &str, arguments: &[u8], origin: Origin, place: &mut Place) {
        // Most directives are none of ours, and there may be a hundred thousand of them.
        if !is_ours(name) {
            return;
        }
        let words = self.words(arguments);
        let words = &words[..];
        let refused = || Err(bad_value(name, words, &origin));
        let outcome = match (name, words) {
            ("include" | "includeoptional", [pattern]) if !pattern.is_empty() => {
                let optional = name == "includeoptional";
                return self.include(pattern, optional, &origin, place);
            }
            ("define", [name]) => return self.variables.define(name, None),
            ("define", [name, value]) => return self.variables.define(name, Some(value)),
            ("undefine", [name]) => return self.variables.undefine(name),
            ("loadmodule", [module, file]) => return self.modules.load(module, path(file)),
            ("use", [called, values @ ..]) => {
                return self.use_macro(called, values, &origin, place);
            }
            ("serverroot", [root]) => {
                self.paths.root = path(root).to_owned();
                return;
            }
            ("include" | "includeoptional" | "define" | "undefine" | "loadmodule", _)
            | ("use" | "serverroot", _) => refused(),
            _ => match place {
                Place::Main => self.said_by_main(name, words, &origin),
                Place::Host(block) => said_by_host(block, name, words, &origin, &self.paths),
                Place::Domain(at) => {
                    self.found.domains[*at].take(name, words, &origin, &self.paths)
                }
                Place::Elsewhere => Ok(()),
            },
        };
        self.found.faults.extend(outcome.err().map(|problem| *problem));
    }

    fn said_by_main(
        &mut self,
        name: &str,
        words: &Arguments<'_>,
        origin: &Origin,
    ) -> Result<(), Box<Problem>> {
        let wrong = || bad_value(name, words, origin);
        let one = || only(words).ok_or_else(wrong);
        match name {
            "listen" => {
                let texts: Vec<_> = words.iter().map(|word| text(word)).collect();
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                self.found.binds.push(hosts::listen(&texts).ok_or_else(wrong)?);
            }
            "pidfile" => self.found.pid = Some(path(one()?).to_owned()),
            "defaultruntimedir" => self.found.runtime = Some(self.paths.root.join(path(one()?))),
            "sslstaplingcache" => {
                let cache = text(one()?);
                let off = cache.eq_ignore_ascii_case("none");
                self.found.cache = (!off).then(|| cache.into());
            }
            "mdstoredir" => self.found.store = Some(self.paths.resolve(one()?)),
            "mdprivatekeys" => {
                self.found.keys = words.iter().map(|word| text(word).to_lowercase()).collect();
            }
            "mdomain" => self.found.domains.push(Domain::new(words)),
            _ => return said_by_host(&mut self.found.main, name, words, origin, &self.paths),
        }
        Ok(())
    }
}

/// Takes in what may stand in the main server and in virtual hosts alike.
fn said_by_host(
    block: &mut Block,
    name: &str,
    words: &Arguments<'_>,
    origin: &Origin,
    paths: &Paths<'_>,
) -> Result<(), Box<Problem>> {
    match name {
        "servername" => {
            let name = only(words).ok_or_else(|| bad_value(name, words, origin))?;
            block.name = Some(hosts::server_name(&text(name)));
        }
        "serveralias" => {
            block.aliases.extend(words.iter().map(|word| hosts::server_alias(&text(word))));
        }
        _ => block.level.take(name, words, origin, paths)?,
    }
    Ok(())
}

/// The directives that are looked into.
fn is_ours(name: &str) -> bool {
    let begins = ["ssl", "md", "include", "server"].iter().any(|begin| name.starts_with(begin));
    begins
        || matches!(
            name,
            "define"
                | "undefine"
                | "loadmodule"
                | "use"
                | "listen"
                | "pidfile"
                | "defaultruntimedir"
                | "remoteipproxyprotocol"
        )
}
