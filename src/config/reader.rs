//! Reads TOML tables key by key and collects every complaint instead of stopping at the first.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Complaint;
use crate::time::parse_duration;

/// Where complaints gather while a file is read.
pub(super) type Complaints = RefCell<Vec<Complaint>>;

/// One table, of which every key is asked for once; what nobody asked for is unknown.
pub(super) struct Reader<'a> {
    table: &'a DeTable<'a>,
    place: Range<usize>,
    known: RefCell<Vec<&'static str>>,
    complaints: &'a Complaints,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Spanned<DeTable<'a>>, complaints: &'a Complaints) -> Self {
        Reader::at(table.get_ref(), table.span(), complaints)
    }

    fn at(table: &'a DeTable<'a>, place: Range<usize>, complaints: &'a Complaints) -> Self {
        Reader { table, place, known: RefCell::default(), complaints }
    }

    /// The bytes of the whole table.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.value(key)?;
        self.text(key, value)
    }

    pub(super) fn required_string(&self, key: &'static str) -> Option<Spanned<String>> {
        if !self.table.contains_key(key) {
            self.known.borrow_mut().push(key);
            self.complain(Complaint::new(self.place(), format!("{key} is missing here")));
            return None;
        }
        self.string(key)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let read = value.get_ref().as_bool();
        self.expect(read, key, value, "true or false")
    }

    pub(super) fn duration(&self, key: &'static str) -> Option<Duration> {
        let text = self.string(key)?;
        self.parsed_duration(key, &text)
    }

    pub(super) fn parsed_duration(&self, key: &str, text: &Spanned<String>) -> Option<Duration> {
        let read = parse_duration(text.get_ref());
        if let Err(error) = &read {
            let message = format!("{key} is not a length of time: {error}");
            self.complain(
                Complaint::new(text.span(), message)
                    .hint("lengths are written like \"90s\", \"6h\", \"4d\""),
            );
        }
        read.ok()
    }

    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        let value = self.value(key)?;
        let array = self.expect(value.get_ref().as_array(), key, value, "a list of strings")?;
        Some(array.iter().filter_map(|item| self.text(key, item)).collect())
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Reader<'a>> {
        let value = self.value(key)?;
        let table = self.expect(value.get_ref().as_table(), key, value, "a table")?;
        Some(Reader::at(table, value.span(), self.complaints))
    }

    /// An array of tables; `None` where the key is absent, which differs from an empty one.
    pub(super) fn tables(&self, key: &'static str) -> Option<Vec<Reader<'a>>> {
        let value = self.value(key)?;
        let wanted = format!("a list of tables: [[{key}]]");
        let array = self.expect(value.get_ref().as_array(), key, value, &wanted)?;
        let tables = array.iter().filter_map(|item| {
            let table = self.expect(item.get_ref().as_table(), key, item, &wanted)?;
            Some(Reader::at(table, item.span(), self.complaints))
        });
        Some(tables.collect())
    }

    /// A table of strings by free keys (`path_map`).
    pub(super) fn string_map(&self, key: &'static str) -> Vec<(String, Spanned<String>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let wanted = "a table of strings";
        let table = self.expect(value.get_ref().as_table(), key, value, wanted);
        let entries = table.into_iter().flat_map(|table| table.iter());
        entries
            .filter_map(|(name, value)| {
                Some((name.get_ref().to_string(), self.text(name.get_ref(), value)?))
            })
            .collect()
    }

    /// A string or a list of strings; the latter is a command.
    pub(super) fn string_or_strings(&self, key: &'static str) -> Option<StringOrStrings> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(items) => {
                let words = items.iter().filter_map(|item| self.text(key, item));
                Some(StringOrStrings::Many(value.span(), words.collect()))
            }
            _ => Some(StringOrStrings::One(self.text(key, value)?)),
        }
    }

    /// A string that names one of a few choices.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        self.chosen(key, &text, choices)
    }

    pub(super) fn chosen<T: Copy>(
        &self,
        key: &str,
        text: &Spanned<String>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let found = choices.iter().find(|(name, _)| name == text.get_ref());
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            let message = format!("unknown {key} {:?}", text.get_ref());
            let hint = match nearest(text.get_ref(), choices.iter().map(|(name, _)| *name)) {
                Some(near) => {
                    format!("did you mean {near:?}? {key} is one of {}", names.join(", "))
                }
                None => format!("{key} is one of {}", names.join(", ")),
            };
            self.complain(Complaint::new(text.span(), message).hint(hint));
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn complain(&self, complaint: Complaint) {
        self.complaints.borrow_mut().push(complaint);
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.keys() {
            if known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let hint = match nearest(key.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            let message = format!("unknown key {:?}", key.get_ref());
            self.complain(Complaint::new(key.span(), message).hint(hint));
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    fn text(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Spanned<String>> {
        let read = value.get_ref().as_str();
        let text = self.expect(read, key, value, "a string in quotes")?;
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    fn expect<T>(
        &self,
        read: Option<T>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
    ) -> Option<T> {
        if read.is_none() {
            let found = value.get_ref().type_str();
            let message = format!("{key} is {wanted}, found {}", with_article(found));
            self.complain(Complaint::new(value.span(), message));
        }
        read
    }
}

/// What [`Reader::string_or_strings`] found.
pub(super) enum StringOrStrings {
    One(Spanned<String>),
    Many(Range<usize>, Vec<Spanned<String>>),
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.map(|key| (strsim::jaro_winkler(word, key), key));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > 0.8).then_some(best.1)
}
