//! Sending an answer that the gateway made.

use engine::buffer::Chunk;
use engine::http::KnownSet;
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
    let sound = rejection.headers.iter().filter(|(name, value)| is_sound(name) && is_sound(value) && !name.is_empty());
    fields.extend(sound.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let size = size(rejection, is_head);
    let head = OutgoingResponse {
        status: rejection.status,
        received: None,
        skip: KnownSet::empty(),
        skip_named: &[],
        extra: &fields,
    };
    let mut stream = responder.start(&head, size).await;
    if matches!(size, ResponseSize::Exact(1..)) {
        stream.write(Chunk::from_slice(&rejection.body)).await?;
    }
    stream.finish(None).await
}

/// A client does not expect a body where there cannot be one: it would take it for the next answer.
fn size(rejection: &Rejection, is_head: bool) -> ResponseSize {
    let length = rejection.body.len() as u64;
    match rejection.status {
        // RFC 9110 §8.6: no length either; of 304 it would be that of another response.
        ..200 | 204 | 304 => ResponseSize::None,
        // RFC 9110 §15.3.6.
        205 => ResponseSize::Exact(0),
        _ if is_head => ResponseSize::HeadOnly(Some(length)),
        _ => ResponseSize::Exact(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_a_body_is_sent_without() {
        let size = |status, is_head| size(&Rejection::json(status, "{}"), is_head);
        for status in [100, 199, 204, 304] {
            assert_eq!([size(status, false), size(status, true)], [ResponseSize::None; 2], "{status}");
        }
        assert_eq!([size(205, false), size(205, true)], [ResponseSize::Exact(0); 2]);
        for status in [200, 203, 206, 303, 305, 599] {
            assert_eq!(size(status, false), ResponseSize::Exact(2), "{status}");
            assert_eq!(size(status, true), ResponseSize::HeadOnly(Some(2)), "{status}");
        }
    }
}
