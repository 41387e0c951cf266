//! The bearer token of TCP clients. Over the Unix socket the file's permissions decide.

use std::{fmt, path::Path};

use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, Peer, reply::Failure};
use crate::domain::{Error, ErrorKind, limits};

/// A secret; says nothing of itself.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Reads it from a file that only its owner and group can read. White space around it is cut.
    pub fn read(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt;
        let say = |why: String| format!("`http.token_file` {}: {why}", path.display());
        let meta = std::fs::metadata(path).map_err(|e| say(e.to_string()))?;
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(say("anybody can read or change it; chmod 0640 it".into()));
        }
        if meta.len() > limits::TOKEN_FILE_BYTES_MAX {
            return Err(say(format!("has more than {} bytes", limits::TOKEN_FILE_BYTES_MAX)));
        }
        let text = std::fs::read(path).map_err(|e| say(e.to_string()))?;
        let token = text.trim_ascii();
        if token.len() < 16 {
            return Err(say("holds fewer than 16 characters; make one with `openssl rand -hex 32`".into()));
        }
        Ok(Self(token.into()))
    }

    /// Takes the same time wherever the first difference is.
    fn matches(&self, given: &[u8]) -> bool {
        given.len() == self.0.len() && given.iter().zip(&self.0).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
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
