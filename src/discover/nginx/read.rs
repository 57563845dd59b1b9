//! Goes through a configuration with its includes and collects what concerns TLS.
//!
//! One file's text is in memory at a time for each level of inclusion, and no tree is kept.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inherit::{Level, Paths, bad_value};
use super::listen::{self, Listen};
use super::syntax::{self, Reader, Step, SyntaxError};
use crate::discover::include;
use crate::discover::model::{Context, Origin, ServerName, Stated};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::MappedPath;
use crate::discover::sources::{Open, Source};

/// What one `server` block says by itself.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) context: Context,
    pub(super) origin: Origin,
    pub(super) names: Vec<ServerName>,
    pub(super) listens: Vec<Listen>,
    pub(super) level: Level,
}

/// What a whole configuration says.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) pid: Option<Stated<MappedPath>>,
    pub(super) pid_word: Option<PathBuf>,
    pub(super) http: Level,
    pub(super) stream: Level,
    pub(super) blocks: Vec<Block>,
    /// Every file and folder that was looked at, with what it was like.
    pub(super) sources: Vec<Source>,
    /// nginx would refuse the configuration, or some of it could not be read.
    pub(super) faults: Vec<Problem>,
}

/// Reads `main` (as we see it) and all it includes.
pub(super) fn read(main: &Path, paths: &Paths<'_>) -> Collected {
    let mut walk = Walk { paths, open: Open::default(), found: Collected::default() };
    walk.file(main, None, &mut Place::Main);
    walk.found
}

struct Walk<'a> {
    paths: &'a Paths<'a>,
    open: Open,
    found: Collected,
}

/// Where a directive stands.
enum Place {
    Main,
    Http,
    Stream,
    Server(Box<Block>),
}

impl Walk<'_> {
    /// Reads one file into `place`; `named` is the include that asks for it.
    fn file(&mut self, path: &Path, named: Option<&Origin>, place: &mut Place) {
        let Collected { sources, faults, .. } = &mut self.found;
        let Some((file, text)) = self.open.open(path, named, sources, faults) else { return };
        let mut reader = Reader::new(&text);
        if let Err(error) = self.block(&mut reader, &file, place, true) {
            let origin = Origin { file, line: reader.line() };
            self.found.faults.push(Problem::at(&origin, What::Syntax(error.to_string())));
        }
        self.open.close();
    }

    /// Reads directives up to the `}` of the block, or to the end of the file where the block is the
    /// file itself.
    fn block(
        &mut self,
        reader: &mut Reader<'_>,
        file: &Arc<Path>,
        place: &mut Place,
        outermost: bool,
    ) -> Result<(), SyntaxError> {
        loop {
            match reader.step()? {
                Step::Directive if is_block(&reader.words()[0], place) => {
                    let name = super::inherit::text(&reader.words()[0]);
                    return Err(SyntaxError::NoBlock(name));
                }
                Step::Directive => {
                    let origin = Origin { file: file.clone(), line: reader.line() };
                    self.directive(reader.words(), origin, place);
                }
                Step::Open => self.opened(reader, file, place)?,
                Step::Close if outermost => return Err(SyntaxError::Unexpected('}')),
                Step::End if !outermost => return Err(SyntaxError::UnfinishedBlock),
                Step::Close | Step::End => return Ok(()),
            }
        }
    }

    fn opened(
        &mut self,
        reader: &mut Reader<'_>,
        file: &Arc<Path>,
        place: &mut Place,
    ) -> Result<(), SyntaxError> {
        let origin = Origin { file: file.clone(), line: reader.line() };
        let name = &*reader.words()[0];
        let context = match place {
            Place::Main if name == b"http" => {
                return self.block(reader, file, &mut Place::Http, false);
            }
            Place::Main if name == b"stream" => {
                return self.block(reader, file, &mut Place::Stream, false);
            }
            Place::Http if name == b"server" => Context::Http,
            Place::Stream if name == b"server" => Context::Stream,
            _ if syntax::is_lua_block(name) => {
                self.directive(reader.words(), origin, place);
                return reader.skip_lua();
            }
            _ if is_simple(name) => {
                return Err(SyntaxError::NotABlock(super::inherit::text(name)));
            }
            // `location`, `map`, `upstream` and the like say nothing about certificates, and what a
            // `map` includes is no configuration.
            _ => return reader.skip_block(),
        };
        let mut server = Place::Server(Box::new(Block {
            context,
            origin,
            names: Vec::new(),
            listens: Vec::new(),
            level: Level::default(),
        }));
        let read = self.block(reader, file, &mut server, false);
        if let Place::Server(block) = server {
            self.found.blocks.push(*block);
        }
        read
    }

    fn directive(&mut self, words: &[Cow<'_, [u8]>], origin: Origin, place: &mut Place) {
        let (name, arguments) = words.split_first().expect("a directive has a name");
        if **name == *b"include" {
            return self.include(arguments, &origin, place);
        }
        let fault = match place {
            Place::Main if **name == *b"pid" => self.pid(arguments, origin),
            Place::Main => Ok(()),
            Place::Http => self.found.http.take(words, origin, self.paths),
            Place::Stream => self.found.stream.take(words, origin, self.paths),
            Place::Server(block) => match &**name {
                b"listen" => match listen::listen(arguments) {
                    Some(listens) => {
                        block.listens.extend(listens);
                        Ok(())
                    }
                    None => Err(bad_value(name, arguments, &origin)),
                },
                b"server_name" => {
                    block.names.extend(arguments.iter().map(|word| listen::server_name(word)));
                    Ok(())
                }
                _ => block.level.take(words, origin, self.paths),
            },
        };
        self.found.faults.extend(fault.err().map(|problem| *problem));
    }

    fn pid(&mut self, arguments: &[Cow<'_, [u8]>], origin: Origin) -> Result<(), Box<Problem>> {
        match arguments {
            [path] if path.starts_with(b"/") => {
                let value = self.paths.resolve(path);
                self.found.pid = Some(Stated { value, origin });
            }
            [path] if !path.is_empty() => {
                self.found.pid_word = Some(PathBuf::from(super::inherit::text(path)));
            }
            _ => return Err(bad_value(b"pid", arguments, &origin)),
        }
        Ok(())
    }

    fn include(&mut self, arguments: &[Cow<'_, [u8]>], origin: &Origin, place: &mut Place) {
        let [argument] = arguments else {
            let problem = bad_value(b"include", arguments, origin);
            return self.found.faults.push(*problem);
        };
        let path = self.paths.resolve(argument);
        if !include::is_pattern(argument) {
            return self.file(&path.ours, Some(origin), place);
        }
        let matches = include::matches(&path.ours);
        for folder in matches.folders {
            self.found.sources.push(Source::look(folder));
        }
        for (folder, error) in matches.failures {
            self.found.faults.push(Problem::new(folder.clone(), What::of(&error)));
            self.found.sources.push(Source { path: folder.into(), stamp: None });
        }
        for file in matches.files {
            self.file(&file, Some(origin), place);
        }
    }
}

/// The directives that are read here: a `{` behind one of them is a slip of the pen.
fn is_simple(name: &[u8]) -> bool {
    matches!(name, b"include" | b"listen" | b"server_name" | b"pid" | b"resolver")
        || name.starts_with(b"ssl_")
}

fn is_block(name: &[u8], place: &Place) -> bool {
    match place {
        Place::Main => matches!(name, b"http" | b"stream"),
        Place::Http | Place::Stream => name == b"server",
        Place::Server(_) => name == b"location",
    }
}
