//! The long short-term memory.

use alloc::vec::Vec;

use super::quantization::Quantization;
use super::quantizer::Quantizer;
use super::recurrent::{both_products, bytes, for_each_step, gate_rows, parameters, product, recurrent_by_methods};
use super::scratch::Scratch;
use super::weight::Weight;
use super::{expect_bias, expect_depth, gates, onnx};
use crate::error::{Error, Result, expect_length};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::{MatMut, MatRef, grow};

/// A forward LSTM in PyTorch's form, with dense or factored weights, in `f32` or quantized:
///
/// ```text
/// i  = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
/// f  = sigmoid(W_if x + b_if + W_hf h + b_hf)
/// g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
/// o  = sigmoid(W_io x + b_io + W_ho h + b_ho)
/// c' = f * c + i * g
/// h' = o * tanh(c'), or W_hr (o * tanh(c')) with a projection
/// ```
///
/// Gates are stacked in the order i, f, g, o, as in PyTorch. So there are two products, one with all input weights and
/// one with all recurrent weights, and a third if there is a projection. The input product is computed for
/// [`Scratch::time_batch`] time steps at once.
///
/// No input data cause a panic. A NaN or an infinity in the input counts as in a [`Gru`](super::Gru). Without a
/// projection, outputs are within `[-1, 1]`. A cell grows by at most 1 per step.
///
/// # Example
/// ```
/// use skinny::{Mat, MatMut, MatRef, Tier, factored::{Lstm, Scratch, Weight}};
///
/// let (input, hidden) = (3, 2);
/// let weight_ih = Weight::dense(Mat::from_vec(vec![0.25; 4 * hidden * input], 4 * hidden, input)?)?;
/// let weight_hh = Weight::dense(Mat::from_vec(vec![-0.5; 4 * hidden * hidden], 4 * hidden, hidden)?)?;
/// let lstm = Lstm::new(weight_ih, weight_hh, None, None)?.quantize(Tier::select()?)?;
///
/// let x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]; // three time steps
/// let x = MatRef::new(&x, 3, input)?;
/// let mut scratch = Scratch::new();
///
/// let mut state = lstm.state()?;
/// let mut outputs = [0.0; 6];
/// lstm.forward(x, &mut state, MatMut::new(&mut outputs, 3, hidden)?, &mut scratch)?;
///
/// // Step by step gives the same bits.
/// let mut stream = lstm.state()?;
/// for t in 0..3 {
///     let h = lstm.step(x.row(t), &mut stream, &mut scratch)?;
///     assert_eq!(h, &outputs[t * hidden..][..hidden]);
/// }
/// assert_eq!(stream, state);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lstm {
    weight_ih: Weight,
    weight_hh: Weight,
    weight_hr: Option<Weight>,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
}

/// Number of gates stacked in the weights: i, f, g, o.
const GATES: usize = 4;

/// The positions of the gates i, f, g, o in ONNX's order i, o, f, c.
const ONNX_ORDER: [usize; GATES] = [0, 2, 3, 1];

impl Lstm {
    /// Makes a layer from PyTorch's parameters: `weight_ih` is `4 hidden x input`, `weight_hh` is `4 hidden x hidden`,
    /// and each bias has `4 hidden` elements. The gates are in the order i, f, g, o.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for parameters that do not fit, [`Error::NotFinite`] for a bias.
    pub fn new(
        weight_ih: impl Into<Weight>,
        weight_hh: impl Into<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        let weight_hh = weight_hh.into();
        let hidden = weight_hh.k();
        Self::checked(weight_ih.into(), weight_hh, None, bias_ih, bias_hh, hidden)
    }

