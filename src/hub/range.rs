//! What an answer to a question for a part of a file begins with. Pure.

use super::fault::Fault;

/// Where the body of an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Where it was asked for.
    Asked,
    /// At the beginning of the file: the server knows no ranges.
    Whole,
}

/// Holds the head of a 200 or 206 against what was asked for: the bytes from `from` on of a file of `bytes`.
pub(super) fn beginning(
    partial: bool,
    content_range: Option<&str>,
    length: Option<u64>,
    from: u64,
    bytes: u64,
) -> Result<Beginning, Fault> {
    let wrong = |why: String| Err(Fault::WrongRange(why));
    if !partial {
        return match length {
            Some(length) if length != bytes => wrong(format!("a file of {length} bytes instead of {bytes}")),
            _ => Ok(Beginning::Whole),
        };
    }
    let Some((first, last, all)) = content_range.and_then(parse) else {
        return wrong(format!("`Content-Range: {}`", content_range.unwrap_or_default().escape_default()));
    };
    if first != from || last + 1 != bytes || all.is_some_and(|all| all != bytes) {
        return wrong(format!("bytes {first} to {last} instead of {from} to {}", bytes.saturating_sub(1)));
    }
    match length {
        Some(length) if length != bytes - from => {
            wrong(format!("{length} bytes instead of {}", bytes - from))
        }
        _ => Ok(Beginning::Asked),
    }
}

/// `bytes FIRST-LAST/ALL`, where `ALL` may be `*` (RFC 9110, §14.4).
fn parse(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, all) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let all = if all == "*" { None } else { Some(all.parse().ok()?) };
    (first <= last && last < u64::MAX).then_some((first, last, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bytes_that_were_asked_for_are_taken() {
        let ask = |partial, range, length| beginning(partial, range, length, 40, 100);
        assert_eq!(ask(true, Some("bytes 40-99/100"), Some(60)), Ok(Beginning::Asked));
        assert_eq!(ask(true, Some("bytes 40-99/*"), None), Ok(Beginning::Asked));
        assert_eq!(ask(false, None, Some(100)), Ok(Beginning::Whole));
        assert_eq!(ask(false, None, None), Ok(Beginning::Whole));
        for (partial, range, length) in [
            (true, None, Some(60)),
            (true, Some("bytes 0-99/100"), Some(100)),
            (true, Some("bytes 41-99/100"), Some(59)),
            (true, Some("bytes 40-79/100"), Some(40)),
            (true, Some("bytes 40-99/101"), Some(60)),
            (true, Some("bytes 40-99/100"), Some(61)),
            (true, Some("bytes 99-40/100"), None),
            (true, Some("bytes */100"), None),
            (true, Some("lines 40-99/100"), None),
            (true, Some("bytes 40-18446744073709551615/*"), None),
            (false, None, Some(60)),
            (false, None, Some(101)),
        ] {
            assert!(ask(partial, range, length).is_err(), "{partial} {range:?} {length:?}");
        }
    }
}
