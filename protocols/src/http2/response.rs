//! One request to a backend and its response, on a stream.

use std::future::poll_fn;

use bytes::Bytes;
use engine::buffer::{Buffer, Chunk};
use engine::counters::ErrorClass;
use engine::http::{Headers, Method, ResponseHead};
use engine::net::Pipe;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};

use super::client::Leased;
use super::heads;
use super::piece::{Piece, poll_room};
use super::request_body::copied;
use crate::content_length::content_length;
use crate::exchange::{BackendResponse, BodyLength};

/// The sending half of the stream.
pub struct Upload {
    stream: SendStream<Piece>,
}

impl Upload {
    pub fn new(stream: SendStream<Piece>) -> Self {
        Self { stream }
    }

    /// Waits until the backend takes something, and sends the piece.
    pub async fn send(&mut self, chunk: Chunk, is_last: bool) -> Result<(), h2::Error> {
        self.stream.reserve_capacity(chunk.len());
        if self.stream.capacity() == 0 {
            poll_fn(|cx| poll_room(&mut self.stream, cx)).await?;
        }
        self.stream.send_data(Piece::new(chunk), is_last)
    }

    pub fn finish(mut self, trailers: Option<Headers>) -> Result<(), h2::Error> {
        match trailers {
            Some(trailers) => self.stream.send_trailers(heads::trailers(&trailers)),
            None => self.stream.send_data(Piece::empty(), true),
        }
    }
}

pub struct Http2Response<'l> {
    leased: &'l Leased,
    future: ResponseFuture,
    body: Option<RecvStream>,
    held: usize,
    is_complete: bool,
    trailers: Option<Headers>,
}

impl<'l> Http2Response<'l> {
    pub fn new(leased: &'l Leased, future: ResponseFuture) -> Self {
        Self { leased, future, body: None, held: 0, is_complete: false, trailers: None }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, ErrorClass> {
        let Some(body) = &mut self.body else { return Ok(None) };
        if self.held > 0 {
            // Asked for more: what was handed out has gone on.
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.held));
        }
        match poll_fn(|cx| body.poll_data(cx)).await {
            Some(Ok(bytes)) => {
                self.held = bytes.len();
                self.leased.note_taken(bytes.len());
                self.is_complete = body.is_end_stream();
                Ok(Some(bytes))
            }
            Some(Err(error)) => Err(self.leased.note(&error)),
            None => {
                let trailers = poll_fn(|cx| body.poll_trailers(cx)).await.map_err(|error| self.leased.note(&error))?;
                self.trailers = trailers.as_ref().map(heads::received_trailers);
                Ok(None)
            }
        }
    }
}

impl BackendResponse for Http2Response<'_> {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        method: Method,
        _: usize,
        began: &mut bool,
    ) -> Result<BodyLength, ErrorClass> {
        let response = (&mut self.future).await.map_err(|error| self.leased.note(&error))?;
        *began = true;
        heads::response_head(&response, head);
        let body = response.into_body();
        self.is_complete = body.is_end_stream();
        self.body = Some(body);
        let length = content_length(&head.headers).map_err(|_| ErrorClass::ProtocolError)?;
        if method == Method::Head || matches!(head.status, 204 | 304) {
            return Ok(BodyLength::None);
        }
        Ok(match length {
            Some(length) => BodyLength::Exact(length),
            None if self.is_complete => BodyLength::Exact(0),
            None => BodyLength::Unknown,
        })
    }

    fn head_end(&self) -> Option<usize> {
        None
    }

    fn set_early(&mut self, _: Buffer, _: usize) {}

    fn note_whole(&mut self) {}

    async fn chunk(&mut self) -> Result<Option<Chunk>, ErrorClass> {
        while !self.is_complete {
            match self.receive().await? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Ok(Some(copied(&bytes))),
                None => self.is_complete = true,
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn has_early(&self) -> bool {
        false
    }

    fn fills_pipes(&self) -> bool {
        false
    }

    async fn fill(&mut self, _: &mut Pipe) -> Result<usize, ErrorClass> {
        Ok(0)
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Its stream ends with it; the connection is of the others as well.
    fn leaves_connection_clean(&self) -> bool {
        true
    }
}
