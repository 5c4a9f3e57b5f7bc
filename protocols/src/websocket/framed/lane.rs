//! One direction of a session.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use engine::buffer::{Buffer, Chunk};
use engine::counters::ErrorClass;
use engine::net::Stint;
use plugins::Panicked;
use plugins::websocket::{Close, Message};

use super::{Sending, Shared, Verdict};
use crate::websocket::encode::Encoder;
use crate::websocket::ends::{Sink, Source};
use crate::websocket::frames::{Side, Violation, close};
use crate::websocket::messages::Assembler;
use crate::websocket::session::{DRAIN_MS, End};

/// What a plugin that panicked amounts to (RFC 6455 §7.4.1: an unexpected condition).
const INTERNAL_ERROR: u16 = 1011;
/// What a message counts for, beside what was received of it, among the bytes that a direction may move in one go: plugins look at
/// it.
const MESSAGE_BYTES: usize = 1024;
/// What a receive counts for, however little it brings.
const RECEIVE_BYTES: usize = 256;

pub struct Lane<'l, I, O> {
    from: Side,
    source: I,
    sink: O,
    shared: &'l Shared<'l>,
    assembler: Assembler,
    encoder: Encoder,
    /// What was received, and up to where it has been taken.
    chunk: Chunk,
    taken: usize,
    /// Since the direction last waited for its sender.
    stint: Stint,
    is_finished: bool,
}

impl<'l, I: Source, O: Sink> Lane<'l, I, O> {
    pub fn new(from: Side, source: I, sink: O, shared: &'l Shared<'l>) -> Self {
        Self {
            from,
            source,
            sink,
            shared,
            assembler: Assembler::new(from, shared.settings.frame_bytes_max),
            encoder: Encoder::new(from.other()),
            chunk: Chunk::empty(),
            taken: 0,
            stint: Stint::default(),
            is_finished: false,
        }
    }

    /// Carries messages until there is a reason not to.
    pub async fn run(&mut self) -> End {
        match self.carry().await {
            Err(end) => end,
        }
    }

    async fn carry(&mut self) -> Result<Infallible, End> {
        loop {
            while let Some(message) = self.next().map_err(End::Violation)? {
                self.pass(message).await?;
                self.stint.note(MESSAGE_BYTES).await;
            }
            self.flush().await?;
            self.receive().await.map_err(End::Source)?;
        }
    }

    fn next(&mut self) -> Result<Option<Message>, Violation> {
        let mut rest = &self.chunk[self.taken..];
        let message = self.assembler.read(&mut rest);
        self.taken = self.chunk.len() - rest.len();
        message
    }

    async fn receive(&mut self) -> Result<(), ErrorClass> {
        // While nothing comes nothing is held.
        (self.chunk, self.taken) = (Chunk::empty(), 0);
        let mut coming = pin!(self.source.receive());
        self.chunk = match once(coming.as_mut()).await {
            Poll::Ready(received) => {
                // Not all that comes is a message's end: a fragment or a part of a frame is work as well.
                let chunk = received?;
                self.stint.note(chunk.len() + RECEIVE_BYTES).await;
                chunk
            }
            Poll::Pending => {
                self.stint = Stint::default();
                coming.await?
            }
        };
        Ok(())
    }

    async fn pass(&mut self, message: Message) -> Result<(), End> {
        if matches!(message, Message::Close(_)) {
            return self.pass_close(message).await;
        }
        match self.shown(message).await? {
            Message::Close(close) => Err(End::Policy(close)),
            message => self.push(message).await,
        }
    }

    /// What the plugins make of it. When one waits, what went before does not.
    async fn shown(&mut self, message: Message) -> Result<Message, End> {
        let shared = self.shared;
        let mut asked = pin!(shared.chain.on_websocket_message(shared.session, self.from.direction(), message));
        let answer = match once(asked.as_mut()).await {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                self.flush().await?;
                asked.await
            }
        };
        answer.map_err(|Panicked| {
            shared.counters.panics.one();
            End::Policy(Some(Close::new(INTERNAL_ERROR, "")))
        })
    }

    async fn pass_close(&mut self, message: Message) -> Result<(), End> {
        let shared = self.shared;
        let long = self.encoder.push(message);
        self.send(long).await?;
        shared.way(self.from).closed.set(true);
        shared.traffic.note_close();
        if shared.has_closed(self.from.other()) {
            return Err(End::Closed);
        }
        shared.deadline.set_ms(DRAIN_MS);
        self.stop_if_told()
    }

    async fn push(&mut self, message: Message) -> Result<(), End> {
        let long = self.encoder.push(message);
        if long.is_some() || self.encoder.gathered_bytes() >= self.shared.settings.write_buffer_bytes {
            self.send(long).await?;
            return self.stop_if_told();
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.send(None).await?;
        self.stop_if_told()
    }

    fn stop_if_told(&self) -> Result<(), End> {
        if self.shared.stops.get() { Err(End::Stopped) } else { Ok(()) }
    }

    /// Sends what is gathered, and behind it the payload of the last frame if that is long.
    async fn send(&mut self, long: Option<Buffer>) -> Result<(), End> {
        let (gathered, messages) = self.encoder.take();
        if gathered.is_empty() {
            return Ok(());
        }
        let shared = self.shared;
        let sending = &shared.way(self.from).sending;
        sending.set(Sending::Busy);
        let sent = async {
            self.sink.send(gathered).await?;
            match long {
                Some(long) => self.sink.send(long).await,
                None => Ok(()),
            }
        };
        if let Err(class) = sent.await {
            sending.set(Sending::Failed);
            return Err(End::Sink(class));
        }
        sending.set(Sending::Idle);
        shared.traffic.add(self.from, messages);
        Ok(())
    }

    /// Tells the receiver that no more comes, and why if there is a verdict: once, and only where a frame can follow. What was
    /// gathered goes before it.
    pub async fn farewell(&mut self, verdict: Option<&Verdict>) {
        let way = self.shared.way(self.from);
        if self.is_finished || way.sending.get() == Sending::Busy {
            return;
        }
        self.is_finished = true;
        if way.sending.get() == Sending::Idle && !way.closed.get() {
            let (code, reason) = verdict.map_or((None, ""), |verdict| (verdict.code, &*verdict.reason));
            self.encoder.push_frame(&close(self.from.other(), code, reason));
            let _ = self.send(None).await;
        }
        self.sink.finish().await;
    }
}

/// What there is without waiting.
async fn once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
