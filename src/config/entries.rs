//! Reading the lists: each `[[…]]` appends an entry, whichever file it stands in.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::{Layered, List, Origin, layers::nearest, setting::kind};

/// List and number of an entry, counted from 0.
type At = (&'static str, usize);

/// Where the entries stand, and what is known to be wrong with them.
#[derive(Clone, Debug, Default)]
pub(super) struct EntryOrigins {
    headers: BTreeMap<At, Origin>,
    keys: BTreeMap<At, BTreeMap<&'static str, Origin>>,
    /// Keys that have a problem already; what follows from it is not told as well.
    wrong: BTreeSet<(At, &'static str)>,
}

impl Layered {
    /// Origin of a key of an entry: its line, or that of the entry's header when nobody set it.
    pub fn entry_origin(&self, list: &'static str, index: usize, key: &str) -> Origin {
        let header = || self.entries.headers.get(&(list, index));
        self.set_entry_origin(list, index, key).or_else(header).cloned().unwrap_or(Origin::Default)
    }

    /// Origin of a key of an entry; `None` when nobody set it.
    pub fn set_entry_origin(&self, list: &'static str, index: usize, key: &str) -> Option<&Origin> {
        self.entries.keys.get(&(list, index))?.get(key)
    }

    /// Notes something wrong with a key of an entry, or with all of it when `key` is empty, unless something is known to be wrong with it.
    pub fn entry_problem(&mut self, list: &'static str, index: usize, key: &'static str, message: &str) {
        if self.entries.wrong.insert(((list, index), key)) {
            let name = self.config.get_entry(list, index, "name");
            let name = name.as_ref().and_then(toml::Value::as_str).filter(|name| !name.is_empty());
            let of = name.map(|name| format!(" of {name}")).unwrap_or_default();
            let dot = if key.is_empty() { "" } else { "." };
            self.problem(self.entry_origin(list, index, key), format!("`{list}{dot}{key}`{of} {message}"));
        }
    }

    /// Appends the entries of one file.
    pub(super) fn add_list(
        &mut self,
        list: &'static List,
        origin: Origin,
        spans: &DeValue<'_>,
        values: Option<&toml::Value>,
        at: impl Fn(usize) -> Origin,
    ) {
        let name = list.name;
        let (Some(spans), Some(values)) = (spans.as_array(), values.and_then(toml::Value::as_array)) else {
            return self.problem(origin, format!("`{name}` is a list: write [[{name}]] before each entry"));
        };
        for (entry, values) in spans.iter().zip(values) {
            let header = at(entry.span().start);
            if let (Some(keys), Some(values)) = (entry.get_ref().as_table(), values.as_table()) {
                self.add_entry(list, header, keys, values, &at);
            } else {
                let words = format!("an entry of `{name}` is {}, expected a table of keys", kind(values));
                self.problem(header, words);
            }
        }
    }

    fn add_entry(
        &mut self,
        list: &'static List,
        header: Origin,
        spans: &DeTable<'_>,
        values: &toml::Table,
        at: impl Fn(usize) -> Origin,
    ) {
        let index = self.config.entries(list.name);
        self.config.add_entry(list.name);
        self.entries.headers.insert((list.name, index), header);
        for (span, _) in spans {
            let name = span.get_ref().as_ref();
            let origin = at(span.span().start);
            let known = list.keys.iter().find(|key| key.path == name);
            let (Some(key), Some(value)) = (known, values.get(name)) else {
                let known: Vec<&str> = list.keys.iter().map(|key| key.path).collect();
                let words = format!("there is no key `{}.{name}`{}", list.name, nearest(name, &known));
                self.problem(origin, words);
                continue;
            };
            self.entries.keys.entry((list.name, index)).or_default().insert(key.path, origin);
            if let Some(Err(message)) = self.config.set_entry(list.name, index, key.path, value) {
                self.entry_problem(list.name, index, key.path, &message);
            }
        }
        for key in list.required {
            if self.set_entry_origin(list.name, index, key).is_none() {
                self.entry_problem(list.name, index, key, "is missing");
            }
        }
    }
}
