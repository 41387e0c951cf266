//! Reads a request's body within its bounds of size and time.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::domain::{Error, ErrorKind, Result, limits};

/// The whole body, or why it is not taken.
pub(super) async fn read(body: Body, expects_continue: bool) -> Result<Bytes> {
    if let Ok(read) = tokio::time::timeout(limits::BODY_READ_TIMEOUT, collect(body, expects_continue)).await {
        read
    } else {
        let seconds = limits::BODY_READ_TIMEOUT.as_secs();
        Err(Error::invalid("", format!("the body did not arrive within {seconds} seconds")))
    }
}

/// Reads a body that says nothing here: a caller that is cut off in the middle of it would not read the answer.
pub(super) async fn ignore(body: Body) {
    // It has its answer whatever it sent.
    let _ = read(body, false).await;
}

async fn collect(mut body: Body, expects_continue: bool) -> Result<Bytes> {
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > limits::REQUEST_BODY_BYTES_MAX as u64 && expects_continue {
        // The caller waits for leave to send; it need not send at all.
        return Err(too_large());
    }
    let mut read = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::invalid("", "the body broke off").with_detail(e))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > limits::BODY_DISCARD_BYTES_MAX {
            return Err(too_large());
        }
        // Past the limit only the count goes on: a sender that is cut off in the middle of
        // its body would not read the answer that says why.
        if seen <= limits::REQUEST_BODY_BYTES_MAX {
            read.extend_from_slice(&data);
        } else {
            read = BytesMut::new();
        }
    }
    if seen > limits::REQUEST_BODY_BYTES_MAX { Err(too_large()) } else { Ok(read.freeze()) }
}

fn too_large() -> Error {
    let max = limits::REQUEST_BODY_BYTES_MAX / 1024;
    Error::new(ErrorKind::TooLarge, format!("the body is larger than {max} KiB"))
}
