//! What of `[cloud]`, `[[site]]`, `[[budget]]` and `[[price]]` cannot work.

use super::{Budget, Cloud, Config, Price, Site, check_lists::range};
use crate::domain::{ClientId, limits};

type Wrong = Vec<(&'static str, String)>;

/// Key of `[cloud]` and what is wrong with it.
pub(super) fn problems(cloud: &Cloud) -> Wrong {
    let calls = limits::REMOTE_CALLS_MAX;
    let mut wrong: Wrong = [
        range("cloud.attempts", Some(cloud.attempts), 1, limits::CALL_ATTEMPTS_MAX),
        range("cloud.calls_max", Some(cloud.calls_max), 1, calls),
        range("cloud.connect_timeout_s", Some(cloud.connect_timeout_s), 1, 120),
        range("cloud.first_byte_timeout_s", Some(cloud.first_byte_timeout_s), 1, 600),
        range("cloud.gap_timeout_s", Some(cloud.gap_timeout_s), 1, 600),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (key, usd) in [
        ("cloud.usd_per_request", cloud.usd_per_request),
        ("cloud.usd_per_day", cloud.usd_per_day),
        ("cloud.usd_per_month", cloud.usd_per_month),
    ] {
        wrong.extend(money(key, Some(usd)));
    }
    for (key, url, token) in [
        ("cloud.base_url", &cloud.base_url, "cloud.token_file"),
        ("cloud.hub_url", &cloud.hub_url, "cloud.billing_token_file"),
    ] {
        wrong.extend(server(url, token).map(|words| (key, words)));
    }
    if let Some(proxy) = &cloud.proxy {
        if Address::of(proxy).is_none() {
            wrong.push(("cloud.proxy", no_address(proxy)));
        } else if proxy.contains('@') {
            wrong
                .push(("cloud.proxy", "holds a password; put it into `cloud.proxy_credentials_file`".into()));
        }
    } else if cloud.proxy_credentials_file.is_some() {
        wrong.push(("cloud.proxy_credentials_file", "needs `cloud.proxy`".into()));
    }
    if let Some(model) = &cloud.model
        && !is_model(model)
    {
        wrong.push(("cloud.model", format!("is `{}`, expected `org/name`", model.escape_default())));
    }
    wrong
}

/// What is wrong with the address of a server that gets a token.
fn server(url: &str, token: &str) -> Option<String> {
    match Address::of(url) {
        None => Some(no_address(url)),
        // The token would be read on the way.
        Some(address) if !address.tls && !address.loopback => {
            Some("must begin with https://: the token and all else would go in clear text".into())
        }
        Some(_) if url.contains('@') => Some(format!("holds a password; put the token into `{token}`")),
        Some(_) => None,
    }
}

/// Key of a `[[site]]` and what is wrong with it.
pub(super) fn site_problems(site: &Site) -> Wrong {
    let mut wrong: Wrong = [
        range("calls_max", Some(site.calls_max), 1, limits::REMOTE_CALLS_MAX),
        range("context", site.context, 16, 1 << 24),
    ]
    .into_iter()
    .flatten()
    .collect();
    let sound = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !(1..=limits::PROVIDER_NAME_BYTES_MAX).contains(&site.name.len()) || !sound(&site.name) {
        wrong.push((
            "name",
            format!("is `{}`, expected letters, digits and `-_.`", site.name.escape_default()),
        ));
    }
    if matches!(site.name.as_str(), "auto" | "local") {
        wrong.push(("name", format!("is `{}`, which stands for the device", site.name)));
    }
    if site.base_url.contains('@') {
        wrong.push(("base_url", "holds a password; put the token into `site.token_file`".into()));
    } else if Address::of(&site.base_url).is_none() {
        wrong.push(("base_url", no_address(&site.base_url)));
    }
    if site.model.is_empty() {
        wrong.push(("model", "is empty, expected the name that the server knows".into()));
    }
    wrong
}

/// Key of a `[[budget]]` and what is wrong with it.
pub(super) fn budget_problems(budget: &Budget, config: &Config) -> Wrong {
    let mut wrong = Wrong::new();
    for (key, usd) in [
        ("usd_per_request", budget.usd_per_request),
        ("usd_per_day", budget.usd_per_day),
        ("usd_per_month", budget.usd_per_month),
    ] {
        wrong.extend(money(key, usd));
    }
    let named = [&budget.client, &budget.task, &budget.provider].into_iter().flatten().count();
    if named != 1 {
        wrong.push(("", "names whose it is by one of `client`, `task`, `provider`".into()));
    }
    if let Some(client) = &budget.client
        && ClientId::new(client).is_none()
    {
        wrong.push(("client", format!("is `{}`, which is no name of a client", client.escape_default())));
    }
    if let Some(task) = &budget.task
        && config.task.iter().all(|known| known.name != *task)
    {
        wrong
            .push(("task", format!("is `{}`, and there is no [[task]] of that name", task.escape_default())));
    }
    if budget.usd_per_request.is_none() && budget.usd_per_day.is_none() && budget.usd_per_month.is_none() {
        wrong.push(("", "sets no bound: `usd_per_request`, `usd_per_day` or `usd_per_month`".into()));
    }
    wrong
}

/// Key of a `[[price]]` and what is wrong with it.
pub(super) fn price_problems(price: &Price) -> Wrong {
    let mut wrong = Wrong::new();
    if !is_model(&price.model) {
        wrong.push(("model", format!("is `{}`, expected `org/name`", price.model.escape_default())));
    }
    if price.provider.is_empty() {
        wrong.push(("provider", "is empty".into()));
    }
    wrong.extend(money("input", Some(price.input)));
    wrong.extend(money("output", Some(price.output)));
    wrong
}

fn money(key: &'static str, usd: Option<f64>) -> Option<(&'static str, String)> {
    range(key, usd.map(|usd| if usd.is_nan() { -1.0 } else { usd }), 0.0, 1e6)
}

fn is_model(name: &str) -> bool {
    let sound = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    name.split_once('/').is_some_and(|(org, name)| sound(org) && sound(name))
}

fn no_address(text: &str) -> String {
    format!("is `{}`, expected an address such as `https://host/v1`", text.escape_default())
}

struct Address {
    tls: bool,
    loopback: bool,
}

impl Address {
    fn of(text: &str) -> Option<Self> {
        let url: reqwest::Url = text.parse().ok()?;
        let host = url.host_str()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback =
            host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        // Who comes is said by a token in a file, and nothing comes behind the path.
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let known = matches!(url.scheme(), "http" | "https") && (bare || text.contains('@'));
        known.then_some(Self { tls: url.scheme() == "https", loopback })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Layered;

    #[test]
    fn what_of_the_cloud_cannot_work_is_refused_with_its_place() {
        let mut layered = Layered::default();
        layered.add_text(
            Path::new("o.toml"),
            "[cloud]\nbase_url = \"http://router.example/v1\"\nattempts = 0\nusd_per_day = -1\n\
             proxy = \"http://u:p@proxy:1\"\nmodel = \"x\"\n\
             [[site]]\nname = \"auto\"\nbase_url = \"ftp://x\"\nmodel = \"m\"\n\
             [[budget]]\nusd_per_day = 1\n[[budget]]\nclient = \"a\"\ntask = \"b\"\n\
             [[price]]\nmodel = \"a/b\"\nprovider = \"p\"\ninput = nan\noutput = 1\n",
        );
        let problems: Vec<String> = layered.checked().unwrap_err().iter().map(ToString::to_string).collect();
        let told = |part: &str| assert!(problems.iter().any(|p| p.contains(part)), "{part}: {problems:#?}");
        told("o.toml:2: `cloud.base_url` must begin with https://");
        told("o.toml:3: `cloud.attempts` is 0, expected 1 to 12");
        told("o.toml:4: `cloud.usd_per_day` is -1, expected 0 to 1000000");
        told("o.toml:5: `cloud.proxy` holds a password");
        told("o.toml:6: `cloud.model` is `x`, expected `org/name`");
        told("o.toml:8: `site.name` of auto is `auto`, which stands for the device");
        told("`site.base_url` of auto is `ftp://x`, expected an address");
        told("`budget` names whose it is");
        told("`budget.task` is `b`, and there is no [[task]] of that name");
        told("`price.input` is -1");
        let mut local = Layered::default();
        local.add_text(
            Path::new("o.toml"),
            "[cloud]\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"a/b\"\n",
        );
        local.checked().unwrap();
    }
}
