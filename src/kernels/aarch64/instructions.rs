//! Instructions whose intrinsics are not stable yet, or unknown to Miri, one function each.
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

/// `mls acc.4s, a.4s, b.4s`: takes four products from four sums. The compiler would reorder its intrinsic with the additions
/// around it, to multiply, negate and add, for which it then lacks registers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mls(mut acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `neon`, which the caller must have enabled.
    unsafe {
        asm!(
            "mls {acc:v}.4s, {a:v}.4s, {b:v}.4s",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `prfm pldl1keep, [address]`: a hint that the line at `address` will be read. It reads nothing itself, and has no
/// effect where there is no memory.
///
/// It is not `pure`, or it would be left out. `nomem` lets loads move across it, which the compiler would otherwise keep
/// in order.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn prefetch<T>(address: *const T) {
    // SAFETY: a hint touches no memory that a program can see.
    unsafe {
        asm!("prfm pldl1keep, [{address}]", address = in(reg) address.addr(), options(nomem, nostack, preserves_flags))
    }
}

/// `srshr a.16b, #4`: the high weights of 16 bytes. Rounding undoes the borrow of negative low weights.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn high_weights(a: int8x16_t) -> int8x16_t {
    vrshrq_n_s8::<4>(a)
}
