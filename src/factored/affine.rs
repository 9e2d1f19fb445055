//! A scale and a shift for each feature: what batch normalization is once a model is trained.

use alloc::vec::Vec;

use super::dense::DenseWeight;
use super::elementary::sqrt;
use super::linear::Linear;
use super::low_rank_linear::LowRankLinear;
use super::time_convolution::TimeConvolution;
use super::weight::Weight;
use super::{expect_bias, expect_depth, expect_finite};
use crate::error::{Error, Result, expect_length};
use crate::kernels::Activation;
use crate::matrix::{Mat, MatMut, MatRef};

/// `y = scale x + shift`, feature by feature.
///
/// # Example
/// ```
/// use skinny::Mat;
/// use skinny::factored::{Affine, Linear, Weight};
///
/// // Two features: mean, variance, weight and bias of a batch normalization.
/// let norm = Affine::batch_norm(&[1.0, 2.0], &[4.0, 0.25], Some(&[1.0, 3.0]), Some(&[0.0, -1.0]), 0.0)?;
/// assert_eq!((norm.scale(), norm.shift()), (&[0.5, 6.0][..], &[-0.5, -13.0][..]));
///
/// // Folded into the layer before it, it costs nothing.
/// let layer = Linear::new(Weight::dense(Mat::from_vec(vec![1.0, 2.0], 2, 1)?)?, None)?;
/// let folded = norm.fold_into(&layer)?;
/// assert_eq!(folded.weight().dequantize()?.as_slice(), [0.5, 12.0]);
/// assert_eq!(folded.bias(), Some(&[-0.5, -13.0][..]));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    /// Makes a layer from the scale and the shift of each feature.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are as many shifts as scales, [`Error::NotFinite`].
    pub fn new(scale: Vec<f32>, shift: Vec<f32>) -> Result<Self> {
        expect_length("shift", scale.len(), shift.len())?;
        expect_finite("scale", &scale)?;
        expect_finite("shift", &shift)?;
        Ok(Self { scale, shift })
    }

    /// Makes a layer from the parameters of a trained batch normalization, `(x - mean) / sqrt(variance + epsilon)`, times
    /// `weight` and plus `bias` if there are any.
    ///
    /// # Errors
    /// [`Error::Length`] for parameters of different lengths, [`Error::NotFinite`]. [`Error::Parameter`] for a variance
    /// that is negative, or 0 without an epsilon.
    pub fn batch_norm(
        mean: &[f32],
        variance: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        epsilon: f32,
    ) -> Result<Self> {
        let n = mean.len();
        expect_length("variance", n, variance.len())?;
        expect_bias("weight", weight, n)?;
        expect_bias("bias", bias, n)?;
        expect_finite("mean", mean)?;
        expect_finite("variance", variance)?;
        expect_finite("epsilon", &[epsilon])?;
        let bad = |value: &&f32| **value < 0.0 || **value + epsilon <= 0.0;
        if let Some(&value) = variance.iter().find(bad) {
            let expected = "at least 0, and positive with epsilon";
            return Err(Error::Parameter { what: "variance", value: value.into(), expected });
        }
        let scale: Vec<f32> =
            (0..n).map(|i| weight.map_or(1.0, |weight| weight[i]) / sqrt(variance[i] + epsilon)).collect();
        let shift = (0..n).map(|i| bias.map_or(0.0, |bias| bias[i]) - mean[i] * scale[i]).collect();
        Self::new(scale, shift)
    }

    /// Features per frame, of the input and of the output.
    pub fn features(&self) -> usize {
        self.scale.len()
    }

    /// The scale of each feature.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// The shift of each feature.
    pub fn shift(&self) -> &[f32] {
        &self.shift
    }

    /// Scales and shifts.
    pub fn parameters(&self) -> usize {
        2 * self.features()
    }

    /// Bytes of scales and shifts.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.scale[..]) + size_of_val(&self.shift[..])
    }

    /// Writes `scale x + shift` for each frame of `x` (`time x features`) to `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit; `out` is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>) -> Result<()> {
        expect_depth("input", x, self.features())?;
        out.expect_shape("output", x.rows(), self.features())?;
        for row in 0..x.rows() {
            let parameters = self.scale.iter().zip(&self.shift);
            for ((y, x), (scale, shift)) in out.row_mut(row).iter_mut().zip(x.row(row)).zip(parameters) {
                *y = scale * x + shift;
            }
        }
        Ok(())
    }

    /// One layer that computes `layer` and then this. Outputs differ from those of both by the rounding of weights.
    ///
    /// # Errors
    /// [`Error::Length`] if the layer has other features. [`Error::Stored`] unless its weight is in `f32` and it has no
    /// activation. [`Error::NotFinite`] for a product beyond `f32`.
    pub fn fold_into(&self, layer: &Linear) -> Result<Linear> {
        expect_length("features", layer.output_size(), self.features())?;
        expect_foldable(layer)?;
        let weight = scaled(layer.weight(), &self.scale, Axis::Rows)?;
        let bias = layer.bias().map_or_else(
            || self.shift.clone(),
            |bias| (0..bias.len()).map(|i| self.scale[i] * bias[i] + self.shift[i]).collect(),
        );
        Linear::new(weight, Some(bias))
    }

    /// One layer that computes this and then `layer`, with its activation.
    ///
    /// # Errors
    /// [`Error::Length`] if the layer has other inputs. [`Error::Stored`] unless its weight is in `f32`.
    /// [`Error::NotFinite`] for a product beyond `f32`.
    pub fn fold_before(&self, layer: &Linear) -> Result<Linear> {
        expect_length("features", layer.input_size(), self.features())?;
        let w = layer.weight().dequantize()?;
        let product = |row: usize| w.view().row(row).iter().zip(&self.shift).map(|(w, x)| w * x).sum::<f32>();
        let bias = (0..w.rows()).map(|row| layer.bias().map_or(0.0, |bias| bias[row]) + product(row)).collect();
        let weight = scaled(layer.weight(), &self.scale, Axis::Columns)?;
        Ok(Linear::new(weight, Some(bias))?.with_activation(layer.activation()))
    }

    /// The same as [`fold_into`](Self::fold_into) for a convolution.
    ///
    /// # Errors
    /// Those of [`fold_into`](Self::fold_into).
    pub fn fold_into_convolution(&self, layer: &TimeConvolution) -> Result<TimeConvolution> {
        layer.with_linear(self.fold_into(layer.linear())?)
    }
}

