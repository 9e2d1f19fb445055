//! A factored weight: two thin products instead of one.

use alloc::sync::Arc;

use super::dense::{DenseWeight, Shared};
use super::expect_finite;
use super::low_rank::LowRank;
use super::quantization::Quantization;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{Mat, MatMut, MatRef, grow};
use crate::quant::QuantizedMat;

/// The map `x -> U (V x)`: a factored weight, in `f32` or quantized. If it is quantized, `V x` is quantized too, each
/// vector on its own.
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
    /// Other weights may share it.
    u: Arc<DenseWeight>,
    v: DenseWeight,
}

impl From<LowRank> for LowRankLinear {
    fn from(low_rank: LowRank) -> Self {
        let (u, v) = low_rank.into_factors();
        Self { u: Arc::new(DenseWeight::from_finite(u)), v: DenseWeight::from_finite(v) }
    }
}

impl LowRankLinear {
    /// Takes two factors that were quantized separately: `u` is `n x rank`, `v` is `rank x k`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ, and those of [`QuantizedMat::pack`].
    pub fn from_quantized(u: &QuantizedMat, v: &QuantizedMat, tier: Tier) -> Result<Self> {
        v.values().expect_shape("factor V", u.k(), v.k())?;
        Ok(Self { u: Arc::new(u.pack(tier)?), v: v.pack(tier)? })
    }

    /// Makes maps that share the factor `U`, from one factorization of matrices side by side:
    /// `[W_1 | W_2 | ..] ~ U [V_1 | V_2 | ..]`. `u` is `n x rank`; each `v` is `rank x k`, with its own `k`.
    ///
    /// Layers made of such maps ([`Scheme::Joint`](super::Scheme::Joint)) still share `U` after quantization.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ, [`Error::Rank`] if the rank is 0 or exceeds `n` or the sum of all `k`,
    /// [`Error::NotFinite`].
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Gru, LowRankLinear}};
    ///
    /// let (input, hidden, rank) = (5, 4, 2);
    /// let factor = |rows, cols| Mat::from_vec(vec![0.1; rows * cols], rows, cols);
    /// let v = [factor(rank, input)?, factor(rank, hidden)?];
    /// let [weight_ih, weight_hh] = LowRankLinear::with_shared_u(factor(3 * hidden, rank)?, v)?;
    /// assert!(weight_ih.shares_u_with(&weight_hh));
    /// let gru = Gru::new(weight_ih, weight_hh, None, None)?;
    /// assert_eq!(gru.parameters(), rank * (3 * hidden + input + hidden));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn with_shared_u<const N: usize>(u: Mat<f32>, v: [Mat<f32>; N]) -> Result<[Self; N]> {
        let rank = u.cols();
        for v in &v {
            v.view().expect_shape("factor V", rank, v.cols())?;
        }
        let depth = v.iter().fold(0usize, |depth, v| depth.saturating_add(v.cols()));
        let max = u.rows().min(depth);
        if !(1..=max).contains(&rank) {
            return Err(Error::Rank { rank, max });
        }
        expect_finite("factor U", u.as_slice())?;
        for v in &v {
            expect_finite("factor V", v.as_slice())?;
        }
        let u = Arc::new(DenseWeight::from_finite(u));
        Ok(v.map(|v| Self { u: u.clone(), v: DenseWeight::from_finite(v) }))
    }

    /// Whether both use the same `U` in memory.
    pub fn shares_u_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.u, &other.u)
    }

    /// Takes two factors, each in any storage format: `u` is `n x rank`, `v` is `rank x k`. Maps that are given the
    /// same `u` share it, as with [`with_shared_u`](Self::with_shared_u).
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ.
    pub fn from_parts(u: impl Into<Arc<DenseWeight>>, v: DenseWeight) -> Result<Self> {
        let u = u.into();
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

    /// The same in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        let format = format.into();
        self.quantize_with(|u| Ok(Arc::new(u.quantize_to(format, tier)?)), format, tier)
    }

    /// The same as [`quantize_to`](Self::quantize_to), with `U` quantized by `quantize_u`.
    pub(super) fn quantize_with<'a>(
        &'a self,
        quantize_u: impl FnOnce(&'a Arc<DenseWeight>) -> Result<Arc<DenseWeight>>,
        format: Quantization,
        tier: Tier,
    ) -> Result<Self> {
        Ok(Self { u: quantize_u(&self.u)?, v: self.v.quantize_to(format, tier)? })
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

    /// The factors, if they are in `f32` and `rank` is at most `min(n, k)`. A shared `U` may have a higher rank.
    pub fn to_low_rank(&self) -> Option<LowRank> {
        let mat = |w: &DenseWeight| {
            let w = w.as_f32()?;
            Mat::from_vec(w.as_slice().to_vec(), w.rows(), w.cols()).ok()
        };
        LowRank::from_factors(mat(&self.u)?, mat(&self.v)?).ok()
    }

    /// Number of weights of both factors, `rank * (n + k)`.
    pub fn parameters(&self) -> usize {
        self.u.parameters() + self.v.parameters()
    }

    /// Bytes that the two products read from memory.
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
        self.apply_with(x, Shared::default(), bias, activation, out, scratch)
    }

    /// The same as [`apply`](Self::apply), with `x` already quantized as in [`DenseWeight::apply_with`].
    pub(super) fn apply_with(
        &self,
        x: MatRef<'_, f32>,
        shared: Shared<'_>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (m, rank) = (x.rows(), self.rank());
        out.expect_shape("output", m, self.n())?;
        let len = m.checked_mul(rank).ok_or(Error::TooLarge { what: "low-rank vectors", rows: m, cols: rank })?;
        // Taken out of the scratch while the products use the rest of it.
        let mut low_rank = core::mem::take(&mut scratch.low_rank);
        let done = grow(&mut low_rank, len).and_then(|()| {
            let mut inner = MatMut::from_checked(&mut low_rank[..len], m, rank);
            self.v.apply_with(x, shared, None, Activation::Identity, inner.reborrow(), scratch)?;
            self.u.apply(inner.view(), bias, activation, out, scratch)
        });
        scratch.low_rank = low_rank;
        done
    }
}
