//! Bytes on their way from one socket to another without passing through the process (splice(2)).
//!
//! A long body that nobody looks at is moved page by page instead of being copied twice. The sockets stay in the mode the
//! reactor wants: they are non-blocking for the length of one call only, in which nothing else of this thread runs.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe is asked to hold. The kernel counts pipes of unprivileged users and may grant less.
const CAPACITY_BYTES: usize = 256 * 1024;
/// A pipe that holds less than a few pages costs more than it spares; the kernel hands such out past the user's share.
const CAPACITY_BYTES_MIN: usize = 64 * 1024;
/// Pipes kept for the next body, per core. More may be in use at a time, one per body under way.
const FREE_PIPES_MAX: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe of the core's, lent to one body.
pub struct Pipe {
    /// Always there but while the value is dropped.
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// `None` when the kernel has none to give; then bodies are copied.
    pub fn lend() -> Option<Pipe> {
        let ends = FREE.with(|free| free.borrow_mut().pop()).or_else(Ends::new)?;
        Some(Pipe { ends: Some(ends), held: 0 })
    }

    /// Bytes that were taken from one socket and not given to the other yet.
    pub fn held(&self) -> usize {
        self.held
    }

    fn ends(&self) -> io::Result<&Ends> {
        self.ends.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes what the socket has, at most `max` bytes. Zero is the end of the stream. Never waits.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        let count = splice_now(socket, self.ends()?.write.as_fd(), socket, max)?;
        self.held += count;
        Ok(count)
    }

    /// Gives the socket what it takes of what is held. Never waits.
    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = splice_now(self.ends()?.read.as_fd(), socket, socket, self.held)?;
        self.held -= count;
        Ok(count)
    }
}

impl Drop for Pipe {
    /// One that still holds bytes of a body that broke off is no pipe for another.
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else { return };
        // A thread that is shutting down has no free list any more; then the pipe is closed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_PIPES_MAX {
                free.push(ends);
            }
        });
    }
}

impl Ends {
    fn new() -> Option<Ends> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Being refused a larger pipe is fine if the one at hand is large enough.
        let _ = fcntl_setpipe_size(&write, CAPACITY_BYTES);
        (fcntl_getpipe_size(&write).ok()? >= CAPACITY_BYTES_MIN).then_some(Ends { read, write })
    }
}

/// One call, while the socket among the two does not block.
fn splice_now(from: BorrowedFd<'_>, to: BorrowedFd<'_>, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
    let flags = fcntl_getfl(socket)?;
    let is_blocking = !flags.contains(OFlags::NONBLOCK);
    if is_blocking {
        fcntl_setfl(socket, flags | OFlags::NONBLOCK)?;
    }
    let moved = splice(from, None, to, None, max, SpliceFlags::NONBLOCK | SpliceFlags::MOVE);
    if is_blocking {
        fcntl_setfl(socket, flags)?;
    }
    Ok(moved?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_go_through_in_order_and_nothing_waits() {
        let ((mut sender, source), (sink, mut receiver)) = (pair(), pair());
        let mut pipe = Pipe::lend().unwrap();
        let (source, sink_fd) = (source.as_fd(), sink.as_fd());
        assert_eq!(pipe.fill(source, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock, "a blocking socket");
        sender.write_all(b"first second").unwrap();
        assert_eq!(pipe.fill(source, 5).unwrap(), 5);
        assert_eq!((pipe.drain(sink_fd).unwrap(), pipe.held()), (5, 0));
        assert_eq!(pipe.fill(source, 100).unwrap(), 7);
        assert_eq!(pipe.drain(sink_fd).unwrap(), 7);
        let mut seen = [0; 12];
        receiver.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"first second");
        drop(sender);
        while pipe.fill(source, 100).is_err() {}
        assert_eq!(pipe.fill(source, 100).unwrap(), 0, "the end of the stream");
    }

    #[test]
    fn a_receiver_that_takes_nothing_leaves_the_rest_in_the_pipe() {
        let ((mut sender, source), (sink, mut receiver)) = (pair(), pair());
        let mut pipe = Pipe::lend().unwrap();
        let (mut taken, mut given) = (0, 0);
        let stuck = loop {
            sender.write_all(&[7; 1000]).unwrap();
            while pipe.held() == 0 {
                taken += pipe.fill(source.as_fd(), usize::MAX >> 1).unwrap_or(0);
            }
            match pipe.drain(sink.as_fd()) {
                Ok(count) => given += count,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!((stuck, pipe.held()), (io::ErrorKind::WouldBlock, taken - given));
        let mut seen = vec![0; given];
        receiver.read_exact(&mut seen).unwrap();
        assert!(seen.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn an_empty_pipe_is_lent_again_and_one_with_a_rest_is_not() {
        let (mut sender, source) = pair();
        let number = |pipe: &Pipe| pipe.ends().unwrap().read.as_raw_fd();
        let first = Pipe::lend().unwrap();
        let kept = number(&first);
        drop(first);
        let mut again = Pipe::lend().unwrap();
        assert_eq!(number(&again), kept);
        sender.write_all(b"rest").unwrap();
        while again.fill(source.as_fd(), 100).is_err() {}
        drop(again);
        FREE.with(|free| assert!(free.borrow().is_empty()));
    }
}
