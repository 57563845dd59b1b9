//! The two text formats. OpenMetrics 1.0 is what the encoder writes; the older 0.0.4, which the textfile
//! collector and tools at the shell read, differs in the lines of comment only.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::{Counters, PREFIX, Snapshot};

/// Writes everything to `out`: `open` for OpenMetrics, else 0.0.4.
///
/// # Errors
/// What `out` says.
pub(in crate::agent) fn render<W: fmt::Write>(
    counters: &Counters,
    snapshot: Snapshot,
    open: bool,
    out: &mut W,
) -> fmt::Result {
    let mut standing = Registry::with_prefix(PREFIX);
    standing.register_collector(Box::new(snapshot));
    match open {
        true => all(&standing, counters, out),
        false => all(&standing, counters, &mut Older::of(out)),
    }
}

fn all(standing: &Registry, counters: &Counters, out: &mut impl fmt::Write) -> fmt::Result {
    encode_registry(out, standing)?;
    encode_registry(out, &counters.registry)?;
    encode_eof(out)
}

/// OpenMetrics in the words of 0.0.4, line by line: a counter is called what its sample is called, `info`
/// is a gauge.
struct Older<'a, W> {
    out: &'a mut W,
    /// What there is of a line.
    line: String,
    /// A metric's name and meaning, until its kind is known.
    help: Option<(String, String)>,
}

impl<'a, W: fmt::Write> Older<'a, W> {
    fn of(out: &'a mut W) -> Self {
        Older { out, line: String::new(), help: None }
    }

    fn told(&mut self) -> fmt::Result {
        let line = &self.line;
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.help = rest.split_once(' ').map(|(name, words)| (name.into(), words.into()));
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.trim_end().split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, words)) = self.help.take() {
                write!(self.out, "# HELP {name}{suffix} {words}")?;
            }
            writeln!(self.out, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with("# ") {
            self.out.write_str(line)?;
        }
        self.line.clear();
        Ok(())
    }
}

impl<W: fmt::Write> fmt::Write for Older<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.told()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_older_format_names_what_it_describes() {
        let open = "# HELP a_fetch Requests.\n# TYPE a_fetch counter\na_fetch_total{b=\"# c\"} 1\n\
                    # HELP a_build The version\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n\
                    # HELP a_up Up.\n# TYPE a_up gauge\n# UNIT a_up x\na_up 0\n# EOF\n";
        let wanted = "# HELP a_fetch_total Requests.\n# TYPE a_fetch_total counter\n\
                      a_fetch_total{b=\"# c\"} 1\n# HELP a_build_info The version\n\
                      # TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n\
                      # HELP a_up Up.\n# TYPE a_up gauge\na_up 0\n";
        for length in [1, 3, 1000] {
            let mut told = String::new();
            let mut older = Older::of(&mut told);
            // In whatever pieces it comes.
            for piece in open.as_bytes().chunks(length) {
                older.write_str(std::str::from_utf8(piece).expect("ASCII")).expect("a string");
            }
            assert_eq!(told, wanted);
        }
    }
}
