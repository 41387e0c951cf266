//! Control tokens, and prompts in which they are marked.
//!
//! A control token is one that the tokenizer calls special, or that the package says begins
//! or ends a text. In a rendered prompt they are found by their text, the longest at the
//! leftmost place, as tokenizers themselves do it; what keeps a caller's text from being
//! taken for one is the [guard](super::guard).

use std::ops::Range;

use tokenizers::AddedToken;

/// The control tokens of one tokenizer.
#[derive(Debug)]
pub(super) struct Controls {
    forward: Trie,
    /// Their texts backwards, to find what could be the end of one.
    backward: Trie,
    /// Longest text, characters.
    chars_max: usize,
    tokens: Vec<Control>,
}

#[derive(Debug)]
struct Control {
    id: u32,
    text: String,
    /// Takes the white space before, or after, with it.
    lstrip: bool,
    rstrip: bool,
}

impl Controls {
    /// Of these tokens with their ids. Says what is wrong with a token that cannot be
    /// treated exactly.
    pub(super) fn new(tokens: impl IntoIterator<Item = (u32, AddedToken)>) -> Result<Self, String> {
        let mut controls =
            Self { forward: Trie::default(), backward: Trie::default(), chars_max: 0, tokens: Vec::new() };
        for (id, token) in tokens {
            let chars = token.content.chars().count();
            if chars < 2 {
                return Err(format!(
                    "special token {id} `{}` has fewer than two characters, it could not be told from text",
                    token.content
                ));
            }
            if token.single_word {
                return Err(format!(
                    "special token {id} `{}` is marked `single_word`, which is not supported",
                    token.content
                ));
            }
            let index = controls.tokens.len() as u32;
            controls.chars_max = controls.chars_max.max(chars);
            controls.forward.insert(token.content.chars(), index);
            controls.backward.insert(token.content.chars().rev(), index);
            let AddedToken { content, lstrip, rstrip, .. } = token;
            controls.tokens.push(Control { id, text: content, lstrip, rstrip });
        }
        Ok(controls)
    }

    /// Ids and texts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.tokens.iter().map(|token| (token.id, token.text.as_str()))
    }

    /// Whether `text` begins with a control token, or ends within one.
    pub(super) fn may_begin(&self, text: &str) -> bool {
        let mut walk = Walk::new(&self.forward);
        text.chars().all(|c| walk.step(c) && walk.end().is_none()) || walk.end().is_some()
    }

    /// Where the last character begins of each start of `text` that is the proper end of a
    /// control token.
    pub(super) fn ends_at_start_of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        text.char_indices().take(self.chars_max.saturating_sub(1)).filter_map(|(at, c)| {
            let mut walk = Walk::new(&self.backward);
            let mut chars = text[..at + c.len_utf8()].chars().rev();
            (chars.all(|c| walk.step(c)) && walk.goes_on()).then_some(at)
        })
    }

    /// The longest control token that `text` begins with.
    fn longest_at_start_of(&self, text: &str) -> Option<&Control> {
        let mut walk = Walk::new(&self.forward);
        let mut longest = None;
        for c in text.chars() {
            if !walk.step(c) {
                break;
            }
            longest = walk.end().or(longest);
        }
        longest.map(|index| &self.tokens[index as usize])
    }

    /// Finds the control tokens of `text`, where `guard` stands in texts that are none, and
    /// takes the guards out.
    pub(super) fn mark(&self, text: &str, guard: char) -> RenderedPrompt {
        let mut prompt = RenderedPrompt { text: String::with_capacity(text.len()), controls: Vec::new() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(token) = self.longest_at_start_of(rest) {
                rest = prompt.push(token, rest);
            } else {
                if c != guard {
                    prompt.text.push(c);
                }
                rest = &rest[c.len_utf8()..];
            }
        }
        prompt
    }
}

/// A prompt as the template wrote it, with its control tokens marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedPrompt {
    text: String,
    /// Bytes of `text` that stand for a control token, in order.
    controls: Vec<(Range<usize>, u32)>,
}

/// A piece of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// A control token's id.
    Control(u32),
    /// Text without control tokens, never empty. What looks like one here is text.
    Text(&'a str),
}

