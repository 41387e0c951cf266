//! Accepts connections, bounds their number, and ends them in order.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, Ready},
    net::UnixStream,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::{Listener, Peer};
use crate::domain::limits;

/// Serves until `stop` is cancelled; returns when the last connection has ended.
pub async fn serve(listener: Listener, app: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        // Beyond the bound, callers wait in the kernel's backlog and cost nothing here.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let (app, stop) = (app.clone(), stop.clone());
        match accepted {
            Ok((Stream::Unix(stream), peer)) => {
                connections.spawn(async move {
                    let left = hung_up(second_handle(&stream));
                    connection(stream, left, peer, app, stop).await;
                    drop(place);
                });
            }
            Ok((Stream::Tcp(stream), peer)) => {
                connections.spawn(async move {
                    connection(stream, std::future::pending(), peer, app, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: going round at full speed would not help.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(limits::DRAIN_DELIVERY, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut off at the end");
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept(listener: &Listener) -> io::Result<(Stream, Peer)> {
    match listener {
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            let credentials = stream.peer_cred()?;
            Ok((Stream::Unix(stream), Peer::Unix { uid: credentials.uid(), pid: credentials.pid() }))
        }
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream), Peer::Tcp(address)))
        }
    }
}

async fn connection<S>(
    stream: S,
    left: impl Future<Output = ()>,
    peer: Peer,
    app: Router,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tracing::debug!(?peer, "connected");
    let service = {
        let peer = peer.clone();
        service_fn(move |request: Request<Incoming>| {
            let (mut app, peer) = (app.clone(), peer.clone());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                app.call(request).await
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_READ_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // What has been answered is delivered before a hang-up is looked at.
        biased;
        ended = connection.as_mut() => ended,
        () = left => {
            tracing::debug!(?peer, "hung up");
            return;
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "connection ended early");
    }
}

/// Waits until the other side of a Unix socket has closed altogether.
///
/// hyper sees a caller leave by reading the end of its input, but not while bytes of a next
/// request wait in its buffer: then an answer would be computed for nobody. Over TCP that
/// stays so until the answer is written, because a TCP peer that has gone looks like one
/// that only sends no more.
async fn hung_up(watched: io::Result<UnixStream>) {
    if let Ok(stream) = watched
        && stream.ready(Interest::PRIORITY).await.is_ok_and(Ready::is_read_closed)
        && stream.ready(Interest::PRIORITY | Interest::WRITABLE).await.is_ok_and(Ready::is_write_closed)
    {
        return;
    }
    // Closed for sending only, or not to be told: hyper's own way of noticing is left.
    std::future::pending::<()>().await;
}

/// The same socket once more, to watch it beside hyper.
fn second_handle(stream: &UnixStream) -> io::Result<UnixStream> {
    UnixStream::from_std(stream.as_fd().try_clone_to_owned()?.into())
}
