//! Parts without which the daemon must not look alive.
//!
//! A daemon that accepts and never answers is worse than one that is gone: when such a part ends
//! before it is told to, the daemon ends, and systemd starts it anew.

use std::future::Future;

use tokio::{sync::mpsc, task::JoinHandle};

/// Starts vital parts and hears of their ends.
pub(super) struct Vital {
    sender: mpsc::Sender<&'static str>,
    fallen: mpsc::Receiver<&'static str>,
}

/// Says that its part is gone, however it went.
struct LastWord(&'static str, mpsc::Sender<&'static str>);

impl Drop for LastWord {
    fn drop(&mut self) {
        // One word is enough to end the daemon; a full channel holds one already.
        let _ = self.1.try_send(self.0);
    }
}

impl Vital {
    pub(super) fn new() -> Self {
        let (sender, fallen) = mpsc::channel(1);
        Self { sender, fallen }
    }

    /// Starts a part.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let word = LastWord(name, self.sender.clone());
        tokio::spawn(async move {
            let _word = word;
            part.await;
        })
    }

    /// Waits until one of them has ended; its name.
    pub(super) async fn fallen(&mut self) -> &'static str {
        // There is a sender for as long as there is this.
        self.fallen.recv().await.unwrap_or("a part of the daemon")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is what it is about")]
    async fn a_part_that_panics_or_ends_is_named() {
        let mut vital = Vital::new();
        let goes_on = vital.spawn("goes on", std::future::pending());
        let panics = vital.spawn("panics", async { panic!("on purpose") });
        assert_eq!(vital.fallen().await, "panics");
        assert!(panics.await.is_err());
        vital.spawn("ends", async {}).await.unwrap();
        assert_eq!(vital.fallen().await, "ends");
        goes_on.abort();
    }
}
