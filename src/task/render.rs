//! From a message to a request.

use std::time::Duration;

use minijinja::value::Value as JinjaValue;
use serde_json::{Value, json};

use super::{
    TaskError,
    error::cut,
    pattern::Pattern,
    payload,
    schema::Schema,
    template::{Form, Templates},
};
use crate::{
    config,
    domain::{ClientId, Lane, TopicFilter, limits, topic_name_problem},
};

/// One entry of `[[task]]`, ready to run.
#[derive(Debug)]
pub struct Task {
    pub(super) options: config::Task,
    pub(super) client: ClientId,
    pub(super) patterns: Vec<Pattern>,
    pub(super) templates: Templates,
    pub(super) schema: Option<Schema>,
    /// Where errors go when the configuration names no topic, or one that cannot be rendered.
    pub(super) error_topic: String,
}

/// A request that a message has become.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// A chat-completions body without Outpost's own fields.
    pub body: Value,
    /// Where the answer goes.
    pub result_topic: String,
    /// Where an error goes.
    pub error_topic: String,
    /// Its lane.
    pub lane: Lane,
    /// From now until the answer is worthless; `None` leaves it to the service.
    pub deadline: Option<Duration>,
    /// A newer request with the same key replaces this one while it waits.
    pub supersedes: Option<String>,
}

impl Task {
    /// The name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Whose requests the task's are: `task-<name>`.
    pub fn client(&self) -> ClientId {
        self.client.clone()
    }

    /// The entry of the configuration.
    pub fn options(&self) -> &config::Task {
        &self.options
    }

    /// The topic filters, as they are subscribed to.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.filter().as_str())
    }

    /// Its topic filters, as they match.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &TopicFilter> {
        self.patterns.iter().map(Pattern::filter)
    }

    /// Whether a message with this topic is for this task.
    pub fn matches(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.filter().matches(topic))
    }

    /// A topic that is for this task: its first filter, wildcards by their names.
    pub fn example_topic(&self) -> String {
        self.patterns.first().map(Pattern::example).unwrap_or_default()
    }

    /// The request that a message becomes.
    ///
    /// # Errors
    /// The payload is not what the task expects, a template fails on it, or the result would go
    /// to a topic that the daemon does not write to.
    pub fn render(&self, topic: &str, payload: &[u8]) -> Result<Rendered, TaskError> {
        on_large_stack(|| self.render_here(topic, payload))
    }

    /// Where errors about messages with this topic go. Never fails: when the configured topic
    /// cannot be rendered, it is the default one.
    pub fn error_topic(&self, topic: &str) -> String {
        if self.options.error.is_none() {
            return self.error_topic.clone();
        }
        on_large_stack(|| Ok(self.error_topic_here(topic))).unwrap_or_else(|_| self.error_topic.clone())
    }

    fn error_topic_here(&self, topic: &str) -> String {
        match self.options.error {
            Some(_) => self.render_topic("error", &self.context(topic, None)),
            None => Ok(self.error_topic.clone()),
        }
        .unwrap_or_else(|_| self.error_topic.clone())
    }

    fn render_here(&self, topic: &str, payload: &[u8]) -> Result<Rendered, TaskError> {
        if !self.matches(topic) {
            let reason = format!("`{}` matches none of the task's topic filters", cut(topic));
            return Err(TaskError::Topic { reason });
        }
        let context = self.context(topic, Some(payload::read(self.options.payload, payload)?));
        let text = |key| self.templates.render(Form::Text, key, &context, limits::PROMPT_BYTES_MAX);
        let mut messages = Vec::new();
        if self.options.system.is_some() {
            messages.push(json!({"role": "system", "content": text("system")?}));
        }
        messages.push(json!({"role": "user", "content": text("prompt")?}));
        Ok(Rendered {
            body: self.body(messages),
            result_topic: self.render_topic("result", &context)?,
            error_topic: self.error_topic_here(topic),
            lane: self.options.lane,
            deadline: self.options.deadline_ms.map(Duration::from_millis),
            supersedes: self.options.supersedes.then(|| format!("{}/{topic}", self.name())),
        })
    }

    /// What the templates see.
    pub(super) fn context(&self, topic: &str, payload: Option<JinjaValue>) -> JinjaValue {
        let named = self.patterns.iter().find_map(|pattern| pattern.levels(topic)).unwrap_or_default();
        let own = [
            ("topic", topic.split('/').map(JinjaValue::from).collect()),
            ("topic_text", JinjaValue::from_safe_string(topic.to_owned())),
        ];
        let schema = self.schema.as_ref().map(|schema| ("schema", JinjaValue::from(schema.text())));
        let payload = payload.map(|payload| ("payload", payload));
        let named = named.into_iter().map(|(name, value)| (name, JinjaValue::from(value)));
        JinjaValue::from_pairs(named.chain(own).chain(schema).chain(payload))
    }

    /// A topic to publish to, and none that the task itself reads.
    pub(super) fn render_topic(&self, key: &'static str, context: &JinjaValue) -> Result<String, TaskError> {
        let topic = self.templates.render(Form::Topic, key, context, limits::TOPIC_BYTES_MAX)?;
        let problem = if let Some(problem) = topic_name_problem(&topic) {
            problem
        } else if topic.split('/').any(str::is_empty) {
            "has an empty level"
        } else if topic.starts_with('$') {
            "begins with `$`: such topics are the broker's own"
        } else if topic.contains(char::is_control) {
            "holds a control character"
        } else if self.matches(&topic) {
            "is one that the task itself reads: it would answer its own answers"
        } else {
            return Ok(topic);
        };
        Err(TaskError::Topic { reason: format!("`{key}` makes `{}`, which {problem}", cut(&topic)) })
    }

    fn body(&self, messages: Vec<Value>) -> Value {
        let options = &self.options;
        let mut body = serde_json::Map::new();
        let fields = [
            ("model", options.model.as_ref().map(|model| json!(model))),
            ("messages", Some(Value::Array(messages))),
            // Through decimal digits: 0.7 is to be sent as 0.7, not as the double nearest to its f32.
            (
                "temperature",
                options.temperature.and_then(|t| t.to_string().parse::<f64>().ok()).map(|t| json!(t)),
            ),
            ("max_tokens", options.max_tokens.map(|n| json!(n))),
            ("seed", options.seed.map(|seed| json!(seed))),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                body.insert(key.into(), value);
            }
        }
        body.into()
    }
}

/// A template can nest lists as deep as it has fuel, and to drop those recurses: on a stack of
/// the usual size that would end the daemon. Address space costs nothing.
pub(super) fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, TaskError> + Send,
) -> Result<T, TaskError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("task-template".to_owned())
            .stack_size(limits::TEMPLATE_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|e| TaskError::Render { reason: format!("there is no thread for the templates: {e}") })?
            .join()
            .unwrap_or_else(|_| {
                Err(TaskError::Render { reason: "the templates' thread panicked".to_owned() })
            })
    })
}
