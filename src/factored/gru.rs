//! The gated recurrent unit.

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

/// A forward GRU with dense or factored weights, in `f32` or quantized. It has PyTorch's form, which resets after the
/// recurrent product:
///
/// ```text
/// r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
/// z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
/// n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))
/// h' = (1 - z) * n + z * h
/// ```
///
/// If it was made by [`reset_before`](Self::reset_before), it has the form of Cho et al., arXiv 1406.1078, which resets
/// before the product:
///
/// ```text
/// n  = tanh(W_in x + b_in + W_hn (r * h) + b_hn)
/// ```
///
/// Gates are stacked in the order r, z, n, as in PyTorch. So there are two products, one with all input weights and one
/// with all recurrent weights. If the reset comes before the product, the recurrent product is split in two, because
/// W_hn must wait for r. Factoring the two stacked weights is the *partially joint* scheme of Kliegl et al., arXiv
/// 1710.09026. The input product is computed for [`Scratch::time_batch`] time steps at once.
///
/// No input data cause a panic. With quantized weights, a NaN in the input counts as 0 and an infinity as the largest
/// finite input of its step. In `f32`, a NaN has the effect of minus infinity on all gates ([`gates`]).
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
    /// The weights of all gates, or of r and z if n has its own.
    weight_hh: Weight,
    weight_hh_n: Option<Weight>,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
}

/// Number of gates stacked in the weights: r, z, n.
const GATES: usize = 3;

/// The positions of the gates r, z, n in ONNX's order z, r, h.
const ONNX_ORDER: [usize; GATES] = [1, 0, 2];

impl Gru {
    /// Makes a layer from PyTorch's parameters: `weight_ih` is `3 hidden x input`, `weight_hh` is `3 hidden x hidden`,
    /// and each bias has `3 hidden` elements. The gates are in the order r, z, n.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for parameters that do not fit, [`Error::NotFinite`] for a bias.
    pub fn new(
        weight_ih: impl Into<Weight>,
        weight_hh: impl Into<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        Self::checked(weight_ih.into(), weight_hh.into(), None, bias_ih, bias_hh)
    }

