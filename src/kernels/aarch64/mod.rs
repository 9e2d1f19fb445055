//! Kernels for AArch64. They see [`micro`](super::micro), the layouts of [`pack`](super::pack) and `ops` alone.

// Sums, weights and activations of a tile are indexed by row and column, as in the formulas.
#![allow(clippy::needless_range_loop)]

pub(super) mod dotprod;
pub(super) mod dotprod_i4;
pub(super) mod epilogue;
pub(super) mod i8mm;
pub(super) mod i8mm_i4;
pub(super) mod neon;
pub(super) mod neon_i4;
mod ops;
mod tile;
