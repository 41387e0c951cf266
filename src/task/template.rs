//! The templates of one task: prompt and system message, and the topics to publish to.
//!
//! A field that is not there is an error that names it. What is no text is written as JSON.
//! In topics each value is one level: it cannot bring a `/` or a wildcard with it, so what a
//! sensor sends never chooses more than the name of a level. Only `topic_text`, the topic of
//! the message itself, is written with its slashes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::{TaskError, error::cut};
use crate::domain::limits;

/// Compiled templates by their key in the configuration.
#[derive(Debug)]
pub(super) struct Templates {
    texts: Environment<'static>,
    topics: Environment<'static>,
    /// Names that a template uses and does not declare.
    names: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What a template writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Topic,
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut topics = environment();
        topics.set_formatter(write_level);
        // Whoever marks a value as safe says that its slashes are meant: only this module may.
        for filter in ["safe", "escape", "e"] {
            topics.remove_filter(filter);
        }
        let mut texts = environment();
        texts.set_formatter(write_json);
        Self { texts, topics, names: BTreeMap::new() }
    }

    fn of(&self, form: Form) -> &Environment<'static> {
        if form == Form::Text { &self.texts } else { &self.topics }
    }

    /// Whether a template asks for `name`.
    pub(super) fn uses(&self, key: &str, name: &str) -> bool {
        self.names.get(key).is_some_and(|names| names.contains(name))
    }

    /// Compiles one template; the names that it uses and does not declare.
    pub(super) fn add(
        &mut self,
        form: Form,
        key: &'static str,
        text: &str,
    ) -> Result<&BTreeSet<String>, String> {
        if text.len() > limits::TASK_TEMPLATE_BYTES_MAX {
            return Err(format!(
                "has {} bytes, at most {} are taken",
                text.len(),
                limits::TASK_TEMPLATE_BYTES_MAX
            ));
        }
        if text.trim().is_empty() {
            return Err("is empty".into());
        }
        let environment = if form == Form::Text { &mut self.texts } else { &mut self.topics };
        environment.add_template_owned(key, text.to_owned()).map_err(|e| {
            let at = e.line().map(|line| format!(" in its line {line}")).unwrap_or_default();
            format!("is no template{at}: {}", cut(e.detail().unwrap_or("its syntax is wrong")))
        })?;
        let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let template = environment.get_template(key).map_err(|e| e.to_string())?;
        let mut names: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        names.retain(|name| !globals.contains(name.as_str()));
        Ok(self.names.entry(key).or_insert(names))
    }

    /// Renders one template, at most `bytes_max` long.
    pub(super) fn render(
        &self,
        form: Form,
        key: &'static str,
        context: &Value,
        bytes_max: usize,
    ) -> Result<String, TaskError> {
        let template =
            self.of(form).get_template(key).map_err(|e| TaskError::Render { reason: e.to_string() })?;
        let mut out = Bounded::new(bytes_max);
        let rendered = template.render_captured_to(context, &mut out).map(drop);
        if out.overflowed {
            return Err(TaskError::Render {
                reason: format!("`{key}` makes more than {bytes_max} bytes of this"),
            });
        }
        rendered.map_err(|error| refusal(key, &error))?;
        String::from_utf8(out.bytes).map_err(|e| TaskError::Render { reason: e.to_string() })
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(limits::TEMPLATE_FUEL));
    environment.set_recursion_limit(limits::TEMPLATE_DEPTH_MAX);
    // For the name of what is not there.
    environment.set_debug(true);
    // It shows the context; a prompt is not the place.
    environment.remove_global("debug");
    environment.add_filter("tojson", |value: &Value| -> Result<String, Error> { to_json(value) });
    environment
}

/// Text as it is, everything else as JSON.
fn write_json(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.as_str() {
        Some(text) => return out.write_str(text).map_err(Error::from),
        None if value.is_undefined() => return Ok(()),
        None => to_json(value)?,
    };
    out.write_str(&text).map_err(Error::from)
}

fn to_json(value: &Value) -> Result<String, Error> {
    let mut out = Bounded::new(limits::PROMPT_BYTES_MAX);
    serde_json::to_writer(&mut out, value).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, "a value is too large, or none that JSON knows")
    })?;
    String::from_utf8(out.bytes).map_err(|_| Error::from(ErrorKind::BadSerialization))
}

/// A value within a topic.
fn write_level(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.as_str() {
        Some(text) if value.is_safe() => return out.write_str(text).map_err(Error::from),
        Some(text) => text.to_owned(),
        None if value.is_number() || matches!(value.kind(), minijinja::value::ValueKind::Bool) => {
            to_json(value)?
        }
        None => return Err(not_a_level(format!("{} is no level of a topic", value.kind()))),
    };
    if text.is_empty() {
        return Err(not_a_level("an empty text is no level of a topic".into()));
    }
    if text.contains(['/', '+', '#']) || text.contains(char::is_control) {
        return Err(not_a_level(format!(
            "`{}` is no level of a topic: `/`, `+`, `#` and control characters are not for values",
            cut(&text)
        )));
    }
    out.write_str(&text).map_err(Error::from)
}

/// A value that cannot be a level.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotALevel(String);

fn not_a_level(words: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, "no level of a topic").with_source(NotALevel(words))
}

/// The error of a template in words.
fn refusal(key: &str, error: &Error) -> TaskError {
    let causes: Vec<_> =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()).collect();
    if let Some(NotALevel(words)) = causes.iter().find_map(|cause| cause.downcast_ref()) {
        return TaskError::Topic { reason: format!("`{key}`: {words}") };
    }
    let innermost =
        causes.iter().filter_map(|cause| cause.downcast_ref::<Error>()).next_back().unwrap_or(error);
    let detail = innermost.detail().unwrap_or_default();
    let words = if innermost.kind() == ErrorKind::OutOfFuel {
        format!("takes more than {} steps for this payload", limits::TEMPLATE_FUEL)
    } else if let Some(name) = undefined(detail) {
        format!("asks for `{name}`, which is not there")
    } else {
        let what = if detail.is_empty() { innermost.kind().to_string() } else { cut(detail) };
        format!("fails: {what}{}", place(innermost))
    };
    TaskError::Render { reason: format!("`{key}` {words}") }
}

/// The `{{ … }}` or `{% … %}` that failed.
fn place(error: &Error) -> String {
    let within = error.template_source().zip(error.range()).and_then(|(text, range)| {
        let (before, behind) = (text.get(..range.start)?, text.get(range.start..)?);
        let start = before.rfind("{{").max(before.rfind("{%"))?;
        let end = [behind.find("}}"), behind.find("%}")].into_iter().flatten().min()?;
        text.get(start..range.start + end + 2)
    });
    within.map(|text| format!(", at `{}`", cut(text))).unwrap_or_default()
}

/// The expression that minijinja calls undefined.
fn undefined(detail: &str) -> Option<String> {
    let end = detail.rfind("` is undefined")?;
    let start = detail[..end].rfind('`')?;
    Some(cut(&detail[start + 1..end]))
}

/// Collects what is written, up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    overflowed: bool,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, overflowed: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
