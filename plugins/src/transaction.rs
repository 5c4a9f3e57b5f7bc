//! The transaction record.
