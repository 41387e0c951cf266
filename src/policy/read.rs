//! Reading a TOML file so that every mistake is found in one go, each with its line.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::{Origin, Problem, nearest, read_bounded};

/// Reads a file with `read`, or says everything that is wrong with it.
pub(super) fn file<T>(
    path: &Path,
    read: impl FnOnce(&mut Reader<'_>, &Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let text = read_bounded(path)
        .and_then(|text| text.ok_or_else(|| "there is no such file".to_owned()))
        .map_err(|message| vec![Problem { origin: Origin::File(path.into(), 1), message }])?;
    self::text(path, &text, read)
}

/// The same with its text; `path` is for what is wrong with it.
pub(super) fn text<T>(
    path: &Path,
    text: &str,
    read: impl FnOnce(&mut Reader<'_>, &Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let mut reader = Reader::new(path, text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            reader.problem(error.span().map_or(0, |span| span.start), error.message());
            return Err(reader.finish());
        }
    };
    let value = read(&mut reader, &Section::root(table.get_ref()));
    match reader.finish() {
        problems if problems.is_empty() => Ok(value),
        problems => Err(problems),
    }
}

/// What stands in a file, and what is wrong with it.
pub(super) struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    problems: Vec<Problem>,
}

/// A value and the offset at which it stands.
pub(super) type At<T> = (T, usize);

/// A table of the file, with what it is called in messages.
pub(super) struct Section<'d> {
    pub(super) name: String,
    pub(super) at: usize,
    table: &'d DeTable<'d>,
}

impl<'t> Reader<'t> {
    fn new(path: &'t Path, text: &'t str) -> Self {
        Self { path, text, problems: Vec::new() }
    }

    /// Notes what is wrong at an offset.
    pub(super) fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.problems.push(Problem { origin: self.origin(at), message: message.into() });
    }

    /// Line of an offset, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn origin(&self, at: usize) -> Origin {
        Origin::File(self.path.into(), self.line(at))
    }

    /// Everything that was wrong, in the order of the file.
    fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(_, line) => *line,
            _ => 0,
        });
        self.problems
    }

    /// Refuses every key but the known ones.
    pub(super) fn only(&mut self, section: &Section<'_>, known: &[&str]) {
        for (key, _) in section.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = nearest(name, known);
                self.problem(key.span().start, format!("{} has no `{name}`{hint}", section.name));
            }
        }
    }

    fn value<'d, T>(
        &mut self,
        section: &Section<'d>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<At<T>> {
        let found = section.table.get(key)?;
        let at = found.span().start;
        let read = read(found.get_ref());
        if read.is_none() {
            let kind = found.get_ref().type_str();
            self.problem(at, format!("`{key}` of {} is a {kind}, expected {expected}", section.name));
        }
        read.map(|value| (value, at))
    }

    pub(super) fn text(&mut self, section: &Section<'_>, key: &str) -> Option<At<String>> {
        self.value(section, key, "text in quotes", |v| v.as_str().map(Into::into))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<At<T>> {
        let (text, at) = self.text(section, key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(&text, &known);
            let known = known.join(", ");
            self.problem(
                at,
                format!("`{key}` of {} is `{text}`, expected one of {known}{hint}", section.name),
            );
        }
        found.map(|(_, value)| (*value, at))
    }

    pub(super) fn flag(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        self.value(section, key, "true or false", DeValue::as_bool).map(|(flag, _)| flag)
    }

    /// A whole number from 0 up.
    pub(super) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<u32> {
        let read = |v: &DeValue<'_>| {
            let integer = v.as_integer()?;
            u32::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        };
        self.value(section, key, "a whole number from 0 up", read).map(|(number, _)| number)
    }

    /// An amount that may have a fraction.
    pub(super) fn amount(&mut self, section: &Section<'_>, key: &str) -> Option<At<f64>> {
        let read = |v: &DeValue<'_>| {
            let digits = match (v.as_float(), v.as_integer()) {
                (Some(float), _) => float.as_str(),
                (None, integer) => integer?.as_str(),
            };
            digits.replace('_', "").parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0)
        };
        self.value(section, key, "a number from 0 up", read)
    }

    /// A day, such as `2026-11-01`, as it is written.
    pub(super) fn date(&mut self, section: &Section<'_>, key: &str) -> Option<String> {
        let read = |v: &DeValue<'_>| {
            let date = v.as_datetime()?;
            (date.date.is_some() && date.time.is_none()).then(|| date.to_string())
        };
        self.value(section, key, "a day such as 2026-11-01", read).map(|(date, _)| date)
    }

    /// A list of texts; empty when the key is absent.
    pub(super) fn texts(&mut self, section: &Section<'_>, key: &str) -> Vec<At<String>> {
        let listed = self.value(section, key, "a list of texts", DeValue::as_array);
        let mut texts = Vec::new();
        for item in listed.into_iter().flat_map(|(list, _)| list) {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), item.span().start)),
                None => self.problem(
                    item.span().start,
                    format!("`{key}` of {} holds a {}, not a text", section.name, item.get_ref().type_str()),
                ),
            }
        }
        texts
    }

    /// A list of whole numbers; empty when the key is absent.
    pub(super) fn numbers(&mut self, section: &Section<'_>, key: &str) -> Vec<u32> {
        let listed = self.value(section, key, "a list of whole numbers", DeValue::as_array);
        let mut numbers = Vec::new();
        for item in listed.into_iter().flat_map(|(list, _)| list) {
            match item.get_ref().as_integer().and_then(|i| i.as_str().parse().ok()) {
                Some(number) => numbers.push(number),
                None => self.problem(
                    item.span().start,
                    format!("`{key}` of {} holds something that is no whole number", section.name),
                ),
            }
        }
        numbers
    }

    /// The table under `key`.
    pub(super) fn section<'d>(
        &mut self,
        parent: &Section<'d>,
        key: &str,
        name: impl Into<String>,
    ) -> Option<Section<'d>> {
        let (table, at) = self.value(parent, key, "a table", DeValue::as_table)?;
        Some(Section { name: name.into(), at, table })
    }

    /// The tables of `[[key]]`, in order.
    pub(super) fn list<'d>(&mut self, parent: &Section<'d>, key: &str) -> Vec<Section<'d>> {
        let expected = format!("a list: write [[{key}]] before each of its entries");
        let listed = self.value(parent, key, &expected, DeValue::as_array);
        let mut sections = Vec::new();
        for (n, item) in listed.into_iter().flat_map(|(list, _)| list).enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section {
                        name: format!("[[{key}]] {}", n + 1),
                        at: item.span().start,
                        table,
                    });
                }
                None => self.problem(item.span().start, format!("`{key}` holds something that is no table")),
            }
        }
        sections
    }

    /// The tables of `[key.<name>]`, with their names.
    pub(super) fn named<'d>(&mut self, parent: &Section<'d>, key: &str) -> Vec<(String, Section<'d>)> {
        let Some((tables, _)) = self.value(parent, key, "a table of tables", DeValue::as_table) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (entry, value) in tables {
            let (entry, at) = (entry.get_ref().to_string(), entry.span().start);
            match value.get_ref().as_table() {
                Some(table) => {
                    let name = format!("[{key}.{entry}]");
                    sections.push((entry, Section { name, at, table }));
                }
                None => self.problem(at, format!("[{key}] holds `{entry}`, which is no table")),
            }
        }
        sections
    }
}

impl<'d> Section<'d> {
    /// The whole file.
    fn root(table: &'d DeTable<'d>) -> Self {
        Self { name: "the file".into(), at: 0, table }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }
}
