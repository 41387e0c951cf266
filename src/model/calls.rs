//! How a model writes the calls of tools.
//!
//! Known is Mistral's form since its tokenizers of version 11, which Ministral 3 has: control
//! tokens around name and arguments, `[TOOL_CALLS]name[ARGS]{"a": 1}`, one after the other.
//! As they are control tokens, no text can be taken for a call.

use super::{ChatTemplate, Tokenizer};

const CALL: &str = "[TOOL_CALLS]";
const ARGUMENTS: &str = "[ARGS]";

/// The control tokens of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallMarks {
    /// Before the name of a function.
    pub call: u32,
    /// Between its name and its arguments, which are JSON.
    pub arguments: u32,
}

impl CallMarks {
    /// Those of a model; `None` when it does not call tools in a form that is known, or when its
    /// chat template would not tell it of any.
    pub fn of(tokenizer: &Tokenizer, template: &ChatTemplate) -> Option<Self> {
        let control = |text| tokenizer.controls().iter().find(|(_, t)| *t == text).map(|(id, _)| id);
        let marks = Self { call: control(CALL)?, arguments: control(ARGUMENTS)? };
        template.takes_tools().then_some(marks)
    }
}
