//! Fuzzes reading any model file with any options: `cargo +nightly fuzz run model_file tests/corpus/model_file`.

#![no_main]

#[path = "../../tests/common/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::load_input(data));
