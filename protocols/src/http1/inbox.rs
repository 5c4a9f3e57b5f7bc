//! What a client connection receives and sends, shared by the parts of one exchange.
//!
//! The request body pulls from it, the response is sent through it, and between the two the frontend watches it for the
//! client going away. All of that happens in one task, so cells suffice; nothing is held over an await.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use engine::buffer::{Buffer, HEAD_BUFFER_BYTES, Unsent};
use engine::core::{Deadline, Deadlines};
use engine::net::{Duplex, FlowSink, FlowSource, Pipe, Receiver, Sender};

/// How long a client may take nothing, or send nothing of a body it announced. As a rule the read timeout of the proxy
/// comes first; this bounds exchanges without one and answers that no backend was asked for.
pub const CLIENT_STALL_MS: u64 = 60_000;

pub struct Inbox {
    /// One per direction: upload and response run side by side.
    receive_stall: Deadline,
    send_stall: Deadline,
    /// When to begin to watch for the client going away. Most responses are there before.
    patience: Deadline,
    receiver: RefCell<Receiver>,
    sender: Cell<Option<Sender>>,
    /// Whether bytes can go out as they are.
    pub takes_pipes: bool,
    /// Received and not used yet.
    pub rest: RefCell<Buffer>,
    /// The request body has been received whole.
    pub body_complete: Cell<bool>,
    /// What is left of the body is short and on its way: it can be thrown away to keep the connection.
    pub body_discardable: Cell<bool>,
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
    pub fn new(receiver: Receiver, sender: Sender, deadlines: &Rc<Deadlines>) -> Self {
        Self {
            receive_stall: deadlines.deadline(),
            send_stall: deadlines.deadline(),
            patience: deadlines.deadline(),
            receiver: RefCell::new(receiver),
            takes_pipes: sender.takes_pipes(),
            sender: Cell::new(Some(sender)),
            rest: RefCell::new(Buffer::none()),
            body_complete: Cell::new(true),
            body_discardable: Cell::new(false),
            close: Cell::new(false),
            response_started: Cell::new(false),
            response_complete: Cell::new(false),
            expects_continue: Cell::new(false),
            gone: Cell::new(false),
        }
    }

    /// The connection and what came on it, for another protocol.
    pub fn into_duplex(self) -> Option<Duplex> {
        Some(Duplex::of_parts(self.receiver.into_inner(), self.sender.take()?, self.rest.into_inner()))
    }

    /// Back to the state between two requests.
    pub fn start_request(&self, body_complete: bool, expects_continue: bool) {
        self.body_complete.set(body_complete);
        self.expects_continue.set(expects_continue);
        self.response_started.set(false);
        self.response_complete.set(false);
        self.patience.set_ms(0);
    }

    pub fn end_request(&self) {
        self.patience.clear();
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
        let (received, filled) = ready!(receiver.poll(cx));
        if buffer.is_empty() {
            *buffer = filled;
        } else {
            // An idle receive was under way while the buffer still held bytes.
            buffer.extend(&filled);
        }
        Poll::Ready(received)
    }

    /// Notices that the client went away while its response is being made, once that takes longer than a tick. Bytes that
    /// arrive early are kept, up to one buffer.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone.get() {
            return Poll::Ready(());
        }
        ready!(self.patience.poll(cx));
        let mut rest = self.rest.borrow_mut();
        while self.body_complete.get() && rest.len() < HEAD_BUFFER_BYTES {
            let mut more = Buffer::none();
            match ready!(self.poll_receive(cx, &mut more)) {
                Ok(count) if count > 0 && rest.is_empty() => *rest = more,
                Ok(count) if count > 0 => rest.extend(&more),
                _ => {
                    self.gone.set(true);
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    /// Where a flow may receive, if nothing that was received waits to be used.
    pub fn flow_source(&self) -> Option<FlowSource> {
        if self.rest.borrow().is_empty() { self.receiver.borrow().flow_source() } else { None }
    }

    pub fn flow_sink(&self) -> Option<FlowSink> {
        let mut sink = None;
        self.with_sender(|sender| sink = sender.flow_sink());
        sink
    }

    /// Sends all of it. Waits for its turn: `100 Continue` may be on its way while an early response starts.
    pub async fn send(&self, mut unsent: Unsent) -> (io::Result<()>, Buffer) {
        let mut turn = match self.turn().await {
            Ok(turn) => turn,
            Err(error) => return (Err(error), unsent.buffer),
        };
        while unsent.sent < unsent.buffer.len() {
            let Some(sender) = &mut turn.sender else { break };
            // Progress is what counts: every piece that is taken starts the time anew.
            self.send_stall.set_ms(CLIENT_STALL_MS);
            match self.send_stall.bound(sender.send_some(unsent)).await {
                Some((Ok(count), back)) if count > 0 => {
                    unsent = back;
                    unsent.sent += count;
                }
                Some((sent, back)) => {
                    let error = sent.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    return (Err(error), back.buffer);
                }
                None => return (Err(io::ErrorKind::TimedOut.into()), Buffer::none()),
            }
        }
        turn.complete = true;
        (Ok(()), unsent.buffer)
    }

    /// Sends all that the pipe holds.
    pub async fn send_from(&self, pipe: &mut Pipe) -> io::Result<()> {
        let mut turn = self.turn().await?;
        while pipe.held() > 0 {
            let Some(sender) = &mut turn.sender else { break };
            self.send_stall.set_ms(CLIENT_STALL_MS);
            match self.send_stall.bound(sender.send_from(pipe)).await {
                Some(Ok(1..)) => {}
                Some(sent) => return Err(sent.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into())),
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        turn.complete = true;
        Ok(())
    }

    async fn turn(&self) -> io::Result<Turn<'_>> {
        let sender = poll_fn(|_| match self.sender.take() {
            Some(sender) => Poll::Ready(Ok(sender)),
            None if self.gone.get() => Poll::Ready(Err(io::ErrorKind::BrokenPipe)),
            None => Poll::Pending,
        });
        Ok(Turn { inbox: self, sender: Some(sender.await?), complete: false })
    }

    /// The next piece of a body; `None` when the client has stalled.
    pub async fn receive_body(&self, buffer: &mut Buffer) -> Option<io::Result<usize>> {
        self.receive_stall.set_ms(CLIENT_STALL_MS);
        let received = self.receive_stall.bound(poll_fn(|cx| self.poll_receive(cx, buffer))).await;
        self.receive_stall.clear();
        received
    }

    pub fn with_sender(&self, act: impl FnOnce(&Sender)) {
        if let Some(sender) = self.sender.take() {
            act(&sender);
            self.sender.set(Some(sender));
        }
    }
}

/// The sender while somebody sends. It comes back however that ends; a send that was given up leaves the client with a
/// piece of something, so nothing more may be sent.
struct Turn<'i> {
    inbox: &'i Inbox,
    sender: Option<Sender>,
    complete: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inbox.send_stall.clear();
        self.inbox.sender.set(self.sender.take());
        if !self.complete {
            self.inbox.gone.set(true);
        }
    }
}
