//! The bytes of one connection, on loan to the client library.
//!
//! When the library lets go of them they come back, so that a connection can be ended in order:
//! closed at once after DISCONNECT, with something from the broker still unread, TCP would send a
//! reset, the broker might throw away what it has not read, our last acknowledgements and
//! the DISCONNECT among it, and publish the will.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
};

/// TCP, or TLS above it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// What the library gets.
pub(super) struct Loan {
    stream: Option<Box<dyn Stream>>,
    back: Option<oneshot::Sender<Box<dyn Stream>>>,
    /// The first bytes that the broker said, and how many of them are there.
    first: [u8; 2],
    seen: usize,
}

impl Loan {
    /// The loan, and where it comes back to.
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, oneshot::Receiver<Box<dyn Stream>>) {
        let (back, returned) = oneshot::channel();
        (Self { stream: Some(stream), back: Some(back), first: [0; 2], seen: 0 }, returned)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Box<dyn Stream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// A CONNACK of MQTT 3 is a byte shorter than the shortest of MQTT 5. The library would wait
    /// for that byte.
    fn listen(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes.iter().take(self.first.len() - self.seen) {
            self.first[self.seen] = *byte;
            self.seen += 1;
        }
        if self.seen == 2 && self.first == [0x20, 2] { Err(io::Error::other(OldBroker)) } else { Ok(()) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            let _ = back.send(stream);
        }
    }
}

/// The broker answered as one that knows only MQTT 3 does.
#[derive(Debug)]
pub(super) struct OldBroker;

impl fmt::Display for OldBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the broker does not speak MQTT 5")
    }
}

impl Error for OldBroker {}

impl AsyncRead for Loan {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.stream()?.poll_read(cx, buf))?;
        Poll::Ready(self.listen(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Loan {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

/// Says that nothing more comes, and reads until the other side has said so too.
pub(super) async fn part(mut stream: Box<dyn Stream>) {
    let mut rest = [0; 4096];
    if stream.shutdown().await.is_ok() {
        while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_old_broker_is_known_by_its_first_two_bytes_however_they_come() {
        for parts in [&[&[0x20_u8, 2, 0, 1][..]][..], &[&[0x20], &[2], &[0, 1]]] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let (mut loan, _) = Loan::new(Box::new(ours));
            let mut buf = [0; 16];
            let mut failed = None;
            for part in parts {
                theirs.write_all(part).await.unwrap();
                failed = loan.read(&mut buf).await.err();
                if failed.is_some() {
                    break;
                }
            }
            assert!(failed.unwrap().get_ref().is_some_and(<dyn Error + Send + Sync>::is::<OldBroker>));
        }
    }

    #[tokio::test]
    async fn only_the_first_bytes_of_a_connection_tell_its_age() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut loan, _) = Loan::new(Box::new(ours));
        theirs.write_all(&[0x20, 3, 0, 0, 0, 0x20, 2, 0, 0]).await.unwrap();
        let mut bytes = [0; 9];
        loan.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [0x20, 3, 0, 0, 0, 0x20, 2, 0, 0]);
    }
}
