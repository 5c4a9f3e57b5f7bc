//! Sending an answer that the gateway made.

use engine::buffer::Chunk;
use engine::http::{Known, KnownSet};
use plugins::Rejection;

use crate::exchange::{ClientGone, OutgoingResponse, Responder, ResponseSize, ResponseStream};

/// A whole response of known length. `content-type: application/json` is added unless the rejection has its own.
pub async fn rejection<R: Responder>(rejection: &Rejection, is_head: bool, responder: R) -> Result<(), ClientGone> {
    let mut fields: Vec<(&str, &[u8])> = Vec::with_capacity(rejection.headers.len() + 1);
    if !rejection.has_header("content-type") {
        fields.push(("content-type", b"application/json"));
    }
    // A field that could end its line would be another message's beginning; such a one is not sent.
    let is_sound = |text: &str| !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    // Framing and the connection are the gateway's to say.
    let is_returned = |name: &str| !name.is_empty() && !KnownSet::FRAMING.has(Known::of(name.as_bytes()));
    let sound = rejection.headers.iter().filter(|(name, value)| is_returned(name) && is_sound(name) && is_sound(value));
    fields.extend(sound.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let size = ResponseSize::of_whole(rejection.status, rejection.body.len() as u64, is_head);
    let head = OutgoingResponse {
        status: rejection.status,
        received: None,
        skip: KnownSet::empty(),
        skip_named: &[],
        extra: &fields,
    };
    let mut stream = responder.start(&head, size).await;
    if size.has_body() {
        stream.write(Chunk::from_slice(&rejection.body)).await?;
    }
    stream.finish(None).await
}
