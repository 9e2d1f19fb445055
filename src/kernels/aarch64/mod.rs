//! Kernels for AArch64. They see [`micro`](super::micro), the layouts of [`pack`](super::pack) and what they share among
//! themselves.
//!
//! A pointer that steps through an operand from somewhere inside it ends somewhere behind it: it is stepped by
//! `wrapping_add`, which may leave the operand, and not read there.

// Sums, weights and activations of a tile are indexed by row and column, as in the formulas.
#![allow(clippy::needless_range_loop)]

pub(super) mod dotprod;
pub(super) mod dotprod_i4;
#[cfg(not(miri))]
pub(super) mod epilogue;
pub(super) mod i8mm;
pub(super) mod i8mm_i4;
#[cfg_attr(miri, path = "instructions_miri.rs")]
mod instructions;
pub(super) mod neon;
pub(super) mod neon_i4;
mod ops;
mod tile;
