//! What other threads tell a core.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossbeam::queue::SegQueue;

use crate::net::{Accepted, Bell, Doorbell};

/// A message to a core. Rare by design: nothing here is sent per request.
pub enum Mail {
    /// Serve this connection; another core accepted it and is busier.
    Connection(Accepted),
    /// Close the listeners and finish what is open.
    Drain,
    /// Close everything now and end the thread.
    Stop,
    /// Tells the core since when a no-op has been waiting for it.
    Probe { asked: Instant, answered: Arc<AtomicBool> },
    /// What a task waited for on another thread has happened. The exception to the rule above: one for each such wait.
    Wake(u64),
}

/// The sending side.
#[derive(Clone)]
pub struct PostBox {
    queue: Arc<SegQueue<Mail>>,
    bell: Bell,
}

impl PostBox {
    pub fn post(&self, mail: Mail) {
        self.queue.push(mail);
        self.bell.ring();
    }
}

/// The core's side, before it runs.
pub struct Mailbox {
    queue: Arc<SegQueue<Mail>>,
    bell: Bell,
}

pub fn mailbox() -> io::Result<(PostBox, Mailbox)> {
    let queue = Arc::new(SegQueue::new());
    let bell = Bell::new()?;
    Ok((PostBox { queue: queue.clone(), bell: bell.clone() }, Mailbox { queue, bell }))
}

impl Mailbox {
    #[cfg(test)]
    pub(super) fn try_wake(&self) -> Option<u64> {
        match self.queue.pop()? {
            Mail::Wake(number) => Some(number),
            _ => None,
        }
    }

    /// Gives every message to `handle`, until that says stop. Runs as a task of the core.
    pub async fn serve(self, mut handle: impl FnMut(Mail) -> bool) -> io::Result<()> {
        let doorbell = Doorbell::new(&self.bell)?;
        loop {
            while let Some(mail) = self.queue.pop() {
                if !handle(mail) {
                    return Ok(());
                }
            }
            doorbell.heard().await?;
        }
    }
}
