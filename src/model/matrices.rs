//! The matrices of each kind of layer, and the layer rebuilt from the results.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use super::Layer;
use super::factorable::{Cuts, Factorable, Inputs, Matrix, Replaced, Seen};
use crate::error::Result;
use crate::factored::{Bidirectional, Gru, Linear, Lstm, Recurrent, Rnn, Scheme, TimeConvolution, beside, columns};
use crate::matrix::{Mat, MatRef};

fn copy(x: MatRef<'_, f32>) -> Result<Mat<f32>> {
    Mat::from_vec(x.as_slice().to_vec(), x.rows(), x.cols())
}

fn rows(x: MatRef<'_, f32>, range: Range<usize>) -> Result<Mat<f32>> {
    copy(x.rows_range(range))
}

fn reversed(x: MatRef<'_, f32>) -> Result<Mat<f32>> {
    let values = (0..x.rows()).rev().flat_map(|row| x.row(row)).copied().collect();
    Mat::from_vec(values, x.rows(), x.cols())
}

/// The inputs of the recurrent matrices: at the first step `h0`, or zeros, then the output of the previous step.
fn delayed(out: MatRef<'_, f32>, h0: Option<&[f32]>) -> Result<Mat<f32>> {
    let mut h = Mat::zeros(out.rows(), out.cols())?;
    if let Some(h0) = h0
        && out.rows() > 0
    {
        h.view_mut().row_mut(0).copy_from_slice(h0);
    }
    let kept = out.as_slice().len().saturating_sub(out.cols());
    let (_, after_first) = h.as_mut_slice().split_at_mut(out.cols().min(out.as_slice().len()));
    after_first.copy_from_slice(&out.as_slice()[..kept]);
    Ok(h)
}

fn matrix(name: impl ToString, weight: Mat<f32>, recurrent: bool) -> Matrix {
    Matrix { name: name.to_string(), weight, recurrent, dense: false, halves: None }
}

/// Splits the rows of `w` into one block for each of `gates`.
fn gate_matrices(name: &str, w: &Mat<f32>, gates: &str, recurrent: bool) -> Result<Vec<Matrix>> {
    let height = w.rows() / gates.len();
    let gate =
        |(i, gate)| Ok(matrix(format!("{name}[{gate}]"), rows(w.view(), i * height..(i + 1) * height)?, recurrent));
    gates.chars().enumerate().map(gate).collect()
}

/// The matrices to factor for input and recurrent weights with the same `gates`.
fn recurrent_matrices(scheme: Scheme, w: Mat<f32>, r: Mat<f32>, gates: &str) -> Result<Vec<Matrix>> {
    Ok(match scheme {
        Scheme::Split => {
            let mut matrices = gate_matrices("weight_ih", &w, gates, false)?;
            matrices.extend(gate_matrices("weight_hh", &r, gates, true)?);
            matrices
        }
        Scheme::PartiallyJoint => Vec::from([matrix("weight_ih", w, false), matrix("weight_hh", r, true)]),
        Scheme::Joint => {
            let both = matrix("weight", beside(w.view(), r.view())?, true);
            Vec::from([Matrix { halves: Some(w.cols()), ..both }])
        }
    })
}

/// The inputs of the matrices from [`recurrent_matrices`].
fn recurrent_inputs(scheme: Scheme, Seen { x, out, h0 }: Seen<'_>, gates: usize) -> Result<Inputs> {
    let (mut inputs, h) = (Inputs::default(), delayed(out, h0)?);
    match scheme {
        Scheme::Joint => inputs.add(beside(x, h.view())?, 1),
        Scheme::PartiallyJoint => {
            inputs.add(copy(x)?, 1);
            inputs.add(h, 1);
        }
        Scheme::Split => {
            inputs.add(copy(x)?, gates);
            inputs.add(h, gates);
        }
    }
    Ok(inputs)
}

/// The new input and recurrent weights, from the results for [`recurrent_matrices`].
fn recurrent_weights(scheme: Scheme, cuts: &mut Cuts, gates: usize) -> Result<[Replaced; 2]> {
    Ok(match scheme {
        Scheme::Split => [cuts.stack(gates)?, cuts.stack(gates)?],
        Scheme::PartiallyJoint => [cuts.whole()?, cuts.whole()?],
        Scheme::Joint => cuts.halves()?,
    })
}

impl Factorable for Linear {
    fn matrices(&self, _: Scheme) -> Result<Vec<Matrix>> {
        Ok(Vec::from([matrix("weight", self.weight().dequantize()?, false)]))
    }

