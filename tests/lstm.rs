//! The LSTM against its equations in `f64`, and against itself: any tier, time batch, cut of the sequence and pool.

#[path = "common/layers.rs"]
mod common;

use common::{
    HASH_OF_NOTHING, Random, expect_an_empty_sequence_leaves_the_state, expect_near, expect_same_bits, expect_within,
    floats, hash, misfits_change_nothing, product, product_bound, sigmoid, whole,
};
use skinny::factored::{LowRank, Lstm, LstmState, Quantization, Scratch, Weight};
use skinny::kernels::WeightFormat;
use skinny::{Error, Mat, Tier};

/// An LSTM's parameters, with its equations in `f64` as PyTorch documents them.
struct Reference {
    hidden: usize,
    weight_ih: Mat<f32>,
    weight_hh: Mat<f32>,
    weight_hr: Option<Mat<f32>>,
    bias_ih: Vec<f32>,
    bias_hh: Vec<f32>,
}

impl Reference {
    fn new(input: usize, hidden: usize, projection: Option<usize>, magnitude: f32) -> Self {
        let mut random = Random((input * 1000 + hidden) as u64);
        Self {
            hidden,
            weight_ih: random.mat(4 * hidden, input, magnitude),
            weight_hh: random.mat(4 * hidden, projection.unwrap_or(hidden), magnitude),
            weight_hr: projection.map(|proj| random.mat(proj, hidden, magnitude)),
            bias_ih: random.vec(4 * hidden, magnitude),
            bias_hh: random.vec(4 * hidden, magnitude),
        }
    }

    fn lstm(&self) -> Lstm {
        let weight = |w: &Mat<f32>| Weight::dense(w.clone()).unwrap();
        let (weight_ih, weight_hh) = (weight(&self.weight_ih), weight(&self.weight_hh));
        let (bias_ih, bias_hh) = (Some(self.bias_ih.clone()), Some(self.bias_hh.clone()));
        match &self.weight_hr {
            None => Lstm::new(weight_ih, weight_hh, bias_ih, bias_hh),
            Some(weight_hr) => Lstm::with_projection(weight_ih, weight_hh, weight(weight_hr), bias_ih, bias_hh),
        }
        .unwrap()
    }

    /// Advances `h` and `c` by one step.
    fn step(&self, x: &[f32], h: &mut Vec<f64>, c: &mut [f64]) {
        let (from_x, from_h) = (product(self.weight_ih.as_slice(), &floats(x)), product(self.weight_hh.as_slice(), h));
        let gate = |gate: usize, j: usize| {
            let row = gate * self.hidden + j;
            from_x[row] + f64::from(self.bias_ih[row]) + from_h[row] + f64::from(self.bias_hh[row])
        };
        for (j, c) in c.iter_mut().enumerate() {
            *c = sigmoid(gate(1, j)) * *c + sigmoid(gate(0, j)) * gate(2, j).tanh();
        }
        let out: Vec<f64> = c.iter().enumerate().map(|(j, c)| sigmoid(gate(3, j)) * c.tanh()).collect();
        *h = self.weight_hr.as_ref().map_or(out.clone(), |weight_hr| product(weight_hr.as_slice(), &out));
    }
}

#[test]
fn an_lstm_in_f32_follows_the_equations() {
    for (input, hidden, projection, magnitude) in [
        (1, 1, None, 1.0),
        (7, 5, None, 0.7),
        (40, 33, None, 0.3),
        (80, 128, None, 0.15),
        (3, 2, Some(1), 1.0),
        (20, 33, Some(9), 0.3),
    ] {
        let reference = Reference::new(input, hidden, projection, magnitude);
        let lstm = reference.lstm();
        assert_eq!((lstm.input_size(), lstm.hidden_size()), (input, hidden));
        let x = Random(3).mat(50, input, 2.0);
        let (mut h, mut c) = (vec![0.0; lstm.output_size()], vec![0.0; hidden]);
        for (t, out) in whole(&lstm, &x).chunks(lstm.output_size()).enumerate() {
            reference.step(x.view().row(t), &mut h, &mut c);
            expect_near(&format!("{input} {hidden}, step {t}"), out, &h);
        }
    }
}

