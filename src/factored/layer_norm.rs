//! Layer normalization.

use alloc::vec::Vec;

use super::elementary::{sqrt, sum};
use super::{expect_bias, expect_depth, expect_finite};
use crate::error::{Error, Result};
use crate::matrix::{MatMut, MatRef};

/// Layer normalization over the features of each frame: `(x - mean) / sqrt(variance + epsilon)`, times a weight and plus a
/// bias if there are any. The variance is that of the frame's features, divided by their number.
///
/// # Example
/// ```
/// use skinny::factored::LayerNorm;
/// use skinny::{MatMut, MatRef};
///
/// let layer = LayerNorm::new(2, Some(vec![1.0, 10.0]), None, 1e-5)?;
/// let mut out = [0.0; 2];
/// layer.forward(MatRef::row_vector(&[3.0, 7.0]), MatMut::row_vector(&mut out))?;
/// assert!((out[0] + 1.0).abs() < 1e-5 && (out[1] - 10.0).abs() < 1e-4);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    features: usize,
    weight: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    epsilon: f32,
}

impl LayerNorm {
    /// Makes a layer for frames of `features` features. PyTorch's default `epsilon` is 1e-5.
    ///
    /// # Errors
    /// [`Error::Length`] for a weight or a bias of another length, [`Error::NotFinite`]; [`Error::Parameter`] unless
    /// `epsilon` is positive.
    pub fn new(features: usize, weight: Option<Vec<f32>>, bias: Option<Vec<f32>>, epsilon: f32) -> Result<Self> {
        expect_bias("weight", weight.as_deref(), features)?;
        expect_bias("bias", bias.as_deref(), features)?;
        expect_finite("epsilon", &[epsilon])?;
        if epsilon <= 0.0 {
            return Err(Error::Parameter { what: "epsilon", value: epsilon.into(), expected: "positive" });
        }
        Ok(Self { features, weight, bias, epsilon })
    }

    /// Features per frame, of the input and of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The weight of each feature.
    pub fn weight(&self) -> Option<&[f32]> {
        self.weight.as_deref()
    }

    /// The bias of each feature.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// What is added to the variance.
    pub fn epsilon(&self) -> f32 {
        self.epsilon
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        [self.weight(), self.bias()].into_iter().flatten().map(<[f32]>::len).sum()
    }

    /// Bytes of weights and biases.
    pub fn bytes(&self) -> usize {
        [self.weight(), self.bias()].into_iter().flatten().map(size_of_val).sum()
    }

    /// Writes the normalized frames of `x` (`time x features`) to `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit; `out` is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>) -> Result<()> {
        expect_depth("input", x, self.features)?;
        out.expect_shape("output", x.rows(), self.features)?;
        for row in 0..x.rows() {
            let (x, out) = (x.row(row), out.row_mut(row));
            let n = self.features as f32;
            let mean = sum(x, |x| x) / n;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / n;
            let deviation = sqrt(variance + self.epsilon);
            for (y, x) in out.iter_mut().zip(x) {
                *y = (x - mean) / deviation;
            }
            for (y, weight) in out.iter_mut().zip(self.weight.iter().flatten()) {
                *y *= weight;
            }
            for (y, bias) in out.iter_mut().zip(self.bias.iter().flatten()) {
                *y += bias;
            }
        }
        Ok(())
    }
}
