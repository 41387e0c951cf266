//! Talks to the daemon over its socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Exit, Failure, Global};
use crate::domain::limits;

/// One runtime for a command that talks to the daemon.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Bug, e))?
        .block_on(work)
}

/// The daemon at one socket.
pub(super) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The one that the configuration names.
    pub(super) fn of(global: &Global) -> Result<Self, Failure> {
        let socket = global.configuration()?.http.socket.ok_or_else(|| {
            Failure::new(
                Exit::Configuration,
                "`http.socket` is empty: this command needs the daemon's socket",
            )
        })?;
        Ok(Self { socket })
    }

    /// Asks and reads the whole answer as JSON; an error status becomes a failure.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        json(self.send("GET", path, None).await?).await
    }

    /// Sends a body; the answer's head has come and is not an error.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Response<Incoming>, Failure> {
        self.send("POST", path, Some(body)).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| no_daemon(&self.socket, &e))?;
        let unavailable =
            |e: hyper::Error| Failure::new(Exit::Unavailable, format!("the daemon hung up: {e}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unavailable)?;
        tokio::spawn(connection);
        let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "outpost")
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .map_err(|e| Failure::new(Exit::Bug, e))?;
        let answer = tokio::time::timeout(limits::CLIENT_PATIENCE, sender.send_request(request)).await;
        let response = answer
            .map_err(|_| Failure::new(Exit::Unavailable, "the daemon does not answer"))?
            .map_err(unavailable)?;
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(response);
        }
        let words = json(response).await.map(|body| error_words(&body))?;
        Err(Failure::from_status(status, words))
    }
}

fn no_daemon(socket: &Path, error: &std::io::Error) -> Failure {
    let what_to_do = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "your user may not use it; join the socket's group",
        _ => "is the daemon running? `systemctl status outpost`, or start it with `outpost serve`",
    };
    Failure::new(Exit::Unavailable, format!("{}: {error}\n{what_to_do}", socket.display()))
}

/// The whole body as JSON.
pub(super) async fn json(response: Response<Incoming>) -> Result<Value, Failure> {
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|e| Failure::new(Exit::Unavailable, format!("the daemon hung up: {e}")))?
        .to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|e| Failure::new(Exit::Bug, format!("the daemon sent no JSON: {e}")))
}

/// The words of an OpenAI error body.
pub(super) fn error_words(body: &Value) -> String {
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str);
    let message = text("/error/message").unwrap_or("the daemon refused without saying why");
    match text("/error/code") {
        Some(code) => format!("{message} ({code})"),
        None => message.to_owned(),
    }
}

/// Reads server-sent events: `each` gets every JSON document and returns whether to go on.
pub(super) async fn events(
    response: Response<Incoming>,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut body = response.into_body();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Failure::new(Exit::Unavailable, format!("the answer broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.windows(2).position(|w| w == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            match event.trim_ascii().strip_prefix(b"data: ") {
                Some(b"[DONE]") => return Ok(()),
                Some(json) => {
                    let value = serde_json::from_slice(json).map_err(|e| Failure::new(Exit::Bug, e))?;
                    each(value)?;
                }
                None => {}
            }
        }
    }
    Err(Failure::new(Exit::Unavailable, "the answer broke off before its end"))
}

/// The text of one chunk of a chat; the error, if it is one.
pub(super) fn chunk_text(chunk: &Value) -> Result<&str, Failure> {
    if let Some(status) = chunk.pointer("/error/status").and_then(Value::as_u64) {
        return Err(Failure::from_status(u16::try_from(status).unwrap_or(500), error_words(chunk)));
    }
    Ok(chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default())
}
