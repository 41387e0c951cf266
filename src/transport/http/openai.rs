//! The OpenAI paths.

use axum::{
    Extension, Json,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App, Peer, body,
    reply::{Failure, request_headers, shown_place},
    stream,
};
use crate::{
    domain::{Error, ErrorKind, Lane, RequestId, Result, Zone, limits},
    engine::Model,
    service::{self, Asked, Envelope, Own, Shown},
};

/// `POST /v1/chat/completions`
pub(super) async fn chat(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Failure> {
    complete(app, peer, request, service::Request::chat).await
}

/// `POST /v1/completions`
pub(super) async fn completion(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Failure> {
    complete(app, peer, request, service::Request::completion).await
}

async fn complete(app: App, peer: Peer, request: Request, read: Read) -> Result<Response, Failure> {
    let request = take_in(&app, &peer, request, read).await?;
    let (id, include_usage, streams) = (request.key.id.clone(), request.include_usage, request.stream);
    tracing::debug!(%id, ?peer, stream = streams, "request");
    let failed = |e| Failure::of(e, id.clone());
    let mut answer = match app.service.ask(request).await.map_err(failed)? {
        Asked::Fresh(answer) => answer,
        Asked::Same(same) => {
            let shown = same.finish().await.map_err(failed)?;
            return Ok(if streams { stream::again(&shown, include_usage, &id) } else { again(shown, &id) });
        }
    };
    if streams {
        let response = stream::response(answer, id.clone(), include_usage).await;
        return response.map_err(failed);
    }
    Ok(again(answer.shown().await.map_err(failed)?, &id))
}

/// From a body to a request.
pub(super) type Read = fn(Bytes, Envelope) -> Result<service::Request>;

/// Reads a request off the connection.
pub(super) async fn take_in(
    app: &App,
    peer: &Peer,
    request: Request,
    read: Read,
) -> Result<service::Request, Failure> {
    let envelope = Envelope {
        client: peer.client(&app.service),
        uid: peer.uid(),
        own: Own { id: given_id(request.headers())?, ..Own::default() },
        lane: Lane::Interactive,
        defaults: app.service.defaults(),
    };
    let expects_continue = request.headers().contains_key("expect");
    let bytes = body::read(request.into_body(), expects_continue).await.inspect_err(|e| app.refused(e))?;
    Ok(read(bytes, envelope).inspect_err(|e| app.refused(e))?)
}

/// A final that was written before, as it was.
pub(super) fn again(shown: Shown, id: &RequestId) -> Response {
    let status = StatusCode::from_u16(shown.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut headers = HeaderMap::new();
    request_headers(&mut headers, id);
    shown_place(&mut headers, &shown.body);
    (status, json, headers, shown.body).into_response()
}

/// `Idempotency-Key` is the request's id.
fn given_id(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let id = value.to_str().ok().filter(|id| RequestId::new(id).is_some()).ok_or_else(|| {
        let max = limits::REQUEST_ID_BYTES_MAX;
        Error::invalid("Idempotency-Key", format!("an id is 1 to {max} of letters, digits and -_.:@"))
    })?;
    Ok(Some(id.to_owned()))
}

/// What to list.
#[derive(Debug, Deserialize)]
pub(super) struct ModelsQuery {
    zone: Option<String>,
}

/// `GET /v1/models`: what can be asked without more ado; `?zone=cloud`: the cloud's catalogue.
pub(super) async fn models(
    State(app): State<App>,
    query: Result<Query<ModelsQuery>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(query) = query.map_err(|e| Error::invalid("zone", e.body_text()))?;
    let zone = match query.zone.as_deref() {
        None => None,
        Some(name) => Some(Zone::named(name).ok_or_else(|| {
            Error::invalid("zone", format!("`zone` is `{name}`, expected device, site or cloud"))
        })?),
    };
    let mut data = Vec::new();
    if matches!(zone, None | Some(Zone::Device)) {
        data.extend(app.service.model().ok().iter().map(|m| describe(m)));
    }
    if matches!(zone, None | Some(Zone::Site)) {
        data.extend(app.service.site_models());
    }
    if zone == Some(Zone::Cloud) {
        data.extend(app.service.cloud_models().await?);
    }
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{org}/{name}`
pub(super) async fn cloud_model(
    State(app): State<App>,
    Path((org, name)): Path<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let name = format!("{org}/{name}");
    let found = app.service.cloud_models().await?.into_iter().find(|model| model["id"] == name);
    let unknown = || Error::new(ErrorKind::ModelNotFound, format!("nobody offers {name}"));
    Ok(Json(found.ok_or_else(unknown)?))
}

/// `GET /v1/models/{name}`
pub(super) async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Failure> {
    if let Some(site) = app.service.site_models().into_iter().find(|site| site["id"] == name) {
        return Ok(Json(site));
    }
    let model = app.service.model()?;
    if name == model.manifest.name || matches!(name.as_str(), "auto" | "local") {
        return Ok(Json(describe(&model)));
    }
    let error = Error::new(ErrorKind::ModelNotFound, format!("model `{name}` is not loaded here"));
    Err(Error { param: Some("model".into()), ..error }.into())
}

fn describe(model: &Model) -> Value {
    json!({
        "id": model.manifest.name,
        "object": "model",
        "created": 0,
        "owned_by": "outpost",
        "version": model.manifest.version,
        "licence": model.manifest.licence,
        "context_length": model.context,
        "zone": "device",
        "fingerprint": model.fingerprint(),
    })
}
