//! An exchange whose bodies plugins rewrite as they pass (`plugins::Codec`).

use std::cell::RefCell;

use engine::buffer::{Buffer, Chunk};
use engine::counters::ErrorClass;
use engine::http::{Headers, Method, ResponseHead};
use engine::net::Pipe;
use plugins::{Codec, Rejection};

use crate::exchange::{BackendResponse, Body, BodyError, BodyLength, BodySize};

/// The codecs of one exchange, in the order of their plugins: the request passes them in it, the response against it.
pub struct Codecs {
    all: RefCell<Vec<Box<dyn Codec>>>,
    /// The answer to a request that could not be rewritten.
    refusal: RefCell<Option<Box<Rejection>>>,
}

impl Codecs {
    pub fn new(all: Vec<Box<dyn Codec>>) -> Self {
        Self { all: RefCell::new(all), refusal: RefCell::default() }
    }

    pub fn take_refusal(&self) -> Option<Box<Rejection>> {
        self.refusal.borrow_mut().take()
    }

    fn request(&self, piece: &[u8], is_end: bool) -> Result<Vec<u8>, Box<Rejection>> {
        let mut current = piece.to_vec();
        for codec in self.all.borrow_mut().iter_mut() {
            let mut next = Vec::with_capacity(current.len());
            codec.request(&current, &mut next)?;
            if is_end {
                codec.request_end(&mut next)?;
            }
            current = next;
        }
        Ok(current)
    }

    fn response_head(&self, head: &mut ResponseHead) {
        self.all.borrow_mut().iter_mut().rev().for_each(|codec| codec.response_head(head));
    }

    fn response(&self, piece: &[u8]) -> Vec<u8> {
        let mut current = piece.to_vec();
        for codec in self.all.borrow_mut().iter_mut().rev() {
            let mut next = Vec::with_capacity(current.len());
            codec.response(&current, &mut next);
            current = next;
        }
        current
    }

    fn response_end(&self, trailers: &mut Option<Headers>) -> Vec<u8> {
        let mut current = Vec::new();
        for codec in self.all.borrow_mut().iter_mut().rev() {
            let mut next = Vec::new();
            codec.response(&current, &mut next);
            codec.response_end(trailers, &mut next);
            current = next;
        }
        current
    }
}

pub struct TranslatedBody<'c, B> {
    pub body: &'c mut B,
    pub codecs: &'c Codecs,
    pub is_over: bool,
}

impl<B: Body> Body for TranslatedBody<'_, B> {
    fn size(&self) -> BodySize {
        match self.body.size() {
            BodySize::Empty => BodySize::Empty,
            BodySize::Exact(_) | BodySize::Unknown => BodySize::Unknown,
        }
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, BodyError> {
        while !self.is_over {
            let piece = self.body.chunk().await?;
            self.is_over = piece.is_none();
            let rewritten = self.codecs.request(piece.as_deref().unwrap_or_default(), self.is_over);
            let rewritten = rewritten.map_err(|refusal| {
                *self.codecs.refusal.borrow_mut() = Some(refusal);
                BodyError::Refused
            })?;
            if !rewritten.is_empty() {
                return Ok(Some(rewritten.into()));
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.is_over
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        self.body.take_trailers()
    }

    fn open_tunnel(&mut self) {
        self.body.open_tunnel();
    }
}

pub struct TranslatedResponse<'c, S> {
    response: S,
    codecs: &'c Codecs,
    has_body: bool,
    is_over: bool,
    trailers: Option<Headers>,
}

impl<'c, S> TranslatedResponse<'c, S> {
    pub fn new(response: S, codecs: &'c Codecs) -> Self {
        Self { response, codecs, has_body: true, is_over: false, trailers: None }
    }
}

impl<S: BackendResponse> BackendResponse for TranslatedResponse<'_, S> {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        method: Method,
        head_bytes_max: usize,
        began: &mut bool,
    ) -> Result<BodyLength, ErrorClass> {
        let length = self.response.head(head, method, head_bytes_max, began).await?;
        self.codecs.response_head(head);
        self.has_body = length != BodyLength::None;
        self.is_over = !self.has_body;
        Ok(if self.has_body { BodyLength::Unknown } else { BodyLength::None })
    }

    fn head_end(&self) -> Option<usize> {
        self.response.head_end()
    }

    fn set_early(&mut self, early: Buffer, from: usize) {
        self.response.set_early(early, from);
    }

    fn note_whole(&mut self) {
        self.response.note_whole();
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, ErrorClass> {
        while !self.is_over {
            let rewritten = match self.response.chunk().await? {
                Some(piece) => self.codecs.response(&piece),
                None => {
                    self.is_over = true;
                    self.trailers = self.response.take_trailers();
                    self.codecs.response_end(&mut self.trailers)
                }
            };
            if !rewritten.is_empty() {
                return Ok(Some(rewritten.into()));
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.is_over
    }

    fn has_early(&self) -> bool {
        // The end is at hand as well.
        self.has_body && (self.response.has_early() || self.response.is_complete()) && !self.is_over
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

    fn leaves_connection_clean(&self) -> bool {
        self.response.leaves_connection_clean()
    }
}
