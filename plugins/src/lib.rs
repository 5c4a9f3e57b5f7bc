//! The plugin trait, the chain, and one file per built-in plugin.
