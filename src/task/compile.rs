//! From the configuration to tasks that can run.

use std::sync::Arc;

use super::{
    Task, TaskError,
    pattern::{Pattern, RESERVED},
    render::on_large_stack,
    schema::Schema,
    template::{Form, Templates},
};
use crate::{
    config::{self, OnChange, PayloadForm},
    domain::{ClientId, TopicFilter, cover, limits, topic_name_problem},
};

/// Number of the entry, its key, and what is wrong with it.
pub type Fault = (usize, &'static str, String);

/// Every task of the configuration.
#[derive(Debug, Default)]
pub struct Tasks {
    list: Vec<Arc<Task>>,
}

impl Tasks {
    /// Compiles the entries of `[[task]]`. `root` and `node` are the first levels of the topics
    /// that errors go to by default. A `schema_file` must have been read into `schema`.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn compile(entries: &[config::Task], root: &str, node: &str) -> Result<Self, Vec<Fault>> {
        let (mut list, mut faults) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match compile(entry, root, node) {
                Ok(task) => list.push(Arc::new(task)),
                Err(wrong) => faults.extend(wrong.into_iter().map(|(key, words)| (index, key, words))),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let tasks = Self { list };
        let faults = tasks.shared_twice();
        if faults.is_empty() { Ok(tasks) } else { Err(faults) }
    }

    /// The tasks, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.list.iter()
    }

    /// The task of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Task>> {
        self.list.iter().find(|task| task.name() == name)
    }

    /// The topic filters to subscribe to, so that each message comes once, and whether somebody
    /// wants what the broker has kept from before.
    pub fn subscriptions(&self) -> Vec<(TopicFilter, bool)> {
        let all = || self.list.iter().flat_map(|task| task.patterns().map(move |filter| (task, filter)));
        let wants = |filter: &TopicFilter| {
            all().any(|(task, own)| task.options().accept_retained && own.meets(filter))
        };
        let filters = cover(all().map(|(_, filter)| filter.clone()));
        filters
            .into_iter()
            .map(|filter| {
                let kept = wants(&filter);
                (filter, kept)
            })
            .collect()
    }

    /// Filters that a pool shares, beside others that would bring the same messages a second time.
    fn shared_twice(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, task) in self.list.iter().enumerate() {
            for filter in task.patterns().filter(|filter| filter.pool().is_some()) {
                let other = self.list.iter().flat_map(|task| task.patterns()).find(|other| {
                    other.pool() != filter.pool() && other.unpooled().meets(&filter.unpooled())
                });
                if let Some(other) = other {
                    let words = format!(
                        "`{}` and `{}` take in the same messages: each would come by both ways",
                        filter.as_str(),
                        other.as_str()
                    );
                    faults.push((index, "topic", words));
                }
            }
        }
        faults
    }

    /// The tasks that a message with this topic is for.
    pub fn matching<'a>(&'a self, topic: &str) -> impl Iterator<Item = &'a Arc<Task>> {
        self.list.iter().filter(move |task| task.matches(topic))
    }
}

