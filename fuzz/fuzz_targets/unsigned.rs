//! Fuzzes unsigned products with any offsets: `cargo +nightly fuzz run unsigned tests/corpus/unsigned`.

#![no_main]

#[path = "../../tests/common/bytes.rs"]
mod bytes;
#[path = "../../tests/common/hostile_unsigned.rs"]
mod hostile_unsigned;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_unsigned::multiply_unsigned(data));
