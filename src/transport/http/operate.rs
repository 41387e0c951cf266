//! The paths for those who run the daemon.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{Method, StatusCode, Uri, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{App, body, reply::Failure};
use crate::{
    domain::{Error, ErrorKind, hex, limits},
    service::status,
    store::{AuditHead, AuditRow, UsageQuery},
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
    app.service.refuse_when_overheated().map_err(unavailable)?;
    Ok(Json(json!({"status": "ready"})))
}

/// `GET /v1/status`
pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    Json(status::status(&app.service, &app.identity))
}

/// `POST /v1/reload`: loads the package that was activated, once what runs has ended.
pub(super) async fn reload(State(app): State<App>, sent: Body) -> impl IntoResponse {
    body::ignore(sent).await;
    app.service.reload_model();
    (StatusCode::ACCEPTED, Json(json!({"status": "asked"})))
}

/// `GET /v1/usage`: the ledger, by UTC day, client, zone, provider and model.
pub(super) async fn usage(State(app): State<App>) -> Result<Json<Value>, Failure> {
    app.service.write_tally().await?;
    Ok(Json(status::usage(&app.service.store().usage(UsageQuery::default()).await?)))
}

/// Which part of the audit is wanted.
#[derive(Debug, serde::Deserialize)]
pub(super) struct AuditQuery {
    /// Rows behind this one.
    #[serde(default)]
    after: u64,
}

/// `GET /v1/audit`: rows of the chain, with the place before the first of them and that of the last.
pub(super) async fn audit(
    State(app): State<App>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let wrong = |_| Error::invalid("after", "`after` is the number of a row, such as 0");
    let Query(AuditQuery { after }) = query.map_err(wrong)?;
    let store = app.service.store();
    let head = store.audit_head();
    let (start, rows) = store.audited(after, limits::AUDIT_PORTION).await?;
    let place = |head: &AuditHead| json!({"seq": head.seq, "hash": hex(&head.hash)});
    let row = |row: &AuditRow| json!({"seq": row.seq, "hash": hex(&row.hash), "line": row.line});
    let rows: Vec<Value> = rows.iter().map(row).collect();
    Ok(Json(json!({"object": "list", "start": place(&start), "head": place(&head), "data": rows})))
}

/// `GET /metrics`: Prometheus, `OpenMetrics` text.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let text = app.service.metrics().encode(&status::snapshot(&app.service, &app.identity));
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// Anything else.
pub(super) async fn nothing_here(method: Method, uri: Uri, sent: Body) -> Failure {
    body::ignore(sent).await;
    let error = Error::new(ErrorKind::InvalidRequest, format!("there is no {method} {}", uri.path()));
    Failure::with_status(error, StatusCode::NOT_FOUND)
}

/// A path that exists, asked in a way that does not.
pub(super) async fn wrong_method(method: Method, uri: Uri, sent: Body) -> Failure {
    body::ignore(sent).await;
    let error = Error::new(ErrorKind::InvalidRequest, format!("{} does not take {method}", uri.path()));
    Failure::with_status(error, StatusCode::METHOD_NOT_ALLOWED)
}
