//! The sending side of a connection.
//!
//! A small send is nearly always complete when the kernel gets it, so waiting for that is a turn of the event loop for
//! nothing. [`Sender::start`] hands the bytes over and lets the owner go on; [`Sender::poll_settled`] is asked when it
//! matters, or when something takes longer than it should.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::io::{AsyncWriteRent, OwnedWriteHalf};
use monoio::net::TcpStream;

use super::stream::raw;
use crate::buffer::{Buffer, Unsent};

/// Up to this size a send is started and left alone: it fits the smallest socket buffer there is.
const START_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct Shared {
    order: Cell<Option<Unsent>>,
    result: RefCell<Option<(io::Result<usize>, Unsent)>>,
}

pub struct Sender {
    shared: Rc<Shared>,
    fd: RawFd,
    /// Made once per connection; carries out one send after the other.
    work: Pin<Box<dyn Future<Output = ()>>>,
    in_flight: bool,
    /// A send that was started and left alone has failed.
    broken: bool,
}

impl Sender {
    pub(super) fn new(half: OwnedWriteHalf<TcpStream>) -> Self {
        let shared = Rc::new(Shared::default());
        let fd = raw(&half.0).as_raw_fd();
        let work = Box::pin(work(half, shared.clone()));
        Self { shared, fd, work, in_flight: false, broken: false }
    }

    /// Whether a send may be started without waiting for it.
    pub fn may_start(&mut self, bytes: usize) -> bool {
        if self.in_flight {
            let _ = self.poll_settled(&mut Context::from_waker(Waker::noop()));
        }
        bytes <= START_BYTES_MAX && !self.in_flight && !self.broken
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Submits a small send; see [`Self::may_start`]. Its end wakes nobody.
    pub fn start(&mut self, unsent: Unsent) {
        debug_assert!(!self.in_flight, "one send at a time");
        self.order(unsent);
        let _ = self.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    fn order(&mut self, unsent: Unsent) {
        self.shared.order.set(Some(unsent));
        self.in_flight = true;
    }

    /// Waits until what was started is sent whole, or has failed.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.in_flight {
            let (sent, mut unsent) = std::task::ready!(self.poll_sent(cx));
            match sent {
                Ok(count) if count > 0 => {
                    unsent.sent += count;
                    if unsent.sent < unsent.buffer.len() {
                        self.order(unsent);
                    }
                }
                Ok(_) => self.broken = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.order(unsent),
                Err(_) => self.broken = true,
            }
        }
        Poll::Ready(if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Unsent)> {
        // The work never ends: it waits for the next order.
        let _ = self.work.as_mut().poll(cx);
        match self.shared.result.borrow_mut().take() {
            Some(result) => {
                self.in_flight = false;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }

    /// Sends what the kernel takes, and says how much that was.
    pub async fn send_some(&mut self, unsent: Unsent) -> (io::Result<usize>, Unsent) {
        if let Err(error) = poll_fn(|cx| self.poll_settled(cx)).await {
            return (Err(error), unsent);
        }
        self.order(unsent);
        loop {
            let (sent, back) = poll_fn(|cx| self.poll_sent(cx)).await;
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.order(back),
                sent => return (sent, back),
            }
        }
    }

    /// Sends all of it and gives the buffer back.
    pub async fn send(&mut self, unsent: Unsent) -> (io::Result<()>, Buffer) {
        let mut unsent = unsent;
        while unsent.sent < unsent.buffer.len() {
            let (sent, back) = self.send_some(unsent).await;
            unsent = back;
            match sent {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), unsent.buffer),
                Ok(count) => unsent.sent += count,
                Err(error) => return (Err(error), unsent.buffer),
            }
        }
        (Ok(()), unsent.buffer)
    }

    /// Tells the peer that nothing more will be sent.
    pub fn shutdown_send(&self) {
        // SAFETY: the descriptor is open as long as the work holds the stream; shutdown(2) takes no memory.
        #[allow(unsafe_code)]
        unsafe {
            libc::shutdown(self.fd, libc::SHUT_WR);
        }
    }

    /// Makes the close a reset, so that the peer cannot take a cut-off body for a whole one.
    pub fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: `linger` outlives the call and its size is given.
        #[allow(unsafe_code)]
        unsafe {
            libc::setsockopt(
                self.fd,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            );
        }
    }
}

async fn work(mut half: OwnedWriteHalf<TcpStream>, shared: Rc<Shared>) {
    loop {
        let unsent = poll_fn(|_| match shared.order.take() {
            Some(unsent) => Poll::Ready(unsent),
            None => Poll::Pending,
        })
        .await;
        let result = half.write(unsent).await;
        *shared.result.borrow_mut() = Some(result);
    }
}
