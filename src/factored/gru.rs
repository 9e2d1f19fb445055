//! The gated recurrent unit.

use alloc::vec::Vec;

use super::recurrent::{for_each_step, recurrent_by_methods, recurrent_product};
use super::scratch::Scratch;
use super::weight::Weight;
use super::{expect_bias, expect_depth, gates};
use crate::error::{Error, Result};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::{MatMut, MatRef, grow};

/// A forward GRU in PyTorch's form, which is cuDNN's (`reset after`), its weights dense or factored, in `f32` or in 8
/// bits:
///
/// ```text
/// r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
/// z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
/// n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))
/// h' = (1 - z) * n + z * h
/// ```
///
/// Gates are stacked in the order r, z, n, as in PyTorch, so that there are two products, one of all input weights and
/// one of all recurrent weights. Factoring those two is the *partially joint* scheme of Kliegl et al., arXiv
/// 1710.09026. The input product is done for several time steps at once, as many as [`Scratch::time_batch`]
/// says.
///
/// Nothing panics on data. In 8 bits a NaN in the input counts as 0 and an infinity as the largest finite input of its
/// step; in `f32` a NaN makes all gates as minus infinity does ([`gates`]).
///
/// # Example
/// ```
/// use skinny::{Mat, MatMut, MatRef, Tier, factored::{Gru, Scratch, Weight}};
///
/// let (input, hidden) = (3, 2);
/// let weight_ih = Weight::dense(Mat::from_vec(vec![0.25; 3 * hidden * input], 3 * hidden, input)?)?;
/// let weight_hh = Weight::dense(Mat::from_vec(vec![-0.5; 3 * hidden * hidden], 3 * hidden, hidden)?)?;
/// let gru = Gru::new(weight_ih, weight_hh, None, None)?.quantize(Tier::select()?)?;
///
/// let x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]; // three time steps
/// let x = MatRef::new(&x, 3, input)?;
/// let mut scratch = Scratch::new();
///
/// let mut state = gru.state()?;
/// let mut outputs = [0.0; 6];
/// gru.forward(x, &mut state, MatMut::new(&mut outputs, 3, hidden)?, &mut scratch)?;
///
/// // Step by step gives the same bits.
/// let mut stream = gru.state()?;
/// for t in 0..3 {
///     let h = gru.step(x.row(t), &mut stream, &mut scratch)?;
///     assert_eq!(h, &outputs[t * hidden..][..hidden]);
/// }
/// assert_eq!(stream, state);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gru {
    weight_ih: Weight,
    weight_hh: Weight,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
}

/// Gates that are stacked in the weights: r, z, n.
const GATES: usize = 3;

