//! What several topic filters take in together. Pure; walks both filters once and never recurses.

use super::topic::{Level, TopicFilter};

/// The few filters that take in all of `filters` and of which no two take in the same topic: who
/// subscribes to them gets each message once. A broker sends one copy for each filter that matches
/// (MQTT 5, §3.3.4). What two filters share only in part is taken in by one with wildcards in place
/// of the levels in which they differ. Filters of different pools, or of none, are apart.
pub fn cover(filters: impl IntoIterator<Item = TopicFilter>) -> Vec<TopicFilter> {
    let mut apart: Vec<TopicFilter> = Vec::new();
    for mut filter in filters {
        while let Some(at) = apart.iter().position(|other| other.meets(&filter)) {
            filter = apart.swap_remove(at).joined(&filter);
        }
        apart.push(filter);
    }
    apart.sort_by(|a, b| a.text.cmp(&b.text));
    apart
}

/// What no wildcard in the first level stands for (§4.7.2).
fn is_of_the_broker(level: &Level) -> bool {
    matches!(level, Level::Exact(text) if text.starts_with('$'))
}

impl TopicFilter {
    /// The same filter for one that is in no pool.
    #[must_use]
    pub fn unpooled(&self) -> Self {
        let text = match &self.pool {
            Some(pool) => &self.text["$share//".len() + pool.len()..],
            None => &*self.text,
        };
        Self { text: text.into(), pool: None, levels: self.levels.clone() }
    }

    /// Whether there is a topic that both match, in the same pool or both in none.
    pub fn meets(&self, other: &Self) -> bool {
        if self.pool != other.pool {
            return false;
        }
        let (mut mine, mut theirs) = (self.levels.iter(), other.levels.iter());
        let mut first = true;
        loop {
            let (a, b) = match (mine.next(), theirs.next()) {
                (None | Some(Level::Rest), None) | (None, Some(Level::Rest)) => return true,
                (Some(a), Some(b)) => (a, b),
                _ => return false,
            };
            let wild = |level: &Level| !matches!(level, Level::Exact(_));
            if first && ((wild(a) && is_of_the_broker(b)) || (wild(b) && is_of_the_broker(a))) {
                return false;
            }
            first = false;
            match (a, b) {
                (Level::Rest, _) | (_, Level::Rest) => return true,
                (Level::Exact(a), Level::Exact(b)) if a != b => return false,
                _ => {}
            }
        }
    }

    /// The narrowest filter that takes in both, which [meet](Self::meets).
    fn joined(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.levels.iter(), other.levels.iter());
        let mut levels = Vec::new();
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => {
                    levels.push(a.clone());
                    if *a == Level::Rest {
                        break;
                    }
                }
                (Some(Level::Exact(_) | Level::One), Some(Level::Exact(_) | Level::One)) => {
                    levels.push(Level::One);
                }
                _ => {
                    levels.push(Level::Rest);
                    break;
                }
            }
        }
        let words: Vec<&str> = levels
            .iter()
            .map(|level| match level {
                Level::Exact(text) => text,
                Level::One => "+",
                Level::Rest => "#",
            })
            .collect();
        let pool = self.pool.as_deref().map(|pool| format!("$share/{pool}/")).unwrap_or_default();
        Self { text: (pool + &words.join("/")).into(), pool: self.pool.clone(), levels }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_that_meet_become_one_and_others_stay() {
        for (filters, expected) in [
            (&["plant/+/vibration", "plant/#"][..], &["plant/#"][..]),
            (&["a/+/c", "a/b/#"], &["a/+/#"]),
            (&["a/+", "b/+"], &["a/+", "b/+"]),
            (&["a/b", "a/b", "a/+"], &["a/+"]),
            (&["a/#", "a"], &["a/#"]),
            (&["#", "$SYS/#", "+/x"], &["#", "$SYS/#"]),
            (
                &["$share/p/a/+", "$share/p/a/b", "$share/q/a/b", "a/b"],
                &["$share/p/a/+", "$share/q/a/b", "a/b"],
            ),
        ] {
            let all = filters.iter().map(|f| TopicFilter::parse(f).unwrap());
            let found: Vec<String> = cover(all).iter().map(|f| f.as_str().to_owned()).collect();
            assert_eq!(found, expected, "{filters:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cover_matches_what_its_filters_match_and_once(
            filters in prop::collection::vec("([ab$]|\\+)(/([ab]|\\+)){0,2}(/#)?", 1..6),
            topic in "[ab$](/[ab]){0,4}",
        ) {
            let all: Vec<TopicFilter> = filters.iter().map(|f| TopicFilter::parse(f).unwrap()).collect();
            let wanted = all.iter().any(|f| f.matches(&topic));
            let times = cover(all).iter().filter(|f| f.matches(&topic)).count();
            prop_assert!(times <= 1, "{times} times");
            prop_assert!(!wanted || times == 1);
        }
    }
}
