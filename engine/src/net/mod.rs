//! Sockets as the rest of the engine uses them: the only room that knows which reactor runs underneath.

mod doorbell;
mod duplex;
mod flow;
mod listener;
mod networks;
mod pace;
mod pipe;
mod reactor;
mod receiver;
mod steering;
mod stint;
mod stream;
mod wire;

pub use doorbell::{Bell, Doorbell};
pub use duplex::Duplex;
pub use flow::{Event as FlowEvent, Flow, Sink as FlowSink, Source as FlowSource, Stall, Watcher};
pub use listener::{Accepted, ListenOptions, Listener, Opening, bind};
pub use networks::TrustedNetworks;
pub use pace::note_tick;
pub use pipe::Pipe;
pub use reactor::{Reactor, ReactorChoice, ReactorOptions, pause, probe_io_uring, run, sleep, spawn};
pub use receiver::Receiver;
pub use steering::{Steering, steer_by_cpu};
pub use stint::Stint;
pub use stream::{ConnectOptions, Sender, Stream};
pub use wire::Silence;
