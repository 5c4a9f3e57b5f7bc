//! A pinned thread and what it owns.

mod busy;
mod deadline;
mod foreign;
mod mailbox;
mod thread;
mod ticks;

pub use deadline::{Deadline, Deadlines, TICK};
pub use foreign::{Foreign, foreign, set_post_box, wake_waiting};
pub use mailbox::{Mail, Mailbox, PostBox, mailbox};
pub use thread::{Core, CoreParts, count_panic, start, yield_to_cores};
pub use ticks::{OnTick, Ticks};
