//! What cannot work in the lists: names, ranges, entries beside each other.

use std::collections::HashMap;

use super::{Client, Config, Layered, Provider, Task, cloud};
use crate::domain::{BUILT_IN_PROVIDERS, CPU_PROVIDER, ClientId, limits};

/// List, entry, key and what is wrong with it.
type Wrong = Vec<(&'static str, usize, &'static str, String)>;

impl Layered {
    /// Notes what is wrong with the lists.
    pub(super) fn check_lists(&mut self) {
        for (list, index, key, message) in problems(&self.config) {
            self.entry_problem(list, index, key, &message);
        }
        for (list, max) in [
            ("client", limits::CLIENTS_MAX),
            ("task", limits::TASKS_MAX),
            ("site", limits::SITES_MAX),
            ("budget", limits::BUDGETS_MAX),
            ("price", limits::PRICES_MAX),
            ("provider", limits::PROVIDERS_MAX),
        ] {
            let count = self.config.entries(list);
            if count > max {
                let words = format!("[[{list}]] stands {count} times, at most {max} are taken");
                self.problem(self.entry_origin(list, max, ""), words);
            }
        }
    }
}

fn problems(config: &Config) -> Wrong {
    let mut wrong = Vec::new();
    for (index, client) in config.client.iter().enumerate() {
        wrong.extend(client_problems(client, config).into_iter().map(|(k, m)| ("client", index, k, m)));
    }
    for (index, task) in config.task.iter().enumerate() {
        wrong.extend(task_problems(task).into_iter().map(|(k, m)| ("task", index, k, m)));
        if index == 0 && config.mqtt.url.is_none() {
            wrong.push(("task", index, "", "needs `mqtt.url`: a task's messages come over MQTT".into()));
        }
    }
    for (index, site) in config.site.iter().enumerate() {
        wrong.extend(cloud::site_problems(site).into_iter().map(|(k, m)| ("site", index, k, m)));
    }
    for (index, budget) in config.budget.iter().enumerate() {
        wrong
            .extend(cloud::budget_problems(budget, config).into_iter().map(|(k, m)| ("budget", index, k, m)));
    }
    for (index, provider) in config.provider.iter().enumerate() {
        wrong.extend(provider_problems(provider).into_iter().map(|(k, m)| ("provider", index, k, m)));
    }
    for (index, price) in config.price.iter().enumerate() {
        wrong.extend(cloud::price_problems(price).into_iter().map(|(k, m)| ("price", index, k, m)));
    }
    wrong.extend(twice("provider", "name", config.provider.iter().map(|p| Some(p.name.clone()))));
    wrong.extend(twice("site", "name", config.site.iter().map(|s| Some(s.name.clone()))));
    wrong.extend(twice("client", "name", config.client.iter().map(|c| Some(c.name.clone()))));
    wrong.extend(twice("client", "uid", config.client.iter().map(|c| c.uid.map(|uid| uid.to_string()))));
    wrong.extend(twice("task", "name", config.task.iter().map(|t| Some(t.name.clone()))));
    wrong
}

/// Entries whose `key` has the value of an earlier one.
fn twice(list: &'static str, key: &'static str, values: impl Iterator<Item = Option<String>>) -> Wrong {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut wrong = Vec::new();
    for (index, value) in values.enumerate() {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        let message = format!("is `{value}`, as that of another [[{list}]] is");
        if seen.insert(value, index).is_some() {
            wrong.push((list, index, key, message));
        }
    }
    wrong
}

/// What is wrong with a number that is set.
pub(super) fn range<T: PartialOrd + Copy + std::fmt::Display>(
    key: &'static str,
    value: Option<T>,
    min: T,
    max: T,
) -> Option<(&'static str, String)> {
    let value = value.filter(|value| !(min..=max).contains(value))?;
    Some((key, format!("is {value}, expected {min} to {max}")))
}

fn client_problems(client: &Client, config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong: Vec<_> = [
        range("queued_max", client.queued_max, 1, config.service.queued_max),
        range("requests_per_minute", client.requests_per_minute, 1, limits::RATE_PER_MINUTE_MAX),
    ]
    .into_iter()
    .flatten()
    .collect();
    if ClientId::new(&client.name).is_none() {
        let max = limits::CLIENT_ID_BYTES_MAX;
        wrong.push((
            "name",
            format!("is `{}`, expected 1 to {max} letters, digits and `-_.:@`", client.name.escape_default()),
        ));
    }
    wrong
}

fn provider_problems(provider: &Provider) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let letters = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !(1..=limits::PROVIDER_NAME_BYTES_MAX).contains(&provider.name.len()) || !letters(&provider.name) {
        let words = format!("is `{}`, expected letters, digits and `-_.`", provider.name.escape_default());
        wrong.push(("name", words));
    }
    let built_in = BUILT_IN_PROVIDERS.contains(&provider.name.as_str());
    if provider.library.is_none() && !built_in {
        let words = format!("is missing: `{}` is not built in", provider.name.escape_default());
        wrong.push(("library", words));
    }
    if provider.name == CPU_PROVIDER {
        wrong.push(("name", "is `cpu`, which has neither options nor a library".into()));
    }
    if provider.library.is_none() && provider.device.is_some() {
        wrong.push(("device", "is for plug-ins, which have a `library`".into()));
    }
    wrong
}

fn task_problems(task: &Task) -> Vec<(&'static str, String)> {
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    let mut wrong: Vec<_> = [
        range("deadline_ms", task.deadline_ms, 1, millis(limits::DEADLINE_MAX)),
        range("temperature", task.temperature, 0.0, 2.0),
        range("max_tokens", task.max_tokens, 1, 1 << 20),
        range("every_ms", task.every_ms, 1, millis(limits::TASK_EVERY_MAX)),
        range("rate_per_minute", task.rate_per_minute, 1, limits::RATE_PER_MINUTE_MAX),
        range("retries", Some(task.retries), 0, 1),
    ]
    .into_iter()
    .flatten()
    .collect();
    let letters = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !(1..=limits::TASK_NAME_BYTES_MAX).contains(&task.name.len()) || !letters(&task.name) {
        let max = limits::TASK_NAME_BYTES_MAX;
        wrong.push((
            "name",
            format!("is `{}`, expected 1 to {max} letters, digits, `-` and `_`", task.name.escape_default()),
        ));
    }
    if task.schema.is_some() && task.schema_file.is_some() {
        wrong.push(("schema_file", "and `task.schema` are both set; keep one".into()));
    }
    wrong
}
