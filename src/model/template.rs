//! Chat templates: messages in, a prompt with its control tokens marked out.
//!
//! The environment is that of transformers' `apply_chat_template`: Jinja with
//! `trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now` and
//! Python's `tojson`. A template is the package's code and gets what foreign code gets:
//! steps and memory are bounded by [`limits::TEMPLATE_FUEL`], nesting by
//! [`limits::TEMPLATE_DEPTH_MAX`], output by [`limits::PROMPT_BYTES_MAX`], and there is
//! nothing it could read but its input. One hole is known: minijinja 3.1 joins lists lazily
//! and without charge, so a template that doubles a list more than 32 times exhausts the
//! memory. No message can make a template do that which was not written to.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use minijinja::{Environment, ErrorKind as JinjaKind, context, syntax::SyntaxConfig, value::Serde};
use serde_json::Value;

use super::{
    Message, Package, PackageError, RenderedPrompt, Tokenizer,
    guard::Guard,
    message, python,
    source::{self, Source},
};
use crate::domain::{Error, ErrorKind, Result, UnixSeconds, limits};

/// Names of the templates in the environment.
const DEFAULT: &str = "chat template";
const WITH_TOOLS: &str = "chat template for tools";

/// A package's chat template, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokenizer: Tokenizer,
    /// `bos_token`, `eos_token` and what else the tokenizer's configuration names.
    special_tokens: BTreeMap<String, String>,
    /// Whether there is another template for conversations with tools.
    has_tool_template: bool,
}

impl ChatTemplate {
    /// Reads and compiles the template: `chat_template.jinja`, or the one in
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// There is none, or it cannot be compiled.
    pub fn load(package: &Package, tokenizer: &Tokenizer) -> Result<Self, PackageError> {
        let Source { path, default, with_tools, special_tokens } = source::read(package, tokenizer)?;
        let mut environment = environment();
        let has_tool_template = with_tools.is_some();
        for (name, text) in [(DEFAULT, Some(default)), (WITH_TOOLS, with_tools)] {
            let Some(text) = text else { continue };
            environment.add_template_owned(name, text).map_err(|error| PackageError::Template {
                path: path.clone(),
                reason: format!(
                    "the chat template cannot be compiled: {error}. Mend it, or import the model again"
                ),
            })?;
        }
        Ok(Self { environment, tokenizer: tokenizer.clone(), special_tokens, has_tool_template })
    }

    /// Whether it tells the model of tools.
    pub(super) fn takes_tools(&self) -> bool {
        let templates =
            [DEFAULT, WITH_TOOLS].into_iter().filter_map(|name| self.environment.get_template(name).ok());
        templates.into_iter().any(|template| template.source().contains("tools"))
    }

    /// Renders a conversation. `tools` is an array of tools in `OpenAI`'s shape; `now` is what
    /// a template may write as today's date, in UTC.
    ///
    /// # Errors
    /// `invalid_request` when the template refuses the messages, with its own words, or
    /// fails on them; `context_length_exceeded` when the prompt grows beyond its bound.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        add_generation_prompt: bool,
        now: UnixSeconds,
    ) -> Result<RenderedPrompt> {
        // A template can nest lists as deep as it has fuel, and to drop those recurses: on a
        // stack of the usual size that would end the daemon. Address space costs nothing.
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("chat-template".to_owned())
                .stack_size(limits::TEMPLATE_STACK_BYTES)
                .spawn_scoped(scope, || self.render_here(messages, tools, add_generation_prompt, now))
                .map_err(Error::internal)?
                .join()
                .unwrap_or_else(|_| Err(Error::internal("the chat template's thread panicked")))
        })
    }

    fn render_here(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        add_generation_prompt: bool,
        now: UnixSeconds,
    ) -> Result<RenderedPrompt> {
        let name = if tools.is_some() && self.has_tool_template { WITH_TOOLS } else { DEFAULT };
        let template = self.environment.get_template(name).map_err(Error::internal)?;
        let mut inputs =
            Value::Array(vec![message::to_json(messages)?, tools.cloned().unwrap_or(Value::Null)]);
        let guard = Guard::new(self.tokenizer.controls(), &inputs, template.source())?;
        guard.protect(&mut inputs);

        let context = context! {
            messages => Serde(&inputs[0]),
            tools => Serde(&inputs[1]),
            documents => (),
            add_generation_prompt,
            strftime_now => strftime(now),
            ..minijinja::Value::from(Serde(&self.special_tokens))
        };
        let mut out = Bounded::default();
        let rendered = template.render_captured_to(context, &mut out).map(drop);
        if out.overflowed {
            return Err(too_long());
        }
        rendered.map_err(|error| refusal(&error, guard.mark()))?;
        let text = String::from_utf8(out.bytes).map_err(Error::internal)?;
        Ok(self.tokenizer.controls().mark(&text, guard.mark()))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the delimiters are the standard ones"),
    );
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_debug(false);
    environment.set_fuel(Some(limits::TEMPLATE_FUEL));
    environment.set_recursion_limit(limits::TEMPLATE_DEPTH_MAX);
    environment.set_formatter(python::write);
    environment.set_unknown_method_callback(python::method);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("trim", python::trim);
    environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(JinjaKind::InvalidOperation, "refused").with_source(Raised(message)))
    });
    environment
}

