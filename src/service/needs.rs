//! What a request wants of a model, and what the one on the device cannot give.

use serde_json::Value;

use crate::domain::{Error, ErrorKind};

/// Which model is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Whichever is best placed: the device's, and another when that cannot do it in time.
    #[default]
    Auto,
    /// Whichever is loaded on the device, and no other.
    Local,
    /// By name: a package, a site, a site's model, or a cloud model.
    Named(String),
}

impl Wanted {
    /// From the field `model`.
    pub fn of(model: Option<&str>) -> Self {
        match model {
            None | Some("" | "auto") => Self::Auto,
            Some("local") => Self::Local,
            Some(name) => Self::Named(name.into()),
        }
    }

    /// The name, when one is asked for.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Auto | Self::Local => None,
        }
    }
}

/// What goes beyond text in, text out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tools may be called.
    pub tools: bool,
    /// The answer must be JSON: the kind of `response_format` that says so.
    pub format: Option<String>,
    /// There is an image: the field that holds the first one.
    pub image: Option<String>,
}

impl Needs {
    /// Why a model on the device cannot do it, one that does or does not call tools; `None` when it can.
    pub fn beyond_device(&self, calls_tools: bool) -> Option<Error> {
        let unsupported = |param: &str, why: String| Error {
            param: Some(param.into()),
            ..Error::new(ErrorKind::SchemaUnsupported, why)
        };
        if self.tools && !calls_tools {
            let why = "the model on this device does not call tools; leave `tools` out, send `tool_choice: \"none\"`, \
                       or name a model elsewhere";
            return Some(unsupported("tools", why.into()));
        }
        if let Some(kind) = &self.format {
            let why = format!(
                "the model on this device cannot promise `{kind}`; ask for JSON in the prompt and check it, or name \
                 a model elsewhere"
            );
            return Some(unsupported("response_format", why));
        }
        self.image.as_ref().map(|field| {
            Error::invalid(field, format!("`{field}` is an image; the model on this device reads only text"))
        })
    }
}

/// What `response_format` demands; an error for one that nobody knows.
pub(super) fn format(format: Option<&Value>) -> Result<Option<String>, Error> {
    match format.and_then(|f| f.get("type")).and_then(Value::as_str) {
        None if format.is_none_or(Value::is_null) => Ok(None),
        Some("text") => Ok(None),
        Some(kind @ ("json_object" | "json_schema")) => Ok(Some(kind.into())),
        _ => Err(Error::invalid(
            "response_format",
            "`response_format.type` must be `text`, `json_object` or `json_schema`",
        )),
    }
}
