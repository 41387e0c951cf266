//! An answer as server-sent events (WHATWG HTML, §9.2), in OpenAI's framing.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use super::reply::device_headers;
use crate::{
    domain::{Error, Outcome, RequestId, limits},
    service::{
        Answer, Shown,
        reply::{chunks_of, error_body},
    },
};

/// What comes next in a stream.
enum Next {
    Opening,
    Piece,
    Done,
    Over,
}

struct State {
    answer: Answer,
    include_usage: bool,
    next: Next,
}

/// A final that was written before, in the framing of a stream.
pub(super) fn again(shown: &Shown, include_usage: bool, id: &RequestId) -> Response {
    let mut events = Vec::new();
    for chunk in chunks_of(&shown.body, include_usage) {
        events.extend_from_slice(&event(&chunk));
    }
    events.extend_from_slice(b"data: [DONE]\n\n");
    let mut response = Body::from(events).into_response();
    stream_headers(response.headers_mut(), id);
    response
}

/// Streams an answer. Dropping the response cancels the request.
pub(super) fn response(answer: Answer, include_usage: bool) -> Response {
    let id = answer.frame.id.clone();
    let state = State { answer, include_usage, next: Next::Opening };
    let events = stream::unfold(state, |mut state| async move {
        let bytes = step(&mut state).await?;
        Some((Ok::<_, Infallible>(bytes), state))
    });
    let mut response = Body::from_stream(events).into_response();
    stream_headers(response.headers_mut(), &id);
    response
}

fn stream_headers(headers: &mut HeaderMap, id: &RequestId) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    device_headers(headers, id);
}

async fn step(state: &mut State) -> Option<Bytes> {
    loop {
        match state.next {
            Next::Opening => {
                state.next = Next::Piece;
                if let Some(opening) = state.answer.frame.opening() {
                    return Some(event(&opening));
                }
            }
            Next::Piece => match tokio::time::timeout(limits::STREAM_HEARTBEAT, state.answer.next()).await {
                Err(_) => return Some(Bytes::from_static(b": still at it\n\n")),
                Ok(Ok(Some(delta))) => return Some(event(&state.answer.frame.piece(&delta))),
                Ok(Ok(None)) => {
                    state.next = Next::Done;
                    let finished = state.answer.finish().await;
                    return Some(match finished {
                        Ok(outcome) => ending(state, &outcome),
                        Err(error) => failure(state, &error),
                    });
                }
                Ok(Err(error)) => {
                    state.next = Next::Done;
                    return Some(failure(state, &error));
                }
            },
            Next::Done => {
                state.next = Next::Over;
                return Some(Bytes::from_static(b"data: [DONE]\n\n"));
            }
            Next::Over => return None,
        }
    }
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn ending(state: &State, outcome: &Outcome) -> Bytes {
    let frame = &state.answer.frame;
    let mut out = Vec::new();
    if !outcome.rest.is_empty() {
        out.extend_from_slice(&event(&frame.piece(&outcome.rest)));
    }
    out.extend_from_slice(&event(&frame.closing(outcome.finish)));
    if state.include_usage {
        out.extend_from_slice(&event(&frame.usage(outcome.usage)));
    }
    out.into()
}

fn failure(state: &State, error: &Error) -> Bytes {
    tracing::info!(%error, request = %state.answer.frame.id, "stream ended early");
    event(&error_body(error, Some(&state.answer.frame.id)))
}
