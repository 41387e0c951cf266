//! What a Hub, or the way there, does wrong: what it means, and whether to try again.

use std::time::Duration;

use crate::domain::limits;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says in its words what it is")]
pub enum Fault {
    #[error("{host} cannot be reached: {why}. Check the network, `cloud.proxy`, and name service")]
    Unreachable { host: String, why: String },
    #[error("the connection broke: {0}")]
    Broke(String),
    #[error("waited {0} s in vain for {1}")]
    Silent(u64, &'static str),
    #[error("the server answers {status}{}: it is overloaded or being repaired", said(words))]
    Busy { status: u16, words: String, after: Option<Duration> },
    #[error(
        "the server asks to come back in {after_s} s{}. Start the pull again then: it goes on where it stopped",
        said(words)
    )]
    TooPatient { after_s: u64, words: String },
    #[error(
        "the token is not accepted{}. Make a new one with the right to read, put it into `HF_TOKEN` or the file of \
         `cloud.token_file`, and try again",
        said(words)
    )]
    BadToken { words: String },
    #[error(
        "{repo} is gated: its owner wants its terms to be accepted{}. Open {page} in a browser, accept them with the \
         account whose token this board has, and pull again{}", said(words), token_hint(*had_token)
    )]
    Gated { repo: String, page: String, words: String, had_token: bool },
    #[error(
        "there is no repository {repo}, or it is private{}. Check the name{}", said(words), token_hint(*had_token)
    )]
    NoRepo { repo: String, words: String, had_token: bool },
    #[error("{repo} has no revision `{revision}`. Its page lists branches, tags and commits")]
    NoRevision { repo: String, revision: String },
    #[error(
        "`{0}` is no longer there, though the listing names it. Discard what there is of this pull and begin anew"
    )]
    NoFile(String),
    #[error("access is forbidden (403){}. The token lacks the right to read this repository", said(words))]
    Forbidden { words: String },
    #[error("the server answers {status}{}", said(words))]
    Refused { status: u16, words: String },
    #[error("it redirects to {0}, which is not followed")]
    BadRedirect(String),
    #[error("it redirects more than {} times in a row", limits::HUB_REDIRECTS_MAX)]
    RedirectLoop,
    #[error("the answer is no listing of a repository: {0}. Check `--endpoint` or HF_ENDPOINT")]
    BadListing(String),
    #[error("an HTML page comes instead of the file: a portal or proxy answers instead of the server")]
    Page,
    #[error("the server sends other bytes than were asked for: {0}")]
    WrongRange(String),
    #[error("the server says that the file ends earlier than its listing says")]
    Ended,
    #[error("{0}")]
    Changed(String),
    #[error("{0}")]
    Unreadable(String),
    #[error("{what} has more than {max} bytes")]
    TooLarge { what: String, max: usize },
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Try again, not before this time.
    Again(Option<Duration>),
    /// What is there of the file is not to be trusted: from its beginning.
    Anew,
    /// Somebody has to do something.
    None,
}

/// Who has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody here: try later.
    Elsewhere,
    /// Whoever gave the name or the data.
    Given,
    /// Whoever sets this board up: token, endpoint, key.
    Setup,
}

impl Fault {
    /// Whether to try again.
    pub fn cure(&self) -> Cure {
        match self {
            Self::Unreachable { .. } | Self::Broke(_) | Self::Silent(..) | Self::WrongRange(_) => {
                Cure::Again(None)
            }
            // A portal may be left by logging in, and many proxies show a page while they wake up.
            Self::Page => Cure::Again(None),
            Self::Busy { after, .. } => Cure::Again(*after),
            Self::Ended => Cure::Anew,
            _ => Cure::None,
        }
    }

    /// Who has to do something.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadToken { .. } | Self::Gated { .. } | Self::Forbidden { .. } | Self::BadListing(_) => {
                Blame::Setup
            }
            Self::NoRepo { .. }
            | Self::NoRevision { .. }
            | Self::NoFile(_)
            | Self::Changed(_)
            | Self::Unreadable(_)
            | Self::TooLarge { .. } => Blame::Given,
            _ => Blame::Elsewhere,
        }
    }
}

/// What a failed answer says, as far as it matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    /// `X-Error-Code`.
    pub(super) code: Option<&'a str>,
    /// `X-Error-Message`, or the beginning of the body.
    pub(super) words: String,
    /// `Retry-After`.
    pub(super) retry_after: Option<&'a str>,
    pub(super) had_token: bool,
    pub(super) repo: &'a str,
    pub(super) revision: &'a str,
    /// The file, when one was asked for.
    pub(super) path: Option<&'a str>,
    pub(super) endpoint: &'a str,
}