fn strftime(now: UnixSeconds) -> minijinja::Value {
    minijinja::Value::from_function(move |format: &str| {
        jiff::Timestamp::from_second(now.0)
            .and_then(|now| jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)))
            .map_err(|error| minijinja::Error::new(JinjaKind::InvalidOperation, error.to_string()))
    })
}

/// What a template said with `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The error of a template as an answer to the caller.
fn refusal(error: &minijinja::Error, mark: char) -> Error {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<_> = causes.collect();
    if let Some(Raised(text)) = causes.iter().find_map(|cause| cause.downcast_ref::<Raised>()) {
        let text: String =
            text.chars().filter(|c| *c != mark).take(limits::TEMPLATE_REFUSAL_CHARS_MAX).collect();
        return Error::invalid(
            "messages",
            format!("the model's chat template refuses these messages: {text}"),
        );
    }
    let public = match causes.iter().filter_map(|cause| cause.downcast_ref::<minijinja::Error>()).next_back()
    {
        Some(cause) if cause.kind() == JinjaKind::OutOfFuel => format!(
            "the model's chat template takes more than {} steps for these messages; send fewer or shorter ones",
            limits::TEMPLATE_FUEL
        ),
        _ => "the model's chat template fails on these messages; check the order of roles, the contents \
              and the tool calls"
            .to_owned(),
    };
    let detail: Vec<_> = causes.iter().map(ToString::to_string).collect();
    Error::invalid("messages", public).with_detail(detail.join(": ").replace(mark, ""))
}

fn too_long() -> Error {
    Error {
        param: Some("messages".to_owned()),
        ..Error::new(
            ErrorKind::ContextLengthExceeded,
            format!("the prompt has more than {} bytes; send shorter messages", limits::PROMPT_BYTES_MAX),
        )
    }
}

/// Collects what is written, up to the bound of a prompt.
#[derive(Debug, Default)]
struct Bounded {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > limits::PROMPT_BYTES_MAX {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::fixture::template;

    const NOW: UnixSeconds = UnixSeconds(1_795_334_709);

    fn render(text: &str) -> Result<String> {
        let prompt = template(text).unwrap().render(&[Message::new("user", "Hi")], None, true, NOW)?;
        Ok(prompt.text().to_owned())
    }

    #[test]
    fn a_template_that_does_not_end_is_stopped() {
        for text in [
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "{% set ns = namespace(s='x') %}{% for a in range(999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(9) %}{% set ns.s = ns.s.replace('x', ns.s) %}{% endfor %}",
            "{{ ('x' * 1000000).join('y' * 1000000) | length }}",
            "{{ 'x' * 9999999999 }}",
            "{{ '{:>999999999}'.format('x') | length }}",
            "{{ '%999999999s' | format('x') | length }}",
            "{{ range(99999999999) | list | length }}",
        ] {
            assert_stopped(text);
        }
    }

    /// Rendering ends with an error that the caller can read: this one.
    fn assert_stopped(text: &str) -> Error {
        let error = render(text).unwrap_err();
        let found = (error.kind, error.param.as_deref());
        assert_eq!(found, (ErrorKind::InvalidRequest, Some("messages")), "{text}");
        error
    }

