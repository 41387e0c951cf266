//! MQTT topics: which names and filters are well formed, and which filter matches which name.
//!
//! The rules are those of MQTT 5, §4.7 (and §4.8.2 for shared subscriptions); those of 3.1.1
//! are the same. Matching walks both texts once and never recurses.

use super::limits;

/// Why `topic` cannot be published to; `None` when it can.
pub fn topic_name_problem(topic: &str) -> Option<&'static str> {
    if topic.contains(['+', '#']) {
        return Some("holds a wildcard (`+` or `#`), which only a filter may");
    }
    text_problem(topic)
}

/// What holds for names and filters alike (§4.7.3).
fn text_problem(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        Some("is empty, a topic has at least one character")
    } else if topic.contains('\0') {
        Some("holds the character U+0000")
    } else if topic.len() > limits::TOPIC_BYTES_MAX {
        Some("has more than 65535 bytes")
    } else {
        None
    }
}

/// One level of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// This text.
    Exact(Box<str>),
    /// `+`: any one level.
    One,
    /// `#`: everything from here on, and the level above.
    Rest,
}

/// A topic filter that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFilter {
    pub(super) text: Box<str>,
    pub(super) pool: Option<Box<str>>,
    pub(super) levels: Vec<Level>,
}

impl TopicFilter {
    /// Reads a filter, `$share/<pool>/…` included; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(problem) = text_problem(text) {
            return Err(problem);
        }
        let (pool, filter) = match text.strip_prefix("$share/") {
            None => (None, text),
            Some(rest) => match rest.split_once('/') {
                Some((pool, _)) if pool.is_empty() || pool.contains(['+', '#']) => {
                    return Err("needs a pool's name without wildcards behind `$share/`");
                }
                Some((_, "")) | None => return Err("needs a filter behind `$share/<pool>/`"),
                Some((pool, filter)) => (Some(pool.into()), filter),
            },
        };
        let mut levels = Vec::new();
        for level in filter.split('/') {
            if levels.last() == Some(&Level::Rest) {
                return Err("has something behind `#`, which must be its last level");
            }
            levels.push(match level {
                "+" => Level::One,
                "#" => Level::Rest,
                part if part.contains(['+', '#']) => {
                    return Err("has a wildcard beside other characters: `+` and `#` stand alone in a level");
                }
                part => Level::Exact(part.into()),
            });
        }
        Ok(Self { text: text.into(), pool, levels })
    }

    /// The filter as it is subscribed to.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pool of a shared subscription.
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    /// Whether a message with this topic is for this filter.
    pub fn matches(&self, topic: &str) -> bool {
        self.walk(topic, |_| {})
    }

    /// What the wildcards stand for in `topic`, from left to right; `None` when it does not match.
    /// A `#` stands for the rest with its slashes, for nothing when it matches the level above.
    pub fn captures<'t>(&self, topic: &'t str) -> Option<Vec<&'t str>> {
        let mut found = Vec::new();
        self.walk(topic, |part| found.push(part)).then_some(found)
    }

    fn walk<'t>(&self, topic: &'t str, mut wildcard: impl FnMut(&'t str)) -> bool {
        // §4.7.2: what a broker says of itself is not for those who ask for everything.
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Exact(_))) {
            return false;
        }
        let mut rest = Some(topic);
        for level in &self.levels {
            if *level == Level::Rest {
                wildcard(rest.unwrap_or_default());
                return true;
            }
            let Some(here) = rest else { return false };
            let (part, behind) = here.split_once('/').map_or((here, None), |(part, more)| (part, Some(more)));
            match level {
                Level::Exact(text) if **text != *part => return false,
                Level::One => wildcard(part),
                Level::Exact(_) | Level::Rest => {}
            }
            rest = behind;
        }
        rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        TopicFilter::parse(filter).unwrap_or_else(|e| panic!("{filter} {e}")).matches(topic)
    }

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (filter, topic, expected) in [
            // §4.7.1.2
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b/c", true),
            // §4.7.1.3
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player2", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/tennis/#", "sport/tennis/x/y", true),
            ("sport/+/player1", "sport/tennis/player1", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            // §4.7.2
            ("#", "$SYS/monitor/Clients", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            // §4.7.3: case and slashes count.
            ("ACCOUNTS", "Accounts", false),
            ("/finance", "finance", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            // §4.8.2
            ("$share/consumer1/sport/tennis/+", "sport/tennis/player1", true),
            ("$share/consumer1//finance", "/finance", true),
            ("$share/consumer1/#", "$SYS/x", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_no_filter_or_no_name_is_refused() {
        let long = "x".repeat(65_536);
        for bad in [
            "",
            "sport/tennis#",
            "sport/tennis/#/ranking",
            "sport+",
            "a/b+/c",
            "##",
            "a\0b",
            "$share/p",
            "$share//a",
            "$share/p/",
            "$share/a+b/c",
            "$share/#/c",
            &long,
        ] {
            assert!(TopicFilter::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a/+", "#", "a#", "\0", &long] {
            assert!(topic_name_problem(bad).is_some(), "{bad:?}");
        }
        for good in ["/", "a b", "é/ü", "$SYS/x", "a//b", &long[1..]] {
            assert_eq!(topic_name_problem(good), None);
            assert!(TopicFilter::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_pool_and_what_wildcards_stand_for_are_told() {
        let filter = TopicFilter::parse("$share/press/plant/+/x/#").unwrap();
        assert_eq!((filter.pool(), filter.as_str()), (Some("press"), "$share/press/plant/+/x/#"));
        assert_eq!(filter.captures("plant/a/x/b/c"), Some(vec!["a", "b/c"]));
        assert_eq!(filter.captures("plant/a/x"), Some(vec!["a", ""]));
        assert_eq!(filter.captures("plant/a/y"), None);
    }

    /// The rules again, level by level, without thought for speed.
    fn naive(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && naive(filter, topic),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_rules_read_literally(
            filter in "(\\+|a|b||\\$s)(/(\\+|a|b|)){0,4}(/#)?",
            topic in "(a|b||\\$s)(/(a|b|)){0,5}",
        ) {
            let levels: Vec<&str> = filter.split('/').collect();
            let hidden = topic.starts_with('$') && levels[0] == "+";
            let expected = !hidden && naive(&levels, &topic.split('/').collect::<Vec<_>>());
            prop_assume!(!filter.is_empty() && !topic.is_empty());
            prop_assert_eq!(matches(&filter, &topic), expected, "{} {}", filter, topic);
        }

        #[test]
        fn putting_the_captures_back_gives_the_topic(
            filter in "(\\+|a|b)(/(\\+|a|b|)){0,4}",
            topic in "(a|b|x)(/(a|b|)){0,4}",
        ) {
            if let Some(found) = TopicFilter::parse(&filter).unwrap().captures(&topic) {
                let mut found = found.into_iter();
                let back: Vec<&str> =
                    filter.split('/').map(|l| if l == "+" { found.next().unwrap() } else { l }).collect();
                prop_assert_eq!(back.join("/"), topic);
            }
        }

        #[test]
        fn nothing_that_comes_over_the_wire_makes_it_panic(filter in "\\PC*", topic in "\\PC*") {
            let _ = topic_name_problem(&topic);
            if let Ok(filter) = TopicFilter::parse(&filter) {
                prop_assert_eq!(filter.matches(&topic), filter.captures(&topic).is_some());
            }
        }
    }
}
