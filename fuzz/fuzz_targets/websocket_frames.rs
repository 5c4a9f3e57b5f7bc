//! The meter of WebSocket frames: the same verdict, count and state however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::fuzzing::{FrameMeter, Side, Violation};

const FRAME_BYTES_MAX: u64 = 1000;

fn metered(input: &[u8], from: Side, mut step: impl FnMut() -> usize) -> Result<(u64, bool, bool), Violation> {
    let mut meter = FrameMeter::new(from, FRAME_BYTES_MAX);
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(step().clamp(1, rest.len()));
        meter.note(piece)?;
        rest = behind;
    }
    Ok((meter.frames, meter.is_closed(), meter.is_between_frames()))
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, input)) = data.split_first() else { return };
    let from = if seed & 1 == 0 { Side::Client } else { Side::Backend };
    let whole = metered(input, from, || usize::MAX);
    assert_eq!(metered(input, from, || 1), whole);
    let mut turn = usize::from(*seed);
    let cut = metered(input, from, || {
        turn = turn.wrapping_mul(31).wrapping_add(7);
        turn % 13
    });
    assert_eq!(cut, whole);
});
