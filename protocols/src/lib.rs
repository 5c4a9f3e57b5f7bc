//! Frontends, backends and the one pipeline between them.
//!
//! [`run_core`] is what a core's thread does. A request's way is written down in [`pipeline::serve`].

mod active;
mod checks;
mod client_ip;
mod content_length;
mod deliver;
mod destination;
mod dial;
mod elsewhere;
mod exchange;
mod failure;
mod forward;
mod generation;
mod grpc;
mod http1;
mod http2;
mod kind;
mod listen;
mod outgoing;
mod per_ip;
mod pipeline;
mod refusal;
mod respond;
mod settings;
mod tls;
mod transaction;
mod translate;
mod websocket;
mod whole;
mod worker;

use std::rc::Rc;
use std::sync::atomic::Ordering;

use engine::core::{Core, Mail, Mailbox, set_post_box, wake_waiting};
use engine::net::{Listener, Opening};
use engine::publish::View;
use engine::snapshot::Snapshot;
use engine::tls::ServerConfig;
use plugins::PluginSet;

pub use per_ip::PerIp;
pub use settings::{Http2Settings, HttpSettings, Via, WebSocketSettings};
pub use worker::Shared;

/// What one core is given besides its own parts.
pub struct CoreWork {
    pub shared: Shared,
    pub snapshots: View<Snapshot<PluginSet>>,
    pub mailbox: Mailbox,
    /// This core's sockets of the plain HTTP listener.
    pub http: Vec<std::net::TcpListener>,
    /// Those of the HTTPS listener.
    pub https: Vec<std::net::TcpListener>,
    /// What the HTTPS listener offers; there if it is.
    pub tls: Option<View<ServerConfig>>,
}

/// Serves until told to stop.
pub async fn run_core(core: Rc<Core>, work: CoreWork) {
    if let Some(own) = work.shared.cores.get(core.index) {
        set_post_box(own.clone());
    }
    let worker = worker::Worker::new(core.clone(), work.shared, work.snapshots, work.tls);
    let gate = Rc::new(listen::Gate::default());
    let plain = work.http.into_iter().map(|socket| (socket, Opening::Plain));
    let tls = work.https.into_iter().map(|socket| (socket, Opening::Tls));
    for (socket, opening) in plain.chain(tls) {
        match Listener::new(socket, opening) {
            Ok(listener) => core.spawn(listen::accept_loop(worker.clone(), listener, gate.clone())),
            Err(error) => tracing::error!(core = core.index, "cannot listen: {error}"),
        }
    }
    core.spawn(worker.clone().sweep_pools());
    core.spawn(worker.clone().follow_snapshots());
    let served = work.mailbox.serve(|mail| match mail {
        Mail::Connection(accepted) => {
            listen::serve(&worker, accepted);
            true
        }
        Mail::Probe { asked, answered } => {
            core.counters().loop_delay_us.set(asked.elapsed().as_micros() as u64);
            answered.store(true, Ordering::Release);
            true
        }
        Mail::Wake(number) => {
            wake_waiting(number);
            true
        }
        Mail::Drain => {
            gate.close();
            core.deadlines.close_idle();
            true
        }
        Mail::Stop => false,
    });
    if let Err(error) = served.await {
        tracing::error!(core = core.index, "the core's mailbox failed: {error}");
    }
}

/// What the fuzz targets reach.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::http1::chunked::Decoder;
    pub use crate::http1::parse::{request, response};
    pub use crate::http2::Meter as Http2Meter;
    pub use crate::websocket::{Assembler, Encoder, Meter as FrameMeter, Side, Violation};
}
