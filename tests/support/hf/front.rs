//! What stands between a plant and the router: TLS, and a proxy that wants to know who comes.

use std::{
    net::TcpListener as StdListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A port of loopback, and the listener on it.
fn listener() -> (u16, StdListener) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

fn serve(work: impl Future<Output = ()> + Send + 'static) {
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    });
}

/// Ends TLS and passes on to `port`; where it listens.
pub(crate) fn tls(config: ServerConfig, port: u16) -> u16 {
    let (here, listener) = listener();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not like the certificate goes away.
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let Ok(mut router) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let _ = copy_bidirectional(&mut inside, &mut router).await;
            });
        }
    });
    here
}

/// An HTTP proxy that lets `CONNECT` through for who brings `credentials` (Basic, base64).
pub(crate) struct Proxy {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    nameless: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn start(credentials: &'static str) -> Self {
        let (port, listener) = listener();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let nameless: Arc<AtomicBool> = Arc::default();
        let (seen, knows_none) = (Arc::clone(&heads), Arc::clone(&nameless));
        serve(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let lost = knows_none.load(Ordering::Relaxed);
                tokio::spawn(pass(stream, credentials, Arc::clone(&seen), lost));
            }
        });
        Self { port, heads, nameless }
    }

    /// From now on it finds nobody by name.
    pub(crate) fn forget_names(&self) {
        self.nameless.store(true, Ordering::Relaxed);
    }

    /// The heads of what came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn pass(mut stream: TcpStream, credentials: &str, seen: Arc<Mutex<Vec<String>>>, lost: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    seen.lock().unwrap().push(head.clone());
    let known =
        head.to_lowercase().contains(&format!("proxy-authorization: basic {credentials}").to_lowercase());
    let Some(target) =
        head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).filter(|_| known)
    else {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(refusal.as_bytes()).await;
        return;
    };
    if lost {
        let refusal = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 22\r\n\r\nNo address of the name";
        let _ = stream.write_all(refusal.as_bytes()).await;
        return;
    }
    let Ok(mut there) = TcpStream::connect(target).await else { return };
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let _ = copy_bidirectional(&mut stream, &mut there).await;
}
