//! What systemd is told (`sd_notify(3)`).

use tokio::sync::watch;

use crate::engine::EngineState;

/// Tells systemd how far the model is.
pub(super) async fn report(mut state: watch::Receiver<EngineState>) {
    loop {
        let line = match &*state.borrow_and_update() {
            EngineState::Absent => "no model is configured".to_owned(),
            EngineState::Loading(stage) => stage.to_string(),
            EngineState::Ready(model) => format!("{} is ready", model.manifest.name),
            EngineState::Failed(reason) => reason.clone(),
        };
        notify(&[sd_notify::NotifyState::Status(&line.replace('\n', " "))]);
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Without systemd there is nobody to tell.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
