//! The bearer token of TCP clients. Over the Unix socket the file's permissions decide.

use std::path::Path;

use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, Peer, reply::Failure};
use crate::domain::{Error, ErrorKind, Secret};

/// What TCP clients must send.
#[derive(Clone, Debug)]
pub struct Token(Secret);

impl Token {
    /// Reads it from a file that only its owner and group can read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let token = Secret::read("http.token_file", path)?;
        if token.reveal().len() < 16 {
            let why = "holds fewer than 16 characters; make one with `openssl rand -hex 32`";
            return Err(format!("`http.token_file` {}: {why}", path.display()));
        }
        Ok(Self(token))
    }

    /// Takes the same time wherever the first difference is.
    fn matches(&self, given: &[u8]) -> bool {
        let token = self.0.reveal();
        given.len() == token.len() && given.iter().zip(token).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }
}

/// Lets socket clients pass, and TCP clients that bring the token (RFC 6750, §2.1).
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let local = matches!(request.extensions().get::<Peer>(), Some(Peer::Unix { .. }));
    let given = request.headers().get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    let allowed = local || app.token.as_ref().zip(given).is_some_and(|(token, given)| token.matches(given));
    if allowed {
        return next.run(request).await;
    }
    let error =
        Error::new(ErrorKind::Unauthenticated, "send the token of this daemon: `Authorization: Bearer …`");
    Failure::new(error).into_response()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_long_private_and_silent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        assert!(write("0123456789abcdef\n", 0o644).unwrap_err().contains("chmod"));
        assert!(write("short", 0o600).unwrap_err().contains("fewer than 16"));
        let token = write(" 0123456789abcdef\n", 0o640).unwrap();
        assert!(token.matches(b"0123456789abcdef"));
        assert!(
            !token.matches(b"0123456789abcdeF")
                && !token.matches(b"0123456789abcdef0")
                && !token.matches(b"")
        );
        assert!(!format!("{token:?}").contains("0123"));
    }
}
