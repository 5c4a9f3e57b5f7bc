//! The load rig's shared parts: message framing, the provided-buffer ring, sockets and CPU clocks.
//!
//! The programs are in `src/bin/`: `floor_relay` (the least a relay can cost), `reactor_relay` (the same relay on
//! three reactors), `backend` (fixed responses), `echo_backend` (gRPC and WebSocket), `load` (requests, latencies,
//! CPU time) and `certificate` (for the TLS listeners). `run.py` runs them.

pub mod buffers;
pub mod clock;
pub mod framing;
pub mod grpc;
pub mod http2;
pub mod ring;
pub mod tcp;
pub mod websocket;
