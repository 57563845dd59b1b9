//! HAProxy's admin sockets that do not answer: each costs the writer seconds, once.
//!
//! A thousand staples wait behind whoever is told about the first. So a socket that let one wait is left
//! alone for a time, longer each time, and what would have been said over it fails at once: the planner
//! tries again by itself.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::publish::admin::{self, Pair, Socket, TellError, Told};

/// How long a socket that hung is left alone, at first and at most.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// The sockets that hung when they were last used.
#[derive(Debug, Default)]
pub(super) struct Hung(HashMap<Socket, Rest>);

#[derive(Clone, Copy, Debug)]
struct Rest {
    length: Duration,
    until: Instant,
}

impl Hung {
    /// Hands a staple to the HAProxy behind `socket`, unless that is left alone just now.
    ///
    /// # Errors
    /// [`TellError`]; the socket's being left alone is one of them.
    pub(super) fn tell(
        &mut self,
        socket: &Socket,
        pair: &Pair,
        staple: &[u8],
    ) -> Result<Told, TellError> {
        let rest = self.0.get(socket).copied();
        let left = rest
            .map_or(Duration::ZERO, |rest| rest.until.saturating_duration_since(Instant::now()));
        if !left.is_zero() {
            let left = left.as_secs() + 1;
            let text =
                format!("it hung when it was last told something, and is left alone for {left} s");
            let source = io::Error::new(ErrorKind::TimedOut, text);
            return Err(TellError::Unusable { socket: socket.clone(), source });
        }
        let told = admin::tell(socket, pair, staple);
        match &told {
            Err(TellError::Unusable { source, .. }) if is_time_out(source) => {
                let length = rest.map_or(FIRST, |rest| (rest.length * 2).min(LONGEST));
                let until = Instant::now() + length;
                self.0.insert(socket.clone(), Rest { length, until });
            }
            _ => drop(self.0.remove(socket)),
        }
        told
    }
}

/// What a socket with a time-out says when it is over.
fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_hangs_is_waited_for_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("ours");
        let pair = Pair { certificate: "/a.pem".into(), staple: "/a.pem.ocsp".into() };
        let (mut hung, socket) = (Hung::default(), Socket::Unix(path.clone()));
        let mut told = || {
            let begun = Instant::now();
            (hung.tell(&socket, &pair, b"staple"), begun.elapsed())
        };
        let (first, took) = told();
        assert!(took >= Duration::from_secs(1), "{first:?} after {took:?}");
        for _ in 0..100 {
            let (again, took) = told();
            let Err(TellError::Unusable { source, .. }) = again else { panic!("{again:?}") };
            assert!(source.to_string().contains("left alone for"), "{source}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        // Another socket is another matter, and so is this one when its time has come.
        let other = Socket::Unix(folder.path().join("none.sock"));
        assert_eq!(hung.tell(&other, &pair, b"staple").ok(), Some(Told::Absent));
        drop(listener);
        std::fs::remove_file(&path).expect("it is there");
        let rest = hung.0.get_mut(&socket).expect("it hung");
        assert_eq!(rest.length, FIRST);
        rest.until = Instant::now();
        assert_eq!(hung.tell(&socket, &pair, b"staple").ok(), Some(Told::Absent));
        assert!(hung.0.is_empty());
    }
}
