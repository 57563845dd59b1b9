//! Text that is handed on in pieces while it is made: megabytes that nobody holds as a whole.

use std::fmt;
use std::io;

use bytes::Bytes;

/// About the length of a piece. Shorter than what an allocator asks the system for each time, and longer
/// than what it costs to hand one on.
const PIECE: usize = 32 * 1024;

/// Takes text and hands on a piece whenever there is enough of it.
#[derive(Debug)]
pub(super) struct Pieces<F> {
    text: Vec<u8>,
    send: F,
}

/// Whoever took the pieces has left.
#[derive(Debug)]
pub(super) struct Left;

impl<F: FnMut(Bytes) -> Result<(), Left>> Pieces<F> {
    /// Pieces go to `send`.
    pub(super) fn new(send: F) -> Self {
        Pieces { text: Vec::new(), send }
    }

    /// Hands on the rest.
    ///
    /// # Errors
    /// Nobody takes it.
    pub(super) fn finish(mut self) -> Result<(), Left> {
        match self.text.is_empty() {
            true => Ok(()),
            false => (self.send)(std::mem::take(&mut self.text).into()),
        }
    }

    fn take(&mut self, text: &[u8]) -> Result<(), Left> {
        if self.text.capacity() == 0 {
            self.text.reserve(PIECE);
        }
        self.text.extend_from_slice(text);
        if self.text.len() < PIECE - PIECE / 8 {
            return Ok(());
        }
        (self.send)(std::mem::take(&mut self.text).into())
    }
}

impl<F: FnMut(Bytes) -> Result<(), Left>> fmt::Write for Pieces<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.as_bytes()).map_err(|Left| fmt::Error)
    }
}

impl<F: FnMut(Bytes) -> Result<(), Left>> io::Write for Pieces<F> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.take(text).map_err(|Left| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        for length in [0, 1, 8, PIECE / 40, PIECE] {
            let (mut whole, mut pieces) = (String::new(), Vec::new());
            let mut out = Pieces::new(|piece| {
                pieces.push(piece);
                Ok(())
            });
            for number in 0..40 {
                let line = format!("{number:>length$}\n");
                out.write_str(&line).expect("it is taken");
                whole += &line;
            }
            out.finish().expect("it is taken");
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(pieces.concat(), whole.as_bytes());
        }
    }

    #[test]
    fn whoever_left_gets_no_more() {
        let mut asked = 0;
        let mut out = Pieces::new(|_| {
            asked += 1;
            Err(Left)
        });
        assert!(out.write_str(&"x".repeat(PIECE)).is_err());
        assert!(out.finish().is_ok(), "nothing is left over");
        assert_eq!(asked, 1);
    }
}
