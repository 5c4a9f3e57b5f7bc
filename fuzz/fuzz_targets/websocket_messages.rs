//! WebSocket messages out of frames: the same messages and verdict however the bytes are cut, no fault that the meter of frames does
//! not see as well unless it is one of a payload, and messages that are read again as what they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plugins::websocket::Message;
use protocols::fuzzing::{Assembler, Encoder, FrameMeter, Side, Violation};

const FRAME_BYTES_MAX: u64 = 1000;

/// All messages, and whether there was a Close, or the fault.
type Read = (Vec<Message>, Result<bool, Violation>);

fn read(input: &[u8], from: Side, mut step: impl FnMut() -> usize) -> Read {
    let mut assembler = Assembler::new(from, FRAME_BYTES_MAX);
    let mut messages = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at(step().clamp(1, rest.len()));
        loop {
            match assembler.read(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(violation) => return (messages, Err(violation)),
            }
        }
        assert!(piece.is_empty());
        rest = behind;
    }
    (messages, Ok(assembler.is_closed()))
}

fn check_meter(input: &[u8], from: Side, read: &Read) {
    let mut meter = FrameMeter::new(from, FRAME_BYTES_MAX);
    let noted = meter.note(input);
    match read.1 {
        Ok(is_closed) => {
            assert_eq!(noted, Ok(()));
            assert_eq!(meter.is_closed(), is_closed);
            assert!(meter.frames >= read.0.len() as u64);
        }
        Err(Violation::Text | Violation::CloseCode) => {}
        Err(violation) => assert_eq!(noted, Err(violation)),
    }
}

/// What goes on says what came.
fn check_written(from: Side, messages: &[Message]) {
    let mut encoder = Encoder::new(from.other());
    let mut bytes = Vec::new();
    for message in messages {
        let long = encoder.push(message.clone());
        bytes.extend_from_slice(&encoder.take().0);
        bytes.extend(long.iter().flat_map(|long| long.iter()));
    }
    let mut assembler = Assembler::new(from, 4 * FRAME_BYTES_MAX);
    let mut rest = &bytes[..];
    for message in messages {
        assert_eq!(assembler.read(&mut rest).as_ref().map(Option::as_ref), Ok(Some(message)));
    }
    assert!(rest.is_empty());
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, input)) = data.split_first() else { return };
    let from = if seed & 1 == 0 { Side::Client } else { Side::Backend };
    let whole = read(input, from, || usize::MAX);
    assert_eq!(read(input, from, || 1), whole);
    let mut turn = usize::from(*seed);
    let cut = read(input, from, || {
        turn = turn.wrapping_mul(31).wrapping_add(7);
        turn % 13
    });
    assert_eq!(cut, whole);
    check_meter(input, from, &whole);
    check_written(from, &whole.0);
});
