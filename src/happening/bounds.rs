//! How long a happening may be.
//!
//! Callers of the control socket, commands and servers say what they like, at any length. A record that
//! is kept for more than a year takes the beginning of it and counts the rest: nobody can push out the history by
//! talking.

use std::path::PathBuf;

use super::Happening;

/// So much of a text is kept, in bytes; of a list, all its entries together.
const TEXT_BYTES: usize = 4_096;
/// So many entries of a list.
const ENTRIES: usize = 20;

impl Happening {
    /// The same, no longer than a record can bear: texts end with `…` where they are cut, lists say how many
    /// there were besides.
    pub fn bounded(mut self) -> Happening {
        match &mut self {
            Happening::NotConfigured { error }
            | Happening::NotAnswered { error, .. }
            | Happening::NotPublished { error, .. }
            | Happening::NotReloaded { error, .. }
            | Happening::NotImported { error, .. }
            | Happening::HookFailed { error, .. } => cut(error),
            Happening::RenewalEnded { output, error, .. } => {
                cut(output);
                error.iter_mut().for_each(cut);
            }
            Happening::RefreshAsked { names, more, .. } => *more += cut_list(names),
            Happening::HookCalled { paths, more, .. } => {
                let mut texts: Vec<String> =
                    paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
                *more += cut_list(&mut texts);
                *paths = texts.into_iter().map(PathBuf::from).collect();
            }
            _ => {}
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        text.push('…');
    }
}

/// How many entries were taken away.
fn cut_list(entries: &mut Vec<String>) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take(ENTRIES).take_while(|entry| {
        bytes += entry.len();
        bytes <= TEXT_BYTES
    });
    let fit = fit.count();
    let more = entries.len() - fit;
    entries.truncate(fit);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_as_it_is() {
        let names = vec!["a.example".to_owned(), "b.example".to_owned()];
        let asked = Happening::RefreshAsked { uid: Some(0), names, no_reload: true, more: 0 };
        assert_eq!(asked.clone().bounded(), asked);
        let refused = Happening::NotImported { uid: None, error: "é".repeat(2_048) };
        assert_eq!(refused.clone().bounded(), refused);
    }

    #[test]
    fn what_is_long_is_cut_and_the_rest_counted() {
        let paths = (0..50_000).map(|number| PathBuf::from(format!("/live/{number}"))).collect();
        let called = Happening::HookCalled { uid: None, paths, more: 0 }.bounded();
        let Happening::HookCalled { paths, more, .. } = &called else { panic!("{called:?}") };
        assert_eq!((paths.len(), *more), (20, 49_980));
        assert_eq!(called.clone().bounded(), called, "once is enough");

        let names = vec!["x".repeat(1 << 20)];
        let asked = Happening::RefreshAsked { uid: None, names, no_reload: false, more: 0 };
        let Happening::RefreshAsked { names, more: 1, .. } = asked.bounded() else { panic!() };
        assert!(names.is_empty());

        let refused = Happening::NotImported { uid: None, error: "é".repeat(5_000) }.bounded();
        let Happening::NotImported { error, .. } = refused else { panic!() };
        assert_eq!((error.len(), error.ends_with("é…")), (4_096 + '…'.len_utf8(), true));
    }
}
