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

use super::reply::{place_headers, request_headers, shown_place};
use crate::{
    domain::{Error, Outcome, RequestId, Result, limits},
    service::{
        Answer, Shown,
        reply::{Frame, chunks_of, error_body},
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
    id: RequestId,
    /// `None` until somebody answers.
    frame: Option<Frame>,
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
    shown_place(response.headers_mut(), &shown.body);
    response
}

/// Streams an answer. Dropping the response cancels the request. Who answers is waited for, so that
/// the headers say it and a refusal has a status of its own; but no longer than a reader may think that
/// nobody is there.
pub(super) async fn response(mut answer: Answer, id: RequestId, include_usage: bool) -> Result<Response> {
    let frame = match tokio::time::timeout(limits::STREAM_HEARTBEAT, answer.begun()).await {
        Ok(begun) => Some(begun?),
        Err(_) => None,
    };
    let place = frame.as_ref().map(|frame| (frame.zone, frame.provider.clone()));
    let state = State { answer, id: id.clone(), frame, include_usage, next: Next::Opening };
    let events = stream::unfold(state, |mut state| async move {
        let bytes = step(&mut state).await?;
        Some((Ok::<_, Infallible>(bytes), state))
    });
    let mut response = Body::from_stream(events).into_response();
    stream_headers(response.headers_mut(), &id);
    if let Some((zone, provider)) = place {
        place_headers(response.headers_mut(), zone.name(), &provider);
    }
    Ok(response)
}

fn stream_headers(headers: &mut HeaderMap, id: &RequestId) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    request_headers(headers, id);
}

async fn step(state: &mut State) -> Option<Bytes> {
    loop {
        match state.next {
            Next::Opening => match tokio::time::timeout(limits::STREAM_HEARTBEAT, state.answer.begun()).await
            {
                Err(_) => return Some(heartbeat()),
                Ok(Err(error)) => {
                    state.next = Next::Done;
                    return Some(failure(state, &error));
                }
                Ok(Ok(frame)) => {
                    state.next = Next::Piece;
                    let opening = frame.opening();
                    state.frame = Some(frame);
                    if let Some(opening) = opening {
                        return Some(event(&opening));
                    }
                }
            },
            Next::Piece => match tokio::time::timeout(limits::STREAM_HEARTBEAT, state.answer.next()).await {
                Err(_) => return Some(heartbeat()),
                Ok(Ok(Some(delta))) => {
                    let frame = state.frame.as_ref()?;
                    return Some(event(&frame.piece(&delta)));
                }
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

fn heartbeat() -> Bytes {
    Bytes::from_static(b": still at it\n\n")
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn ending(state: &State, outcome: &Outcome) -> Bytes {
    let mut out = Vec::new();
    let Some(frame) = &state.frame else { return out.into() };
    if !outcome.rest.is_empty() {
        out.extend_from_slice(&event(&frame.piece(&outcome.rest)));
    }
    out.extend_from_slice(&event(&frame.closing(outcome.finish)));
    if state.include_usage {
        out.extend_from_slice(&event(&frame.usage(outcome)));
    }
    out.into()
}

fn failure(state: &State, error: &Error) -> Bytes {
    tracing::info!(%error, request = %state.id, "stream ended early");
    event(&error_body(error, Some(&state.id)))
}
