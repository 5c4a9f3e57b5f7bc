//! The load rig.