    fn inputs(&self, _: Scheme, Seen { x, .. }: Seen<'_>) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        inputs.add(copy(x)?, 1);
        Ok(inputs)
    }

    fn rebuild(&self, _: Scheme, cuts: &mut Cuts) -> Result<Self> {
        let w = cuts.whole()?;
        let bias = w.bias(self.bias());
        let linear = Linear::new(w.weight, bias)?;
        Ok(linear.with_activation(self.activation()))
    }
}

impl Factorable for TimeConvolution {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        self.linear().matrices(scheme)
    }

    fn inputs(&self, _: Scheme, Seen { x, out, .. }: Seen<'_>) -> Result<Inputs> {
        let mut stacked = Mat::zeros(out.rows(), self.kernel() * x.cols())?;
        for t in 0..out.rows() {
            for (tap, frame) in stacked.view_mut().row_mut(t).chunks_exact_mut(x.cols()).enumerate() {
                // There are zeros before the first frame and after the last.
                if let Some(at) = (t * self.stride() + tap * self.windows().dilation).checked_sub(self.padding())
                    && at < x.rows()
                {
                    frame.copy_from_slice(x.row(at));
                }
            }
        }
        let mut inputs = Inputs::default();
        inputs.add(stacked, 1);
        Ok(inputs)
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        self.with_linear(self.linear().rebuild(scheme, cuts)?)
    }
}

/// The gates of recurrent layers, in the order of their rows; h stands for a layer without any.
const GRU_GATES: &str = "rzn";
const LSTM_GATES: &str = "ifgo";
const RNN_GATES: &str = "h";

/// The scheme for a GRU whose reset comes before the recurrent product. It has no joint form, because r * h and h are
/// different inputs.
fn of_reset_before(scheme: Scheme) -> Scheme {
    if scheme == Scheme::Joint { Scheme::PartiallyJoint } else { scheme }
}

impl Factorable for Gru {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        let (w, r) = (self.weight_ih().dequantize()?, self.weight_hh().dequantize()?);
        let Some(r_n) = self.weight_hh_n() else { return recurrent_matrices(scheme, w, r, GRU_GATES) };
        let mut matrices = match of_reset_before(scheme) {
            Scheme::Split => {
                let mut matrices = gate_matrices("weight_ih", &w, GRU_GATES, false)?;
                matrices.extend(gate_matrices("weight_hh", &r, &GRU_GATES[..2], true)?);
                matrices
            }
            _ => Vec::from([matrix("weight_ih", w, false), matrix("weight_hh", r, true)]),
        };
        matrices.push(matrix("weight_hh_n", r_n.dequantize()?, true));
        Ok(matrices)
    }

    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs> {
        if self.weight_hh_n().is_none() {
            return recurrent_inputs(scheme, seen, GRU_GATES.len());
        }
        let split = of_reset_before(scheme) == Scheme::Split;
        let mut inputs = Inputs::default();
        inputs.add(copy(seen.x)?, if split { 3 } else { 1 });
        // The candidate's input, r * h, is not visible; h stands in for it.
        inputs.add(delayed(seen.out, seen.h0)?, if split { 3 } else { 2 });
        Ok(inputs)
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        if self.weight_hh_n().is_none() {
            let [w, r] = recurrent_weights(scheme, cuts, GRU_GATES.len())?;
            let (bias_ih, bias_hh) = (w.bias(self.bias_ih()), r.bias(self.bias_hh()));
            return Gru::new(w.weight, r.weight, bias_ih, bias_hh);
        }
        let (w, mut r) = match of_reset_before(scheme) {
            Scheme::Split => (cuts.stack(3)?, cuts.stack(2)?),
            _ => (cuts.whole()?, cuts.whole()?),
        };
        let r_n = cuts.whole()?;
        // The shift covers r and z. There is none for n, whose inputs are not visible.
        if let Some(shift) = &mut r.shift {
            shift.resize(GRU_GATES.len() * self.hidden_size(), 0.0);
        }
        let (bias_ih, bias_hh) = (w.bias(self.bias_ih()), r.bias(self.bias_hh()));
        Gru::reset_before(w.weight, r.weight, r_n.weight, bias_ih, bias_hh)
    }
}