#[test]
fn an_lstm_in_8_bits_is_within_the_bound_of_its_steps() {
    let reference = Reference::new(20, 16, None, 0.15);
    let hidden = reference.hidden;
    let exact = reference.lstm();
    let x = Random(5).mat(12, 20, 1.0);
    let mut state = exact.state().unwrap();
    let mut scratch = Scratch::new();
    let states: Vec<LstmState> = (0..x.rows())
        .map(|t| {
            exact.step(x.view().row(t), &mut state, &mut scratch).unwrap();
            state.clone()
        })
        .collect();
    for &tier in Tier::available() {
        let out = whole(&exact.quantize(tier).unwrap(), &x);
        let (mut off_h, mut off_c) = (vec![0.0; hidden], vec![0.0; hidden]);
        let mut before = exact.state().unwrap();
        for (t, state) in states.iter().enumerate() {
            let gate = |gate: usize, j: usize| {
                let (w, u) = (&reference.weight_ih, &reference.weight_hh);
                let row = gate * hidden + j;
                product_bound(w.view().row(row), x.view().row(t), &[0.0; 20])
                    + product_bound(u.view().row(row), before.hidden(), &off_h)
            };
            // sigmoid has slope 1/4 at most, tanh 1; gates and outputs are at most 1.
            let next = |j: usize| {
                let c = f64::from(before.cell()[j].abs());
                off_c[j] + c * gate(1, j) / 4.0 + gate(0, j) / 4.0 + gate(2, j)
            };
            let next_c: Vec<f64> = (0..hidden).map(next).collect();
            off_h = (0..hidden).map(|j| next_c[j] + gate(3, j) / 4.0).collect();
            off_c = next_c;
            before = state.clone();
            expect_within(&format!("{tier}, step {t}"), &out[t * hidden..][..hidden], state.hidden(), &off_h);
        }
    }
}

/// Dense, factored and projected.
fn variants() -> Vec<(&'static str, Lstm)> {
    let (input, hidden) = (37, 50);
    let mut random = Random(8);
    let mut low_rank = |n, k, rank| LowRank::from_factors(random.mat(n, rank, 0.3), random.mat(rank, k, 0.3)).unwrap();
    let factors = (low_rank(4 * hidden, input, 11), low_rank(4 * hidden, hidden, 19));
    let factored = Lstm::new(factors.0, factors.1, None, Some(random.vec(4 * hidden, 0.5))).unwrap();
    vec![
        ("dense", Reference::new(input, hidden, None, 0.2).lstm()),
        ("factored", factored),
        ("projected", Reference::new(input, hidden, Some(21), 0.2).lstm()),
    ]
}

#[test]
fn tiers_time_batches_and_cuts_do_not_change_a_bit() {
    for (what, layer) in variants() {
        expect_same_bits(what, &layer, &[WeightFormat::I8, WeightFormat::I4]);
        expect_same_bits(what, &layer, &[Quantization::I8X16]);
    }
}

/// The hash pins the bits down, which are the same on every target, compiler and tier.
#[test]
fn results_are_the_same_bits_on_every_machine() {
    let layers = variants().into_iter().flat_map(|(_, layer)| [layer.clone(), layer.quantize(Tier::Portable).unwrap()]);
    let hash = layers.fold(HASH_OF_NOTHING, |so_far, layer| {
        hash(so_far, &whole(&layer, &Random(10).mat(17, layer.input_size(), 1.0)))
    });
    assert_eq!(hash, 0x83fb_e177_df4c_623e, "{hash:#x}");
}

/// ONNX's operator `LSTM`, from its documentation: gates i, o, f, c.
#[test]
fn an_lstm_of_onnx_follows_the_equations_of_the_operator() {
    for (input, hidden) in [(1, 1), (7, 5), (30, 33)] {
        let mut random = Random((input * 100 + hidden) as u64);
        let (w, r) = (random.mat(4 * hidden, input, 0.4), random.mat(4 * hidden, hidden, 0.4));
        let b = random.vec(8 * hidden, 0.5);
        let lstm = Lstm::from_onnx(w.view(), r.view(), Some(&b)).unwrap();
        let x = random.mat(40, input, 2.0);
        let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
        for (t, out) in whole(&lstm, &x).chunks(hidden).enumerate() {
            let (from_x, from_h) = (product(w.as_slice(), &floats(x.view().row(t))), product(r.as_slice(), &h));
            let gate = |gate: usize, j: usize| {
                let (wb, rb) = (b[gate * hidden + j], b[(4 + gate) * hidden + j]);
                from_x[gate * hidden + j] + from_h[gate * hidden + j] + f64::from(wb) + f64::from(rb)
            };
            for j in 0..hidden {
                let [i, o, f] = [0, 1, 2].map(|which| sigmoid(gate(which, j)));
                c[j] = f * c[j] + i * gate(3, j).tanh();
                h[j] = o * c[j].tanh();
                let out = f64::from(out[j]);
                assert!((out - h[j]).abs() < 1e-5, "{input} {hidden}, step {t}: {out} for {}", h[j]);
            }
        }
    }
}

