//! What the operator's signals do (settings sheet §9).

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::publication::Publication;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Reloads on SIGHUP until SIGTERM or SIGINT arrives. Several SIGHUPs may become one reload.
pub(super) async fn serve(signals: &mut Signals, publication: &Arc<Publication>) {
    loop {
        let stop = tokio::select! {
            _ = signals.terminate.recv() => Some("SIGTERM"),
            _ = signals.interrupt.recv() => Some("SIGINT"),
            _ = signals.hang_up.recv() => None,
        };
        match stop {
            Some(name) => {
                tracing::info!("{name} received, initiating graceful shutdown...");
                return;
            }
            None => publication.reload().await,
        }
    }
}
