//! Where documented plugins meet the gateway: a native plugin around each instance of a documented one.
//!
//! There is one instance for each plugin config of the process ([`Instance`]), and on each core a thin native plugin around
//! it. A request gets its documented context once, when the first documented plugin of its chain is called; what native
//! plugins change between two calls is carried into it, and what a hook changes is carried back ([`attachment`]). A hook is
//! polled on the core that serves the request; one that waits is woken through the core's mailbox, and one that blocks its
//! thread is found out ([`watch`]) and moved to threads where that harms nobody ([`running`]).

mod attachment;
mod backlog;
mod catalog;
mod clock;
mod headers;
mod instance;
mod local;
mod native_plugin;
mod query;
mod rejection;
mod running;
mod summary;
#[cfg(test)]
mod testing;
mod watch;
mod websocket;
mod world;

pub use catalog::{available, check, companion, tracked_keys, validate};
