//! Server-sent events, as far as providers send them: the `data` lines (WHATWG HTML, §9.2).
//!
//! Bytes come as the network cuts them, in the middle of lines and of characters. Comments, other
//! fields and empty data are passed over; a space behind the colon may be missing.

use crate::domain::limits;

/// Splits bytes into the data of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
}

/// A line has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Takes bytes in and calls `each` with every piece of data that is complete with them. Data in
    /// several lines comes line by line: no provider of JSON breaks it.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        for part in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let (text, ends) = match part.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (part, false),
            };
            if self.line.len() + text.len() > limits::PROVIDER_LINE_BYTES_MAX {
                return Err(TooLong);
            }
            self.line.extend_from_slice(text);
            if ends {
                if let Some(data) = data(&self.line) {
                    each(data);
                }
                self.line.clear();
            }
        }
        Ok(())
    }

    /// The last line, when the stream ended without closing it.
    pub(super) fn finish(&self) -> Option<&[u8]> {
        data(&self.line)
    }
}

fn data(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data:")?.trim_ascii();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut out) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece, |data| out.push(String::from_utf8_lossy(data).into_owned())).unwrap();
        }
        out.extend(events.finish().map(|data| String::from_utf8_lossy(data).into_owned()));
        out
    }

    #[test]
    fn only_data_is_heard() {
        let stream = b": keep-alive\n\nevent: ping\nid: 5\ndata: {\"a\":1}\r\n\r\ndata:{\"b\":2}\n\ndata:\n\ndata: [DONE]";
        assert_eq!(all(&[stream]), ["{\"a\":1}", "{\"b\":2}", "[DONE]"]);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut events = Events::default();
        let chunk = vec![b'x'; limits::PROVIDER_LINE_BYTES_MAX];
        assert_eq!(events.push(&chunk, |_| ()), Ok(()));
        assert_eq!(events.push(b"x", |_| ()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_network_cuts_does_not_matter(cuts in prop::collection::vec(1usize..9, 0..60)) {
            let stream = "data: {\"t\":\"é😀\"}\r\n\r\n:c\ndata: x y\n\ndata: [DONE]\n\n".as_bytes();
            let (mut pieces, mut rest) = (Vec::new(), stream);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            prop_assert_eq!(all(&pieces), vec!["{\"t\":\"é😀\"}", "x y", "[DONE]"]);
        }
    }
}
