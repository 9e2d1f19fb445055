//! The plain recurrent layer, without gates.

use alloc::vec::Vec;

use super::quantization::Quantization;
use super::quantizer::Quantizer;
use super::recurrent::{bytes, for_each_step, parameters, product, recurrent_by_methods};
use super::scratch::Scratch;
use super::weight::Weight;
use super::{expect_bias, expect_depth, gates};
use crate::error::{Error, Result, expect_length};
use crate::kernels::{Activation, Tier};
use crate::matrix::{MatMut, MatRef, grow};

/// The function of a plain recurrent layer ([`Rnn`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RnnFunction {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`. Outputs may grow without a bound.
    Relu,
}

/// A plain recurrent layer in PyTorch's form, with dense or factored weights, in `f32` or quantized:
///
/// ```text
/// h' = f(W_ih x + b_ih + W_hh h + b_hh)
/// ```
///
/// # Example
/// ```
/// use skinny::{Mat, factored::{Rnn, RnnFunction, Scratch, Weight}};
///
/// let weight = |w: f32| Weight::dense(Mat::from_vec(vec![w], 1, 1)?);
/// let rnn = Rnn::new(weight(2.0)?, weight(-0.5)?, None, Some(vec![1.0]))?.with_function(RnnFunction::Relu);
/// let (mut state, mut scratch) = (rnn.state()?, Scratch::new());
/// assert_eq!(rnn.step(&[1.0], &mut state, &mut scratch)?, [3.0]);
/// assert_eq!(rnn.step(&[0.5], &mut state, &mut scratch)?, [0.5]);
/// assert_eq!(rnn.step(&[-1.0], &mut state, &mut scratch)?, [0.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rnn {
    weight_ih: Weight,
    weight_hh: Weight,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
    function: RnnFunction,
}

impl Rnn {
    /// Makes a layer from PyTorch's parameters: `weight_ih` is `hidden x input`, `weight_hh` is `hidden x hidden`, and
    /// each bias has `hidden` elements. Its function is the hyperbolic tangent.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for parameters that do not fit, [`Error::NotFinite`] for a bias.
    pub fn new(
        weight_ih: impl Into<Weight>,
        weight_hh: impl Into<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        let (weight_ih, weight_hh) = (weight_ih.into(), weight_hh.into());
        let hidden = weight_hh.k();
        for (what, weight) in [("weight_hh", &weight_hh), ("weight_ih", &weight_ih)] {
            if weight.n() != hidden {
                return Err(Error::Shape { what, expected: (hidden, weight.k()), found: (weight.n(), weight.k()) });
            }
        }
        expect_bias("bias_ih", bias_ih.as_deref(), hidden)?;
        expect_bias("bias_hh", bias_hh.as_deref(), hidden)?;
        Ok(Self { weight_ih, weight_hh, bias_ih, bias_hh, function: RnnFunction::Tanh })
    }

