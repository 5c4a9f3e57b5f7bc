//! Words about the modes the gateway runs in.

pub mod mesh;
