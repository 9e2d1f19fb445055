//! Kernels for AArch64. They know [`micro`](super::micro), [`layout`](super::layout) and the code that they share.
//!
//! A pointer that steps through an operand from inside it ends somewhere behind it. Such a pointer is stepped by
//! `wrapping_add`, which may leave the operand, and is not read there.

// Sums, weights and activations of a tile are indexed by row and column, as in the formulas.
#![allow(clippy::needless_range_loop)]

#[cfg(not(miri))]
pub(crate) mod bytes;
#[cfg(not(miri))]
pub(super) mod detect;
mod dotprod;
mod dotprod_i2;
mod dotprod_i4;
mod dotprod_i4_groups;
#[cfg(not(miri))]
pub(super) mod epilogue;
mod i8mm;
mod i8mm_i2;
mod i8mm_i4;
mod i8mm_i4_groups;
#[cfg_attr(miri, path = "instructions_miri.rs")]
mod instructions;
mod neon;
mod neon_i2;
mod neon_i4;
mod neon_i4_groups;
mod ops;
mod slice_i2;
mod tile;

use super::micro::Family;

/// The tables of all kernel files.
pub(super) static TABLES: [&[Family]; 12] = [
    &neon::FAMILIES,
    &neon_i4::FAMILIES,
    &neon_i4_groups::FAMILIES,
    &neon_i2::FAMILIES,
    &dotprod::FAMILIES,
    &dotprod_i4::FAMILIES,
    &dotprod_i4_groups::FAMILIES,
    &dotprod_i2::FAMILIES,
    &i8mm::FAMILIES,
    &i8mm_i4::FAMILIES,
    &i8mm_i4_groups::FAMILIES,
    &i8mm_i2::FAMILIES,
];
