//! Posts batches as JSON arrays.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};

use super::HttpLogging;
use crate::builtin::BuiltIn;
use crate::outbound::sink::{Attempt, Deliver};
use crate::outbound::{HttpClient, Label, cause, shown};

/// An answer is read this far, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Poster {
    http: HttpClient,
    endpoint: Url,
    /// The endpoint as it may be logged.
    shown: String,
    headers: HeaderMap,
}

impl Poster {
    pub fn new(http: HttpClient, endpoint: Url, headers: HeaderMap) -> Self {
        let shown = shown(&endpoint);
        Self { http, endpoint, shown, headers }
    }
}

impl Deliver for Poster {
    type Payload = Bytes;

    fn pack<'r>(&mut self, records: impl ExactSizeIterator<Item = &'r [u8]>) -> Bytes {
        let mut body = Vec::new();
        for record in records {
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(record);
        }
        body.push(b']');
        body.into()
    }

    async fn send(&mut self, payload: &Bytes) -> Attempt {
        // A redirect counts as an answer: followed, it would deliver nothing and look as if it had.
        let request =
            self.http.direct().post(self.endpoint.clone()).headers(self.headers.clone()).body(payload.clone());
        let label = Label { plugin: HttpLogging::NAME, url: Some(&self.shown) };
        match self.http.execute(request, label, |_| ()).await {
            Ok(response) => {
                let status = response.status();
                finish(response).await;
                judge(status, &self.shown)
            }
            Err(error) => Attempt::Failed(format!("{} cannot be reached: {}", self.shown, cause(&error))),
        }
    }
}

fn judge(status: StatusCode, shown: &str) -> Attempt {
    let reason = || format!("{shown} answered {}", status.as_u16());
    match status {
        _ if status.is_success() => Attempt::Delivered,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Attempt::Failed(reason()),
        _ if status.is_client_error() => Attempt::Refused(reason()),
        _ => Attempt::Failed(reason()),
    }
}

async fn finish(mut response: Response) {
    let mut bytes = 0;
    while let Ok(Some(piece)) = response.chunk().await {
        bytes += piece.len();
        if bytes > ANSWER_BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_delivered_and_only_4xx_is_final() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), "http://sink/");
        for status in [200, 201, 204, 299] {
            assert_eq!(judged(status), Attempt::Delivered);
        }
        for status in [400, 401, 404, 407, 409, 413, 428, 430, 499] {
            assert_eq!(judged(status), Attempt::Refused(format!("http://sink/ answered {status}")));
        }
        for status in [301, 302, 304, 307, 399, 408, 429, 500, 503, 599, 600] {
            assert_eq!(judged(status), Attempt::Failed(format!("http://sink/ answered {status}")));
        }
    }
}
