//! Stop strings, met across the borders of tokens.

/// Watches an answer for stop strings and holds back text that may be the start of one.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What may be shown after a piece of text came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    /// Text that is certainly part of the answer.
    pub text: String,
    /// A stop string was met; nothing after `text` belongs to the answer.
    pub stopped: bool,
}

impl StopMatcher {
    /// Empty stop strings are ignored: they would end every answer before it begins.
    pub(super) fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|s| !s.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes the next piece of the answer.
    pub(super) fn push(&mut self, text: &str) -> Released {
        self.held.push_str(text);
        if let Some(start) = self.stops.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            self.held.truncate(start);
            return Released { text: std::mem::take(&mut self.held), stopped: true };
        }
        let hold = self.stops.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The answer has ended otherwise: what was held back is part of it after all.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest suffix of `text` that is a proper prefix of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices().map(|(at, _)| at).rev().find(|n| text.ends_with(&stop[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(&stops.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut out = String::new();
        for piece in pieces {
            let released = matcher.push(piece);
            out += &released.text;
            if released.stopped {
                return (out, true);
            }
        }
        (out + &matcher.finish(), false)
    }

    #[test]
    fn a_stop_string_is_met_across_pieces_and_left_out() {
        assert_eq!(run(&["END"], &["one E", "N", "D two"]), ("one ".into(), true));
        assert_eq!(run(&["\n\n", "###"], &["a\n", "#", "\nb"]), ("a\n#\nb".into(), false));
        assert_eq!(run(&["é!"], &["caf", "é", "!"]), ("caf".into(), true));
        assert_eq!(run(&["aab"], &["aa", "ab"]), ("a".into(), true));
        assert_eq!(run(&[""], &["x"]), ("x".into(), false));
    }

    proptest! {
        #[test]
        fn however_the_text_is_cut_the_answer_is_the_same(
            text in "[ab\u{e9}]{0,24}", stops in prop::collection::vec("[ab\u{e9}]{1,4}", 0..3), cuts in prop::collection::vec(0usize..24, 0..6),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut at: Vec<usize> = cuts.into_iter().filter(|c| text.is_char_boundary(*c) && *c <= text.len()).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let whole = stops.iter().filter_map(|s| text.find(s)).min().map_or((text.clone(), false), |n| (text[..n].into(), true));
            // Cutting may let an earlier-ending match win over an earlier-starting one, but never lets a stop string through.
            let (out, stopped) = run(&stops, &pieces);
            prop_assert_eq!(stopped, whole.1);
            prop_assert!(text.starts_with(&out));
            prop_assert!(stops.iter().all(|s| !out.contains(s)));
            if !stopped { prop_assert_eq!(out, text); }
        }
    }
}