    /// Makes a layer that resets before the recurrent product. Its recurrent weights are in two parts: `weight_hh_rz`
    /// is `2 hidden x hidden`, `weight_hh_n` is `hidden x hidden`. The other parameters are as in [`new`](Self::new).
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Gru, Scratch, Weight}};
    ///
    /// let weight = |w: f32, rows, cols| Weight::dense(Mat::from_vec(vec![w; rows * cols], rows, cols)?);
    /// let gru = Gru::reset_before(weight(0.0, 3, 1)?, weight(0.0, 2, 1)?, weight(1.0, 1, 1)?, None, None)?;
    /// let mut state = gru.state()?;
    /// state.hidden_mut()[0] = 0.5;
    /// let h = gru.step(&[0.0], &mut state, &mut Scratch::new())?;
    /// assert!((h[0] - (0.5 * 0.25f32.tanh() + 0.5 * 0.5)).abs() < 1e-6);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn reset_before(
        weight_ih: impl Into<Weight>,
        weight_hh_rz: impl Into<Weight>,
        weight_hh_n: impl Into<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        Self::checked(weight_ih.into(), weight_hh_rz.into(), Some(weight_hh_n.into()), bias_ih, bias_hh)
    }

    /// Makes a layer from one direction of ONNX's operator `GRU`, whose gates are in the order z, r, h. `w` is
    /// `3 hidden x input`, and `r` is `3 hidden x hidden`. `bias` has `6 hidden` elements: the bias of the input
    /// product, then the bias of the recurrent product. `linear_before_reset` is the operator's attribute: whether the
    /// reset comes after the product.
    ///
    /// The operator's activations must be its defaults, without `clip`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for parameters that do not fit, [`Error::NotFinite`],
    /// [`Error::Allocation`].
    pub fn from_onnx(
        w: MatRef<'_, f32>,
        r: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        linear_before_reset: bool,
    ) -> Result<Self> {
        let hidden = r.cols();
        let rows = gate_rows(GATES, hidden)?;
        w.expect_shape("W", rows, w.cols())?;
        r.expect_shape("R", rows, hidden)?;
        let [bias_ih, bias_hh] = onnx::split_bias::<GATES>(bias, hidden, ONNX_ORDER)?;
        let weight_ih = Weight::dense(onnx::reorder(w, hidden, &ONNX_ORDER)?)?;
        let weight = |gates| Weight::dense(onnx::reorder(r, hidden, gates)?);
        if linear_before_reset {
            Self::new(weight_ih, weight(&ONNX_ORDER)?, bias_ih, bias_hh)
        } else {
            let [gate_r, gate_z, gate_n] = ONNX_ORDER;
            let (weight_hh_rz, weight_hh_n) = (weight(&[gate_r, gate_z])?, weight(&[gate_n])?);
            Self::reset_before(weight_ih, weight_hh_rz, weight_hh_n, bias_ih, bias_hh)
        }
    }

    fn checked(
        weight_ih: Weight,
        weight_hh: Weight,
        weight_hh_n: Option<Weight>,
        bias_ih: Option<Vec<f32>>,
        bias_hh: Option<Vec<f32>>,
    ) -> Result<Self> {
        let (input, hidden) = (weight_ih.k(), weight_hh.k());
        let rows = gate_rows(GATES, hidden)?;
        let (what, rows_hh) = if weight_hh_n.is_some() { ("weight_hh_rz", 2 * hidden) } else { ("weight_hh", rows) };
        for (what, weight, n, k) in [
            (what, Some(&weight_hh), rows_hh, hidden),
            ("weight_hh_n", weight_hh_n.as_ref(), hidden, hidden),
            ("weight_ih", Some(&weight_ih), rows, input),
        ] {
            if let Some(weight) = weight
                && (weight.n(), weight.k()) != (n, k)
            {
                return Err(Error::Shape { what, expected: (n, k), found: (weight.n(), weight.k()) });
            }
        }
        expect_bias("bias_ih", bias_ih.as_deref(), rows)?;
        expect_bias("bias_hh", bias_hh.as_deref(), rows)?;
        Ok(Self { weight_ih, weight_hh, weight_hh_n, bias_ih, bias_hh })
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
        let weight_hh_n = self.weight_hh_n.as_ref().map(&mut quantize).transpose()?;
        Ok(self.with_weights(quantize(&self.weight_ih)?, quantize(&self.weight_hh)?, weight_hh_n))
    }

    /// The same layer with its input weights and its recurrent weights factored. If the reset comes before the
    /// recurrent product, the recurrent weights of n are factored separately.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, input: super::RankPolicy, recurrent: super::RankPolicy) -> Result<Self> {
        let weight_hh_n = self.weight_hh_n.as_ref().map(|weight| weight.factor(recurrent)).transpose()?;
        Ok(self.with_weights(self.weight_ih.factor(input)?, self.weight_hh.factor(recurrent)?, weight_hh_n))
    }

    /// The same layer factored by a scheme, starting from its weights as whole matrices.
    /// [`Scheme::Joint`](super::Scheme::Joint) has a single matrix, which is factored by the policy `input`;
    /// `recurrent` is then unused.
    ///
    /// If the reset comes before the recurrent product, the gates r and z, whose input is `h`, are factored separately
    /// from n, whose input is `r * h`. The exception is the input weights of
    /// [`Scheme::PartiallyJoint`](super::Scheme::PartiallyJoint), which stay together.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Gru, RankPolicy, Scheme, Weight}};
    ///
    /// let (input, hidden) = (5, 8);
    /// let pattern = |rows, cols| Mat::from_vec((0..rows * cols).map(|i| (i % 7) as f32 / 50.0).collect(), rows, cols);
    /// let (weight_ih, weight_hh) = (Weight::dense(pattern(24, input)?)?, Weight::dense(pattern(24, hidden)?)?);
    /// let rank = RankPolicy::Fixed(3);
    /// let gru = Gru::new(weight_ih, weight_hh, None, None)?.factor_scheme(Scheme::Joint, rank, rank)?;
    /// assert_eq!(gru.parameters(), 3 * (3 * hidden + input + hidden));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    #[cfg(feature = "svd")]
    pub fn factor_scheme(
        &self,
        scheme: super::Scheme,
        input: super::RankPolicy,
        recurrent: super::RankPolicy,
    ) -> Result<Self> {
        use super::scheme::factor_gates;

        let (matrix_ih, matrix_hh) = (self.weight_ih.to_matrix()?, self.weight_hh.to_matrix()?);
        let (w, hidden) = (matrix_ih.view(), self.hidden_size());
        let Some(weight_hh_n) = &self.weight_hh_n else {
            let (weight_ih, weight_hh) = factor_gates(scheme, w, matrix_hh.view(), GATES, input, recurrent)?;
            return Ok(self.with_weights(weight_ih, weight_hh, None));
        };
        if scheme == super::Scheme::PartiallyJoint {
            let weights = (self.weight_ih.factor_whole(input)?, self.weight_hh.factor_whole(recurrent)?);
            return Ok(self.with_weights(weights.0, weights.1, Some(weight_hh_n.factor_whole(recurrent)?)));
        }
        let (w_rz, w_n) = (w.rows_range(0..2 * hidden), w.rows_range(2 * hidden..GATES * hidden));
        let (ih_rz, weight_hh) = factor_gates(scheme, w_rz, matrix_hh.view(), 2, input, recurrent)?;
        let (ih_n, weight_hh_n) = factor_gates(scheme, w_n, weight_hh_n.to_matrix()?.view(), 1, input, recurrent)?;
        Ok(self.with_weights(Weight::stack(alloc::vec![ih_rz, ih_n])?, weight_hh, Some(weight_hh_n)))
    }

    fn with_weights(&self, weight_ih: Weight, weight_hh: Weight, weight_hh_n: Option<Weight>) -> Self {
        Self { weight_ih, weight_hh, weight_hh_n, bias_ih: self.bias_ih.clone(), bias_hh: self.bias_hh.clone() }
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

    /// The recurrent weights, `3 hidden x hidden`. If the reset comes before the product, only those of r and z,
    /// `2 hidden x hidden`.
    pub fn weight_hh(&self) -> &Weight {
        &self.weight_hh
    }

    /// The recurrent weights of n, `hidden x hidden`, if the reset comes before the product.
    pub fn weight_hh_n(&self) -> Option<&Weight> {
        self.weight_hh_n.as_ref()
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
        [&self.weight_ih, &self.weight_hh].into_iter().chain(&self.weight_hh_n)
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
    pub fn state(&self) -> Result<GruState> {
        let mut hidden = Vec::new();
        grow(&mut hidden, self.hidden_size())?;
        Ok(GruState { hidden })
    }

    /// Runs one time step: takes `x` (`input` elements), advances `state` and returns its hidden vector, which is the
    /// output.
    ///
    /// # Errors
    /// [`Error::Length`] for an input or a state that does not fit, [`Error::Allocation`]; the state is untouched then.
    pub fn step<'s>(&self, x: &[f32], state: &'s mut GruState, scratch: &mut Scratch) -> Result<&'s [f32]> {
        if x.len() != self.input_size() {
            return Err(Error::Length { what: "input", expected: self.input_size(), found: x.len() });
        }
        self.expect_state(state)?;
        if self.weight_hh_n.is_some() {
            self.run(MatRef::row_vector(x), state, scratch, |_, _| ())?;
        } else {
            let (weights, biases) = ([&self.weight_ih, &self.weight_hh], [self.bias_ih(), self.bias_hh()]);
            let [input, recurrent] = both_products(weights, biases, [x, &state.hidden], scratch)?;
            gates::gru(&mut state.hidden, input, recurrent);
        }
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
        state: &mut GruState,
        mut out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        expect_depth("input", x, self.input_size())?;
        out.expect_shape("output", x.rows(), self.hidden_size())?;
        self.run(x, state, scratch, |t, h| out.row_mut(t).copy_from_slice(h))
    }

    /// Advances `state` by the rows of `x` and calls `output` with each index and hidden vector.
    fn run(
        &self,
        x: MatRef<'_, f32>,
        state: &mut GruState,
        scratch: &mut Scratch,
        mut output: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.expect_state(state)?;
        let mut buffer = core::mem::take(&mut scratch.recurrent_gates);
        let done = for_each_step(&self.weight_ih, self.bias_ih(), x, scratch, |t, input, scratch| {
            self.advance(input, &mut state.hidden, &mut buffer, scratch)?;
            output(t, &state.hidden);
            Ok(())
        });
        scratch.recurrent_gates = buffer;
        done
    }

    fn expect_state(&self, state: &GruState) -> Result<()> {
        expect_length("hidden state", self.hidden_size(), state.hidden.len())
    }

    /// One time step; `input` is the input product.
    #[inline]
    fn advance(&self, input: &[f32], h: &mut [f32], buffer: &mut Vec<f32>, scratch: &mut Scratch) -> Result<()> {
        match &self.weight_hh_n {
            None => {
                grow(buffer, self.weight_hh.n())?;
                let recurrent = &mut buffer[..self.weight_hh.n()];
                product(&self.weight_hh, self.bias_hh(), h, recurrent, scratch)?;
                gates::gru(h, input, recurrent);
                Ok(())
            }
            Some(weight_hh_n) => self.step_reset_before(weight_hh_n, input, h, buffer, scratch),
        }
    }

    /// One time step of a layer that resets before the recurrent product; `input` is the input product.
    fn step_reset_before(
        &self,
        weight_hh_n: &Weight,
        input: &[f32],
        h: &mut [f32],
        buffer: &mut Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let hidden = h.len();
        // r * h, and the products in the order r, z, n.
        let too_large = Error::TooLarge { what: "gates of a time step", rows: hidden, cols: GATES + 1 };
        let len = hidden.checked_mul(GATES + 1).ok_or(too_large)?;
        grow(buffer, len)?;
        let (reset, recurrent) = buffer[..len].split_at_mut(hidden);
        let (recurrent_rz, recurrent_n) = recurrent.split_at_mut(2 * hidden);
        let (bias_rz, bias_n) = self.bias_hh().map(|bias| bias.split_at(2 * hidden)).unzip();
        product(&self.weight_hh, bias_rz, h, recurrent_rz, scratch)?;
        gates::gru_reset(reset, h, input, recurrent_rz);
        product(weight_hh_n, bias_n, reset, recurrent_n, scratch)?;
        gates::gru_update(h, &input[hidden..], &recurrent[hidden..]);
        Ok(())
    }
}

recurrent_by_methods!(Gru, GruState);

/// The state of a [`Gru`] between time steps.
#[derive(Clone, Debug, PartialEq)]
pub struct GruState {
    hidden: Vec<f32>,
}

impl GruState {
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
