//! One file per built-in plugin.
