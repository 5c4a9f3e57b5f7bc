//! A pinned thread and what it owns.

mod busy;
mod deadline;
mod mailbox;
mod thread;

pub use deadline::{Deadline, Deadlines, TICK};
pub use mailbox::{Mail, Mailbox, PostBox, mailbox};
pub use thread::{Core, CoreParts, start, yield_to_cores};
