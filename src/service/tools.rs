//! Tools that a request offers, and how the model on the device is brought to call them.

use serde_json::Value;

use crate::{
    domain::{Error, Result},
    engine::{Begun, Calling},
    model::{CallMarks, Tokenizer},
};

/// The functions that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    /// As they came: an array in OpenAI's shape.
    list: Value,
    choice: Choice,
    /// Whether one answer may call more than one.
    parallel: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    Auto,
    Required,
    Named(String),
    /// Somebody elsewhere may know it.
    Unknown,
}

impl Tools {
    /// From the fields `tools`, `tool_choice` and `parallel_tool_calls`; `None` when nothing may be called.
    ///
    /// What is not known here passes, other kinds of tools than functions for one: whoever is asked knows better.
    pub(super) fn of(
        list: Option<Vec<Value>>,
        choice: Option<&Value>,
        parallel: Option<bool>,
    ) -> Option<Self> {
        let list = list.filter(|list| !list.is_empty())?;
        let choice = match choice {
            None | Some(Value::Null) => Choice::Auto,
            Some(Value::String(word)) => match word.as_str() {
                "none" => return None,
                "auto" => Choice::Auto,
                "required" => Choice::Required,
                _ => Choice::Unknown,
            },
            Some(named) => function(named).map_or(Choice::Unknown, |name| Choice::Named(name.to_owned())),
        };
        Some(Self { list: Value::Array(list), choice, parallel: parallel.unwrap_or(true) })
    }

    /// What the chat template tells the model of them. Refused is what the device cannot call.
    pub(super) fn list(&self) -> Result<&Value> {
        for (n, tool) in self.list.as_array().into_iter().flatten().enumerate() {
            if function(tool).is_none_or(str::is_empty) {
                let field = format!("tools[{n}]");
                let why = format!(
                    "`{field}` is no function with a name; the model on this device calls functions only"
                );
                return Err(Error::invalid(&field, why));
            }
        }
        match &self.choice {
            Choice::Unknown => Err(wrong_choice()),
            Choice::Named(name) if !self.functions().any(|tool| tool == name) => {
                let shown: String = name.chars().take(64).collect();
                let why = format!("`tool_choice` names `{shown}`, which is not among the `tools`");
                Err(Error::invalid("tool_choice", why))
            }
            _ => Ok(&self.list),
        }
    }

    fn functions(&self) -> impl Iterator<Item = &str> {
        self.list.as_array().into_iter().flatten().filter_map(function)
    }

    /// How the answer is to be read; `prompt` gets what the model has to begin it with.
    pub(super) fn begin(
        &self,
        marks: CallMarks,
        tokenizer: &Tokenizer,
        prompt: &mut Vec<u32>,
    ) -> Result<Calling> {
        let begun = match &self.choice {
            Choice::Auto | Choice::Unknown => Begun::Nothing,
            Choice::Required => {
                prompt.push(marks.call);
                Begun::Call
            }
            Choice::Named(name) => {
                prompt.push(marks.call);
                prompt.extend(tokenizer.encode_text(name)?);
                prompt.push(marks.arguments);
                Begun::Name(name.clone())
            }
        };
        Ok(Calling { marks, begun, parallel: self.parallel })
    }
}

fn function(tool: &Value) -> Option<&str> {
    (tool.get("type")?.as_str()? == "function").then(|| tool.pointer("/function/name")?.as_str()).flatten()
}

fn wrong_choice() -> Error {
    let why = "`tool_choice` must be `none`, `auto`, `required`, or name a function: \
               `{\"type\": \"function\", \"function\": {\"name\": \"…\"}}`";
    Error::invalid("tool_choice", why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(choice: Value) -> Option<Tools> {
        let list = vec![json!({"type": "function", "function": {"name": "f"}})];
        Tools::of(Some(list), Some(&choice), None)
    }

    #[test]
    fn a_choice_is_one_of_openais() {
        let choice = |choice| tools(choice).map(|tools| tools.choice);
        assert_eq!(choice(json!(null)), Some(Choice::Auto));
        assert_eq!(choice(json!("auto")), Some(Choice::Auto));
        assert_eq!(choice(json!("required")), Some(Choice::Required));
        assert_eq!(choice(json!("none")), None);
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(choice(named), Some(Choice::Named("f".into())));
        let other = json!({"type": "function", "function": {"name": "g"}});
        for wrong in [json!("any"), json!(5), json!({}), json!({"function": {"name": 1}}), other] {
            let error = tools(wrong.clone()).unwrap().list().unwrap_err();
            assert_eq!(error.param.as_deref(), Some("tool_choice"), "{wrong}");
        }
        assert_eq!(Tools::of(Some(Vec::new()), Some(&json!("required")), None), None);
    }

    #[test]
    fn what_is_no_function_is_refused_by_its_place() {
        let sound = json!({"type": "function", "function": {"name": "f"}});
        for wrong in [
            json!({"type": "web_search"}),
            json!({"type": "function", "function": {"name": ""}}),
            json!({"type": "function"}),
            json!({"function": {"name": "f"}}),
            json!(7),
        ] {
            let tools = Tools::of(Some(vec![sound.clone(), wrong.clone()]), None, None).unwrap();
            assert_eq!(tools.list().unwrap_err().param.as_deref(), Some("tools[1]"), "{wrong}");
        }
    }
}
