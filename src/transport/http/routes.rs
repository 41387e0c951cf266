//! The table of paths.

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use super::{auth, openai, operate, requests};
use crate::{
    domain::Error,
    service::{Service, status::Identity},
};

/// What every path can reach.
#[derive(Clone)]
pub struct App {
    /// The one door.
    pub service: Service,
    /// Who this daemon is.
    pub identity: Identity,
    /// What TCP clients must bring.
    pub token: Option<auth::Token>,
}

impl App {
    /// Counts a request that was refused before it reached the service.
    pub(super) fn refused(&self, error: &Error) {
        self.service.metrics().refused(error.kind);
    }
}

/// Every path there is.
pub fn routes(app: App) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completion))
        .route("/v1/requests", post(requests::accept))
        .route("/v1/requests/{id}", get(requests::look_up).delete(requests::cancel))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{name}", get(openai::model))
        .route("/v1/models/{org}/{name}", get(openai::cloud_model))
        .route("/v1/reload", post(operate::reload))
        .route("/v1/status", get(operate::status))
        .route("/v1/usage", get(operate::usage))
        .route("/v1/audit", get(operate::audit))
        .route("/health/live", get(operate::live))
        .route("/health/ready", get(operate::ready))
        .route("/metrics", get(operate::metrics))
        .fallback(operate::nothing_here)
        .method_not_allowed_fallback(operate::wrong_method)
        .layer(from_fn_with_state(app.clone(), auth::check))
        .with_state(app)
}