impl RenderedPrompt {
    /// A prompt that is text and nothing else.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), controls: Vec::new() }
    }

    /// The whole text, control tokens as they are written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The pieces, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let end = (self.text.len()..self.text.len(), None);
        let mut from = 0;
        self.controls.iter().map(|(range, id)| (range.clone(), Some(*id))).chain([end]).flat_map(
            move |(range, id)| {
                let before = &self.text[from..range.start];
                from = range.end;
                let text = (!before.is_empty()).then_some(Segment::Text(before));
                text.into_iter().chain(id.map(Segment::Control))
            },
        )
    }

    /// Appends `token`, which `rest` begins with, and returns what follows it.
    fn push<'a>(&mut self, token: &Control, rest: &'a str) -> &'a str {
        let mut range = self.text.len()..self.text.len() + token.text.len();
        let rest = &rest[token.text.len()..];
        self.text.push_str(&token.text);
        if token.lstrip {
            let taken = self.controls.last().map_or(0, |(range, _)| range.end);
            range.start = taken + self.text[taken..range.start].trim_end().len();
        }
        let after = if token.rstrip { rest.trim_start() } else { rest };
        self.text.push_str(&rest[..rest.len() - after.len()]);
        range.end = self.text.len();
        self.controls.push((range, token.id));
        after
    }
}

/// Texts by their characters.
#[derive(Debug)]
struct Trie {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by character.
    children: Vec<(char, u32)>,
    /// What ends here.
    end: Option<u32>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Trie {
    fn insert(&mut self, text: impl Iterator<Item = char>, value: u32) {
        let mut at = 0;
        for c in text {
            let next = self.nodes.len() as u32;
            let children = &mut self.nodes[at].children;
            at = match children.binary_search_by_key(&c, |child| child.0) {
                Ok(found) => children[found].1 as usize,
                Err(place) => {
                    children.insert(place, (c, next));
                    self.nodes.push(Node::default());
                    next as usize
                }
            };
        }
        self.nodes[at].end = Some(value);
    }
}

/// A place in a [`Trie`].
struct Walk<'a> {
    trie: &'a Trie,
    node: &'a Node,
}

impl<'a> Walk<'a> {
    fn new(trie: &'a Trie) -> Self {
        Self { trie, node: &trie.nodes[0] }
    }

    /// Goes along `c`; stays and says no where there is no such way.
    fn step(&mut self, c: char) -> bool {
        let next = self.node.children.binary_search_by_key(&c, |child| child.0);
        next.is_ok_and(|next| {
            self.node = &self.trie.nodes[self.node.children[next].1 as usize];
            true
        })
    }

    fn end(&self) -> Option<u32> {
        self.node.end
    }

    fn goes_on(&self) -> bool {
        !self.node.children.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn controls(tokens: &[&str]) -> Controls {
        let token = |(id, text): (usize, &&str)| (id as u32, AddedToken::from(*text, true));
        Controls::new(tokens.iter().enumerate().map(token)).unwrap()
    }

    fn segments(controls: &Controls, text: &str) -> Vec<String> {
        let show = |segment: Segment<'_>| match segment {
            Segment::Control(id) => format!("#{id}"),
            Segment::Text(text) => text.to_owned(),
        };
        controls.mark(text, '\u{e000}').segments().map(show).collect()
    }

    #[test]
    fn the_longest_token_at_the_leftmost_place_is_marked() {
        let controls = controls(&["<a>", "<a><b>", "[x]"]);
        assert_eq!(segments(&controls, "p<a>q<a><b>[x]"), ["p", "#0", "q", "#1", "#2"]);
        assert_eq!(segments(&controls, "<a<a>"), ["<a", "#0"]);
        assert_eq!(segments(&controls, ""), [""; 0]);
        assert_eq!(segments(&controls, "<\u{e000}a>[x"), ["<a>[x"]);
    }

    #[test]
    fn tokens_that_strip_take_the_white_space_with_them() {
        let strip = |text: &str| AddedToken::from(text, true).lstrip(true).rstrip(true);
        let controls = Controls::new([(7, strip("<s>")), (8, AddedToken::from("</s>", true))]).unwrap();
        assert_eq!(segments(&controls, "a \n<s>\u{a0} b </s> c"), ["a", "#7", "b ", "#8", " c"]);
        assert_eq!(segments(&controls, "<s> <s>"), ["#7", "#7"]);
        assert_eq!(controls.mark("a <s> b", '\u{e000}').text(), "a <s> b");
    }

    #[test]
    fn tokens_that_cannot_be_kept_apart_from_text_are_refused() {
        assert!(Controls::new([(1, AddedToken::from("|", true))]).is_err());
        assert!(Controls::new([(1, AddedToken::from("<s>", true).single_word(true))]).is_err());
    }
}