#[test]
fn a_nan_in_the_input_of_an_8_bit_layer_counts_as_zero() {
    let layer = Reference::new(8, 6, None, 0.5).lstm().quantize(Tier::select().unwrap()).unwrap();
    let mut scratch = Scratch::new();
    let (mut a, mut b) = (layer.state().unwrap(), layer.state().unwrap());
    let mut x = vec![0.25; 8];
    x[3] = f32::NAN;
    layer.step(&x, &mut a, &mut scratch).unwrap();
    x[3] = 0.0;
    layer.step(&x, &mut b, &mut scratch).unwrap();
    assert_eq!(a, b);
    layer.step(&[f32::INFINITY; 8], &mut a, &mut scratch).unwrap();
    assert!(a.hidden().iter().all(|h| h.abs() <= 1.0) && a.cell().iter().all(|c| c.is_finite()));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_moves() {
    let mut random = Random(1);
    let mut dense = |n, k| Weight::dense(random.mat(n, k, 1.0)).unwrap();
    let refused = Lstm::new(dense(8, 3), dense(9, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hh", expected: (8, 2), found: (9, 2) });
    let refused = Lstm::new(dense(7, 3), dense(8, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_ih", expected: (8, 3), found: (7, 3) });
    let refused = Lstm::new(dense(8, 3), dense(8, 2), Some(vec![0.0; 7]), None).unwrap_err();
    assert_eq!(refused, Error::Length { what: "bias_ih", expected: 8, found: 7 });
    let refused = Lstm::with_projection(dense(8, 3), dense(8, 1), dense(2, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hr", expected: (1, 2), found: (2, 2) });
    let refused = Lstm::with_projection(dense(8, 3), dense(8, 1), dense(1, 3), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hh", expected: (12, 1), found: (8, 1) });
    let (w, r) = (Mat::zeros(8, 3).unwrap(), Mat::zeros(8, 2).unwrap());
    let refused = Lstm::from_onnx(w.view(), r.view(), Some(&[0.0; 8])).unwrap_err();
    assert_eq!(refused, Error::Length { what: "B", expected: 16, found: 8 });

    let lstm = Lstm::new(dense(8, 3), dense(8, 2), None, None).unwrap();
    misfits_change_nothing(&lstm);
    let mut other = Lstm::with_projection(dense(8, 3), dense(8, 1), dense(1, 2), None, None).unwrap().state().unwrap();
    let refused = lstm.step(&[1.0; 3], &mut other, &mut Scratch::new()).unwrap_err();
    assert_eq!(refused, Error::Length { what: "hidden state", expected: 2, found: 1 });

    // The outputs have the same size, but are projected from different numbers of cells.
    let mut projected = |hidden| {
        let weights = (dense(4 * hidden, 3), dense(4 * hidden, 2), dense(2, hidden));
        Lstm::with_projection(weights.0, weights.1, weights.2, None, None).unwrap()
    };
    for (hidden, other) in [(5, 4), (4, 5)] {
        let (lstm, mut state) = (projected(hidden), projected(other).state().unwrap());
        let before = state.clone();
        let refused = lstm.step(&[1.0; 3], &mut state, &mut Scratch::new()).unwrap_err();
        assert_eq!(refused, Error::Length { what: "cell state", expected: hidden, found: other });
        assert_eq!(state, before);
    }
}

#[test]
fn an_empty_sequence_leaves_the_state() {
    variants().iter().for_each(|(_, layer)| expect_an_empty_sequence_leaves_the_state(layer));
}

#[test]
fn layers_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Lstm>();
    shared::<LstmState>();
}

#[cfg(feature = "rayon")]
#[test]
fn pools_do_not_change_a_bit() {
    // Large enough for a pool to be used: 64 KB of weights per thread.
    let layer = Reference::new(300, 256, None, 0.1).lstm().quantize(Tier::select().unwrap()).unwrap();
    common::expect_the_same_bits_on_pools(&layer);
}