impl Factorable for Lstm {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        let (w, r) = (self.weight_ih().dequantize()?, self.weight_hh().dequantize()?);
        let mut matrices = recurrent_matrices(scheme, w, r, LSTM_GATES)?;
        if let Some(projection) = self.weight_hr() {
            matrices.push(Matrix { dense: true, ..matrix("weight_hr", projection.dequantize()?, true) });
        }
        Ok(matrices)
    }

    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs> {
        let mut inputs = recurrent_inputs(scheme, seen, LSTM_GATES.len())?;
        inputs.of.extend(self.weight_hr().map(|_| None));
        Ok(inputs)
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        let [w, r] = recurrent_weights(scheme, cuts, LSTM_GATES.len())?;
        let (bias_ih, bias_hh) = (w.bias(self.bias_ih()), r.bias(self.bias_hh()));
        match self.weight_hr() {
            None => Lstm::new(w.weight, r.weight, bias_ih, bias_hh),
            Some(_) => Lstm::with_projection(w.weight, r.weight, cuts.whole()?.weight, bias_ih, bias_hh),
        }
    }
}

impl Factorable for Rnn {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        recurrent_matrices(scheme, self.weight_ih().dequantize()?, self.weight_hh().dequantize()?, RNN_GATES)
    }

    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs> {
        recurrent_inputs(scheme, seen, RNN_GATES.len())
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        let [w, r] = recurrent_weights(scheme, cuts, RNN_GATES.len())?;
        let (bias_ih, bias_hh) = (w.bias(self.bias_ih()), r.bias(self.bias_hh()));
        Ok(Rnn::new(w.weight, r.weight, bias_ih, bias_hh)?.with_function(self.function()))
    }
}

impl<L: Factorable + Recurrent> Factorable for Bidirectional<L> {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        let (forward, reverse) = self.layers();
        let mut matrices = Vec::new();
        for (direction, layer) in [("forward", forward), ("reverse", reverse)] {
            let named = |m: Matrix| Matrix { name: format!("{direction}.{}", m.name), ..m };
            matrices.extend(layer.matrices(scheme)?.into_iter().map(named));
        }
        Ok(matrices)
    }

    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs> {
        let (forward, reverse) = self.layers();
        let middle = forward.output_size();
        let Seen { x, out, .. } = seen;
        let of_forward = columns(out, 0..middle)?;
        let mut inputs = forward.inputs(scheme, Seen { x, out: of_forward.view(), h0: None })?;
        let (x, out) = (reversed(x)?, reversed(columns(out, middle..out.cols())?.view())?);
        inputs.extend(reverse.inputs(scheme, Seen { x: x.view(), out: out.view(), h0: None })?);
        Ok(inputs)
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        let (forward, reverse) = self.layers();
        Self::new(forward.rebuild(scheme, cuts)?, reverse.rebuild(scheme, cuts)?)
    }
}

