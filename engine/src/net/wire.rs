//! What a socket receives.
//!
//! A receive can be started, left in flight while the connection's task does other things, and polled later by whoever
//! owns the connection then. So the receive that notices that a client goes away while its response is being made is the
//! one that brings its next request when it stays.
//!
//! A receive is started late, when the bytes are likely to be there: the kernel then completes it at once, where an early
//! one has to be parked on the socket and woken again.
//!
//! A receive in flight holds a buffer. A core lends at most [`LENT_MAX`] buffers to connections that only wait; past
//! that a connection waits for readability, without memory, and takes a buffer when bytes are there.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use monoio::io::{AsyncReadRent, OwnedReadHalf};
use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Pipe;
use super::stream::raw;
use crate::buffer::{Buffer, Tail};

/// 512 × 16 KiB = 8 MiB per core, whatever the number of connections.
const LENT_MAX: usize = 512;

thread_local! {
    static LENT: Cell<usize> = const { Cell::new(0) };
}

/// Counts one buffer that waits in flight.
struct Loan;

impl Loan {
    fn take() -> Option<Loan> {
        LENT.with(|lent| {
            (lent.get() < LENT_MAX).then(|| {
                lent.set(lent.get() + 1);
                Loan
            })
        })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let _ = LENT.try_with(|lent| lent.set(lent.get() - 1));
    }
}

enum Order {
    /// Receive behind what the buffer holds.
    Into(Buffer),
    /// Wait for the first bytes of something that may be long in coming.
    Idle,
    /// Only wait until there is something to receive.
    Readable,
}

#[derive(Default)]
struct Shared {
    order: Cell<Option<Order>>,
    result: RefCell<Option<(io::Result<usize>, Buffer)>>,
}

/// What stands in a socket that nobody reads from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Nothing, and the peer may still send.
    Silent,
    /// Bytes nobody asked for, or the end of the stream, or an error.
    Broken,
}

pub(super) struct Wire {
    shared: Rc<Shared>,
    stream: Rc<UnsafeCell<TcpStream>>,
    /// Made once per connection; carries out one order after the other.
    work: Pin<Box<dyn Future<Output = ()>>>,
    started: bool,
}

impl Wire {
    pub(super) fn new(half: OwnedReadHalf<TcpStream>) -> Self {
        let shared = Rc::new(Shared::default());
        let stream = half.0.clone();
        let work = Box::pin(work(half, shared.clone()));
        Self { shared, stream, work, started: false }
    }

    /// Looks without taking anything: one system call, for an idle connection that is about to be used again.
    pub(super) fn silence(&self) -> Silence {
        match rustix::net::recv(self.fd(), &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Silence::Silent,
            _ => Silence::Broken,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self` holds the stream.
        #[allow(unsafe_code)]
        unsafe {
            BorrowedFd::borrow_raw(raw(&self.stream).as_raw_fd())
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    pub(super) fn stream(&self) -> &Rc<UnsafeCell<TcpStream>> {
        &self.stream
    }

    /// Starts to receive behind what `buffer` holds. The operation is submitted by the next poll.
    pub(super) fn start(&mut self, buffer: Buffer) {
        self.order(Order::Into(buffer));
    }

    /// Starts to wait for bytes into a buffer of the core's.
    pub(super) fn start_idle(&mut self) {
        self.order(Order::Idle);
    }

    /// Moves what is there into the pipe, at most `max` bytes; waits when nothing is. Zero: the peer sends no more. Not
    /// while a receive is in flight.
    pub(super) async fn fill(&mut self, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        // Into an empty pipe only: a full one and a silent peer would look the same.
        debug_assert_eq!(pipe.held(), 0);
        loop {
            match pipe.fill(self.fd(), max) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.order(Order::Readable);
                    self.received().await.0?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                filled => return filled,
            }
        }
    }

    fn order(&mut self, order: Order) {
        debug_assert!(!self.started, "one receive at a time");
        self.shared.order.set(Some(order));
        self.started = true;
    }

    /// What was received, and the buffer. Zero bytes: the peer sends no more. Pending when nothing was started.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        if !self.started {
            return Poll::Pending;
        }
        // The work never ends: it waits for the next order.
        let _ = self.work.as_mut().poll(cx);
        match self.shared.result.borrow_mut().take() {
            Some(result) => {
                self.started = false;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }

    pub(super) async fn received(&mut self) -> (io::Result<usize>, Buffer) {
        poll_fn(|cx| self.poll(cx)).await
    }
}

async fn work(mut half: OwnedReadHalf<TcpStream>, shared: Rc<Shared>) {
    loop {
        let order = poll_fn(|_| match shared.order.take() {
            Some(order) => Poll::Ready(order),
            None => Poll::Pending,
        })
        .await;
        let result = match order {
            Order::Into(buffer) => read(&mut half, buffer).await,
            Order::Readable => (raw(&half.0).readable(false).await.map(|()| 0), Buffer::none()),
            Order::Idle => match Loan::take() {
                Some(_loan) => read(&mut half, Buffer::head()).await,
                None => match raw(&half.0).readable(false).await {
                    Ok(()) => read(&mut half, Buffer::head()).await,
                    Err(error) => (Err(error), Buffer::none()),
                },
            },
        };
        *shared.result.borrow_mut() = Some(result);
    }
}

async fn read(half: &mut OwnedReadHalf<TcpStream>, buffer: Buffer) -> (io::Result<usize>, Buffer) {
    debug_assert!(buffer.spare() > 0, "a receive into a full buffer looks like the end of the stream");
    let mut buffer = buffer;
    loop {
        let (received, Tail(back)) = half.read(Tail(buffer)).await;
        buffer = back;
        match received {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A submission thread of the kernel may have begun just while a pipe moved bytes of this socket (`Pipe`).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match raw(&half.0).readable(false).await {
                Ok(()) => {}
                Err(error) => return (Err(error), buffer),
            },
            received => return (received, buffer),
        }
    }
}
