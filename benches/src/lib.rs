//! Random-looking operands for the benches and for the programs that count.

use skinny::Mat;

/// A matrix of random-looking bytes in -127..=127 (SplitMix64).
pub fn random_bytes(seed: u64, rows: usize, cols: usize) -> Mat<i8> {
    let mut state = seed;
    let values = (0..rows * cols).map(|_| ((next(&mut state) >> 32) as i8).max(-127)).collect();
    Mat::from_vec(values, rows, cols).expect("as many values as elements")
}

/// A matrix of random-looking floats in -1..1 (SplitMix64).
pub fn random_floats(seed: u64, rows: usize, cols: usize) -> Mat<f32> {
    let mut state = seed;
    let values = (0..rows * cols).map(|_| ((next(&mut state) as i64) >> 40) as f32 / (1u32 << 23) as f32).collect();
    Mat::from_vec(values, rows, cols).expect("as many values as elements")
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
