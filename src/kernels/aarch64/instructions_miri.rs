//! The functions of `instructions.rs` for Miri, which does not interpret assembly. They follow the definitions of the
//! instructions.

use core::arch::aarch64::*;
use core::array::from_fn;

fn bytes(v: int8x16_t) -> [i32; 16] {
    // SAFETY: both are sixteen bytes, and all bit patterns are valid in both.
    let bytes: [i8; 16] = unsafe { core::mem::transmute(v) };
    bytes.map(i32::from)
}

/// Adds `terms` products to each of the four sums: bytes of `a` starting at `at(sum)[0]` times bytes of `b` starting at
/// `at(sum)[1]`.
fn add_dots(acc: int32x4_t, a: int8x16_t, b: int8x16_t, terms: usize, at: impl Fn(usize) -> [usize; 2]) -> int32x4_t {
    let (a, b) = (bytes(a), bytes(b));
    // SAFETY: both are sixteen bytes, and all bit patterns are valid in both.
    let acc: [i32; 4] = unsafe { core::mem::transmute(acc) };
    let sums: [i32; 4] = from_fn(|sum| {
        let [i, j] = at(sum);
        (0..terms).fold(acc[sum], |total, term| total.wrapping_add(a[i + term] * b[j + term]))
    });
    // SAFETY: as above.
    unsafe { core::mem::transmute(sums) }
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot_lane<const LANE: i32>(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    add_dots(acc, a, b, 4, |sum| [4 * sum, 4 * LANE as usize])
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    add_dots(acc, a, b, 4, |sum| [4 * sum, 4 * sum])
}

#[target_feature(enable = "neon,i8mm")]
pub(super) fn smmla(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    add_dots(acc, a, b, 8, |sum| [sum / 2 * 8, sum % 2 * 8])
}

#[target_feature(enable = "neon")]
pub(super) fn prefetch<T>(_address: *const T) {}

#[target_feature(enable = "neon")]
pub(super) fn mls(acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vmlsq_s32(acc, a, b)
}

#[target_feature(enable = "neon")]
pub(super) fn high_weights(a: int8x16_t) -> int8x16_t {
    let high = bytes(a).map(|byte| ((byte + 8) >> 4) as i8);
    // SAFETY: both are sixteen bytes, and all bit patterns are valid in both.
    unsafe { core::mem::transmute(high) }
}
