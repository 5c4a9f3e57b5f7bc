//! What a client connection receives and sends, shared by the parts of one exchange.
//!
//! The request body pulls from it, the response is sent through it, and between the two the frontend watches it for the
//! client going away. All of that happens in one task, so cells suffice; nothing is held over an await.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use engine::buffer::{Buffer, Unsent};
use engine::core::Deadline;
use engine::net::{Receiver, Sender};

/// How long a client may take nothing, or send nothing of a body it announced. As a rule the read timeout of the proxy
/// comes first; this bounds exchanges without one and answers that no backend was asked for.
const CLIENT_STALL_MS: u64 = 60_000;

pub struct Inbox {
    stall: Deadline,
    receiver: RefCell<Receiver>,
    sender: Cell<Option<Sender>>,
    /// Received and not used yet.
    pub rest: RefCell<Buffer>,
    /// The request body has been received whole.
    pub body_complete: Cell<bool>,
    /// The client may not use this connection for another request.
    pub close: Cell<bool>,
    /// A final response head has been laid out.
    pub response_started: Cell<bool>,
    /// The response has been sent whole.
    pub response_complete: Cell<bool>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: Cell<bool>,
    pub gone: Cell<bool>,
}

impl Inbox {
    pub fn new(receiver: Receiver, sender: Sender, stall: Deadline) -> Self {
        Self {
            stall,
            receiver: RefCell::new(receiver),
            sender: Cell::new(Some(sender)),
            rest: RefCell::new(Buffer::none()),
            body_complete: Cell::new(true),
            close: Cell::new(false),
            response_started: Cell::new(false),
            response_complete: Cell::new(false),
            expects_continue: Cell::new(false),
            gone: Cell::new(false),
        }
    }

    /// Back to the state between two requests.
    pub fn start_request(&self, body_complete: bool, expects_continue: bool) {
        self.body_complete.set(body_complete);
        self.expects_continue.set(expects_continue);
        self.response_started.set(false);
        self.response_complete.set(false);
    }

    /// Receives behind what `buffer` holds. A receive that is in flight already delivers first.
    pub fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        let mut receiver = self.receiver.borrow_mut();
        if !receiver.is_started() {
            if buffer.has_memory() {
                receiver.start(std::mem::take(buffer));
            } else {
                receiver.start_idle();
            }
        }
        let (received, filled) = std::task::ready!(receiver.poll(cx));
        if buffer.is_empty() {
            *buffer = filled;
        } else {
            // An idle receive was under way while the buffer still held bytes.
            buffer.extend(&filled);
        }
        Poll::Ready(received)
    }

    /// Notices that the client went away while its response is being made. Bytes that arrive early are kept.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone.get() {
            return Poll::Ready(());
        }
        let mut rest = self.rest.borrow_mut();
        if !self.body_complete.get() || !rest.is_empty() {
            return Poll::Pending;
        }
        *rest = Buffer::none();
        match self.poll_receive(cx, &mut rest) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Pending,
            Poll::Ready(_) => {
                self.gone.set(true);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends all of it. Waits for its turn: `100 Continue` may be on its way while an early response starts.
    pub async fn send(&self, unsent: Unsent) -> (io::Result<()>, Buffer) {
        let mut sender = poll_fn(|_| match self.sender.take() {
            Some(sender) => Poll::Ready(sender),
            None => Poll::Pending,
        })
        .await;
        self.stall.set_ms(CLIENT_STALL_MS);
        let sent = self.stall.bound(sender.send(unsent)).await;
        self.stall.clear();
        let sent = sent.unwrap_or_else(|| (Err(io::ErrorKind::TimedOut.into()), Buffer::none()));
        if sent.0.is_err() {
            self.gone.set(true);
        }
        self.sender.set(Some(sender));
        sent
    }

    /// The next piece of a body; `None` when the client has stalled.
    pub async fn receive_body(&self, buffer: &mut Buffer) -> Option<io::Result<usize>> {
        self.stall.set_ms(CLIENT_STALL_MS);
        let received = self.stall.bound(poll_fn(|cx| self.poll_receive(cx, buffer))).await;
        self.stall.clear();
        received
    }

    pub fn with_sender(&self, act: impl FnOnce(&Sender)) {
        if let Some(sender) = self.sender.take() {
            act(&sender);
            self.sender.set(Some(sender));
        }
    }
}
