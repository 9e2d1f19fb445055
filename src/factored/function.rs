//! Functions of the features of a frame: activations, powers, and what makes distributions or unit vectors of frames.

use super::elementary::{erf, exp_of_negative, ln, sqrt, sum};
use super::gates::{sigmoid, tanh};
use super::{expect_depth, expect_finite};
use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::matrix::{MatMut, MatRef};

/// A function of the features of a frame. All but the last three are computed feature by feature.
///
/// Each is one fixed order of `f32` operations, so results are bit-identical on every target. No input causes a panic. A
/// NaN counts as minus infinity in [`Tanh`](Self::Tanh) and [`Sigmoid`](Self::Sigmoid), and [`Relu`](Self::Relu) and
/// [`ClippedRelu`](Self::ClippedRelu) make it 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Function {
    /// `tanh x`.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), limit)`; with the limit 6, ReLU6.
    ClippedRelu(f32),
    /// `x` if it is positive, else `slope x`.
    LeakyRelu(f32),
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, PyTorch's `approximate='tanh'`.
    GeluTanh,
    /// `min(max(slope x + offset, 0), 1)`: slope 1/6 in PyTorch, 0.2 in ONNX and Keras 2; offset 1/2 in all.
    HardSigmoid {
        /// What `x` is multiplied by.
        slope: f32,
        /// The value at 0.
        offset: f32,
    },
    /// `x min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `|x|`.
    Absolute,
    /// `x^2`.
    Square,
    /// The square root; that of a negative number is 0.
    SquareRoot,
    /// `e^x / sum e^x`, over the features of the frame.
    Softmax,
    /// `x - ln sum e^x`, over the features of the frame.
    LogSoftmax,
    /// `x / max(|x|, epsilon)`, with the Euclidean norm of the frame: PyTorch's `normalize`.
    Normalize {
        /// The least norm.
        epsilon: f32,
    },
}

impl Function {
    /// The function of its features, in place.
    ///
    /// # Example
    /// ```
    /// use skinny::factored::Function;
    ///
    /// let mut frame = [1.0, -2.0, 4.0];
    /// Function::LeakyRelu(0.25).apply(&mut frame);
    /// assert_eq!(frame, [1.0, -0.5, 4.0]);
    /// Function::Softmax.apply(&mut frame);
    /// assert!((frame.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// ```
    pub fn apply(self, frame: &mut [f32]) {
        match self {
            Function::Tanh => each(frame, tanh),
            Function::Sigmoid => each(frame, sigmoid),
            Function::Relu => Activation::Relu.apply(frame),
            Function::ClippedRelu(limit) => Activation::ClippedRelu(limit).apply(frame),
            Function::LeakyRelu(slope) => each(frame, |x| if x > 0.0 { x } else { slope * x }),
            Function::Silu => each(frame, |x| x * logistic(x)),
            Function::Gelu => each(frame, |x| x * (0.5 + 0.5 * erf(x * core::f32::consts::FRAC_1_SQRT_2))),
            // (1 + tanh y) / 2 is the logistic function of 2 y.
            Function::GeluTanh => each(frame, |x| x * logistic(1.595_769 * (x + 0.044_715 * x * x * x))),
            Function::HardSigmoid { slope, offset } => each(frame, |x| unit(slope * x + offset)),
            Function::HardSwish => each(frame, |x| x * unit(x * (1.0 / 6.0) + 0.5)),
            Function::Absolute => each(frame, f32::abs),
            Function::Square => each(frame, |x| x * x),
            Function::SquareRoot => each(frame, sqrt),
            Function::Softmax => {
                let most = largest(frame);
                each(frame, |x| exp_of_negative(x - most));
                let all = sum(frame, |x| x);
                each(frame, |x| x / all);
            }
            Function::LogSoftmax => {
                let most = largest(frame);
                let log = ln(sum(frame, |x| exp_of_negative(x - most)));
                each(frame, |x| (x - most) - log);
            }
            Function::Normalize { epsilon } => {
                let norm = sqrt(sum(frame, |x| x * x));
                let norm = if norm > epsilon { norm } else { epsilon };
                each(frame, |x| x / norm);
            }
        }
    }

    /// Its parameters.
    fn parameters(self) -> [f32; 2] {
        match self {
            Function::ClippedRelu(only) | Function::LeakyRelu(only) | Function::Normalize { epsilon: only } => {
                [only, 0.0]
            }
            Function::HardSigmoid { slope, offset } => [slope, offset],
            _ => [0.0; 2],
        }
    }

    /// Fails unless its parameters are finite, and positive where they must be.
    fn check(self) -> Result<()> {
        expect_finite("parameters of a function", &self.parameters())?;
        match self {
            Function::ClippedRelu(value) | Function::Normalize { epsilon: value } if value <= 0.0 => {
                Err(Error::Parameter { what: "parameter of a function", value: value.into(), expected: "positive" })
            }
            _ => Ok(()),
        }
    }
}

#[inline(always)]
fn each(frame: &mut [f32], f: impl Fn(f32) -> f32) {
    frame.iter_mut().for_each(|x| *x = f(*x));
}

/// The logistic function with a small relative error, for products with numbers of any size. `gates::sigmoid` is faster,
/// with a small absolute error.
#[inline(always)]
fn logistic(x: f32) -> f32 {
    let power = exp_of_negative(-x.abs());
    (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
}

/// Clamps to `[0, 1]`. A NaN becomes 0.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "`clamp` would keep a NaN")]
fn unit(x: f32) -> f32 {
    // Of 0 and -0, processors differ in which one is the maximum.
    (x + 0.0).max(0.0).min(1.0)
}

/// The largest feature that is a finite number; 0 if there is none.
fn largest(frame: &[f32]) -> f32 {
    let most = frame.iter().fold(f32::NEG_INFINITY, |most, &x| if x > most && x < f32::INFINITY { x } else { most });
    if most == f32::NEG_INFINITY { 0.0 } else { most }
}

/// A layer that computes a [`Function`] of each frame.
///
/// # Example
/// ```
/// use skinny::factored::{Function, Mapping};
/// use skinny::{MatMut, MatRef};
///
/// let layer = Mapping::new(Function::Square, 2)?;
/// let mut out = [0.0; 4];
/// layer.forward(MatRef::new(&[1.0, -2.0, 3.0, 0.5], 2, 2)?, MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [1.0, 4.0, 9.0, 0.25]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    function: Function,
    features: usize,
}

impl Mapping {
    /// Makes a layer for frames of `features` features.
    ///
    /// # Errors
    /// [`Error::NotFinite`] or [`Error::Parameter`] for a parameter of the function that is not finite, or not positive
    /// where it must be.
    pub fn new(function: Function, features: usize) -> Result<Self> {
        function.check()?;
        Ok(Self { function, features })
    }

    /// The function.
    pub fn function(&self) -> Function {
        self.function
    }

    /// Features per frame, of the input and of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Writes the function of each frame of `x` (`time x features`) to `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit; `out` is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>) -> Result<()> {
        expect_depth("input", x, self.features)?;
        out.expect_shape("output", x.rows(), self.features)?;
        out.as_mut_slice().copy_from_slice(x.as_slice());
        for row in 0..x.rows() {
            self.function.apply(out.row_mut(row));
        }
        Ok(())
    }
}
