//! The way to a Hub: its three questions, and redirects.
//!
//! The token goes to the endpoint alone: not to another host, port or scheme, and over plain HTTP only to this
//! machine. A redirect from TLS to plain HTTP is not followed.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
        HeaderValue, LOCATION, RANGE, RETRY_AFTER,
    },
};
use tokio::time::timeout;

use super::{
    fault::{Fault, Refusal},
    listing::Listing,
    name::{Commit, RepoId, Revision},
    proof::Proof,
    range::{Beginning, beginning},
    redirect::{follow, is_private, same_origin},
};
use crate::{
    cloud::causes,
    domain::{Secret, limits},
    model::RelPath,
};

/// How to reach a Hub.
pub struct Way {
    client: Client,
    endpoint: Url,
    token: Option<HeaderValue>,
    first_byte: Duration,
    gap: Duration,
}

/// What a question is about, for its errors.
#[derive(Clone, Copy)]
struct About<'a> {
    repo: &'a RepoId,
    revision: &'a str,
    path: Option<&'a RelPath>,
}

impl Way {
    /// To `endpoint`. The error is for whoever configured it.
    pub fn new(
        client: Client,
        endpoint: &str,
        token: Option<&Secret>,
        [first_byte, gap]: [Duration; 2],
    ) -> Result<Self, String> {
        let shown = endpoint.escape_default();
        let endpoint: Url = endpoint
            .trim_end_matches('/')
            .parse()
            .map_err(|e| format!("the endpoint `{shown}` is no address: {e}"))?;
        let sound = matches!(endpoint.scheme(), "http" | "https")
            && endpoint.host_str().is_some()
            && endpoint.query().is_none()
            && endpoint.fragment().is_none();
        if !sound {
            return Err(format!("the endpoint `{shown}` is no address such as `https://mirror.example`"));
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err("the endpoint holds a password; put a token into `HF_TOKEN` instead".into());
        }
        let token = token.map(|token| {
            let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.reveal()].concat())
                .map_err(|_| "the token holds characters that no token has".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self { client, endpoint, token: token.transpose()?, first_byte, gap })
    }

    /// Whether a token is there that may not be sent, because the endpoint is neither TLS nor this machine.
    pub fn withholds_token(&self) -> bool {
        self.token.is_some() && !is_private(&self.endpoint)
    }

