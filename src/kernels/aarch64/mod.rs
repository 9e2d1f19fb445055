//! Kernels for AArch64. They see [`micro`](super::micro) and `ops` alone.

pub(super) mod dotprod;
pub(super) mod dotprod_i4;
pub(super) mod epilogue;
pub(super) mod i8mm;
pub(super) mod i8mm_i4;
pub(super) mod neon;
pub(super) mod neon_i4;
mod ops;
mod tile;
