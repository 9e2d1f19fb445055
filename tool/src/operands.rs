//! Random weights of a product, before a tier packs them.

use skinny::kernels::{MAX_I4, MAX_MULTIPLIER_I2, PackedMat, WeightFormat, reference};
use skinny::{Mat, MatRef, Tier};

use crate::error::{Failure, Result};
use crate::random::Random;

/// Weights `n x k`, the same ones in every run.
pub struct Weights {
    format: WeightFormat,
    values: Mat<i8>,
    /// Of groups, if the format has any.
    multipliers: Mat<i8>,
}

impl Weights {
    pub fn random(n: usize, k: usize, format: WeightFormat) -> Result<Self> {
        let mut values = Random::new(1).bytes(n * k);
        match format {
            WeightFormat::I8 => (),
            WeightFormat::I2Group64 => values.iter_mut().for_each(|w| *w >>= 6),
            _ => values.iter_mut().for_each(|w| *w %= MAX_I4 + 1),
        }
        let groups = format.group().map_or(0, |group| k.div_ceil(group));
        let multiplier = |m: i8| match format {
            WeightFormat::I2Group64 => m % (MAX_MULTIPLIER_I2 + 1),
            _ => m.max(-127).abs(),
        };
        let multipliers = Random::new(3).bytes(n * groups).into_iter().map(multiplier).collect();
        let (values, multipliers) = (Mat::from_vec(values, n, k)?, Mat::from_vec(multipliers, n, groups)?);
        Ok(Self { format, values, multipliers })
    }

    /// The weights as the kernels of a tier take them.
    pub fn pack(&self, tier: Tier) -> Result<PackedMat> {
        let values = self.values.view();
        Ok(match self.format {
            WeightFormat::I8 => PackedMat::for_tier(values, tier)?,
            WeightFormat::I4 => PackedMat::i4_for_tier(values, tier)?,
            WeightFormat::I4Group32 => {
                PackedMat::i4_grouped_for_tier(values, self.unsigned_multipliers()?.view(), tier)?
            }
            WeightFormat::I2Group64 => PackedMat::i2_grouped_for_tier(values, self.multipliers.view(), tier)?,
            other => return Err(Failure::input(format!("{other:?}: a format without random weights"))),
        })
    }

    fn unsigned_multipliers(&self) -> Result<Mat<u8>> {
        let multipliers = self.multipliers.as_slice().iter().map(|m| m.unsigned_abs()).collect();
        Ok(Mat::from_vec(multipliers, self.multipliers.rows(), self.multipliers.cols())?)
    }

    /// The exact sums of the product with `x`.
    pub fn sums(&self, x: MatRef<'_, i8>) -> Result<Vec<i32>> {
        Ok(match self.format {
            WeightFormat::I4Group32 => {
                reference::gemm_grouped(self.values.view(), self.unsigned_multipliers()?.view(), x)
            }
            WeightFormat::I2Group64 => reference::gemm_i2(self.values.view(), self.multipliers.view(), x),
            _ => reference::gemm(self.values.view(), x),
        })
    }
}
