//! Recordings from anywhere: `cargo +nightly fuzz run wav tests/corpus/wav`.

#![no_main]

#[path = "../../tests/common/hostile_wav.rs"]
mod hostile_wav;
#[allow(dead_code, reason = "the example opens files")]
#[path = "../../examples/digits/wav.rs"]
mod wav;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_wav::decode(data));
