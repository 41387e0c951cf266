//! A token that may be renewed while it is in use.

use std::sync::{Arc, PoisonError, RwLock};

use reqwest::{
    RequestBuilder,
    header::{AUTHORIZATION, HeaderValue},
};

use crate::domain::Secret;

/// What a server knows us by; all clones are one.
#[derive(Clone, Default)]
pub struct Credential(Arc<RwLock<Option<HeaderValue>>>);

impl Credential {
    /// Of a token; the error is for whoever wrote the file.
    pub fn new(token: &Secret) -> Result<Self, String> {
        let credential = Self::default();
        credential.renew(token)?;
        Ok(credential)
    }

    /// Puts another token in its place, for all calls from now on.
    pub fn renew(&self, token: &Secret) -> Result<(), String> {
        let bearer = [b"Bearer ", token.reveal()].concat();
        let mut value =
            HeaderValue::from_bytes(&bearer).map_err(|_| "holds characters that no token has".to_owned())?;
        value.set_sensitive(true);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// Says who asks, when there is a token.
    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}
