//! The operator's own patterns: only such as cost little and mean something.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::domain::limits;

/// Makes a detector of a pattern; the error says what is wrong with it.
///
/// It must hold a piece of literal text, which every match has: a pattern without one finds half
/// of all texts by accident.
pub(in crate::policy) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > limits::DETECTOR_PATTERN_BYTES_MAX {
        return Err(format!("has {} bytes, more than {}", pattern.len(), limits::DETECTOR_PATTERN_BYTES_MAX));
    }
    let parsed = regex_syntax::parse(pattern).map_err(|e| format!("is no pattern: {}", last_line(&e)))?;
    let anchor = anchor(&parsed);
    if anchor < limits::DETECTOR_ANCHOR_CHARS_MIN {
        return Err(format!(
            "holds no literal text of {} characters or more that every match has; \
             write what the values have in common, as in \"SN-[0-9]{{8}}\"",
            limits::DETECTOR_ANCHOR_CHARS_MIN
        ));
    }
    RegexBuilder::new(pattern)
        .size_limit(limits::DETECTOR_COMPILED_BYTES_MAX)
        .build()
        .map_err(|e| format!("is too large: {}", last_line(&e)))
}

fn last_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Characters of the longest literal that every match holds.
fn anchor(hir: &Hir) -> usize {
    if let Some(length) = literal(hir) {
        return length;
    }
    match hir.kind() {
        HirKind::Capture(group) => anchor(&group.sub),
        HirKind::Repetition(r) if r.min > 0 => anchor(&r.sub),
        HirKind::Alternation(branches) => branches.iter().map(anchor).min().unwrap_or(0),
        HirKind::Concat(parts) => {
            let (mut longest, mut run) = (0, 0);
            for part in parts {
                run = literal(part).map_or(0, |length| run + length);
                longest = longest.max(run).max(anchor(part));
            }
            longest
        }
        _ => 0,
    }
}

/// Characters of something that stands for one text only, in whatever case.
fn literal(hir: &Hir) -> Option<usize> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(String::from_utf8_lossy(&literal.0).chars().count()),
        HirKind::Capture(group) => literal(&group.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let mut letters = class.iter().flat_map(|range| range.start()..=range.end()).take(8).map(fold);
            let first = letters.next()?;
            letters.all(|letter| letter == first).then_some(1)
        }
        _ => None,
    }
}

/// The same for all cases of a letter.
fn fold(letter: char) -> String {
    letter.to_uppercase().flat_map(char::to_lowercase).collect()
}