fn expect_foldable(layer: &Linear) -> Result<()> {
    if layer.activation() == Activation::Identity {
        return Ok(());
    }
    Err(Error::Stored { operation: "fold into", expected: "without an activation", found: "with one" })
}

/// A weight in `f32` with each row scaled.
#[cfg(feature = "svd")]
pub(crate) fn scaled_rows(weight: &Weight, scale: &[f32]) -> Result<Weight> {
    scaled(weight, scale, Axis::Rows)
}

/// A weight in `f32` with each column scaled.
#[cfg(feature = "svd")]
pub(crate) fn scaled_columns(weight: &Weight, scale: &[f32]) -> Result<Weight> {
    scaled(weight, scale, Axis::Columns)
}

#[derive(Clone, Copy)]
enum Axis {
    Rows,
    Columns,
}

/// A weight in `f32` with its rows or columns scaled. Factors stay factors, and stacks stay stacks.
fn scaled(weight: &Weight, scale: &[f32], axis: Axis) -> Result<Weight> {
    Ok(match (weight, axis) {
        (Weight::Dense(w), _) => Weight::Dense(scaled_matrix(w, scale, axis)?),
        (Weight::LowRank(w), Axis::Rows) => {
            LowRankLinear::from_parts(scaled_matrix(w.u(), scale, axis)?, w.v().clone())?.into()
        }
        (Weight::LowRank(w), Axis::Columns) => {
            LowRankLinear::from_parts(w.u().clone(), scaled_matrix(w.v(), scale, axis)?)?.into()
        }
        (Weight::Stacked(stack), _) => {
            let mut start = 0;
            let part = |part: &Weight| {
                start += part.n();
                match axis {
                    Axis::Rows => scaled(part, &scale[start - part.n()..start], axis),
                    Axis::Columns => scaled(part, scale, axis),
                }
            };
            Weight::stack(stack.parts().iter().map(part).collect::<Result<_>>()?)?
        }
    })
}

fn scaled_matrix(w: &DenseWeight, scale: &[f32], axis: Axis) -> Result<DenseWeight> {
    let Some(matrix) = w.as_f32() else {
        return Err(Error::Stored { operation: "scale", expected: "f32", found: w.format() });
    };
    let columns = matrix.cols();
    let product = |(i, w): (usize, &f32)| match axis {
        Axis::Rows => w * scale[i / columns],
        Axis::Columns => w * scale[i % columns],
    };
    let values = matrix.as_slice().iter().enumerate().map(product).collect();
    DenseWeight::from_f32(Mat::from_vec(values, matrix.rows(), columns)?)
}
