//! Errors and headers as HTTP has them.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    domain::{Error, ErrorKind, RequestId},
    service::reply::error_body_with_status,
};

/// An error on its way out.
pub(super) struct Failure {
    error: Error,
    id: Option<RequestId>,
    status: Option<StatusCode>,
}

impl Failure {
    pub(super) fn new(error: Error) -> Self {
        Self { error, id: None, status: None }
    }

    /// With the id of the request that failed.
    pub(super) fn of(error: Error, id: RequestId) -> Self {
        Self { id: Some(id), ..Self::new(error) }
    }

    /// For what HTTP itself has numbers for.
    pub(super) fn with_status(error: Error, status: StatusCode) -> Self {
        Self { status: Some(status), ..Self::new(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { error, id, status } = self;
        let request = id.as_ref().map_or("", RequestId::as_str);
        if error.kind == ErrorKind::Internal {
            tracing::error!(%error, request, "request failed");
        } else {
            tracing::info!(%error, request, "request refused");
        }
        // 499 is no registered status, but it is the one that proxies write for the same thing.
        let status = status
            .or_else(|| StatusCode::from_u16(error.kind.status()).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, Json(error_body_with_status(&error, id.as_ref(), status.as_u16()))).into_response();
        let headers = response.headers_mut();
        if let Some(id) = &id {
            request_headers(headers, id);
        }
        if let Some(after) = error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if error.kind == ErrorKind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Headers of every answer that belongs to a request.
pub(super) fn request_headers(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-request-id", value);
    }
}

/// Headers of an answer that was computed on this device.
pub(super) fn device_headers(headers: &mut HeaderMap, id: &RequestId) {
    request_headers(headers, id);
    headers.insert("x-outpost-zone", HeaderValue::from_static("device"));
}