    /// Makes a layer whose output is projected to fewer features (PyTorch's `proj_size`): `weight_hr` is
    /// `proj x hidden`, `weight_ih` is `4 hidden x input`, `weight_hh` is `4 hidden x proj`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Lstm, Weight}};
    ///
    /// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
    /// let (input, hidden, proj) = (3, 8, 2);
    /// let (weight_ih, weight_hh) = (weight(4 * hidden, input)?, weight(4 * hidden, proj)?);
    /// let lstm = Lstm::with_projection(weight_ih, weight_hh, weight(proj, hidden)?, None, None)?;
    /// assert_eq!((lstm.hidden_size(), lstm.output_size()), (8, 2));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn with_projection(
        weight_ih: impl Into<Weight>,
        weight_hh: impl Into<Weight>,
        weight_hr: impl Into<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        let (weight_hh, weight_hr) = (weight_hh.into(), weight_hr.into());
        let (hidden, proj) = (weight_hr.k(), weight_hh.k());
        if weight_hr.n() != proj {
            return Err(Error::Shape { what: "weight_hr", expected: (proj, hidden), found: (weight_hr.n(), hidden) });
        }
        Self::checked(weight_ih.into(), weight_hh, Some(weight_hr), bias_ih, bias_hh, hidden)
    }

    /// Makes a layer from one direction of ONNX's operator `LSTM`, whose gates are in the order i, o, f, c. `w` is
    /// `4 hidden x input`, and `r` is `4 hidden x hidden`. `bias` has `8 hidden` elements: the bias of the input
    /// product, then the bias of the recurrent product.
    ///
    /// The operator's activations must be its defaults, without peepholes, `clip` and `input_forget`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for parameters that do not fit, [`Error::NotFinite`],
    /// [`Error::Allocation`].
    pub fn from_onnx(w: MatRef<'_, f32>, r: MatRef<'_, f32>, bias: Option<&[f32]>) -> Result<Self> {
        let hidden = r.cols();
        let rows = gate_rows(GATES, hidden)?;
        w.expect_shape("W", rows, w.cols())?;
        r.expect_shape("R", rows, hidden)?;
        let [bias_ih, bias_hh] = onnx::split_bias::<GATES>(bias, hidden, ONNX_ORDER)?;
        let weight = |w| Weight::dense(onnx::reorder(w, hidden, &ONNX_ORDER)?);
        Self::new(weight(w)?, weight(r)?, bias_ih, bias_hh)
    }

    fn checked(
        weight_ih: Weight,
        weight_hh: Weight,
        weight_hr: Option<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
        hidden: usize,
    ) -> Result<Self> {
        let rows = gate_rows(GATES, hidden)?;
        for (what, weight) in [("weight_hh", &weight_hh), ("weight_ih", &weight_ih)] {
            if weight.n() != rows {
                return Err(Error::Shape { what, expected: (rows, weight.k()), found: (weight.n(), weight.k()) });
            }
        }
        expect_bias("bias_ih", bias_ih.as_deref(), rows)?;
        expect_bias("bias_hh", bias_hh.as_deref(), rows)?;
        Ok(Self { weight_ih, weight_hh, weight_hr, bias_ih, bias_hh })
    }

    /// The same layer in 8 bits, for the kernels of `tier`. Biases, gates and state stay in `f32`.
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
        let mut quantizer = Quantizer::new(format.into(), tier);
        let mut quantize = |weight| quantizer.weight(weight);
        let weight_hr = self.weight_hr.as_ref().map(&mut quantize).transpose()?;
        Ok(self.with_weights(quantize(&self.weight_ih)?, quantize(&self.weight_hh)?, weight_hr))
    }

    /// The same layer with its input weights and its recurrent weights factored. A projection stays as it is: it
    /// already makes the recurrent weights thin.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, input: super::RankPolicy, recurrent: super::RankPolicy) -> Result<Self> {
        let (weight_ih, weight_hh) = (self.weight_ih.factor(input)?, self.weight_hh.factor(recurrent)?);
        Ok(self.with_weights(weight_ih, weight_hh, self.weight_hr.clone()))
    }

    /// The same layer factored by a scheme, starting from its weights as whole matrices.
    /// [`Scheme::Joint`](super::Scheme::Joint) has a single matrix, which is factored by the policy `input`;
    /// `recurrent` is then unused. A projection stays as it is.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor_scheme(
        &self,
        scheme: super::Scheme,
        input: super::RankPolicy,
        recurrent: super::RankPolicy,
    ) -> Result<Self> {
        let (matrix_ih, matrix_hh) = (self.weight_ih.to_matrix()?, self.weight_hh.to_matrix()?);
        let (weight_ih, weight_hh) =
            super::scheme::factor_gates(scheme, matrix_ih.view(), matrix_hh.view(), GATES, input, recurrent)?;
        Ok(self.with_weights(weight_ih, weight_hh, self.weight_hr.clone()))
    }

    fn with_weights(&self, weight_ih: Weight, weight_hh: Weight, weight_hr: Option<Weight>) -> Self {
        Self { weight_ih, weight_hh, weight_hr, bias_ih: self.bias_ih.clone(), bias_hh: self.bias_hh.clone() }
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.weight_ih.k()
    }

    /// Hidden features: the number of cells.
    pub fn hidden_size(&self) -> usize {
        self.weight_hr.as_ref().map_or(self.weight_hh.k(), Weight::k)
    }

    /// Output features: the hidden features, or the projected ones.
    pub fn output_size(&self) -> usize {
        self.weight_hh.k()
    }

    /// The input weights, `4 hidden x input`.
    pub fn weight_ih(&self) -> &Weight {
        &self.weight_ih
    }

    /// The recurrent weights, `4 hidden x output`.
    pub fn weight_hh(&self) -> &Weight {
        &self.weight_hh
    }

    /// The projection, `output x hidden`.
    pub fn weight_hr(&self) -> Option<&Weight> {
        self.weight_hr.as_ref()
    }

    /// The bias of the input product.
    pub fn bias_ih(&self) -> Option<&[f32]> {
        self.bias_ih.as_deref()
    }

    /// The bias of the recurrent product.
    pub fn bias_hh(&self) -> Option<&[f32]> {
        self.bias_hh.as_deref()
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        [&self.weight_ih, &self.weight_hh].into_iter().chain(&self.weight_hr)
    }

    /// Number of weights and biases; a shared factor counts once.
    pub fn parameters(&self) -> usize {
        parameters(self.weights(), [self.bias_ih(), self.bias_hh()])
    }

    /// Bytes of weights and biases in memory; a shared factor counts once.
    pub fn bytes(&self) -> usize {
        bytes(self.weights(), [self.bias_ih(), self.bias_hh()])
    }

    /// A state for this layer, all zeros.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn state(&self) -> Result<LstmState> {
        let (mut hidden, mut cell) = (Vec::new(), Vec::new());
        grow(&mut hidden, self.output_size())?;
        grow(&mut cell, self.hidden_size())?;
        Ok(LstmState { hidden, cell })
    }

    /// Runs one time step: takes `x` (`input` elements), advances `state` and returns its hidden vector, which is the
    /// output.
    ///
    /// # Errors
    /// [`Error::Length`] for an input or a state that does not fit; the state is untouched then. On
    /// [`Error::Allocation`] the cell may have advanced.
    pub fn step<'s>(&self, x: &[f32], state: &'s mut LstmState, scratch: &mut Scratch) -> Result<&'s [f32]> {
        if x.len() != self.input_size() {
            return Err(Error::Length { what: "input", expected: self.input_size(), found: x.len() });
        }
        self.expect_state(state)?;
        if self.weight_hr.is_some() {
            self.run(MatRef::row_vector(x), state, scratch, |_, _| ())?;
        } else {
            let (weights, biases) = ([&self.weight_ih, &self.weight_hh], [self.bias_ih(), self.bias_hh()]);
            let [input, recurrent] = both_products(weights, biases, [x, &state.hidden], scratch)?;
            gates::lstm(&mut state.cell, &mut state.hidden, input, recurrent);
        }
        Ok(&state.hidden)
    }

    /// Runs a sequence of time steps, or a piece of one: takes `x` (`time x input`), advances `state` and writes the
    /// hidden vectors to `out` (`time x output`). Results are bit-identical however a sequence is split into pieces.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit; state and output are untouched then. On
    /// [`Error::Allocation`] the state may have advanced by a part of the sequence.
    pub fn forward(
        &self,
        x: MatRef<'_, f32>,
        state: &mut LstmState,
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
        state: &mut LstmState,
        scratch: &mut Scratch,
        mut output: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.expect_state(state)?;
        let mut buffer = core::mem::take(&mut scratch.recurrent_gates);
        let done = self.grow(&mut buffer).and_then(|()| {
            for_each_step(&self.weight_ih, self.bias_ih(), x, scratch, |t, input, scratch| {
                self.advance(input, state, &mut buffer, scratch)?;
                output(t, &state.hidden);
                Ok(())
            })
        });
        scratch.recurrent_gates = buffer;
        done
    }

    fn expect_state(&self, state: &LstmState) -> Result<()> {
        expect_length("hidden state", self.output_size(), state.hidden.len())?;
        expect_length("cell state", self.hidden_size(), state.cell.len())
    }

    /// Makes room for the recurrent gates, followed by the vector to be projected.
    fn grow(&self, buffer: &mut Vec<f32>) -> Result<()> {
        let hidden = self.hidden_size();
        let too_large = || Error::TooLarge { what: "gates of a time step", rows: hidden, cols: GATES + 1 };
        grow(buffer, hidden.checked_mul(GATES + 1).ok_or_else(too_large)?)
    }

    /// One time step; `input` is the input product, and `buffer` is as [`grow`](Self::grow) leaves it.
    #[inline]
    fn advance(&self, input: &[f32], state: &mut LstmState, buffer: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let LstmState { hidden: h, cell } = state;
        let (recurrent, unprojected) = buffer.split_at_mut(GATES * cell.len());
        product(&self.weight_hh, self.bias_hh(), h, recurrent, scratch)?;
        match &self.weight_hr {
            None => gates::lstm(cell, h, input, recurrent),
            Some(weight_hr) => {
                let unprojected = &mut unprojected[..cell.len()];
                gates::lstm(cell, unprojected, input, recurrent);
                product(weight_hr, None, unprojected, h, scratch)?;
            }
        }
        Ok(())
    }
}

recurrent_by_methods!(Lstm, LstmState);

/// The state of an [`Lstm`] between time steps.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmState {
    hidden: Vec<f32>,
    cell: Vec<f32>,
}

impl LstmState {
    /// Resets the state to zeros, for the start of a sequence.
    pub fn reset(&mut self) {
        self.hidden.fill(0.0);
        self.cell.fill(0.0);
    }

    /// The hidden vector, the output.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// The hidden vector, writable, to start from a learned or stored one.
    pub fn hidden_mut(&mut self) -> &mut [f32] {
        &mut self.hidden
    }

    /// The cells.
    pub fn cell(&self) -> &[f32] {
        &self.cell
    }

    /// The cells, writable, to start from learned or stored ones.
    pub fn cell_mut(&mut self) -> &mut [f32] {
        &mut self.cell
    }
}