impl Factorable for Layer {
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>> {
        match self {
            Layer::Linear(layer) => layer.matrices(scheme),
            Layer::TimeConvolution(layer) => layer.matrices(scheme),
            Layer::Gru(layer) => layer.matrices(scheme),
            Layer::Lstm(layer) => layer.matrices(scheme),
            Layer::BidirectionalGru(layer) => layer.matrices(scheme),
            Layer::BidirectionalLstm(layer) => layer.matrices(scheme),
            Layer::Rnn(layer) => layer.matrices(scheme),
            Layer::BidirectionalRnn(layer) => layer.matrices(scheme),
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Embedding(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => Ok(Vec::new()),
        }
    }

    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs> {
        match self {
            Layer::Linear(layer) => layer.inputs(scheme, seen),
            Layer::TimeConvolution(layer) => layer.inputs(scheme, seen),
            Layer::Gru(layer) => layer.inputs(scheme, seen),
            Layer::Lstm(layer) => layer.inputs(scheme, seen),
            Layer::BidirectionalGru(layer) => layer.inputs(scheme, seen),
            Layer::BidirectionalLstm(layer) => layer.inputs(scheme, seen),
            Layer::Rnn(layer) => layer.inputs(scheme, seen),
            Layer::BidirectionalRnn(layer) => layer.inputs(scheme, seen),
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Embedding(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => Ok(Inputs::default()),
        }
    }

    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self> {
        Ok(match self {
            Layer::Linear(layer) => Layer::Linear(layer.rebuild(scheme, cuts)?),
            Layer::TimeConvolution(layer) => Layer::TimeConvolution(layer.rebuild(scheme, cuts)?),
            Layer::Gru(layer) => Layer::Gru(layer.rebuild(scheme, cuts)?),
            Layer::Lstm(layer) => Layer::Lstm(layer.rebuild(scheme, cuts)?),
            Layer::BidirectionalGru(layer) => Layer::BidirectionalGru(layer.rebuild(scheme, cuts)?),
            Layer::BidirectionalLstm(layer) => Layer::BidirectionalLstm(layer.rebuild(scheme, cuts)?),
            Layer::Rnn(layer) => Layer::Rnn(layer.rebuild(scheme, cuts)?),
            Layer::BidirectionalRnn(layer) => Layer::BidirectionalRnn(layer.rebuild(scheme, cuts)?),
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Embedding(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => self.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factored::tests::weight;
    use crate::factored::{Scratch, Weight};

    fn seen<'a>(x: &'a Mat<f32>, out: &'a Mat<f32>) -> Seen<'a> {
        Seen { x: x.view(), out: out.view(), h0: None }
    }

    fn convolution(kernel: usize, stride: usize, padding: usize) -> TimeConvolution {
        let linear = Linear::new(Weight::dense(weight(5, kernel * 3)).unwrap(), Some(Vec::from([0.5; 5]))).unwrap();
        TimeConvolution::new(linear, kernel, stride, padding).unwrap()
    }

    #[test]
    fn the_matrix_of_a_convolution_maps_its_inputs_to_its_outputs() {
        for (kernel, stride, padding, frames) in [(3, 1, 1, 7), (4, 2, 0, 9), (5, 3, 4, 8), (2, 1, 1, 3), (1, 1, 0, 4)]
        {
            let (layer, x) = (Layer::TimeConvolution(convolution(kernel, stride, padding)), weight(frames, 3));
            let out = layer.run(x.view(), &[], &mut Scratch::new()).map(|(out, _)| out).unwrap();
            let inputs = layer.inputs(Scheme::Split, seen(&x, &out)).unwrap();
            assert_eq!((inputs.of, inputs.distinct.len()), (Vec::from([Some(0)]), 1));
            let [matrix] = <[Matrix; 1]>::try_from(layer.matrices(Scheme::Split).unwrap()).unwrap();
            let input = &inputs.distinct[0];
            assert_eq!((input.rows(), input.cols()), (out.rows(), matrix.weight.cols()));
            for t in 0..out.rows() {
                for row in 0..5 {
                    let terms = matrix.weight.view().row(row).iter().zip(input.view().row(t));
                    let sum = terms.map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() + 0.5;
                    let found = f64::from(out.view().row(t)[row]);
                    assert!((found - sum).abs() < 1e-5, "{kernel}, {stride}, {padding}: {found}, {sum} of the inputs");
                }
            }
        }
    }

    #[test]
    fn recurrent_matrices_take_the_outputs_of_the_step_before() {
        let out = weight(4, 3);
        let h = delayed(out.view(), None).unwrap();
        assert_eq!(h.view().row(0), [0.0; 3]);
        (1..4).for_each(|t| assert_eq!(h.view().row(t), out.view().row(t - 1)));
        let h = delayed(out.view(), Some(&[1.0, 2.0, 3.0])).unwrap();
        assert_eq!((h.view().row(0), h.view().row(1)), (&[1.0, 2.0, 3.0][..], out.view().row(0)));
        for rows in [0, 1] {
            assert_eq!(
                delayed(Mat::zeros(rows, 3).unwrap().view(), Some(&[1.0; 3][..]).filter(|_| rows == 0)).unwrap(),
                Mat::zeros(rows, 3).unwrap()
            );
        }
    }

    #[test]
    fn both_directions_take_their_own_past() {
        let dense = |n, k| Weight::dense(weight(n, k)).unwrap();
        let gru = || Gru::new(dense(6, 3), dense(6, 2), None, None).unwrap();
        let layer = Layer::BidirectionalGru(Bidirectional::new(gru(), gru()).unwrap());
        let x = weight(5, 3);
        let out = layer.run(x.view(), &[], &mut Scratch::new()).map(|(out, _)| out).unwrap();
        let inputs = layer.inputs(Scheme::PartiallyJoint, seen(&x, &out)).unwrap();
        assert_eq!(inputs.of, [0, 1, 2, 3].map(Some));
        for t in 0..5 {
            let [forward, h, reverse, h_reverse] = [0, 1, 2, 3].map(|i| inputs.distinct[i].view().row(t));
            assert_eq!((forward, reverse), (x.view().row(t), x.view().row(4 - t)));
            let zeros = [0.0; 2];
            let before = if t == 0 { &zeros } else { &out.view().row(t - 1)[..2] };
            let behind = if t == 0 { &zeros } else { &out.view().row(5 - t)[2..] };
            assert_eq!((h, h_reverse), (before, behind));
        }
    }
}
