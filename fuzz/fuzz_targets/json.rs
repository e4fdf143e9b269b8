//! The JSON decoder. Whatever the bytes are, every element is taken or refused; and lines mean the
//! same together as each by itself.
#![no_main]

mod plant;

use libfuzzer_sys::fuzz_target;
use millstream::ingest::format::json::{Framing, decode};
use plant::Plant;

fuzz_target!(|body: &[u8]| {
    let plant = Plant::new();
    for device in [None, Some("d-1")] {
        plant.route(|router| decode(body, Framing::Detect, device, router));
        let together = plant.route(|router| decode(body, Framing::Lines, device, router));
        let (mut points, mut messages, mut rejected) = (0, 0, 0);
        let is_blank = |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        for line in body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)) {
            let alone = plant.route(|router| decode(line, Framing::Lines, device, router));
            points += alone.points;
            messages += alone.messages;
            rejected += alone.rejected.len();
        }
        if messages == 0 {
            assert_eq!(together.rejected.len(), 1, "an empty body is refused");
        } else {
            let all = (together.points, together.messages, together.rejected.len());
            assert_eq!(all, (points, messages, rejected));
        }
    }
});
