//! Ports nobody else in this test run uses.
//!
//! The gateway binds with SO_REUSEPORT, so two gateways of one user that were given the same port would share it
//! without an error and answer each other's clients. A lease is a file lock held for as long as the port is in use; it
//! works across test processes and goes away with the process that held it.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's ephemeral range (32768..), so that no outgoing connection can sit on a leased port.
const RANGE: std::ops::Range<u32> = 18_000..32_000;

pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    pub fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let span = RANGE.end - RANGE.start;
        let start = std::process::id().wrapping_mul(97);
        for _ in 0..span {
            let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
            let port = u16::try_from(RANGE.start + offset).expect("the range fits a port");
            if let Some(lease) = Self::try_port(port) {
                return lease;
            }
        }
        panic!("no free port between {} and {}", RANGE.start, RANGE.end);
    }

    pub fn number(&self) -> u16 {
        self.port
    }

    fn try_port(port: u16) -> Option<Self> {
        let lock = File::create(lock_folder().join(port.to_string())).expect("a lock file for a port");
        lock.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        Some(Self { port, _lock: lock })
    }
}

fn lock_folder() -> PathBuf {
    let folder = super::gateway::target_folder().join("test-ports");
    std::fs::create_dir_all(&folder).expect("a folder for port locks");
    folder
}
