//! Shared by tests of layers: parameters, runs, bounds of quantization, the comparison of a layer with itself.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fmt::Debug;

use skinny::factored::{Quantization, Recurrent, Scratch};
use skinny::{Error, Mat, MatMut, MatRef, Tier};

/// Numbers in -1..1, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub fn vec(&mut self, len: usize, magnitude: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() * magnitude).collect()
    }

    pub fn mat(&mut self, rows: usize, cols: usize, magnitude: f32) -> Mat<f32> {
        Mat::from_vec(self.vec(rows * cols, magnitude), rows, cols).unwrap()
    }
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `w x`, `w` in rows of the length of `x`, in `f64`.
pub fn product(w: &[f32], x: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).map(|w| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()).collect()
}

pub fn floats(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// FNV-1a over the bits of floats, to check that they are the same on all machines.
pub fn hash(hash: u64, values: &[f32]) -> u64 {
    bits(values).into_iter().fold(hash, |hash, bits| (hash ^ u64::from(bits)).wrapping_mul(0x100_0000_01b3))
}

pub const HASH_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// Inputs and outputs of another shape are refused, and leave the outputs and a state in use as they were.
pub fn misfits_change_nothing<L: Recurrent>(layer: &L)
where
    L::State: PartialEq + Debug,
{
    let (x, mut out) = (vec![1.0; layer.input_size() + 1], vec![7.0; 2 * layer.output_size()]);
    let fitting = &x[1..];
    let (mut state, mut scratch) = (layer.state().unwrap(), Scratch::new());
    layer.step(fitting, &mut state, &mut scratch).unwrap();
    let before = state.clone();
    let refused = layer.step(&x, &mut state, &mut scratch).map(<[f32]>::to_vec);
    assert!(matches!(refused, Err(Error::Length { what: "input", .. })));
    let one = MatRef::new(fitting, 1, fitting.len()).unwrap();
    let two = MatMut::new(&mut out, 2, layer.output_size()).unwrap();
    assert!(layer.forward(one, &mut state, two, &mut scratch).is_err());
    assert_eq!((state, &out), (before, &vec![7.0; 2 * layer.output_size()]));
}

/// The outputs for a sequence, from a given state.
pub fn forward<L: Recurrent>(layer: &L, x: &Mat<f32>, state: &mut L::State, scratch: &mut Scratch) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.rows() * layer.output_size()];
    let view = MatMut::new(&mut out, x.rows(), layer.output_size()).unwrap();
    layer.forward(x.view(), state, view, scratch).unwrap();
    out
}

/// The outputs for a sequence, from a state of zeros.
pub fn whole<L: Recurrent>(layer: &L, x: &Mat<f32>) -> Vec<f32> {
    forward(layer, x, &mut layer.state().unwrap(), &mut Scratch::new())
}

/// Half a quantization step of `values`: the largest error of one of them.
pub fn half_step(values: &[f32]) -> f64 {
    f64::from(values.iter().fold(0.0f32, |m, v| m.max(v.abs()))) / 127.0 / 2.0 * 1.001
}

/// The largest error of an 8-bit product of `w` and `x`, where `x` itself is off by `off`: with `w + dw` and `x + dx`
/// in place of `w` and `x` it is `sum |w| |dx| + |dw| |x| + |dw| |dx|`.
pub fn product_bound(w: &[f32], x: &[f32], off: &[f64]) -> f64 {
    let (dw, dx) = (half_step(w), half_step(x) + off.iter().fold(0.0f64, |m, &v| m.max(v)) / 127.0);
    let terms = w.iter().zip(x).zip(off).map(|((&w, &x), off)| {
        let (w, x, dx) = (f64::from(w.abs()), f64::from(x.abs()), dx + off);
        w * dx + dw * x + dw * dx
    });
    terms.sum::<f64>() + 1e-5
}

