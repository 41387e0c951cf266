//! Why a message has no result.

use crate::domain::{Error, ErrorKind, limits};

/// What went wrong, at which step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// What came in is not what the task expects.
    Payload {
        /// What is wrong with it.
        reason: String,
    },
    /// A template fails on it.
    Render {
        /// Which template, and why.
        reason: String,
    },
    /// The topic that the result would go to is none that the daemon writes to.
    Topic {
        /// Which topic, and why.
        reason: String,
    },
    /// The model's answer does not meet the schema.
    Answer {
        /// Where in the answer, and what was expected.
        reason: String,
    },
}

impl TaskError {
    /// What was wrong, in words for whoever reads the error topic.
    pub fn reason(&self) -> &str {
        match self {
            Self::Payload { reason }
            | Self::Render { reason }
            | Self::Topic { reason }
            | Self::Answer { reason } => reason,
        }
    }

    /// The class of failure. Another sample of the same prompt may do where the answer did not.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Payload { .. } | Self::Render { .. } => ErrorKind::InvalidRequest,
            Self::Topic { .. } => ErrorKind::ResponseTopicDenied,
            Self::Answer { .. } => ErrorKind::ProviderError,
        }
    }
}

impl std::fmt::Display for TaskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for TaskError {}

impl From<&TaskError> for Error {
    fn from(error: &TaskError) -> Self {
        Self::new(error.kind(), error.reason())
    }
}

/// Words that may hold a piece of what came in: cut, and without control characters.
pub(super) fn cut(text: &str) -> String {
    let mut cut: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limits::TASK_REASON_CHARS_MAX)
        .collect();
    if text.chars().nth(limits::TASK_REASON_CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}
