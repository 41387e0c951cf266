//! The paths for those who run the daemon.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{App, reply::Failure};
use crate::{
    domain::{Error, ErrorKind},
    service::status,
    store::UsageQuery,
};

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// `GET /health/ready`: prompts are answered; else 503 with the reason.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, Failure> {
    let unavailable = |e| Failure::with_status(e, StatusCode::SERVICE_UNAVAILABLE);
    if app.service.is_draining() {
        return Err(unavailable(Error::new(ErrorKind::Draining, "Outpost is stopping")));
    }
    app.service.model().map_err(unavailable)?;
    Ok(Json(json!({"status": "ready"})))
}

/// `GET /v1/status`
pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    Json(status::status(&app.service, &app.identity))
}

/// `GET /v1/usage`: the ledger, by UTC day, client, zone, provider and model.
pub(super) async fn usage(State(app): State<App>) -> Result<Json<Value>, Failure> {
    app.service.write_tally().await?;
    Ok(Json(status::usage(&app.service.store().usage(UsageQuery::default()).await?)))
}

/// `GET /metrics`: Prometheus, `OpenMetrics` text.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let text = app.service.metrics().encode(&status::snapshot(&app.service, &app.identity));
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// Anything else.
pub(super) async fn nothing_here(method: axum::http::Method, uri: axum::http::Uri) -> Failure {
    let error = Error::new(ErrorKind::InvalidRequest, format!("there is no {method} {}", uri.path()));
    Failure::with_status(error, StatusCode::NOT_FOUND)
}

/// A path that exists, asked in a way that does not.
pub(super) async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Failure {
    let error = Error::new(ErrorKind::InvalidRequest, format!("{} does not take {method}", uri.path()));
    Failure::with_status(error, StatusCode::METHOD_NOT_ALLOWED)
}
