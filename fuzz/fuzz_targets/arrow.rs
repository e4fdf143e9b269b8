//! The decoder of Arrow streams. Damaged input is an error or a refusal, never a crash: what the
//! reader panics at is caught there.
#![no_main]

mod plant;

use libfuzzer_sys::fuzz_target;
use millstream::ingest::format::arrow::decode;
use plant::Plant;

fuzz_target!(
    // The fuzzer would end the process at a panic that is caught.
    init: std::panic::set_hook(Box::new(|_| {})),
    |body: &[u8]| {
        let plant = Plant::new();
        let mut outcome = Ok(());
        let routed = plant.route(|router| outcome = decode(body, router));
        if let Err(error) = outcome {
            assert!(!error.to_string().is_empty());
            assert!(routed.batches.is_empty(), "what is refused as a whole has no rows");
        }
    }
);
