//! What the driver says went wrong, in words for an operator.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};

use crate::store::{Cause, StoreError};

const DUPLICATE_KEY: i32 = 11000;
/// A document, or what would be one, is past the 16 MiB of the server.
const TOO_LARGE: [i32; 2] = [10334, 17280];
/// Of servers that are no primary, step down or shut down.
const AWAY: [i32; 12] = [6, 7, 89, 91, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435];

/// The moment that is to be read is gone already, or is before the last change of an index.
const MOMENT_GONE: [i32; 2] = [239, 246];

/// Why a step of a change was not made, or a moment not read.
#[derive(Debug)]
pub struct Failure {
    pub error: StoreError,
    /// Tried again from its start, the same may succeed.
    pub is_transient: bool,
    /// Whether the change was made cannot be told.
    pub is_unknown: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { error, is_transient: false, is_unknown: false }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR)
            || code(&error).is_some_and(|code| MOMENT_GONE.contains(&code));
        let is_unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
        Self { error: error.into(), is_transient, is_unknown }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let (code, text) = said(&error.kind);
        let cause: Cause = text.into();
        match (&*error.kind, code) {
            (_, Some(DUPLICATE_KEY)) => Self::Conflict(cause),
            (_, Some(code)) if TOO_LARGE.contains(&code) => Self::TooLarge(cause),
            (_, Some(code)) if AWAY.contains(&code) => Self::Unavailable(cause),
            (
                ErrorKind::Io(_)
                | ErrorKind::ServerSelection { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::DnsResolve { .. }
                | ErrorKind::Authentication { .. }
                | ErrorKind::Shutdown,
                _,
            ) => Self::Unavailable(cause),
            _ => Self::Query(cause),
        }
    }
}

/// The server's number and text, without the driver's own words around them.
fn said(kind: &ErrorKind) -> (Option<i32>, String) {
    match kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => (Some(error.code), error.message.clone()),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => (Some(error.code), error.message.clone()),
        ErrorKind::InsertMany(error) => {
            let first = error.write_errors.iter().flatten().next().map(|error| (error.code, error.message.clone()));
            let concern = || error.write_concern_error.as_ref().map(|error| (error.code, error.message.clone()));
            first.or_else(concern).map_or((None, kind.to_string()), |(code, message)| (Some(code), message))
        }
        ErrorKind::Command(error) if error.message.is_empty() => (Some(error.code), error.code_name.clone()),
        ErrorKind::Command(error) => (Some(error.code), error.message.clone()),
        other => (None, other.to_string()),
    }
}

pub fn code(error: &Error) -> Option<i32> {
    said(&error.kind).0
}

/// A server that has vanished does not say so.
pub fn silent(limit: Duration) -> Failure {
    StoreError::Unavailable(format!("no answer within {} s", limit.as_secs()).into()).into()
}
