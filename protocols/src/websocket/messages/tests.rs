//! What becomes a message, what is refused, and that it does not matter how the bytes are cut.

use super::*;
use crate::websocket::frames::{FINAL, Header, write_header};

const MAX: u64 = 1000;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as that side has to send it.
fn frame(from: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let key = (from == Side::Client).then_some(KEY);
    let mut out = engine::buffer::Buffer::head();
    write_header(&mut out, &Header { first, length: payload.len() as u64, key });
    let mut payload = payload.to_vec();
    mask(&mut payload, key.unwrap_or_default(), 0);
    [&out, &payload[..]].concat()
}

fn frames(from: Side, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(from, *first, payload)).collect()
}

/// All messages, and the fault at which they ended.
fn assembled<'b>(from: Side, pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Message>, Result<bool, Violation>) {
    let mut assembler = Assembler::new(from, MAX);
    let mut messages = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        loop {
            match assembler.read(&mut rest) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(violation) => return (messages, Err(violation)),
            }
        }
        assert!(rest.is_empty(), "all is taken before more is asked for");
    }
    (messages, Ok(assembler.is_closed()))
}

/// The messages of a sound stream of frames.
#[track_caller]
fn sound(from: Side, sent: &[(u8, &[u8])]) -> Vec<Message> {
    let (messages, end) = assembled(from, [&frames(from, sent)[..]]);
    assert!(end.is_ok(), "{end:?} behind {messages:?}");
    messages
}

