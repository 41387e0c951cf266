//! Requests whose answers are fetched later.

use axum::{
    Extension, Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    App, Peer,
    openai::{again, take_in},
    reply::{Failure, request_headers},
};
use crate::{
    domain::{Error, RequestId, limits},
    service::{self, Known, Receipt, Reply},
    store::RequestKey,
};

/// `POST /v1/requests`: 202 once the request is on disk; 200 when it has its final already.
pub(super) async fn accept(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Failure> {
    let request = take_in(&app, &peer, request, service::Request::chat).await?;
    let key = request.key.clone();
    let receipt =
        app.service.accept(request, Reply::Kept).await.map_err(|e| Failure::of(e, key.id.clone()))?;
    let (status, document) = match receipt {
        // It may have ended between the two looks.
        Receipt::Accepted(_) | Receipt::Known(_) => {
            (StatusCode::ACCEPTED, app.service.describe(&key).unwrap_or_else(|| finished(&key)))
        }
        Receipt::Done(_) => (StatusCode::OK, finished(&key)),
        Receipt::Uncertain(error) => return Err(Failure::of(error, key.id)),
    };
    let mut response = (status, Json(document)).into_response();
    let headers = response.headers_mut();
    request_headers(headers, &key.id);
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/requests/{}", key.id)) {
        headers.insert(header::LOCATION, place);
    }
    Ok(response)
}

/// `GET /v1/requests/{id}`: 202 and where it is, or its final with the final's own status.
pub(super) async fn look_up(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let key = key(&app, &peer, &id)?;
    match app.service.look_up(&key).await.map_err(|e| Failure::of(e, key.id.clone()))? {
        Known::Waiting(document) => {
            let mut response = (StatusCode::ACCEPTED, Json(document)).into_response();
            request_headers(response.headers_mut(), &key.id);
            Ok(response)
        }
        Known::Done(shown) => Ok(again(shown, &key.id)),
    }
}

/// `DELETE /v1/requests/{id}`: ends it; what has its final keeps it.
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let key = key(&app, &peer, &id)?;
    let state = app.service.cancel(&key).await.map_err(|e| Failure::of(e, key.id.clone()))?;
    Ok(Json(json!({"id": key.id.as_str(), "object": "request", "state": state})))
}

fn key(app: &App, peer: &Peer, id: &str) -> Result<RequestKey, Error> {
    let id = RequestId::new(id).ok_or_else(|| {
        let max = limits::REQUEST_ID_BYTES_MAX;
        Error::invalid("id", format!("an id is 1 to {max} of letters, digits and -_.:@"))
    })?;
    Ok(RequestKey { client: peer.client(&app.service), id })
}

fn finished(key: &RequestKey) -> Value {
    json!({"id": key.id.as_str(), "object": "request", "state": "finished"})
}
