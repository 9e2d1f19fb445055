//! Instructions whose intrinsics are not stable yet, one function each.
//!
//! The options `pure, nomem, nostack, preserves_flags` tell the compiler that the results depend only on the operands.
//! It therefore schedules these instructions and allocates their registers as for any intrinsic.

use core::arch::aarch64::*;
use core::arch::asm;

/// `sdot acc.4s, a.16b, b.4b[LANE]`: adds to each of four sums the dot product of its four bytes of `a` and the four
/// bytes of lane `LANE` of `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot_lane<const LANE: i32>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `dotprod`, which the caller must have enabled.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `sdot acc.4s, a.16b, b.16b`: adds to each of four sums the dot product of its four bytes of `a` and `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `dotprod`, which the caller must have enabled.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `smmla acc.4s, a.16b, b.16b`: adds the 2 x 2 product of two 2 x 8 matrices, `a` times `b` transposed, row by row.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `i8mm`, which the caller must have enabled.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `prfm pldl1keep, [at]`: a hint that the cache line at `at` will be read soon. Any address is allowed.
///
/// Returns `pointer`. An instruction without a result would be one that the compiler knows nothing of, and it would keep
/// sums in memory because of it.
#[inline]
pub(super) fn prefetch<T>(at: *const u8, mut pointer: *const T) -> *const T {
    // SAFETY: a hint has no effect that the program can see.
    unsafe {
        asm!(
            "prfm pldl1keep, [{at}]",
            "/* {pointer} */",
            at = in(reg) at, pointer = inout(reg) pointer,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    pointer
}
