//! Fuzzes products with any arguments: `cargo +nightly fuzz run gemm tests/corpus/gemm`.

#![no_main]

#[path = "../../tests/common/bytes.rs"]
mod bytes;
#[path = "../../tests/common/formulas.rs"]
mod formulas;
#[path = "../../tests/common/hostile_gemm.rs"]
mod hostile_gemm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_gemm::multiply(data));