    /// The same layer with another function.
    pub fn with_function(mut self, function: RnnFunction) -> Self {
        self.function = function;
        self
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`. Biases and state stay in `f32`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`].
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        let mut quantizer = Quantizer::new(format.into(), tier);
        let (weight_ih, weight_hh) = (quantizer.weight(&self.weight_ih)?, quantizer.weight(&self.weight_hh)?);
        let (bias_ih, bias_hh) = (self.bias_ih.clone(), self.bias_hh.clone());
        Ok(Self { weight_ih, weight_hh, bias_ih, bias_hh, function: self.function })
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.weight_ih.k()
    }

    /// Output features: the hidden ones.
    pub fn output_size(&self) -> usize {
        self.weight_hh.k()
    }

    /// The function.
    pub fn function(&self) -> RnnFunction {
        self.function
    }

    /// The input weights, `hidden x input`.
    pub fn weight_ih(&self) -> &Weight {
        &self.weight_ih
    }

    /// The recurrent weights, `hidden x hidden`.
    pub fn weight_hh(&self) -> &Weight {
        &self.weight_hh
    }

    /// The bias of the input product.
    pub fn bias_ih(&self) -> Option<&[f32]> {
        self.bias_ih.as_deref()
    }

    /// The bias of the recurrent product.
    pub fn bias_hh(&self) -> Option<&[f32]> {
        self.bias_hh.as_deref()
    }

    /// Number of weights and biases; a shared factor counts once.
    pub fn parameters(&self) -> usize {
        parameters([&self.weight_ih, &self.weight_hh], [self.bias_ih(), self.bias_hh()])
    }

    /// Bytes of weights and biases in memory; a shared factor counts once.
    pub fn bytes(&self) -> usize {
        bytes([&self.weight_ih, &self.weight_hh], [self.bias_ih(), self.bias_hh()])
    }

    /// A state for this layer, all zeros.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn state(&self) -> Result<RnnState> {
        let mut hidden = Vec::new();
        grow(&mut hidden, self.output_size())?;
        Ok(RnnState { hidden })
    }

    /// Runs one time step: takes `x` (`input` elements), advances `state` and returns its hidden vector, which is the
    /// output.
    ///
    /// # Errors
    /// [`Error::Length`] for an input or a state that does not fit, [`Error::Allocation`]; the state is untouched then.
    pub fn step<'s>(&self, x: &[f32], state: &'s mut RnnState, scratch: &mut Scratch) -> Result<&'s [f32]> {
        expect_length("input", self.input_size(), x.len())?;
        self.run(MatRef::row_vector(x), state, scratch, |_, _| ())?;
        Ok(&state.hidden)
    }

    /// Runs a sequence of time steps, or a piece of one: takes `x` (`time x input`), advances `state` and writes the
    /// hidden vectors to `out` (`time x hidden`). Results are bit-identical however a sequence is split into pieces.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit; state and output are untouched then. On
    /// [`Error::Allocation`] the state may have advanced by a part of the sequence.
    pub fn forward(
        &self,
        x: MatRef<'_, f32>,
        state: &mut RnnState,
        mut out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        expect_depth("input", x, self.input_size())?;
        out.expect_shape("output", x.rows(), self.output_size())?;
        self.run(x, state, scratch, |t, h| out.row_mut(t).copy_from_slice(h))
    }

    /// Advances `state` by the rows of `x` and calls `output` with each index and hidden vector.
    fn run(
        &self,
        x: MatRef<'_, f32>,
        state: &mut RnnState,
        scratch: &mut Scratch,
        mut output: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        let hidden = self.output_size();
        expect_length("hidden state", hidden, state.hidden.len())?;
        let mut buffer = core::mem::take(&mut scratch.recurrent_gates);
        let done = for_each_step(&self.weight_ih, self.bias_ih(), x, scratch, |t, input, scratch| {
            grow(&mut buffer, hidden)?;
            let recurrent = &mut buffer[..hidden];
            product(&self.weight_hh, self.bias_hh(), &state.hidden, recurrent, scratch)?;
            for ((h, input), recurrent) in state.hidden.iter_mut().zip(input).zip(&*recurrent) {
                *h = input + recurrent;
            }
            match self.function {
                RnnFunction::Tanh => state.hidden.iter_mut().for_each(|h| *h = gates::tanh(*h)),
                RnnFunction::Relu => Activation::Relu.apply(&mut state.hidden),
            }
            output(t, &state.hidden);
            Ok(())
        });
        scratch.recurrent_gates = buffer;
        done
    }
}

recurrent_by_methods!(Rnn, RnnState);

/// The state of an [`Rnn`] between time steps.
#[derive(Clone, Debug, PartialEq)]
pub struct RnnState {
    hidden: Vec<f32>,
}

impl RnnState {
    /// Resets the state to zeros, for the start of a sequence.
    pub fn reset(&mut self) {
        self.hidden.fill(0.0);
    }

    /// The hidden vector.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// The hidden vector, writable, to start from a learned or stored one.
    pub fn hidden_mut(&mut self) -> &mut [f32] {
        &mut self.hidden
    }
}
