//! Graceful shutdown (settings sheet §10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::core::Mail;
use engine::counters::{CoreCounters, Counters};
use engine::overload::Overload;
use futures_util::future::join_all;

use super::admin_api::RunningAdmin;
use super::cores::Cores;
use super::options;

/// Admin requests under way get this long.
const ADMIN_STOP_MAX: Duration = Duration::from_millis(500);
/// How often the open connections are counted while draining.
const LOOK: Duration = Duration::from_millis(10);
/// A drain that has time gives connections this long to notice it before the first count, so that a request that is
/// just arriving is counted.
const SETTLE: Duration = Duration::from_millis(20);

/// Stops accepting, tells connections to finish, and waits for them at most `drain_seconds`.
pub(super) async fn drain(
    cores: &Cores,
    overload: &Arc<Overload>,
    counters: &Counters,
    admin: RunningAdmin,
    drain_seconds: u64,
) {
    overload.start_draining();
    cores.tell(|| Mail::Drain);
    join_all(admin.listeners.into_iter().map(|listener| listener.shutdown(ADMIN_STOP_MAX))).await;
    let open = || (counters.sum(CoreCounters::connections_active), counters.sum(CoreCounters::requests_active));
    if drain_seconds == 0 {
        return;
    }
    tokio::time::sleep(SETTLE).await;
    let (connections, requests) = open();
    if (connections, requests) == (0, 0) {
        tracing::info!(phase = "drain", result = "complete", "Nothing to drain");
        return;
    }
    tracing::info!(phase = "drain", connections, requests, timeout_seconds = drain_seconds, "Draining");
    let deadline = Instant::now() + options::seconds(drain_seconds);
    while open() != (0, 0) {
        if Instant::now() >= deadline {
            let (connections, requests) = open();
            tracing::warn!(
                phase = "drain",
                result = "timeout",
                connections,
                requests,
                "Drain time is over; closing what is still open"
            );
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!(phase = "drain", result = "complete", "Drained");
}
