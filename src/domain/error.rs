//! The one error that a request can end with, on every transport.
//!
//! `public` is for the caller: what was wrong and what to do, no paths of this machine and
//! nothing of other requests. `detail` is for the log. Each kind has one status number,
//! the same over HTTP and MQTT.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::RequestId;

/// `Result` with the request error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request ended without a completion. The names are a promise to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each name says what happened; `status` groups them")]
pub enum ErrorKind {
    InvalidRequest,
    Unauthenticated,
    PolicyDenied,
    ResponseTopicDenied,
    ModelNotFound,
    RequestNotFound,
    DeadlineExceeded,
    IdConflict,
    TooLarge,
    ContextLengthExceeded,
    SchemaUnsupported,
    QueueFull,
    BudgetExhausted,
    Cancelled,
    Superseded,
    Internal,
    ProviderError,
    ModelLoading,
    Overheated,
    Draining,
    StoreFull,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 21] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::PolicyDenied,
        Self::ResponseTopicDenied,
        Self::ModelNotFound,
        Self::RequestNotFound,
        Self::DeadlineExceeded,
        Self::IdConflict,
        Self::TooLarge,
        Self::ContextLengthExceeded,
        Self::SchemaUnsupported,
        Self::QueueFull,
        Self::BudgetExhausted,
        Self::Cancelled,
        Self::Superseded,
        Self::Internal,
        Self::ProviderError,
        Self::ModelLoading,
        Self::Overheated,
        Self::Draining,
        Self::StoreFull,
    ];

    /// The status number: HTTP's, and the `status` of an MQTT final.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::PolicyDenied | Self::ResponseTopicDenied => 403,
            Self::ModelNotFound | Self::RequestNotFound => 404,
            Self::DeadlineExceeded => 408,
            Self::IdConflict => 409,
            Self::TooLarge => 413,
            Self::ContextLengthExceeded | Self::SchemaUnsupported => 422,
            Self::QueueFull | Self::BudgetExhausted => 429,
            Self::Cancelled | Self::Superseded => 499,
            Self::Internal => 500,
            Self::ProviderError => 502,
            Self::ModelLoading | Self::Overheated | Self::Draining => 503,
            Self::StoreFull => 507,
        }
    }

    /// The name in messages, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::PolicyDenied => "policy_denied",
            Self::ResponseTopicDenied => "response_topic_denied",
            Self::ModelNotFound => "model_not_found",
            Self::RequestNotFound => "request_not_found",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::IdConflict => "id_conflict",
            Self::TooLarge => "too_large",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::SchemaUnsupported => "schema_unsupported",
            Self::QueueFull => "queue_full",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Internal => "internal",
            Self::ProviderError => "provider_error",
            Self::ModelLoading => "model_loading",
            Self::Overheated => "overheated",
            Self::Draining => "draining",
            Self::StoreFull => "store_full",
        }
    }

    /// Whether the same request may succeed later without a change to it.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::Internal
                | Self::ProviderError
                | Self::ModelLoading
                | Self::Overheated
                | Self::Draining
                | Self::StoreFull
        )
    }
}

/// One failed request: what to tell the caller, and what to write into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What class of failure; decides status and whether a retry makes sense.
    pub kind: ErrorKind,
    /// For the caller: what was wrong and what to do next.
    pub public: String,
    /// The field of the request that was wrong, as a path such as `messages[0].role`.
    pub param: Option<String>,
    /// For the log only.
    pub detail: Option<String>,
    /// When a retry is worth its while.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind` with the words for the caller.
    pub fn new(kind: ErrorKind, public: impl Into<String>) -> Self {
        Self { kind, public: public.into(), param: None, detail: None, retry_after: None }
    }

    /// A 400 that names the field.
    pub fn invalid(param: impl Into<String>, public: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(ErrorKind::InvalidRequest, public) }
    }

    /// Our own fault: the caller learns only that, the log learns `detail`.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, "Outpost failed to answer; the daemon's log says why")
            .with_detail(detail)
    }

    /// The error as every transport shows it: OpenAI's shape, and when to come back.
    pub fn to_json(&self, request: Option<&RequestId>) -> Value {
        json!({"error": {
            "message": self.public,
            "type": self.kind.name(),
            "param": self.param,
            "code": self.kind.name(),
            "status": self.kind.status(),
            "retryable": self.kind.retryable(),
            "retry_after_ms": self.retry_after.map(|d| d.as_millis() as u64),
            "request_id": request.map(RequestId::as_str),
        }})
    }

    /// Adds words for the log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.public)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_an_error_status() {
        let names: std::collections::HashSet<_> = ErrorKind::ALL.iter().map(|k| k.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(ErrorKind::ALL.iter().all(|k| (400..600).contains(&k.status())));
    }

    #[test]
    fn a_callers_own_mistake_is_never_called_retryable() {
        for kind in ErrorKind::ALL.into_iter().filter(|k| k.status() < 429) {
            assert!(!kind.retryable(), "{}", kind.name());
        }
    }
}
