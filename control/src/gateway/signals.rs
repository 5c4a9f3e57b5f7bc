//! What the operator's signals do (settings sheet §9).

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::publication::Publication;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Until it is served.
    hang_up: Option<Signal>,
}

/// The gateway was told to stop.
pub(super) struct Stopped;

impl Signals {
    /// Needs the runtime's context.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: Some(signal(SignalKind::hangup())?),
        })
    }

    /// Does the work, unless a signal to stop comes first; also one that came before.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let name = tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            done = work => return Ok(done),
        };
        tracing::info!("{name} received, initiating graceful shutdown...");
        Err(Stopped)
    }

    /// Reloads on SIGHUP until told to stop, which may be in the middle of a reload. Several SIGHUPs may become one reload.
    pub(super) async fn serve(&mut self, publication: &Arc<Publication>) {
        let Some(mut hang_up) = self.hang_up.take() else { return };
        let reloads = async {
            while hang_up.recv().await.is_some() {
                publication.reload().await;
            }
        };
        // Nothing but a signal to stop ends it.
        let _ = self.unless_stopped(reloads).await;
    }
}
