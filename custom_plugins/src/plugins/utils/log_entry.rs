use serde::Serialize;

use crate::plugins::{StreamTransactionSummary, TransactionSummary};

/// A record of either kind, as a sink keeps it.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub enum SummaryLogEntry {
    Http(TransactionSummary),
    Stream(StreamTransactionSummary),
}

impl SummaryLogEntry {
    pub fn client_ip(&self) -> &str {
        match self {
            SummaryLogEntry::Http(summary) => &summary.client_ip,
            SummaryLogEntry::Stream(summary) => &summary.client_ip,
        }
    }

    pub fn proxy_id(&self) -> Option<&str> {
        match self {
            SummaryLogEntry::Http(summary) => summary.proxy_id.as_deref(),
            SummaryLogEntry::Stream(summary) => Some(&summary.proxy_id),
        }
    }
}

impl From<&TransactionSummary> for SummaryLogEntry {
    fn from(summary: &TransactionSummary) -> Self {
        SummaryLogEntry::Http(summary.clone())
    }
}

impl From<&StreamTransactionSummary> for SummaryLogEntry {
    fn from(summary: &StreamTransactionSummary) -> Self {
        SummaryLogEntry::Stream(summary.clone())
    }
}