    /// What a repository holds.
    pub(super) async fn listing(&self, repo: &RepoId, revision: &Revision) -> Result<Listing, Fault> {
        let mut url = self.at(&["api", "models"], repo, &["revision"]);
        // A revision may hold slashes: one segment, so that they are escaped.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(revision.as_str());
        }
        url.set_query(Some("blobs=true"));
        let about = About { repo, revision: revision.as_str(), path: None };
        let (response, _) = self.get(url, None, about).await?;
        let body = self.whole(response, limits::HUB_LISTING_BYTES_MAX, "the listing").await?;
        Listing::parse(&body, repo).map_err(Fault::BadListing)
    }

    /// A small file, whole.
    pub(super) async fn text(
        &self,
        repo: &RepoId,
        commit: &Commit,
        path: &RelPath,
    ) -> Result<Vec<u8>, Fault> {
        let about = About { repo, revision: commit.as_str(), path: Some(path) };
        let (response, _) = self.get(self.file(repo, commit, path), None, about).await?;
        self.whole(response, limits::HUB_TEXT_BYTES_MAX, path.as_str()).await
    }

    /// The bytes of a file of `bytes` from `from` on.
    pub(super) async fn open(
        &self,
        repo: &RepoId,
        commit: &Commit,
        (path, proof): (&RelPath, Option<&Proof>),
        from: u64,
        bytes: u64,
    ) -> Result<Flowing, Fault> {
        let about = About { repo, revision: commit.as_str(), path: Some(path) };
        let range = (from > 0).then_some(from);
        let (response, linked) = self.get(self.file(repo, commit, path), range, about).await?;
        let (headers, status) = (response.headers(), response.status());
        linked.or(headers).agrees(commit, proof)?;
        // No file of a model is a page.
        if text(headers, CONTENT_TYPE.as_str()).is_some_and(|t| t.starts_with("text/html")) {
            return Err(Fault::Page);
        }
        if let Some(coding) = text(headers, CONTENT_ENCODING.as_str()).filter(|coding| *coding != "identity")
        {
            return Err(Fault::WrongRange(format!("they are packed as `{coding}`, which nobody asked for")));
        }
        let content_range = text(headers, CONTENT_RANGE.as_str());
        let partial = status == StatusCode::PARTIAL_CONTENT;
        let skip = match beginning(partial, content_range, response.content_length(), from, bytes)? {
            Beginning::Asked => 0,
            Beginning::Whole => from,
        };
        Ok(Flowing { response, skip, gap: self.gap })
    }

    fn at(&self, before: &[&str], repo: &RepoId, behind: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(before).extend(repo.as_str().split('/')).extend(behind);
        }
        url
    }

    fn file(&self, repo: &RepoId, commit: &Commit, path: &RelPath) -> Url {
        let mut url = self.at(&[], repo, &["resolve", commit.as_str()]);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path.as_str().split('/'));
        }
        url
    }

    /// Asks, and follows redirects; what the endpoint itself said of the file on the way.
    async fn get(
        &self,
        mut url: Url,
        from: Option<u64>,
        about: About<'_>,
    ) -> Result<(Response, Linked), Fault> {
        let mut linked = Linked::default();
        for _ in 0..=limits::HUB_REDIRECTS_MAX {
            let response = self.ask(&url, from).await?;
            let home = same_origin(&url, &self.endpoint);
            if !response.status().is_redirection() {
                return if response.status().is_success() {
                    Ok((response, linked))
                } else {
                    Err(self.refused(response, home, about).await)
                };
            }
            if home {
                linked = linked.or(response.headers());
            }
            let to = text(response.headers(), LOCATION.as_str()).unwrap_or_default();
            url = follow(&url, to)?;
        }
        Err(Fault::RedirectLoop)
    }

    async fn ask(&self, url: &Url, from: Option<u64>) -> Result<Response, Fault> {
        // Sizes are those of the files: nothing is to be packed on the way.
        let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token_for(url) {
            request = request.header(AUTHORIZATION, token);
        }
        match timeout(self.first_byte, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => {
                let host = url.host_str().unwrap_or_default().to_owned();
                Err(Fault::Unreachable { host, why: causes(&error) })
            }
            Ok(Err(error)) => Err(Fault::Broke(causes(&error))),
            Err(_) => Err(Fault::Silent(self.first_byte.as_secs(), "an answer")),
        }
    }

    fn token_for(&self, url: &Url) -> Option<&HeaderValue> {
        self.token.as_ref().filter(|_| same_origin(url, &self.endpoint) && is_private(url))
    }

    async fn refused(&self, response: Response, home: bool, about: About<'_>) -> Fault {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // Another host's words on rights are not the Hub's: a signed address that has run out, most likely.
        if !home && matches!(status, 401 | 403 | 404) {
            return Fault::Busy { status, words: "the storage behind the Hub refuses".into(), after: None };
        }
        let words = match text(&headers, "x-error-message") {
            Some(words) => words.to_owned(),
            None => self.first_words(response).await,
        };
        Refusal {
            status,
            code: text(&headers, "x-error-code"),
            words,
            retry_after: text(&headers, RETRY_AFTER.as_str()),
            had_token: self.token_for(&self.endpoint).is_some(),
            repo: about.repo.as_str(),
            revision: about.revision,
            path: about.path.map(RelPath::as_str),
            endpoint: self.endpoint.as_str().trim_end_matches('/'),
        }
        .fault()
    }

    /// What an error's body says, when it is text: a page is not repeated.
    async fn first_words(&self, mut response: Response) -> String {
        let chunk = timeout(self.gap, response.chunk()).await;
        let Ok(Ok(Some(chunk))) = chunk else { return String::new() };
        let words = String::from_utf8_lossy(&chunk);
        let json: Option<serde_json::Value> = serde_json::from_slice(&chunk).ok();
        match json.as_ref().and_then(|json| json["error"].as_str()) {
            Some(error) => error.to_owned(),
            None if words.trim_start().starts_with('<') => String::new(),
            None => words.into_owned(),
        }
    }

    async fn whole(&self, response: Response, max: usize, what: &str) -> Result<Vec<u8>, Fault> {
        let mut flowing = Flowing { response, skip: 0, gap: self.gap };
        let mut body = Vec::new();
        while let Some(piece) = flowing.next().await? {
            if body.len() + piece.len() > max {
                return Err(Fault::TooLarge { what: what.to_owned(), max });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// A body on its way.
pub(super) struct Flowing {
    response: Response,
    /// Bytes that are there already and come once more, because the server knows no ranges.
    skip: u64,
    gap: Duration,
}

impl Flowing {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let mut piece = match timeout(self.gap, self.response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(Fault::Broke(causes(&error))),
                Err(_) => return Err(Fault::Silent(self.gap.as_secs(), "the next bytes")),
            };
            let known = self.skip.min(piece.len() as u64);
            self.skip -= known;
            let piece = piece.split_off(known as usize);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

/// What the endpoint says of a file in the headers of its answer or its redirect.
#[derive(Debug, Default)]
struct Linked {
    commit: Option<String>,
    etag: Option<String>,
}

impl Linked {
    fn or(self, headers: &HeaderMap) -> Self {
        let of = |name| text(headers, name).map(str::to_owned);
        Self {
            commit: self.commit.or_else(|| of("x-repo-commit")),
            etag: self.etag.or_else(|| of("x-linked-etag")),
        }
    }

    /// That it speaks of the commit and the content that were listed: gigabytes earlier than the digest would.
    fn agrees(&self, commit: &Commit, proof: Option<&Proof>) -> Result<(), Fault> {
        if let Some(other) = self.commit.as_deref().filter(|other| *other != commit.as_str()) {
            let other: String = other.chars().take(40).collect();
            return Err(Fault::Changed(format!("commit {commit} was asked for, and the server has {other}")));
        }
        let etag = self.etag.as_deref().map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        match (etag.and_then(Proof::sha256), proof) {
            (Some(found), Some(wanted @ Proof::Sha256(_))) if found != *wanted => Err(Fault::Changed(
                format!("the server has another file than it listed: {found} instead of {wanted}"),
            )),
            _ => Ok(()),
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(endpoint: &str) -> Way {
        let client = crate::cloud::client(&crate::cloud::HttpOptions::default()).unwrap();
        let token = Secret::new("hf_secret");
        Way::new(client, endpoint, Some(&token), [Duration::from_secs(1); 2]).unwrap()
    }

    #[test]
    fn the_token_goes_to_the_endpoint_alone_and_never_in_clear_text() {
        let sent = |endpoint: &str, to: &str| way(endpoint).token_for(&to.parse().unwrap()).is_some();
        assert!(sent("https://hub", "https://hub/x") && sent("http://127.0.0.1:8", "http://127.0.0.1:8/x"));
        assert!(
            sent("http://[::1]:8", "http://[::1]:8/x") && sent("http://localhost:8", "http://localhost:8/x")
        );
        for (endpoint, to) in [
            ("https://hub", "https://cdn.hub/x"),
            ("https://hub", "https://hub.evil/x"),
            ("https://hub", "http://hub/x"),
            ("https://hub", "https://hub:8443/x"),
            ("http://hub", "http://hub/x"),
            ("http://127.0.0.1:8", "http://127.0.0.1:9/x"),
        ] {
            assert!(!sent(endpoint, to), "{endpoint} → {to}");
        }
        assert!(way("http://mirror").withholds_token() && !way("https://mirror").withholds_token());
    }

    #[test]
    fn names_become_single_steps_of_the_path() {
        let way = way("https://mirror.example/hub/");
        let (repo, commit) = ("a/b".parse().unwrap(), "0".repeat(40).parse().unwrap());
        let path: RelPath = "onnx/a b?#%2e.onnx".parse().unwrap();
        let url = way.file(&repo, &commit, &path);
        let head = format!("https://mirror.example/hub/a/b/resolve/{commit}/");
        assert_eq!(url.as_str(), format!("{head}onnx/a%20b%3F%23%2e.onnx").replace("%2e", "%252e"));
        assert!(Way::new(way.client, "ftp://x", None, [Duration::ZERO; 2]).is_err());
    }

    #[test]
    fn what_the_endpoint_says_on_the_way_is_held_against_the_listing() {
        let commit: Commit = "a".repeat(40).parse().unwrap();
        let proof = Proof::sha256(&"b".repeat(64)).unwrap();
        let linked =
            |commit: &str, etag: &str| Linked { commit: Some(commit.into()), etag: Some(etag.into()) };
        let agrees = |linked: Linked| linked.agrees(&commit, Some(&proof));
        assert_eq!(agrees(linked(&"a".repeat(40), &format!("\"{}\"", "b".repeat(64)))), Ok(()));
        assert_eq!(agrees(linked(&"a".repeat(40), "\"whatever-2\"")), Ok(()), "a mirror's own tag");
        assert!(agrees(linked(&"c".repeat(40), "")).is_err());
        assert!(agrees(linked(&"a".repeat(40), &"c".repeat(64))).is_err());
    }
}
