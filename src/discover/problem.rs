//! What a scan stumbled over. A problem costs the file it is about and nothing else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::model::Origin;

/// Something that could not be read or understood, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file or folder it is about, as we see it.
    pub path: PathBuf,
    /// The line in it, from 1; 0 where it is about the whole.
    pub line: u32,
    /// What is wrong.
    pub what: What,
}

impl Problem {
    pub(super) fn new(path: impl Into<PathBuf>, what: What) -> Self {
        Problem { path: path.into(), line: 0, what }
    }

    pub(super) fn at(origin: &Origin, what: What) -> Self {
        Problem { path: origin.file.to_path_buf(), line: origin.line, what }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        self.what.hint(&self.path)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.what)
    }
}

/// What is wrong with a file, a folder or a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// It could not be opened, listed or read.
    #[error("cannot be read: {error}")]
    Unreadable {
        /// The system's words.
        error: String,
        /// The missing thing is a permission.
        denied: bool,
    },
    /// Something names it, and it is not there.
    #[error("does not exist")]
    Missing,
    /// A FIFO, device, socket or folder where a file is expected.
    #[error("is not a regular file")]
    NotAFile,
    /// More than is ever read.
    #[error("has {size} bytes, more than the {limit} that are read")]
    TooLarge {
        /// What it has, in bytes.
        size: u64,
        /// What would be read, in bytes.
        limit: u64,
    },
    /// A symbolic link that leads back to itself.
    #[error("is a symbolic link that leads round in a circle")]
    LinkLoop,
    /// A server or a watch names it as a certificate, and it holds none.
    #[error("holds no certificate")]
    NoCertificate,
    /// It was meant to hold certificates and could not be decoded.
    #[error("holds a certificate that cannot be used: {0}")]
    BadCertificate(String),
    /// A watched folder holds more than is looked at.
    #[error("holds more than {limit} entries; the rest is not looked at")]
    TooManyEntries {
        /// How many are looked at.
        limit: usize,
    },
    /// The text breaks the syntax of the server's configuration.
    #[error("{0}")]
    Syntax(String),
    /// A file it includes cannot be read.
    #[error("includes {}, which {why}", path.display())]
    Include {
        /// The file named, as we see it.
        path: PathBuf,
        /// What is wrong with that.
        why: Box<What>,
    },
    /// It includes files by a pattern that fits none.
    #[error("includes {}, which no file fits", .0.display())]
    IncludeNothing(PathBuf),
    /// A file that includes itself, directly or by way of others.
    #[error("includes {} again, which is being read already", .0.display())]
    IncludeCycle(PathBuf),
    /// Too many files inside each other.
    #[error("includes files more than {0} deep")]
    IncludeDepth(usize),
    /// The server takes this directive once in a block.
    #[error("{directive:?} is given a second time; the first is in {first}")]
    Duplicate {
        /// Its name.
        directive: String,
        /// Where it stands first.
        first: Origin,
    },
    /// The server refuses this value.
    #[error("{directive:?} cannot have the value {value:?}")]
    BadValue {
        /// The directive's name.
        directive: String,
        /// What was written.
        value: String,
    },
    /// hitch's `ocsp-dir` is on beside staple files.
    #[error("ocsp-dir is on: what hitch fetches by itself wins over every ocsp-resp-file")]
    AsksItself,
    /// Which file is meant is worked out for every connection.
    #[error("{0} is worked out at run time: no staple is kept for what it stands for")]
    Dynamic(String),
    /// HAProxy fills in an environment variable, and its environment cannot be read.
    #[error("the value of ${0} is not known here: no staple is kept for what it stands for")]
    Variable(String),
    /// A staple file in another form than the one that is written.
    #[error("the staple file {0} is to be PEM, and only DER is written: say just its path")]
    NotDer(String),
    /// The kernel's limit of inotify watches is used up.
    #[error("is not watched: the kernel's limit of inotify watches is used up")]
    WatchLimit,
    /// It cannot be watched.
    #[error("is not watched: {0}")]
    Unwatched(String),
}

impl What {
    /// Tells a missing file from the other ways of failing.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => What::Missing,
            _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => What::LinkLoop,
            kind => What::Unreadable {
                error: error.to_string(),
                denied: kind == io::ErrorKind::PermissionDenied,
            },
        }
    }

    /// An include of `path` that failed.
    pub(super) fn included(path: &Path, why: What) -> Self {
        match why {
            What::IncludeCycle(_) | What::IncludeDepth(_) => why,
            why => What::Include { path: path.to_owned(), why: Box::new(why) },
        }
    }

    fn hint(&self, path: &Path) -> Option<String> {
        let path = path.display();
        Some(match self {
            What::Unreadable { denied: true, .. } => format!(
                "let the agent's user read it, or run the agent with CAP_DAC_READ_SEARCH: \
                 sudo -u staplekeeper cat {path}"
            ),
            What::Include { path, why } => return why.hint(path),
            What::WatchLimit => "changes are still found by the periodic rescan; raise \
                 fs.inotify.max_user_watches to have them noticed at once"
                .to_owned(),
            What::Unwatched(_) => "changes are still found by the periodic rescan".to_owned(),
            What::Syntax(_) | What::Duplicate { .. } | What::IncludeCycle(_) => {
                "the last configuration that could be read is used until this is mended; \
                 the server's own test (\"nginx -t\", \"apachectl configtest\") says more"
                    .to_owned()
            }
            What::IncludeNothing(_) => "IncludeOptional minds no missing files".to_owned(),
            What::Variable(name) => format!(
                "give it in global (\"setenv {name} …\", \"presetenv {name} …\"), a default \
                 (\"${{{name}-…}}\") or write out what it stands for"
            ),
            What::AsksItself => "ocsp-dir = \"\"".to_owned(),
            What::NoCertificate => format!("openssl x509 -in {path} -noout -subject"),
            What::BadCertificate(_) => {
                format!("openssl crl2pkcs7 -nocrl -certfile {path} | openssl pkcs7 -print_certs")
            }
            _ => return None,
        })
    }
}
