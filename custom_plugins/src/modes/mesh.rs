//! Words of mesh mode, which this release does not have.

/// Which way a mesh listener's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshTrafficDirection {
    Inbound,
    Outbound,
}
