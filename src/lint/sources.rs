//! Where something is said: in a block of its own, in one that others inherit from, or in a file that several
//! include. A fix must change what is meant and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use super::finding::Step;
use super::view::Block;
use crate::discover::{Origin, Stated};

/// Who shares what is said at a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One block.
    Alone,
    /// Several, which inherit it from around them.
    Inherited,
    /// Several, which include the file it stands in.
    Included,
}

/// The lines of one kind of directive, and how many blocks say or inherit it there.
pub(super) struct Lines(HashMap<Origin, (usize, *const ())>);

impl Lines {
    /// Of what `tell` picks out of each block.
    pub(super) fn of<'a, T: 'a>(
        blocks: &'a [Block<'a>],
        tell: impl Fn(&'a Block<'a>) -> Option<&'a Arc<Stated<T>>>,
    ) -> Lines {
        let mut lines: HashMap<Origin, (usize, *const ())> = HashMap::new();
        for stated in blocks.iter().filter_map(tell) {
            // Blocks that inherit share one value; those that include a file have read it for themselves.
            let value = Arc::as_ptr(stated).cast();
            let entry = lines.entry(stated.origin.clone()).or_insert((0, value));
            entry.0 += 1;
            if entry.1 != value {
                entry.1 = std::ptr::null();
            }
        }
        Lines(lines)
    }

    /// Who shares what is said there.
    pub(super) fn sharing(&self, origin: &Origin) -> Sharing {
        match self.0.get(origin) {
            Some((2.., value)) if value.is_null() => Sharing::Included,
            Some((2.., _)) => Sharing::Inherited,
            _ => Sharing::Alone,
        }
    }

    /// How many blocks share it.
    pub(super) fn count(&self, origin: &Origin) -> usize {
        self.0.get(origin).map_or(0, |(count, _)| *count)
    }

    /// Says `line` in a block, in place of what is said for it at `stated`.
    pub(super) fn say(
        &self,
        block: &Block<'_>,
        stated: Option<&Origin>,
        directive: &str,
        line: String,
    ) -> Step {
        match stated.map(|origin| (origin, self.sharing(origin))) {
            Some((origin, Sharing::Alone)) => Step::replace(origin, directive, [line]),
            Some((origin, Sharing::Included)) => Step::act(format!(
                "several blocks include {origin}: move `{directive}` from there into each of them, and in \
                 the one at {} write `{line}`",
                block.deployment.origin
            )),
            Some((_, Sharing::Inherited)) | None => Step::below(&block.deployment.origin, [line]),
        }
    }
}

/// The lines of `[table]` and of `key` in it, in a configuration of ours; 0 for what is not there.
pub fn own_lines(text: &str, table: &str, key: &str) -> (u32, u32) {
    let header = format!("[{table}]");
    let mut found = (0, 0);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('[') {
            if found.0 > 0 {
                break;
            }
            let bare = line.split('#').next().unwrap_or(line).trim();
            found.0 = if bare == header { number } else { 0 };
        } else if found.0 > 0 && line.split('=').next().is_some_and(|name| name.trim() == key) {
            found.1 = number;
        }
    }
    found
}

/// The lines of `reload` of each `[[server]]`, in their order; 0 for one without.
pub fn own_reload_lines(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let mut within = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('[') {
            within = line.starts_with("[[server]]");
            found.extend(within.then_some(0));
        } else if line.split('=').next().is_some_and(|name| within && name.trim() == "reload") {
            found.last_mut().into_iter().for_each(|last| *last = number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines_are_found_in_their_table() {
        let text = "listen = 1\n[metrics]\nlisten = \"x\"\n[responder] # ours\n\nlisten = []\n[policy]\nlisten = 2\n";
        assert_eq!(own_lines(text, "responder", "listen"), (4, 6));
        assert_eq!(own_lines(text, "schedule", "listen"), (0, 0));
        assert_eq!(own_lines(text, "policy", "on_revoked"), (7, 0));
        let servers =
            "[[server]]\nkind = \"nginx\"\n[[server]]\nreload = \"none\"\n[policy]\nreload = 1\n";
        assert_eq!(own_reload_lines(servers), [0, 4]);
    }
}
