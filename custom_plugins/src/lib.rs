//! Drop-in plugins of the user, found at build time.
