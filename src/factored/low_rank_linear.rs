//! Two thin products in place of one.

use super::dense::DenseWeight;
use super::low_rank::LowRank;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{Mat, MatMut, MatRef, grow};
use crate::quant::QuantizedMat;

/// The map `x -> U (V x)`: a factored weight, in `f32` or in 8 bits. In 8 bits, `V x` is quantized in its turn, each
/// vector by itself.
///
/// # Example
/// ```
/// use skinny::{Mat, MatMut, MatRef, Tier, factored::{LowRank, LowRankLinear, Scratch}, kernels::Activation};
///
/// let u = Mat::from_vec(vec![1.0, 2.0, 3.0], 3, 1)?;
/// let v = Mat::from_vec(vec![1.0, -1.0], 1, 2)?;
/// let layer = LowRankLinear::from(LowRank::from_factors(u, v)?).quantize(Tier::select()?)?;
/// let mut out = [0.0; 3];
/// let x = MatRef::row_vector(&[2.0, 0.5]);
/// layer.apply(x, None, Activation::Identity, MatMut::row_vector(&mut out), &mut Scratch::new())?;
/// for (y, exact) in out.into_iter().zip([1.5, 3.0, 4.5]) {
///     assert!((y - exact).abs() < 0.01 * exact);
/// }
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LowRankLinear {
    u: DenseWeight,
    v: DenseWeight,
}

impl From<LowRank> for LowRankLinear {
    fn from(low_rank: LowRank) -> Self {
        let (u, v) = low_rank.into_factors();
        Self { u: DenseWeight::from_finite(u), v: DenseWeight::from_finite(v) }
    }
}

impl LowRankLinear {
    /// Takes two factors that were quantized separately: `u` is `n x rank`, `v` is `rank x k`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ, and those of [`QuantizedMat::pack`].
    pub fn from_quantized(u: &QuantizedMat, v: &QuantizedMat, tier: Tier) -> Result<Self> {
        v.values().expect_shape("factor V", u.k(), v.k())?;
        Ok(Self { u: u.pack(tier)?, v: v.pack(tier)? })
    }

    /// Takes two factors in whatever form each is: `u` is `n x rank`, `v` is `rank x k`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ.
    pub fn from_parts(u: DenseWeight, v: DenseWeight) -> Result<Self> {
        if u.k() != v.n() {
            return Err(Error::Shape { what: "factor V", expected: (u.k(), v.k()), found: (v.n(), v.k()) });
        }
        Ok(Self { u, v })
    }

    /// The same in 8 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::Stored`] unless it is in `f32`, and those of [`QuantizedMat::pack`].
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same in 8 or in 4 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
        Ok(Self { u: self.u.quantize_to(format, tier)?, v: self.v.quantize_to(format, tier)? })
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.u.n()
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        self.v.k()
    }

    /// The rank: columns of `U`, rows of `V`.
    pub fn rank(&self) -> usize {
        self.v.n()
    }

    /// The factor `U`, `n x rank`.
    pub fn u(&self) -> &DenseWeight {
        &self.u
    }

    /// The factor `V`, `rank x k`.
    pub fn v(&self) -> &DenseWeight {
        &self.v
    }

    /// The factors, if they are in `f32`.
    pub fn to_low_rank(&self) -> Option<LowRank> {
        let mat = |w: &DenseWeight| {
            let w = w.as_f32()?;
            Mat::from_vec(w.as_slice().to_vec(), w.rows(), w.cols()).ok()
        };
        LowRank::from_factors(mat(&self.u)?, mat(&self.v)?).ok()
    }

    /// Bytes that the two products stream from memory.
    pub fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }

    /// `out = activation(x V^T U^T + bias)`: `x` is `m x k`, `out` is `m x n`, `bias` has `n` elements.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit, [`Error::Allocation`].
    pub fn apply(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (m, rank) = (x.rows(), self.rank());
        out.expect_shape("output", m, self.n())?;
        let len = m.checked_mul(rank).ok_or(Error::TooLarge { what: "low-rank vectors", rows: m, cols: rank })?;
        // Out of the scratch while the products use the rest of it.
        let mut low_rank = core::mem::take(&mut scratch.low_rank);
        let done = grow(&mut low_rank, len).and_then(|()| {
            let mut inner = MatMut::from_checked(&mut low_rank[..len], m, rank);
            self.v.apply(x, None, Activation::Identity, inner.reborrow(), scratch)?;
            self.u.apply(inner.view(), bias, activation, out, scratch)
        });
        scratch.low_rank = low_rank;
        done
    }
}
