//! What single providers refuse although OpenAI's interface has it.
//!
//! The router passes a body on nearly as it is, and a 400 of the provider comes back. What stands here
//! was seen or is documented; what a provider refuses beyond it makes the next one in the ranking
//! answer. Rows are dropped when they no longer hold: each is a field that somebody asked for.

/// One provider's peculiarities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// Fields that are left out: none of them changes what is asked.
    pub(super) drops: &'static [&'static str],
    /// Refuses `logprobs`: whoever wants them goes elsewhere.
    pub(super) no_logprobs: bool,
    /// Refuses the `name` of a message.
    pub(super) no_message_names: bool,
}

const TABLE: &[(&str, Quirks)] = &[
    // Its documentation: these result in a 400.
    ("cerebras", Quirks { drops: &["frequency_penalty", "presence_penalty"], ..NONE }),
    // Its documentation, "Currently Unsupported OpenAI Features": logprobs, messages[].name.
    ("groq", Quirks { no_logprobs: true, no_message_names: true, ..NONE }),
];

const NONE: Quirks = Quirks { drops: &[], no_logprobs: false, no_message_names: false };

/// A provider's; none for one that is not in the table.
pub(super) fn of(provider: &str) -> Quirks {
    TABLE.iter().find(|(name, _)| *name == provider).map_or(NONE, |(_, quirks)| *quirks)
}
