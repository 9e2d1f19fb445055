//! The fully connected layer.

use alloc::vec::Vec;

use super::quantization::Quantization;
use super::scratch::Scratch;
use super::weight::Weight;
use super::{expect_bias, expect_depth};
use crate::error::Result;
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{MatMut, MatRef};

/// A fully connected layer, `y = activation(W x + b)`, with a dense or factored weight, in `f32` or quantized.
///
/// # Example
/// ```
/// use skinny::{Mat, MatMut, MatRef, Tier, factored::{Linear, Scratch, Weight}, kernels::Activation};
///
/// let weight = Weight::dense(Mat::from_vec(vec![1.0, 2.0, 3.0, -4.0], 2, 2)?)?;
/// let layer = Linear::new(weight, Some(vec![0.5, 0.5]))?.with_activation(Activation::ClippedRelu(20.0));
/// let layer = layer.quantize(Tier::select()?)?;
///
/// let x = [1.0, 1.0, 2.0, 0.0]; // two vectors
/// let mut y = [0.0; 4];
/// layer.forward(MatRef::new(&x, 2, 2)?, MatMut::new(&mut y, 2, 2)?, &mut Scratch::new())?;
/// for (y, exact) in y.into_iter().zip([3.5, 0.0, 2.5, 6.5]) {
///     assert!((y - exact).abs() < 0.05);
/// }
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl Linear {
    /// Makes a layer from a weight, `out x in`, and a bias of `out` elements.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) or [`Error::NotFinite`](crate::Error::NotFinite) for a bias that does
    /// not fit.
    pub fn new(weight: impl Into<Weight>, bias: Option<Vec<f32>>) -> Result<Self> {
        let weight = weight.into();
        expect_bias("bias", bias.as_deref(), weight.n())?;
        Ok(Self { weight, bias, activation: Activation::Identity })
    }

    /// The same layer with an activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// The same layer in 8 bits, for the kernels of `tier`. The bias stays in `f32`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`].
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        Ok(Self {
            weight: self.weight.quantize_to(format, tier)?,
            bias: self.bias.clone(),
            activation: self.activation,
        })
    }

    /// The same layer with its weight factored.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, policy: super::RankPolicy) -> Result<Self> {
        Ok(Self { weight: self.weight.factor(policy)?, bias: self.bias.clone(), activation: self.activation })
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.weight.k()
    }

    /// Output features.
    pub fn output_size(&self) -> usize {
        self.weight.n()
    }

    /// The weight, `out x in`.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The bias.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.weight.parameters() + self.bias.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of weights and biases in memory.
    pub fn bytes(&self) -> usize {
        self.weight.bytes() + self.bias.as_ref().map_or(0, |bias| size_of_val(&bias[..]))
    }

    /// The activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Computes the outputs for the vectors in `x` (`m x in`) and writes them to `out` (`m x out`). Each output is
    /// bit-identical to the output for its vector alone.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for operands that do not fit (`out` is untouched then),
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn forward(&self, x: MatRef<'_, f32>, out: MatMut<'_, f32>, scratch: &mut Scratch) -> Result<()> {
        expect_depth("input", x, self.input_size())?;
        out.expect_shape("output", x.rows(), self.output_size())?;
        self.weight.apply(x, self.bias(), self.activation, out, scratch)
    }
}
