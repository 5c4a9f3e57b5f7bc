//! Limits and positions that every core agrees on exactly, without a shared write per request.
//!
//! One limit and key is a row: a home cell that all cores know plus one cache-padded cell per core. A core spends from
//! its own cell, a line nobody else writes except to take units back. When that is empty it draws a lease from home, sized
//! by how busy the core was and by what remains, down to nothing but the units asked for. When home is empty too, the
//! units lying unused in the cells are recalled. So nothing is granted twice and nothing is lost in a drawer: of N + k
//! requests exactly N pass, whatever cores they land on.
//!
//! - [`Quota`]: N units per window. The window is a number the caller gives; units of a past window are worth nothing.
//! - [`Cap`]: N held at once.
//! - [`Rotation`]: positions of a round robin, each handed out once.
//! - [`Meter`]: N units per stretch of time, which come back bit by bit or one window later. Another protocol, in
//!   `docs/design/rate-limits.md`.
//!
//! The protocol, its invariants and its cost are in `docs/design/ledger.md`. The protocol is model-checked:
//! `RUSTFLAGS="--cfg loom" cargo test -p engine --release ledger` (with a target directory of its own, because the flag
//! rebuilds everything).

mod cap;
mod meter;
mod quota;
mod rotation;
mod row;
mod sync;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod stress;

pub use cap::{Cap, Held};
pub use meter::{Meter, Pass, Rates, TICKS_MAX, Window};
pub use quota::{Quota, Take};
pub use rotation::Rotation;

/// Units a row can hold: 36 bits of a cell. A larger limit is held at this many.
pub const UNITS_MAX: u64 = (1 << 36) - 1;