/// What is wrong with a stream of frames, however it is cut.
#[track_caller]
fn fault(sent: &[(u8, &[u8])]) -> Violation {
    let bytes = frames(Side::Client, sent);
    let violation = assembled(Side::Client, [&bytes[..]]).1.expect_err("a fault");
    assert_eq!(assembled(Side::Client, bytes.chunks(1)).1, Err(violation), "byte by byte");
    assert_eq!(assembled(Side::Backend, [&frames(Side::Backend, sent)[..]]).1, Err(violation), "from the backend");
    violation
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

const ALL_KINDS: [(u8, &[u8]); 12] = [
    (0x81, "ünïcødé ✓ 🦀".as_bytes()),
    (0x81, b""),
    (0x82, &[0; 300]),
    (0x01, "frag✓".as_bytes().split_at(5).0),
    (0x89, b"between"),
    (0x00, "frag✓".as_bytes().split_at(5).1),
    (0x8a, b""),
    (0x00, b""),
    (0x80, b"ment"),
    (0x02, &[1, 2]),
    (0x80, &[3]),
    (0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
];

fn all_kinds() -> Vec<Message> {
    vec![
        text("ünïcødé ✓ 🦀"),
        text(""),
        Message::Binary(vec![0; 300]),
        Message::Ping(b"between".to_vec()),
        Message::Pong(Vec::new()),
        text("frag✓ment"),
        Message::Binary(vec![1, 2, 3]),
        Message::Close(Some(Close::new(1000, "bye"))),
    ]
}

#[test]
fn messages_are_the_same_wherever_their_bytes_are_cut() {
    for from in [Side::Client, Side::Backend] {
        let bytes = frames(from, &ALL_KINDS);
        let whole = (all_kinds(), Ok(true));
        assert_eq!(assembled(from, [&bytes[..]]), whole);
        for cut in 0..=bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(assembled(from, [front, back]), whole, "{from:?} cut at {cut}");
        }
        for step in [1, 2, 3, 7] {
            assert_eq!(assembled(from, bytes.chunks(step)), whole, "{from:?} in pieces of {step}");
        }
    }
}

#[test]
fn a_control_frame_between_fragments_does_not_wait_for_them() {
    let messages = sound(Side::Client, &[(0x01, b"unfinished"), (0x89, b"p"), (0x8a, b"q")]);
    assert_eq!(messages, [Message::Ping(b"p".to_vec()), Message::Pong(b"q".to_vec())]);
    let messages = sound(Side::Backend, &[(0x02, b"unfinished"), (0x88, b"")]);
    assert_eq!(messages, [Message::Close(None)], "nor does a Close");
}

#[test]
fn what_is_not_whole_is_not_a_message() {
    let bytes = frame(Side::Client, 0x81, b"hello");
    for length in 0..bytes.len() {
        assert_eq!(assembled(Side::Client, [&bytes[..length]]), (Vec::new(), Ok(false)), "{length}");
    }
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    for first in [0xc1, 0xa1, 0x91, 0xf2, 0xc9, 0x83, 0x87, 0x8b, 0x8f] {
        assert_eq!(fault(&[(first, b"a")]), Violation::Reserved, "{first:x}");
    }
    assert_eq!(fault(&[(0x09, b"a")]), Violation::Control);
    assert_eq!(fault(&[(0x08, b"")]), Violation::Control);
    assert_eq!(fault(&[(0x80, b"a")]), Violation::Fragments);
    assert_eq!(fault(&[(0x00, b"a")]), Violation::Fragments);
    assert_eq!(fault(&[(0x01, b"a"), (0x81, b"b")]), Violation::Fragments);
    assert_eq!(fault(&[(0x01, b"a"), (0x02, b"b")]), Violation::Fragments);
    assert_eq!(fault(&[(0x82, b"a"), (0x80, b"b")]), Violation::Fragments);
    assert_eq!(fault(&[(0x88, b""), (0x81, b"a")]), Violation::AfterClose);
    assert_eq!(fault(&[(0x88, b""), (0x88, b"")]), Violation::AfterClose);
    let unmasked = frame(Side::Backend, 0x81, b"a");
    assert_eq!(assembled(Side::Client, [&unmasked[..]]).1, Err(Violation::Mask));
    let masked = frame(Side::Client, 0x81, b"a");
    assert_eq!(assembled(Side::Backend, [&masked[..]]).1, Err(Violation::Mask));
}

#[test]
fn a_control_frame_has_room_for_125_bytes_and_no_more() {
    assert_eq!(sound(Side::Client, &[(0x89, &[7; 125])]), [Message::Ping(vec![7; 125])]);
    assert_eq!(fault(&[(0x89, &[7; 126])]), Violation::Control);
    assert_eq!(fault(&[(0x8a, &[7; 126])]), Violation::Control);
    let reason = "r".repeat(123);
    let close = [&[0x03, 0xe8], reason.as_bytes()].concat();
    assert_eq!(sound(Side::Client, &[(0x88, &close)]), [Message::Close(Some(Close::new(1000, reason)))]);
    assert_eq!(fault(&[(0x88, &[&close[..], b"r"].concat())]), Violation::Control);
}

#[test]
fn a_frame_has_its_limit_and_a_message_four_times_that() {
    let full = [9; MAX as usize];
    assert_eq!(sound(Side::Client, &[(0x82, &full)]), [Message::Binary(full.to_vec())]);
    assert_eq!(fault(&[(0x82, &[9; MAX as usize + 1])]), Violation::FrameTooLong(MAX));
    let four: [(u8, &[u8]); 4] = [(0x02, &full), (0x00, &full), (0x00, &full), (0x80, &full)];
    assert_eq!(sound(Side::Backend, &four), [Message::Binary(vec![9; 4 * MAX as usize])]);
    let five: [(u8, &[u8]); 5] = [(0x02, &full), (0x00, &full), (0x00, &full), (0x00, &full), (0x80, &[1])];
    assert_eq!(fault(&five), Violation::MessageTooLong(4 * MAX));
    let huge = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(assembled(Side::Client, [&huge[..]]).1, Err(Violation::FrameTooLong(MAX)));
    let mut without_limit = Assembler::new(Side::Client, u64::MAX);
    let mut begun = &frame(Side::Client, 0x02, b"a")[..];
    assert_eq!(without_limit.read(&mut begun), Ok(None));
    let mut behind = &[&[0x80], &huge[1..]].concat()[..];
    assert_eq!(without_limit.read(&mut behind), Ok(None), "sums do not overflow");
}

#[test]
fn text_is_utf_8_across_its_fragments() {
    let crab = "🦀".as_bytes();
    for cut in 1..crab.len() {
        let (front, back) = crab.split_at(cut);
        assert_eq!(sound(Side::Client, &[(0x01, front), (0x80, back)]), [text("🦀")], "cut at {cut}");
        assert_eq!(fault(&[(0x81, front)]), Violation::Text, "cut off at {cut}");
        assert_eq!(fault(&[(0x01, front), (0x80, b"")]), Violation::Text);
    }
    for bad in [&b"\xff"[..], b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"] {
        assert_eq!(fault(&[(0x81, bad)]), Violation::Text, "{bad:x?}");
        assert_eq!(sound(Side::Client, &[(0x82, bad)]), [Message::Binary(bad.to_vec())], "binary may be anything");
    }
}

#[test]
fn bad_text_is_refused_before_its_message_ends() {
    let begun = frame(Side::Client, 0x01, b"fine \xff");
    assert_eq!(assembled(Side::Client, [&begun[..]]).1, Err(Violation::Text), "more fragments are to come");
    let long = frame(Side::Client, 0x81, &[b"\xc3\x28".as_slice(), &[b'a'; 200]].concat());
    assert_eq!(assembled(Side::Client, [&long[..20]]).1, Err(Violation::Text), "more of the frame is to come");
}

#[test]
fn a_close_has_no_code_or_one_that_may_be_sent_and_a_reason_that_is_text() {
    assert_eq!(sound(Side::Client, &[(0x88, b"")]), [Message::Close(None)]);
    for code in [1000, 1003, 1007, 1014, 3000, 4999_u16] {
        let close = sound(Side::Backend, &[(0x88, &code.to_be_bytes())]);
        assert_eq!(close, [Message::Close(Some(Close::new(code, "")))]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535_u16] {
        assert_eq!(fault(&[(0x88, &code.to_be_bytes())]), Violation::CloseCode, "{code}");
    }
    assert_eq!(fault(&[(0x88, &[0x03])]), Violation::CloseCode);
    assert_eq!(fault(&[(0x88, &[0x03, 0xe8, 0xff])]), Violation::Text);
}

#[test]
fn faults_have_the_codes_of_the_rfc() {
    assert_eq!(Violation::Text.close_code(), 1007);
    assert_eq!((Violation::FrameTooLong(1).close_code(), Violation::MessageTooLong(1).close_code()), (1009, 1009));
    for violation in [Violation::Reserved, Violation::Mask, Violation::Fragments, Violation::CloseCode] {
        assert_eq!(violation.close_code(), 1002, "{violation:?}");
    }
}

#[test]
fn memory_follows_what_has_come_and_not_what_is_promised() {
    let mut assembler = Assembler::new(Side::Backend, 1 << 24);
    let mut header = engine::buffer::Buffer::head();
    write_header(&mut header, &Header { first: FINAL | BINARY, length: 1 << 24, key: None });
    assert_eq!(assembler.read(&mut &header[..]), Ok(None));
    assert_eq!(assembler.data.capacity(), 0);
    let piece = vec![0; 4096];
    for sent in 1..=200 {
        assert_eq!(assembler.read(&mut &piece[..]), Ok(None));
        assert!(assembler.data.capacity() <= (2 * sent * piece.len()), "{sent}");
    }
}

#[test]
fn a_message_of_many_small_fragments_is_not_moved_for_each_of_them() {
    let mut assembler = Assembler::new(Side::Backend, 1 << 20);
    let (mut growths, mut capacity) = (0, 0);
    for at in 0..100_000 {
        let sent = frame(Side::Backend, if at == 0 { 0x02 } else { 0x00 }, b"x");
        assert_eq!(assembler.read(&mut &sent[..]), Ok(None));
        growths += usize::from(assembler.data.capacity() != capacity);
        capacity = assembler.data.capacity();
    }
    assert!(growths <= 20, "{growths}");
}

#[test]
fn a_message_in_one_piece_takes_as_much_memory_as_it_is_long() {
    let sent = frame(Side::Client, 0x82, &[1; 700]);
    let Ok(Some(Message::Binary(payload))) = Assembler::new(Side::Client, MAX).read(&mut &sent[..]) else {
        panic!("a message")
    };
    assert_eq!((payload.len(), payload.capacity()), (700, 700));
}
