//! How another thread wakes a core: an eventfd that the core's reactor waits on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monoio::net::TcpStream;

/// The side that rings. Cheap when the core has not looked yet since the last ring.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

struct Shared {
    event: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory; the result is checked.
        #[allow(unsafe_code)]
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        #[allow(unsafe_code)]
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { shared: Arc::new(Shared { event, rung: AtomicBool::new(false) }) })
    }

    /// Wakes the core, unless it has been woken already and has not looked yet.
    pub fn ring(&self) {
        if self.shared.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64;
        // SAFETY: writes eight bytes from a live integer, as eventfd(2) wants.
        #[allow(unsafe_code)]
        unsafe {
            libc::write(self.shared.event.as_raw_fd(), (&raw const one).cast(), 8);
        }
    }
}

/// The side that hears, in the core's reactor.
pub struct Doorbell {
    shared: Arc<Shared>,
    /// The reactor only asks whether the descriptor is readable, which every descriptor can tell; nothing of TCP is used.
    waiter: TcpStream,
}

impl Doorbell {
    pub fn new(bell: &Bell) -> io::Result<Self> {
        let fd = bell.shared.event.try_clone()?;
        let waiter = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        Ok(Self { shared: bell.shared.clone(), waiter })
    }

    /// Waits for a ring. What was queued before the ring is visible afterwards.
    pub async fn heard(&self) -> io::Result<()> {
        self.waiter.readable(false).await?;
        let mut count = 0u64;
        // SAFETY: reads eight bytes into a live integer, as eventfd(2) wants; the descriptor does not block.
        #[allow(unsafe_code)]
        unsafe {
            libc::read(self.shared.event.as_raw_fd(), (&raw mut count).cast(), 8);
        }
        // Both ways, so that what was queued before the ring is seen behind this.
        self.shared.rung.swap(false, Ordering::AcqRel);
        Ok(())
    }
}