    #[test]
    fn a_template_that_nests_without_end_is_stopped() {
        // Lists within lists, `levels` at a time, and what is done with them then.
        let nest = |times: u32, levels: usize, then: &str| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(
                "{{% set ns = namespace(l=[], m=[]) %}}{{% for a in range({times}) %}}\
                 {{% set ns.l = {open}ns.l{close} %}}{{% set ns.m = {{'m': ns.m}} %}}{{% endfor %}}{then}{{{{ stop() }}}}"
            )
        };
        for text in [
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% for m in [messages] recursive %}{{ loop([messages]) }}{% endfor %}",
            &nest(9_999, 1, "{{ ns.l | tojson }}"),
            &nest(99_999, 1, "{{ ns.l }}{{ ns.m }}"),
            &nest(99_999, 1, "{{ ns.l == [ns.l] }}{{ ns.m == {'m': ns.m} }}"),
            &nest(60_000, 20, "{{ ns.l }}"),
            &nest(99_999, 20, ""),
        ] {
            assert_stopped(text);
        }
    }

    #[test]
    fn a_prompt_ends_at_its_bound() {
        let text = "{% for a in range(1000) %}{{ 'x' * 10000 }}{% endfor %}";
        assert_eq!(render(text).unwrap_err().kind, ErrorKind::ContextLengthExceeded);
    }

    #[test]
    fn a_template_that_cannot_be_compiled_is_refused_at_load() {
        let deep = "(".repeat(100_000);
        let nested = "{% if 1 %}".repeat(20_000);
        for text in
            ["{% for %}", "{{ 1 +", "{{ 'a' | }}", "{% include 'x' %}", &format!("{{{{ {deep}"), &nested]
        {
            let error = template(text).unwrap_err();
            assert!(matches!(error, PackageError::Template { .. }), "{error}");
            assert!(error.to_string().contains("chat_template.jinja"), "{error}");
        }
    }

    #[test]
    fn a_template_refuses_in_its_own_words_without_our_marks() {
        let text = "{{ raise_exception('no <' ~ messages[0].content ~ '>') }}";
        let message = Message::new("user", "<|im_end|>");
        let error = template(text).unwrap().render(&[message], None, true, NOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
        assert!(error.public.ends_with("no <<|im_end|>>"), "{error}");

        let macros = "{% macro f(x) %}{{ raise_exception(x) }}{% endmacro %}{% for m in messages %}{{ f('why') }}{% endfor %}";
        assert!(render(macros).unwrap_err().public.ends_with("why"));
        let long = render("{{ raise_exception('x' * 10000) }}").unwrap_err().public;
        assert!(long.len() < 2 * limits::TEMPLATE_REFUSAL_CHARS_MAX);
    }

    #[test]
    fn a_failing_template_says_so_without_its_insides() {
        for text in
            ["{{ messages[0].x.y }}", "{{ nothing() }}", "{{ 1 | nofilter }}", "{{ strftime_now('%Ω') }}"]
        {
            let error = assert_stopped(text);
            assert!(error.detail.is_some() && !error.public.contains("chat template:"), "{error}");
        }
    }

    #[test]
    fn the_date_is_the_one_given_in_utc() {
        assert_eq!(
            render("{{ strftime_now('%d %b %Y %H:%M, %A, %-d') }}").unwrap(),
            "22 Nov 2026 08:05, Sunday, 22"
        );
    }

    #[test]
    fn tools_have_their_own_template_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let package = crate::model::fixture::with_tokenizer(dir.path(), &crate::model::fixture::byte_level());
        let templates =
            json!([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]);
        let config = json!({"chat_template": templates, "eos_token": {"content": "<|im_end|>"}});
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let template = ChatTemplate::load(&package, &Tokenizer::load(&package).unwrap()).unwrap();
        let render =
            |tools: Option<Value>| template.render(&[Message::new("user", "")], tools.as_ref(), true, NOW);
        assert_eq!(render(None).unwrap().text(), "plain");
        assert_eq!(render(Some(json!([]))).unwrap().text(), "tools");
    }
}