type Wrong = Vec<(&'static str, String)>;

fn compile(entry: &config::Task, root: &str, node: &str) -> Result<Task, Wrong> {
    let mut wrong = Vec::new();
    let patterns = patterns(entry, &mut wrong);
    let schema = entry.schema.as_deref().map(Schema::compile).transpose().unwrap_or_else(|words| {
        wrong.push((if entry.schema_file.is_some() { "schema_file" } else { "schema" }, words));
        None
    });
    let error_topic = format!("{root}/{node}/task/{}/error", entry.name);
    if let Some(problem) = topic_name_problem(&error_topic) {
        wrong.push(("error", format!("is by default `{error_topic}`, which {problem}")));
    }
    if let Some(pattern) = patterns.iter().find(|pattern| pattern.filter().matches(&error_topic)) {
        let filter = pattern.filter().as_str();
        let words = format!("`{filter}` takes in `{error_topic}`: the task would read its own errors");
        wrong.push(("topic", words));
    }
    pointers(entry, &mut wrong);
    let templates = templates(entry, &patterns, &mut wrong);
    let Some(client) = ClientId::new(&format!("task-{}", entry.name)) else {
        wrong.push(("name", format!("`{}` makes no client id", entry.name.escape_default())));
        return Err(wrong);
    };
    let task = Task { options: entry.clone(), client, patterns, templates, schema, error_topic };
    try_topics(&task, &mut wrong);
    if wrong.is_empty() { Ok(task) } else { Err(wrong) }
}

fn patterns(entry: &config::Task, wrong: &mut Wrong) -> Vec<Pattern> {
    let filters = &entry.topic.0;
    if filters.is_empty() || filters.len() > limits::TASK_TOPICS_MAX {
        let max = limits::TASK_TOPICS_MAX;
        wrong.push(("topic", format!("names {} topic filters, expected 1 to {max}", filters.len())));
    }
    let parse = |filter: &String| match Pattern::parse(filter) {
        Ok(pattern) => Some(pattern),
        Err(words) => {
            wrong.push(("topic", format!("`{}` {words}", filter.escape_debug())));
            None
        }
    };
    filters.iter().filter_map(parse).collect()
}

fn pointers(entry: &config::Task, wrong: &mut Wrong) {
    let OnChange::Values(pointers) = &entry.on_change else { return };
    if entry.payload != PayloadForm::Json {
        wrong.push(("on_change", "looks at values of JSON, but `payload` is not json".into()));
    }
    if pointers.len() > limits::TASK_POINTERS_MAX {
        let max = limits::TASK_POINTERS_MAX;
        wrong.push(("on_change", format!("names {} values, at most {max} are taken", pointers.len())));
    }
    for pointer in pointers.iter().filter(|pointer| !pointer.starts_with('/')) {
        wrong.push(("on_change", format!("names `{pointer}`, expected a JSON pointer such as `/rms`")));
    }
}

/// Compiles the templates and holds the names they use against those there are.
fn templates(entry: &config::Task, patterns: &[Pattern], wrong: &mut Wrong) -> Templates {
    let mut templates = Templates::new();
    let all = [
        (Form::Text, "prompt", Some(&entry.prompt)),
        (Form::Text, "system", entry.system.as_ref()),
        (Form::Topic, "result", Some(&entry.result)),
        (Form::Topic, "error", entry.error.as_ref()),
    ];
    for (form, key, text) in all {
        let Some(text) = text else { continue };
        let names = match templates.add(form, key, text) {
            Ok(names) => names,
            Err(words) => {
                wrong.push((key, words));
                continue;
            }
        };
        for name in names {
            if let Some(words) = unknown(name, key, entry, patterns) {
                wrong.push((key, words));
            }
        }
    }
    templates
}

/// What is wrong with a name that a template uses.
fn unknown(name: &str, key: &str, entry: &config::Task, patterns: &[Pattern]) -> Option<String> {
    match name {
        "payload" if key == "error" => {
            Some("asks for `payload`; errors are about payloads that cannot be used, so it may not".into())
        }
        "schema" if entry.schema.is_none() && entry.schema_file.is_none() => {
            Some("asks for `schema`, but the task has none".into())
        }
        name if RESERVED.contains(&name) => None,
        name => {
            let without = patterns.iter().find(|pattern| pattern.names().all(|known| known != name))?;
            let mut known: Vec<&str> = RESERVED.into_iter().chain(without.names()).collect();
            known.sort_unstable();
            let filter = without.filter().as_str();
            Some(format!("asks for `{name}`, which `{filter}` does not name; there are {}", known.join(", ")))
        }
    }
}

/// Renders, for a topic of each filter, what is sound so far and needs no payload: what fails
/// here would fail always.
fn try_topics(task: &Task, wrong: &mut Wrong) {
    let sound = |key: &str, wrong: &Wrong| !wrong.iter().any(|(known, _)| [key, "topic"].contains(known));
    for pattern in task.patterns.iter().filter(|pattern| !pattern.is_open()) {
        let topic = pattern.example();
        for key in ["result", "error"] {
            let absent = key == "error" && task.options.error.is_none();
            if absent || !sound(key, wrong) || task.templates.uses(key, "payload") {
                continue;
            }
            let context = task.context(&topic, None);
            if let Err(error) = on_large_stack(|| task.render_topic(key, &context)) {
                wrong.push((key, words(&error, key, &topic)));
            }
        }
    }
}

/// The words of an error about `key`, which the problem names already.
fn words(error: &TaskError, key: &str, topic: &str) -> String {
    let reason = error.reason();
    let quoted = format!("`{key}`");
    let words = reason.strip_prefix(&quoted).unwrap_or(reason).trim_start_matches([':', ' ']);
    format!("{words} (with a message on `{topic}`)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OneOrMore;

    fn entry(name: &str, topics: &[&str]) -> config::Task {
        let topic = OneOrMore(topics.iter().map(ToString::to_string).collect());
        config::Task {
            name: name.into(),
            topic,
            prompt: "x".into(),
            result: "r".into(),
            ..config::Task::default()
        }
    }

    fn subscribed(entries: &[config::Task]) -> Vec<(String, bool)> {
        let tasks = Tasks::compile(entries, "o", "n").unwrap();
        tasks.subscriptions().into_iter().map(|(filter, kept)| (filter.as_str().to_owned(), kept)).collect()
    }

    #[test]
    fn each_message_comes_once_however_many_filters_match_it() {
        let entries = [entry("a", &["p/+/v", "p/#"]), entry("b", &["p/{x}/v"]), entry("c", &["q"])];
        assert_eq!(subscribed(&entries), [("p/#".into(), false), ("q".into(), false)]);
        let kept = config::Task { accept_retained: true, ..entry("d", &["q"]) };
        assert_eq!(
            subscribed(&[entry("c", &["q", "z/+"]), kept]),
            [("q".into(), true), ("z/+".into(), false)]
        );
    }

    #[test]
    fn a_message_must_not_come_by_a_pool_and_beside_it() {
        let faults =
            Tasks::compile(&[entry("a", &["$share/g/p/+"]), entry("b", &["p/1"])], "o", "n").unwrap_err();
        assert_eq!((faults[0].0, faults[0].1), (0, "topic"));
    }
}