/// The Hub answers 401 both to a bad token and to whoever may not know whether a repository exists.
const BAD_TOKEN: &str = "Invalid credentials in Authorization header";
const DISABLED: &str = "Access to this resource is disabled.";

impl Refusal<'_> {
    /// What it means.
    pub(super) fn fault(self) -> Fault {
        let repo = self.repo.to_owned();
        let words: String =
            self.words.trim().chars().filter(|c| !c.is_control()).take(limits::HUB_WORDS_CHARS_MAX).collect();
        match (self.status, self.code) {
            (_, Some("GatedRepo")) => {
                let page = format!("{}/{repo}", self.endpoint);
                Fault::Gated { repo, page, words, had_token: self.had_token }
            }
            (_, Some("RevisionNotFound")) => Fault::NoRevision { repo, revision: self.revision.to_owned() },
            (_, Some("EntryNotFound")) => Fault::NoFile(self.path.unwrap_or("the file").to_owned()),
            (401, _) if words.contains(BAD_TOKEN) => Fault::BadToken { words },
            (_, _) if words.contains(DISABLED) => Fault::Forbidden { words },
            (_, Some("RepoNotFound")) | (401, _) => Fault::NoRepo { repo, words, had_token: self.had_token },
            (404, _) if self.path.is_some() => Fault::NoFile(self.path.unwrap_or_default().to_owned()),
            (404, _) => Fault::NoRepo { repo, words, had_token: self.had_token },
            (403, _) => Fault::Forbidden { words },
            (416, _) => Fault::Ended,
            (408 | 425 | 429 | 500..=599, _) => match self
                .retry_after
                .and_then(|text| text.trim().parse().ok())
            {
                Some(after_s) if Duration::from_secs(after_s) > limits::PULL_RETRY_AFTER_MAX => {
                    Fault::TooPatient { after_s, words }
                }
                after => Fault::Busy { status: self.status, words, after: after.map(Duration::from_secs) },
            },
            (status, _) => Fault::Refused { status, words },
        }
    }
}

fn said(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(" (\u{201c}{}\u{201d})", words.trim_end_matches('.'))
    }
}

fn token_hint(had_token: bool) -> &'static str {
    if had_token { "" } else { "; no token was sent: set `HF_TOKEN`, or `cloud.token_file`" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, code: Option<&str>, words: &str, retry_after: Option<&str>) -> Fault {
        let (repo, revision, endpoint) = ("a/b", "v9", "https://hub");
        let words = words.to_owned();
        Refusal { status, code, words, retry_after, repo, revision, endpoint, ..Refusal::default() }.fault()
    }

    #[test]
    fn what_the_hub_says_tells_a_bad_token_from_a_gate_and_from_a_wrong_name() {
        assert!(matches!(fault(401, None, BAD_TOKEN, None), Fault::BadToken { .. }));
        assert!(matches!(fault(401, None, "", None), Fault::NoRepo { had_token: false, .. }));
        let gated = fault(403, Some("GatedRepo"), "Access to model a/b is restricted.", None);
        let words = gated.to_string();
        assert!(words.contains("https://hub/a/b") && words.contains("set `HF_TOKEN`"), "{words}");
        assert!(matches!(fault(404, Some("RevisionNotFound"), "", None), Fault::NoRevision { .. }));
        assert!(matches!(fault(403, None, DISABLED, None), Fault::Forbidden { .. }));
        for fault in [gated, fault(404, None, "", None), fault(403, None, "", None)] {
            assert_eq!(fault.cure(), Cure::None, "{fault}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_no_longer_than_is_bearable() {
        for status in [429, 500, 502, 503, 504] {
            assert_eq!(fault(status, None, "", None).cure(), Cure::Again(None), "{status}");
        }
        let wait = Some(Duration::from_secs(7));
        assert_eq!(fault(429, None, "", Some("7")).cure(), Cure::Again(wait));
        assert_eq!(fault(429, None, "", Some("100000")).cure(), Cure::None);
        assert_eq!(fault(503, None, "", Some("Wed, 21 Oct 2026 07:28:00 GMT")).cure(), Cure::Again(None));
        assert_eq!(fault(416, None, "", None).cure(), Cure::Anew);
        assert_eq!(fault(418, None, "", None).cure(), Cure::None);
    }
}
