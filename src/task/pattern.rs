//! Topic filters whose wildcards may have names: `plant/{line}/vibration`.

use crate::domain::TopicFilter;

/// Names that templates know already.
pub(super) const RESERVED: [&str; 4] = ["payload", "schema", "topic", "topic_text"];

/// A topic filter, and the names of its wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    filter: TopicFilter,
    /// One for each wildcard, from left to right.
    names: Vec<Option<Box<str>>>,
}

impl Pattern {
    /// Reads a filter as the configuration has it; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut names: Vec<Option<Box<str>>> = Vec::new();
        let mut levels = Vec::new();
        for level in text.split('/') {
            match level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !is_name(name) => {
                    return Err(format!("names a level `{level}`; a name is letters, digits and `_`"));
                }
                Some(name) if RESERVED.contains(&name) => {
                    return Err(format!("names a level `{level}`, which templates know as something else"));
                }
                Some(name) if names.iter().flatten().any(|known| **known == *name) => {
                    return Err(format!("names two levels `{level}`"));
                }
                Some(name) => {
                    names.push(Some(name.into()));
                    levels.push("+");
                }
                None if level.contains(['{', '}']) => {
                    return Err(format!("has a level `{level}`; a name in braces stands alone in its level"));
                }
                None => {
                    if matches!(level, "+" | "#") {
                        names.push(None);
                    }
                    levels.push(level);
                }
            }
        }
        let filter = TopicFilter::parse(&levels.join("/")).map_err(ToOwned::to_owned)?;
        Ok(Self { filter, names })
    }

    /// The filter to subscribe to.
    pub(super) fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The names of its levels.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(|name| &**name)
    }

    /// Named levels of `topic`; `None` when it does not match.
    pub(super) fn levels<'a>(&'a self, topic: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let values = self.filter.captures(topic)?;
        Some(
            self.names
                .iter()
                .zip(values)
                .filter_map(|(name, value)| Some((&**name.as_ref()?, value)))
                .collect(),
        )
    }

    /// Whether topics of any length match.
    pub(super) fn is_open(&self) -> bool {
        self.filter.as_str().ends_with('#')
    }

    /// A topic that matches: wildcards by their names, `any` where they have none.
    pub(super) fn example(&self) -> String {
        let text = self.filter.as_str();
        let shared = text.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        let mut names = self.names.iter();
        let fill = |level| match level {
            "+" | "#" => names.next().and_then(Option::as_deref).unwrap_or("any"),
            level => level,
        };
        shared.map_or(text, |(_, filter)| filter).split('/').map(fill).collect::<Vec<_>>().join("/")
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_level_is_a_wildcard_with_a_name() {
        let pattern = Pattern::parse("$share/pool/plant/{line}/+/{sensor}/#").unwrap();
        assert_eq!(pattern.filter().as_str(), "$share/pool/plant/+/+/+/#");
        assert_eq!(pattern.levels("plant/a/b/c/d/e"), Some(vec![("line", "a"), ("sensor", "c")]));
        assert_eq!(pattern.example(), "plant/line/any/sensor/any");
        assert!(pattern.levels(&pattern.example()).is_some());
        assert_eq!(pattern.levels("plant/a"), None);
    }

    #[test]
    fn a_name_that_cannot_be_used_is_refused() {
        for (bad, why) in [
            ("a/{}", "a name is"),
            ("a/{1a}", "a name is"),
            ("a/{a b}", "a name is"),
            ("a/x{b}", "stands alone"),
            ("a/{b", "stands alone"),
            ("{a}/{a}", "names two levels"),
            ("{payload}/x", "something else"),
            ("{a}/#/b", "last level"),
            ("", "empty"),
        ] {
            let words = Pattern::parse(bad).unwrap_err();
            assert!(words.contains(why), "{bad}: {words}");
        }
    }
}
