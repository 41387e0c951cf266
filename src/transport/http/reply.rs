//! Errors and headers as HTTP has them.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use serde::Deserialize;

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

/// Headers that say where an answer comes from.
pub(super) fn place_headers(headers: &mut HeaderMap, zone: &str, provider: &str) {
    for (name, value) in [("x-outpost-zone", zone), ("x-outpost-provider", provider)] {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
}

/// The same for a whole answer, which also says what it cost.
pub(super) fn shown_place(headers: &mut HeaderMap, body: &[u8]) {
    #[derive(Deserialize)]
    struct Body {
        outpost: Place,
    }
    #[derive(Deserialize)]
    struct Place {
        zone: String,
        #[serde(default)]
        provider: String,
        cost_usd: Option<f64>,
    }
    // An error has no place.
    let Ok(Body { outpost: place }) = serde_json::from_slice(body) else { return };
    place_headers(headers, &place.zone, &place.provider);
    if let Some(Ok(cost)) = place.cost_usd.map(|usd| HeaderValue::from_str(&format!("{usd:.6}"))) {
        headers.insert("x-outpost-cost-usd", cost);
    }
}