/// Runs a layer in `f32`, and in each of `formats` on each tier. Time batches, cuts of the sequence, single steps and
/// tiers must not change a bit.
pub fn expect_same_bits<L, F>(what: &str, layer: &L, formats: &[F])
where
    F: Copy + Debug + Into<Quantization>,
    L: Recurrent,
    L::State: PartialEq + Debug,
{
    let x = Random(9).mat(23, layer.input_size(), 1.0);
    let of_f32 = expect_same_bits_however_cut(&format!("{what}, f32"), layer, &x);
    for &format in formats {
        let of_tiers = Tier::available().iter().map(|&tier| {
            let quantized = layer.quantize_to(format, tier).unwrap();
            expect_same_bits_however_cut(&format!("{what}, {format:?} on {tier}"), &quantized, &x)
        });
        let of_tiers: Vec<_> = of_tiers.collect();
        assert!(of_tiers.windows(2).all(|pair| pair[0] == pair[1]), "{what}, {format:?}: tiers differ");
        assert_ne!(of_tiers[0], of_f32, "{what} is not quantized");
    }
}

fn expect_same_bits_however_cut<L>(what: &str, layer: &L, x: &Mat<f32>) -> Vec<u32>
where
    L: Recurrent,
    L::State: PartialEq + Debug,
{
    let (input, output) = (layer.input_size(), layer.output_size());
    let mut state = layer.state().unwrap();
    let whole = forward(layer, x, &mut state, &mut Scratch::new());
    assert!(whole.iter().all(|y| y.is_finite()), "{what}");
    for time_batch in 1..=10 {
        let mut scratch = Scratch::new().with_time_batch(time_batch).unwrap();
        let mut again = layer.state().unwrap();
        assert_eq!(bits(&forward(layer, x, &mut again, &mut scratch)), bits(&whole), "{what} {time_batch}");
        for cut in [1, 2, 5, 22] {
            let mut pieces = Vec::new();
            layer.reset(&mut again);
            for piece in x.as_slice().chunks(cut * input) {
                let piece = Mat::from_vec(piece.to_vec(), piece.len() / input, input).unwrap();
                pieces.extend(forward(layer, &piece, &mut again, &mut scratch));
            }
            assert_eq!(bits(&pieces), bits(&whole), "{what}, time batch {time_batch}, cut {cut}");
            assert_eq!(again, state, "{what}");
        }
    }
    let mut stream = layer.state().unwrap();
    for (t, out) in whole.chunks(output).enumerate() {
        let mut fork = stream.clone();
        let mut scratch = Scratch::new();
        let step = bits(layer.step(x.view().row(t), &mut stream, &mut scratch).unwrap());
        assert_eq!(step, bits(out), "{what}, step {t}");
        layer.step(x.view().row(t), &mut fork, &mut scratch).unwrap();
        assert_eq!(fork, stream, "{what}, step {t}");
    }
    bits(&whole)
}

/// Checks outputs in `f32` against the equations.
pub fn expect_near(what: &str, out: &[f32], exact: &[f64]) {
    assert_eq!(out.len(), exact.len(), "{what}");
    for (&out, &exact) in out.iter().zip(exact) {
        assert!((f64::from(out) - exact).abs() < 1e-5, "{what}: {out} for {exact}");
    }
}

/// Checks a step in 8 bits against the exact one: no output is off by more than its bound, and none by much.
pub fn expect_within(what: &str, out: &[f32], exact: &[f32], bounds: &[f64]) {
    assert!(out.len() == exact.len() && exact.len() == bounds.len(), "{what}");
    for ((out, exact), bound) in out.iter().zip(exact).zip(bounds) {
        let difference = f64::from((out - exact).abs());
        assert!(difference <= *bound, "{what}: {difference}, bound {bound}");
        assert!(difference < 0.02, "{what}: {difference}");
    }
}

pub fn expect_an_empty_sequence_leaves_the_state<L>(layer: &L)
where
    L: Recurrent,
    L::State: PartialEq + Debug,
{
    let mut state = layer.state().unwrap();
    let x = Mat::zeros(0, layer.input_size()).unwrap();
    assert!(forward(layer, &x, &mut state, &mut Scratch::new()).is_empty());
    assert_eq!(state, layer.state().unwrap());
}

#[cfg(feature = "rayon")]
pub fn expect_the_same_bits_on_pools<L: Recurrent>(layer: &L) {
    use std::sync::Arc;

    use skinny::kernels::Threads;

    let x = Random(2).mat(6, layer.input_size(), 1.0);
    let alone = whole(layer, &x);
    for threads in [1, 2, 3] {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let mut scratch = Scratch::with_threads(Threads::Pool(pool));
        assert_eq!(bits(&forward(layer, &x, &mut layer.state().unwrap(), &mut scratch)), bits(&alone));
    }
}
