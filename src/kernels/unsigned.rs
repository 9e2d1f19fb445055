//! Unsigned 8-bit products with offsets, as farm and gemmlowp define them, computed by the signed kernels.
//!
//! gemmlowp's 8-bit interface computes `sum((l + lhs_offset) * (r + rhs_offset))` over the depth. Let `w = l - 128` and
//! `x = r - 128` (a flip of the highest bit), `a = 128 + lhs_offset` and `b = 128 + rhs_offset`. The sum is then
//!
//! ```text
//! sum(w x) + a sum(x) + b sum(w) + k a b        modulo 2^32
//! ```
//!
//! The signed kernels compute the first term. [`Offsets`] supply the others.

use alloc::vec::Vec;

use super::epilogue::Epilogue;
use super::gemm::{Activations, Offsets, Workspace, gemm};
use super::pack::PackedMat;
use crate::error::{Error, Result};
use crate::matrix::{Mat, MatMut, MatRef, grow};
use crate::tier::Tier;

/// The range of offsets. A byte plus such an offset fits an `i16`, so the product of two such factors fits an `i32`.
const OFFSETS: core::ops::RangeInclusive<i32> = -32768..=32512;

/// Unsigned weights, packed once: the left-hand side in farm and gemmlowp, `n` output features x `k` depth.
///
/// # Example
/// ```
/// use skinny::kernels::{Requantize, Shift};
/// use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
/// use skinny::{MatMut, MatRef, Tier};
///
/// let lhs = UnsignedMat::pack(MatRef::new(&[130, 126, 128, 255], 2, 2)?, Tier::select()?)?;
/// let rhs = [10, 20]; // one column of depth 2
/// let mut result = [0u8; 2];
/// // (130-128)*10 + (126-128)*20 = -20 and (128-128)*10 + (255-128)*20 = 2540; then ((sum + 100) * 3) >> 5, rounded.
/// let shift = Requantize::new(Shift { offset: 100, multiplier: 3, shift: 5 });
/// let mut workspace = UnsignedWorkspace::new();
/// lhs.multiply(-128, MatRef::row_vector(&rhs), 0, &shift, MatMut::row_vector(&mut result), &mut workspace)?;
/// assert_eq!(result, [8, 248]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnsignedMat(PackedMat);

/// Memory for unsigned products, kept from call to call.
///
/// Once it has grown, a product on the caller's thread allocates nothing. [`Threads`](crate::kernels::Threads) says
/// what a product on a pool allocates.
#[derive(Debug, Default)]
pub struct UnsignedWorkspace {
    workspace: Workspace,
    signed: Vec<i8>,
    constants: Vec<i32>,
    row_sum_factors: Vec<i32>,
}

impl UnsignedWorkspace {
    /// An empty workspace that runs everything on the caller's thread.
    pub fn new() -> Self {
        Self::default()
    }

    /// A workspace with the memory and threads of `workspace`.
    pub fn with_workspace(workspace: Workspace) -> Self {
        Self { workspace, ..Self::default() }
    }
}

/// `byte - 128`.
fn signed(byte: u8) -> i8 {
    (byte ^ 0x80) as i8
}

impl UnsignedMat {
    /// Packs `lhs` (`n x k`, row by row) for the kernels of `tier`.
    ///
    /// # Errors
    /// The errors of [`PackedMat::for_tier`].
    pub fn pack(lhs: MatRef<'_, u8>, tier: Tier) -> Result<Self> {
        let mut values = Mat::<i8>::zeros(lhs.rows(), lhs.cols())?;
        for (value, &byte) in values.as_mut_slice().iter_mut().zip(lhs.as_slice()) {
            *value = signed(byte);
        }
        Ok(Self(PackedMat::for_tier(values.view(), tier)?))
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.0.n()
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.0.k()
    }

    /// Computes `out = epilogue(sum((lhs + lhs_offset) * (rhs + rhs_offset)))`, with sums modulo `2^32`.
    ///
    /// `rhs` has one row per column of the right-hand side (`m x k`), and `out` is `m x n`.
    ///
    /// With `Requantize::new(Shift { .. })` as the epilogue, this is the 8-bit interface of farm and gemmlowp.
    /// `Shift`'s `offset`, `multiplier` and `shift` are `result_offset`, `result_mult_int` and `result_shift`. With
    /// [`Sums`](crate::kernels::Sums), the output is their 32-bit result.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an offset outside -32768..=32512, and the errors of [`gemm`].
    pub fn multiply<E: Epilogue>(
        &self,
        lhs_offset: i32,
        rhs: MatRef<'_, u8>,
        rhs_offset: i32,
        epilogue: &E,
        out: MatMut<'_, E::Output>,
        workspace: &mut UnsignedWorkspace,
    ) -> Result<()> {
        for (what, offset) in [("lhs_offset", lhs_offset), ("rhs_offset", rhs_offset)] {
            if !OFFSETS.contains(&offset) {
                return Err(Error::Parameter { what, value: offset.into(), expected: "in -32768..=32512" });
            }
        }
        let (m, k) = rhs.shape();
        rhs.expect_shape("right-hand side", m, self.k())?;
        let UnsignedWorkspace { workspace, signed: values, constants, row_sum_factors } = workspace;
        grow(values, m * k)?;
        grow(constants, m)?;
        grow(row_sum_factors, m)?;

        let (a, b) = (128 + lhs_offset, 128 + rhs_offset);
        // Both factors are below 2^15 in magnitude, so their product fits. Its multiple is meant modulo 2^32.
        let constant = (a * b).wrapping_mul(k as i32);
        for column in 0..m {
            let mut sum = 0i32;
            for (value, &byte) in values[column * k..][..k].iter_mut().zip(rhs.row(column)) {
                *value = signed(byte);
                sum += i32::from(*value);
            }
            constants[column] = constant.wrapping_add(a.wrapping_mul(sum));
            row_sum_factors[column] = b;
        }
        let x = MatRef::new(&values[..m * k], m, k)?;
        let offsets = Offsets { constant: &constants[..m], row_sum_factor: &row_sum_factors[..m] };
        gemm(&self.0, Activations::with_offsets(x, offsets), epilogue, out, workspace)
    }
}
