//! Kernels for AArch64. They see [`micro`](super::micro) and `ops` alone.

pub(super) mod dotprod;
pub(super) mod epilogue;
pub(super) mod i8mm;
pub(super) mod neon;
mod ops;
mod tile;
