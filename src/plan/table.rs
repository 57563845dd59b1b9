//! A map from the agent's numbers, which are small and mostly dense, to what is known about them.
//!
//! Pages of pointers: finding an entry is finding its page among few, and memory follows the entries
//! in use, also once most numbers have been retired by renewals.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::facts::{CertId, ResponderId, ServerId, TargetId};

const SLOTS: u32 = 128;

/// A number given by the agent.
pub(super) trait Id: Copy {
    fn number(self) -> u32;
    fn new(number: u32) -> Self;
}

macro_rules! ids {
    ($($id:ident),*) => { $(impl Id for $id {
        fn number(self) -> u32 {
            self.0
        }
        fn new(number: u32) -> Self {
            $id(number)
        }
    })* };
}

ids!(CertId, ResponderId, ServerId, TargetId);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Table<K, T> {
    pages: BTreeMap<u32, Page<T>>,
    key: PhantomData<K>,
}

#[derive(Clone, Debug)]
struct Page<T> {
    used: u32,
    slots: Box<[Option<Box<T>>]>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table { pages: BTreeMap::new(), key: PhantomData }
    }
}

impl<K: Id, T> Table<K, T> {
    fn place(id: K) -> (u32, usize) {
        (id.number() / SLOTS, (id.number() % SLOTS) as usize)
    }

    pub(super) fn get(&self, id: K) -> Option<&T> {
        let (page, slot) = Self::place(id);
        self.pages.get(&page)?.slots[slot].as_deref()
    }

    pub(super) fn get_mut(&mut self, id: K) -> Option<&mut T> {
        let (page, slot) = Self::place(id);
        self.pages.get_mut(&page)?.slots[slot].as_deref_mut()
    }

    pub(super) fn get_or_insert_with(&mut self, id: K, make: impl FnOnce() -> T) -> &mut T {
        let (page, slot) = Self::place(id);
        let page = self
            .pages
            .entry(page)
            .or_insert_with(|| Page { used: 0, slots: (0..SLOTS).map(|_| None).collect() });
        let slot = &mut page.slots[slot];
        if slot.is_none() {
            page.used += 1;
        }
        slot.get_or_insert_with(|| Box::new(make()))
    }

    pub(super) fn insert(&mut self, id: K, entry: T) {
        let mut entry = Some(entry);
        let place = self.get_or_insert_with(id, || entry.take().expect("made once at most"));
        if let Some(entry) = entry {
            *place = entry;
        }
    }

    pub(super) fn remove(&mut self, id: K) -> Option<Box<T>> {
        let (number, slot) = Self::place(id);
        let page = self.pages.get_mut(&number)?;
        let entry = page.slots[slot].take()?;
        page.used -= 1;
        if page.used == 0 {
            self.pages.remove(&number);
        }
        Some(entry)
    }

    /// All entries in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.pages.iter().flat_map(|(page, entries)| {
            let numbers = page * SLOTS..=page * SLOTS + (SLOTS - 1);
            let slots = numbers.zip(&entries.slots);
            slots.filter_map(|(number, entry)| Some((K::new(number), entry.as_deref()?)))
        })
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go_under_any_number() {
        let numbers = [0, 1, 127, 128, 5_000_000, u32::MAX];
        let mut table: Table<CertId, u32> = Table::default();
        for number in numbers {
            assert_eq!(table.get(CertId(number)), None);
            table.insert(CertId(number), number);
            table.insert(CertId(number), number);
            assert_eq!(table.get_mut(CertId(number)), Some(&mut number.clone()));
        }
        assert_eq!(table.ids().map(|id| id.0).collect::<Vec<_>>(), numbers);
        for number in numbers {
            assert_eq!(table.remove(CertId(number)).as_deref(), Some(&number));
            assert_eq!(table.remove(CertId(number)), None);
        }
        assert!(table.pages.is_empty());
    }
}
