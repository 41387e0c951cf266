//! What a request takes of whoever answers it. Pure.

use serde_json::Value;

use super::reply::tokens_of;
use crate::domain::limits;

/// What a request needs of whoever answers it.
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the catalogue")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Tokens of the prompt, likely.
    pub prompt_tokens: u64,
    /// The same, at most.
    pub prompt_worst: u64,
    /// Tokens of the answer, at most.
    pub answer_tokens: u64,
    /// It may call tools.
    pub tools: bool,
    /// The answer must meet a JSON Schema, or be JSON.
    pub schema: bool,
    /// It holds images.
    pub images: bool,
    /// Log-probabilities are wanted.
    pub logprobs: bool,
}

impl Need {
    /// The size of the prompt in a body; what it has to be able to do is left to the caller.
    ///
    /// A token has one byte at least, so that the bytes of the text are the most tokens that it can have;
    /// what a chat template puts around it is added. An image costs by its pixels and not by its bytes.
    pub fn of_prompt(body: &Value) -> Self {
        let mut size = Size::default();
        for part in ["messages", "tools", "response_format"] {
            size.add(&body[part]);
        }
        Self {
            prompt_tokens: tokens_of(size.bytes) as u64 + size.images * limits::IMAGE_TOKENS_LIKELY,
            prompt_worst: size.bytes as u64
                + limits::TEMPLATE_TOKENS_MAX
                + size.images * limits::IMAGE_TOKENS_MAX,
            ..Self::default()
        }
    }
}

#[derive(Default)]
struct Size {
    bytes: usize,
    images: u64,
}

impl Size {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "image_url") => {
                self.images += 1;
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.bytes += name.len() + r#""":,"#.len();
                    self.add(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            // With its quotes and escapes, as a template writes it into the prompt.
            other => self.bytes += other.to_string().len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_counts_by_its_bytes_and_what_is_around_it_too() {
        let text = "x".repeat(1_000);
        let body = json!({"messages": [{"role": "user", "content": text}], "max_tokens": 5, "user": text});
        let need = Need::of_prompt(&body);
        assert!((250..300).contains(&need.prompt_tokens), "{need:?}");
        let around = 1_000 + limits::TEMPLATE_TOKENS_MAX;
        assert!((around..around + 50).contains(&need.prompt_worst), "{need:?}");
        let with_tools = json!({"messages": body["messages"], "tools": [{"function": {"name": text}}]});
        assert!(Need::of_prompt(&with_tools).prompt_worst > need.prompt_worst + 1_000);
    }

    #[test]
    fn an_image_costs_the_same_by_reference_and_by_value() {
        let of = |url: &str| {
            let image = json!({"type": "image_url", "image_url": {"url": url}});
            Need::of_prompt(&json!({"messages": [{"role": "user", "content": [image]}]}))
        };
        let (near, far) =
            (of(&format!("data:image/png;base64,{}", "A".repeat(90_000))), of("https://a/b.png"));
        assert_eq!(near, far);
        assert!(near.prompt_worst >= limits::IMAGE_TOKENS_MAX);
        assert!(near.prompt_tokens < limits::IMAGE_TOKENS_MAX);
    }
}
