//! Frontends, backends and the one pipeline between them.
