//! The name of a cloud model: `org/name`, and behind a colon how its provider is chosen.

/// How the provider of a cloud model is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// As the configuration prefers.
    #[default]
    Any,
    /// The lowest price of an answer.
    Cheapest,
    /// The most tokens per second.
    Fastest,
    /// This one and no other.
    Provider(String),
}

/// A cloud model by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// `org/name`
    pub model: String,
    /// Who is to run it.
    pub pin: Pin,
}

impl ModelName {
    /// Reads `org/name[:suffix]`; `None` for a name that is no cloud model's.
    pub fn parse(name: &str) -> Option<Self> {
        let (model, suffix) = name.rsplit_once(':').unwrap_or((name, ""));
        let (org, rest) = model.split_once('/')?;
        let sound = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !sound(org) || !sound(rest) || (name.contains(':') && !sound(suffix)) {
            return None;
        }
        let pin = match suffix {
            // `:preferred` is the order in somebody's account, which nobody here knows.
            "" | "preferred" => Pin::Any,
            "cheapest" => Pin::Cheapest,
            "fastest" => Pin::Fastest,
            provider => Pin::Provider(provider.into()),
        };
        Some(Self { model: model.into(), pin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_says_how_the_provider_is_chosen() {
        let pin = |name: &str| ModelName::parse(name).map(|n| (n.model, n.pin));
        let model = || "org/na-me.1".to_owned();
        assert_eq!(pin("org/na-me.1"), Some((model(), Pin::Any)));
        assert_eq!(pin("org/na-me.1:cheapest"), Some((model(), Pin::Cheapest)));
        assert_eq!(pin("org/na-me.1:fastest"), Some((model(), Pin::Fastest)));
        assert_eq!(pin("org/na-me.1:fal-ai"), Some((model(), Pin::Provider("fal-ai".into()))));
        for no in
            ["", "auto", "smollm2", "org/", "/name", "a/b/c", "org/name:", "org/na me", "o/n:a:b", "o/n:\n"]
        {
            assert_eq!(ModelName::parse(no), None, "{no:?}");
        }
    }
}