impl Gru {
    /// A layer of PyTorch's parameters: `weight_ih` is `3 hidden x input`, `weight_hh` is `3 hidden x hidden`, each
    /// bias has `3 hidden` elements, gates in the order r, z, n.
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
        let (input, hidden) = (weight_ih.k(), weight_hh.k());
        let too_large = Error::TooLarge { what: "weight_hh", rows: hidden, cols: GATES };
        let rows = hidden.checked_mul(GATES).ok_or(too_large)?;
        for (what, weight, k) in [("weight_hh", &weight_hh, hidden), ("weight_ih", &weight_ih, input)] {
            if weight.n() != rows {
                return Err(Error::Shape { what, expected: (rows, k), found: (weight.n(), k) });
            }
        }
        expect_bias("bias_ih", bias_ih.as_deref(), rows)?;
        expect_bias("bias_hh", bias_hh.as_deref(), rows)?;
        Ok(Self { weight_ih, weight_hh, bias_ih, bias_hh })
    }

    /// The same layer in 8 bits, for the kernels of `tier`. Biases, gates and state stay in `f32`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`].
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same layer in 8 or in 4 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
        Ok(self.with_weights(self.weight_ih.quantize_to(format, tier)?, self.weight_hh.quantize_to(format, tier)?))
    }

    /// The same layer with its input weights and its recurrent weights factored.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, input: super::RankPolicy, recurrent: super::RankPolicy) -> Result<Self> {
        Ok(self.with_weights(self.weight_ih.factor(input)?, self.weight_hh.factor(recurrent)?))
    }

    fn with_weights(&self, weight_ih: Weight, weight_hh: Weight) -> Self {
        Self { weight_ih, weight_hh, bias_ih: self.bias_ih.clone(), bias_hh: self.bias_hh.clone() }
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.weight_ih.k()
    }

    /// Hidden features, which are the outputs.
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.k()
    }

    /// Output features: the hidden ones.
    pub fn output_size(&self) -> usize {
        self.hidden_size()
    }

    /// The input weights, `3 hidden x input`.
    pub fn weight_ih(&self) -> &Weight {
        &self.weight_ih
    }

    /// The recurrent weights, `3 hidden x hidden`.
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

    /// A state for this layer: zeros.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn state(&self) -> Result<GruState> {
        let mut hidden = Vec::new();
        grow(&mut hidden, self.hidden_size())?;
        Ok(GruState { hidden })
    }

    /// One time step: takes `x` (`input` elements), moves `state` on and returns its hidden vector, the output.
    ///
    /// # Errors
    /// [`Error::Length`] for an input or a state that does not fit, [`Error::Allocation`]; the state is untouched then.
    pub fn step<'s>(&self, x: &[f32], state: &'s mut GruState, scratch: &mut Scratch) -> Result<&'s [f32]> {
        if x.len() != self.input_size() {
            return Err(Error::Length { what: "input", expected: self.input_size(), found: x.len() });
        }
        self.run(MatRef::row_vector(x), state, scratch, |_, _| ())?;
        Ok(&state.hidden)
    }

    /// A sequence of time steps, or a piece of one: takes `x` (`time x input`), moves `state` on and writes the hidden
    /// vectors to `out` (`time x hidden`). However a sequence is cut into pieces, the results are the same bits.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit; state and output are untouched then.
    /// [`Error::Allocation`], when the state may have moved on by a part of the sequence.
    pub fn forward(
        &self,
        x: MatRef<'_, f32>,
        state: &mut GruState,
        mut out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        expect_depth("input", x, self.input_size())?;
        out.expect_shape("output", x.rows(), self.hidden_size())?;
        self.run(x, state, scratch, |t, h| out.row_mut(t).copy_from_slice(h))
    }

    /// Moves `state` on by the rows of `x` and calls `output` with each index and hidden vector.
    fn run(
        &self,
        x: MatRef<'_, f32>,
        state: &mut GruState,
        scratch: &mut Scratch,
        mut output: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        if state.hidden.len() != self.hidden_size() {
            return Err(Error::Length {
                what: "hidden state",
                expected: self.hidden_size(),
                found: state.hidden.len(),
            });
        }
        let mut recurrent = core::mem::take(&mut scratch.recurrent_gates);
        let done = for_each_step(&self.weight_ih, self.bias_ih(), x, scratch, |t, input, scratch| {
            let h = &mut state.hidden;
            let recurrent = recurrent_product(&self.weight_hh, self.bias_hh(), h, &mut recurrent, scratch)?;
            gates::gru(h, input, recurrent);
            output(t, h);
            Ok(())
        });
        scratch.recurrent_gates = recurrent;
        done
    }
}

recurrent_by_methods!(Gru, GruState);

/// What a [`Gru`] carries from one time step to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct GruState {
    hidden: Vec<f32>,
}

impl GruState {
    /// Back to zeros: the start of a sequence.
    pub fn reset(&mut self) {
        self.hidden.fill(0.0);
    }

    /// The hidden vector.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// The hidden vector, to start from one that was learned or stored.
    pub fn hidden_mut(&mut self) -> &mut [f32] {
        &mut self.hidden
    }
}
