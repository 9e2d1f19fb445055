//! What goes wrong in the field: activations that are NaN, infinite or extreme, sizes that no memory holds, streams
//! that never end, and many streams at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use skinny::factored::{
    Bidirectional, DenseWeight, Gru, Linear, LowRank, LowRankLinear, Lstm, RankPolicy, Scratch, TimeConvolution, Weight,
};
use skinny::kernels::{
    Activation, Activations, Offsets, PackedMat, Requantize, RequantizeFloat, Scales, Shift, Sums, WeightFormat,
    Workspace, gemm,
};
use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
use skinny::model::{Layer, Model, Session};
use skinny::quant::{QuantizedActivations, QuantizedMat, QuantizedMatI2, QuantizedMatI4, ZeroPoint};
use skinny::{Error, Mat, MatMut, MatRef, Tier};

/// Counts the allocations by this thread, without those of the test harness, and the bytes asked for.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending no longer has a counter.
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller promises what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn pattern(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 64.0 - 0.75).collect()
}

fn mat(rows: usize, cols: usize, salt: usize) -> Mat<f32> {
    Mat::from_vec(pattern(rows * cols, salt), rows, cols).unwrap()
}

fn dense(rows: usize, cols: usize, salt: usize) -> Weight {
    Weight::dense(mat(rows, cols, salt)).unwrap()
}

fn low_rank(rows: usize, cols: usize, salt: usize) -> Weight {
    LowRank::from_factors(mat(rows, 3, salt), mat(3, cols, salt + 1)).unwrap().into()
}

const INPUT: usize = 5;
const H: usize = 4;

fn gru(salt: usize) -> Gru {
    Gru::new(dense(3 * H, INPUT, salt), dense(3 * H, H, salt + 1), Some(pattern(3 * H, 9)), None).unwrap()
}

fn lstm(salt: usize) -> Lstm {
    Lstm::new(low_rank(4 * H, INPUT, salt), dense(4 * H, H, salt + 2), Some(pattern(4 * H, 9)), None).unwrap()
}

/// Layers of every kind, with weights of every structure.
fn layers() -> Vec<(&'static str, Layer)> {
    let linear = |weight| Linear::new(weight, Some(pattern(H, 3))).unwrap();
    let split = |k| Weight::stack((0..3).map(|i| low_rank(H, k, 2 * i)).collect()).unwrap();
    let [ih, hh] = LowRankLinear::with_shared_u(mat(4 * H, 3, 1), [mat(3, INPUT, 2), mat(3, H, 3)]).unwrap();
    let (rz, n) = (dense(2 * H, H, 2), dense(H, H, 3));
    vec![
        ("linear", Layer::Linear(linear(dense(H, INPUT, 1)))),
        ("low rank", Layer::Linear(linear(low_rank(H, INPUT, 1)).with_activation(Activation::Relu))),
        ("convolution", Layer::TimeConvolution(TimeConvolution::new(linear(dense(H, 3 * INPUT, 1)), 3, 1, 1).unwrap())),
        ("gru", Layer::Gru(gru(1))),
        ("split", Layer::Gru(Gru::new(split(INPUT), split(H), None, None).unwrap())),
        ("before", Layer::Gru(Gru::reset_before(dense(3 * H, INPUT, 1), rz, n, None, None).unwrap())),
        ("lstm", Layer::Lstm(lstm(1))),
        ("joint", Layer::Lstm(Lstm::new(ih, hh, None, None).unwrap())),
        (
            "projected",
            Layer::Lstm(
                Lstm::with_projection(dense(4 * H, INPUT, 1), dense(4 * H, 2, 2), dense(2, H, 3), None, None).unwrap(),
            ),
        ),
        ("bidirectional gru", Layer::BidirectionalGru(Bidirectional::new(gru(1), gru(2)).unwrap())),
        ("bidirectional lstm", Layer::BidirectionalLstm(Bidirectional::new(lstm(1), lstm(2)).unwrap())),
    ]
}

/// Each layer as a model: in `f32`, and in each format on every tier.
fn models() -> Vec<(String, bool, Arc<Model>)> {
    let mut models = Vec::new();
    for (name, layer) in layers() {
        let model = Model::new(vec![(name.into(), layer)]).unwrap();
        for format in WeightFormat::ALL {
            for &tier in Tier::available() {
                let quantized = model.quantize_to(format, tier).unwrap();
                models.push((format!("{name}, {format:?} on {tier}"), true, Arc::new(quantized)));
            }
        }
        models.push((format!("{name}, f32"), false, Arc::new(model)));
    }
    models
}

fn run(session: &mut Session, frames: &[f32]) -> Vec<f32> {
    let rows = frames.len() / INPUT;
    let mut out = session.push(MatRef::new(frames, rows, INPUT).unwrap()).unwrap().as_slice().to_vec();
    out.extend_from_slice(session.finish().unwrap().as_slice());
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

const BAD: [f32; 10] =
    [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, -1e-40, 1e-45, -0.0];

/// Frames of ordinary numbers, with `bad` in one place or everywhere in one frame.
fn poisoned(bad: f32, all: bool) -> Vec<f32> {
    let mut frames = pattern(6 * INPUT, 5);
    frames[2 * INPUT..][..if all { INPUT } else { 1 }].fill(bad);
    frames
}

#[test]
fn no_activation_panics_and_a_reset_forgets_all() {
    let good = pattern(6 * INPUT, 4);
    for (what, quantized, model) in models() {
        let expected = bits(&run(&mut Session::new(model.clone()).unwrap(), &good));
        let mut session = Session::new(model.clone()).unwrap();
        for bad in BAD {
            for all in [false, true] {
                let frames = poisoned(bad, all);
                let out = run(&mut session, &frames);
                assert_eq!(out.len(), expected.len(), "{what}, {bad}");
                // In 8 bits a value that is not finite is replaced; only a magnitude near the largest can overflow.
                if quantized && (bad.is_nan() || bad.abs() < f32::MAX) {
                    assert!(out.iter().all(|y| y.is_finite()), "{what}, {bad}: {out:?}");
                }
                // The same in the middle of a stream.
                session.push(MatRef::new(&frames, 6, INPUT).unwrap()).unwrap();
                session.reset();
                assert_eq!(bits(&run(&mut session, &good)), expected, "{what}, after {bad}");
            }
        }
    }
}

/// As [`QuantizedActivations`] says: a NaN counts as 0, an infinity as the largest finite magnitude of its vector.
#[test]
fn quantized_layers_take_nan_as_zero_and_infinity_as_the_largest() {
    for (what, _, model) in models().into_iter().filter(|(_, quantized, _)| *quantized) {
        let mut session = Session::new(model).unwrap();
        for all in [false, true] {
            let expected = bits(&run(&mut session, &poisoned(0.0, all)));
            assert_eq!(bits(&run(&mut session, &poisoned(f32::NAN, all))), expected, "{what}");
        }
        // The vector of a convolution holds all frames of its kernel.
        if what.starts_with("convolution") {
            continue;
        }
        let largest = poisoned(0.0, false)[2 * INPUT..3 * INPUT].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for sign in [1.0, -1.0] {
            let expected = bits(&run(&mut session, &poisoned(sign * largest, false)));
            assert_eq!(bits(&run(&mut session, &poisoned(sign * f32::INFINITY, false))), expected, "{what}");
        }
    }
}

/// As [`Gru`] and [`Lstm`] say: a gate that is NaN counts as minus infinity, so the state stays finite and forgets it.
#[test]
fn in_f32_nan_closes_gates_and_passes_linear_layers() {
    for (name, layer) in layers() {
        let model = Arc::new(Model::new(vec![(name.into(), layer)]).unwrap());
        let width = model.output_size();
        let mut session = Session::new(model.clone()).unwrap().with_time_batch(1).unwrap();
        let frames = poisoned(f32::NAN, true);
        let out = run(&mut session, &frames);
        let of_frame = &out[2 * width..3 * width];
        let off = |y: f32, limit: f32| (y - limit).abs() < 1e-5;
        match name {
            "linear" | "convolution" => assert!(of_frame.iter().all(|y| y.is_nan()), "{name}: {of_frame:?}"),
            // The lower bound of the ReLU.
            "low rank" => assert!(of_frame.iter().all(|&y| y == 0.0), "{name}: {of_frame:?}"),
            "gru" | "split" | "before" => assert!(of_frame.iter().all(|&y| off(y, -1.0)), "{name}: {of_frame:?}"),
            "lstm" | "joint" | "projected" => assert!(of_frame.iter().all(|&y| off(y, 0.0)), "{name}: {of_frame:?}"),
            _ => assert!(of_frame.iter().all(|&y| off(y, -1.0) || off(y, 0.0)), "{name}: {of_frame:?}"),
        }
        // Linear layers see it in one frame only, and leave no trace in others; recurrent states are finite.
        assert!(out[4 * width..].iter().all(|y| y.is_finite()), "{name}: {out:?}");
    }
}

#[test]
fn subnormal_activations_are_numbers_like_others() {
    let x = [1e-40, -3e-41, 0.0, 1e-45, 2e-39];
    let mut quantized = QuantizedActivations::new();
    quantized.quantize(MatRef::row_vector(&x), ZeroPoint::None).unwrap();
    assert_eq!(quantized.scales(), [f32::MIN_POSITIVE]);
    for (what, _, model) in models() {
        let frames: Vec<f32> = x.iter().copied().cycle().take(6 * INPUT).collect();
        let mut session = Session::new(model).unwrap();
        let (tiny, zeros) = (run(&mut session, &frames), run(&mut session, &[0.0; 6 * INPUT]));
        assert!(tiny.iter().zip(&zeros).all(|(a, b)| (a - b).abs() < 1e-6), "{what}: {tiny:?} {zeros:?}");
    }
}

/// Sizes whose product or whose buffers overflow give an error before anything is allocated or written. A matrix
/// without columns may have any number of rows, and the reverse.
#[test]
fn sizes_that_overflow_are_errors() {
    let huge = [usize::MAX, usize::MAX / 2 + 1, isize::MAX as usize, usize::MAX - 7];
    for big in huge {
        for other in [2, 3, big] {
            for (rows, cols) in [(big, other), (other, big)] {
                let too_large = |what| Error::TooLarge { what, rows, cols };
                assert_eq!(MatRef::<f32>::new(&[], rows, cols), Err(too_large("matrix")));
                assert_eq!(MatMut::<f32>::new(&mut [], rows, cols).map(drop), Err(too_large("matrix")));
                assert_eq!(Mat::<f32>::from_vec(vec![], rows, cols), Err(too_large("matrix")));
                assert_eq!(Mat::<f32>::zeros(rows, cols), Err(too_large("matrix")));
                assert!(TimeConvolution::from_conv1d(&[], [1, rows, cols], None, 1, 0).is_err());
                assert!(Weight::dense(Mat::default()).is_ok());
            }
        }
        let refused = |result: Result<(), Error>| match result {
            Err(Error::TooLarge { .. } | Error::Allocation { .. } | Error::Depth { .. }) => {}
            other => panic!("{other:?}"),
        };
        let tall = MatRef::<f32>::new(&[], big, 0).unwrap();
        let tall_mat = || Mat::<f32>::from_vec(vec![], big, 0).unwrap();
        for &tier in Tier::available() {
            let bytes = MatRef::<i8>::new(&[], big, 0).unwrap();
            refused(PackedMat::for_tier(bytes, tier).map(drop));
            refused(PackedMat::i4_for_tier(bytes, tier).map(drop));
            refused(PackedMat::i4_grouped_for_tier(bytes, MatRef::new(&[], big, 0).unwrap(), tier).map(drop));
            refused(PackedMat::i2_grouped_for_tier(bytes, MatRef::new(&[], big, 0).unwrap(), tier).map(drop));
            refused(UnsignedMat::pack(MatRef::new(&[], big, 0).unwrap(), tier).map(drop));
            for format in WeightFormat::ALL {
                refused(dense_of(tall_mat()).and_then(|w| w.quantize_to(format, tier)).map(drop));
            }
            let empty = PackedMat::for_tier(MatRef::new(&[], 0, 0).unwrap(), tier).unwrap();
            let (x, mut none) = (Activations::new(bytes), []);
            gemm(&empty, x, &Sums, MatMut::new(&mut none, big, 0).unwrap(), &mut Workspace::new()).unwrap();
            let lhs = UnsignedMat::pack(MatRef::new(&[], 0, 0).unwrap(), tier).unwrap();
            let rhs = MatRef::<u8>::new(&[], big, 0).unwrap();
            let out = MatMut::new(&mut none, big, 0).unwrap();
            refused(lhs.multiply(0, rhs, 0, &Sums, out, &mut UnsignedWorkspace::new()));
        }
        refused(QuantizedMat::quantize(tall).map(drop));
        refused(QuantizedMatI2::quantize(tall).map(drop));
        refused(QuantizedMatI4::quantize(tall).map(drop));
        refused(QuantizedMatI4::quantize_grouped(tall).map(drop));
        refused(QuantizedActivations::new().quantize(tall, ZeroPoint::PerColumn));
        let wide = Mat::<f32>::from_vec(vec![], 0, big).unwrap();
        refused(dense_of(wide.clone()).and_then(|w| w.quantize(Tier::Portable)).map(drop));
        let low_rank = LowRankLinear::from_parts(dense_of(Mat::default()).unwrap(), dense_of(wide.clone()).unwrap());
        refused(Weight::from(low_rank.unwrap()).dequantize().map(drop));
        assert!(LowRank::from_factors(tall_mat(), wide).is_err());
        assert!(Linear::new(dense_of(tall_mat()).unwrap(), Some(vec![])).is_err());
        assert!(Gru::new(dense_of(tall_mat()).unwrap(), dense_of(tall_mat()).unwrap(), None, None).is_err());
        assert!(Lstm::new(dense_of(tall_mat()).unwrap(), dense_of(tall_mat()).unwrap(), None, None).is_err());
        let linear = || Linear::new(dense(2, 6, 1), None).unwrap();
        assert!(TimeConvolution::new(linear(), big, 1, 0).is_err());
        assert!(TimeConvolution::new(linear(), 2, 1, big).is_err());
        // A stride may be any number: then there is one output.
        let layer = TimeConvolution::new(linear(), 2, big, 1).unwrap();
        let model = Model::new(vec![("a".into(), Layer::TimeConvolution(layer.clone()))]).unwrap();
        assert_eq!(model.stride(), big);
        let mut session = Session::new(Arc::new(model)).unwrap();
        assert_eq!(session.push(MatRef::new(&[0.5; 27], 9, 3).unwrap()).unwrap().rows(), 0);
        assert_eq!(session.finish().unwrap().rows(), 1);
    }
}

fn dense_of(w: Mat<f32>) -> Result<DenseWeight, Error> {
    DenseWeight::from_f32(w)
}

/// More frames may wait for a time batch than a smaller one holds.
#[test]
fn a_time_batch_set_in_the_middle_of_a_stream_changes_no_output() {
    let frames = pattern(13 * INPUT, 5);
    for (name, _, model) in models() {
        let session = |steps| Session::new(model.clone()).unwrap().with_time_batch(steps).unwrap();
        let expected = run(&mut session(1), &frames);
        for (before, after) in [(8, 2), (10, 1), (3, 10)] {
            let (first, rest) = frames.split_at(7 * INPUT);
            let mut session = session(before);
            let mut out = session.push(MatRef::new(first, 7, INPUT).unwrap()).unwrap().as_slice().to_vec();
            let mut session = session.with_time_batch(after).unwrap();
            out.extend(run(&mut session, rest));
            assert_eq!(bits(&out), bits(&expected), "{name}, {before} then {after}");
        }
    }
}

#[test]
fn a_time_batch_is_as_many_steps_as_it_says() {
    let stride = 3;
    let conv = TimeConvolution::new(Linear::new(dense(INPUT, 2 * INPUT, 1), None).unwrap(), 2, stride, 1).unwrap();
    let layers = vec![("conv".into(), Layer::TimeConvolution(conv)), ("gru".into(), Layer::Gru(gru(1)))];
    let model = Arc::new(Model::new(layers).unwrap());
    for steps in [1, 4, 10] {
        let mut session = Session::new(model.clone()).unwrap().with_time_batch(steps).unwrap();
        assert_eq!((session.time_batch(), session.frames_per_batch()), (steps, steps * stride));
        let frames = pattern(steps * stride * INPUT, 5);
        let (all_but_one, last) = frames.split_at(frames.len() - INPUT);
        let frames = MatRef::new(all_but_one, steps * stride - 1, INPUT).unwrap();
        assert_eq!(session.push(frames).unwrap().rows(), 0);
        // A clone goes on as the session does.
        let mut clone = session.clone();
        assert_eq!(clone.time_batch(), steps);
        let last = MatRef::new(last, 1, INPUT).unwrap();
        let out = session.push(last).unwrap();
        assert_eq!(out.rows(), steps);
        assert_eq!(bits(clone.push(last).unwrap().as_slice()), bits(out.as_slice()));
    }
}

/// Exactly the gates of one time batch are in memory at once.
#[test]
fn a_layer_computes_the_input_products_of_a_time_batch_at_once() {
    let x = mat(30, INPUT, 5);
    let bytes_of = |steps: usize, run: &dyn Fn(&mut Scratch)| {
        let mut scratch = Scratch::new().with_time_batch(steps).unwrap();
        let before = BYTES.get();
        run(&mut scratch);
        BYTES.get() - before
    };
    let gru = gru(1);
    let lstm = Lstm::new(dense(4 * H, INPUT, 1), dense(4 * H, H, 2), None, None).unwrap();
    let run_gru = |scratch: &mut Scratch| {
        let (mut state, mut out) = (gru.state().unwrap(), Mat::zeros(30, H).unwrap());
        gru.forward(x.view(), &mut state, out.view_mut(), scratch).unwrap();
    };
    let run_lstm = |scratch: &mut Scratch| {
        let (mut state, mut out) = (lstm.state().unwrap(), Mat::zeros(30, H).unwrap());
        lstm.forward(x.view(), &mut state, out.view_mut(), scratch).unwrap();
    };
    for (gates, run) in [(3, &run_gru as &dyn Fn(&mut Scratch)), (4, &run_lstm)] {
        for steps in [2, 5, 10] {
            let more = bytes_of(steps, run) - bytes_of(1, run);
            assert_eq!(more, (steps - 1) * gates * H * size_of::<f32>(), "{gates} gates, {steps} steps");
        }
    }
}

#[test]
fn a_stream_without_frames_has_no_outputs() {
    let conv = |padding| {
        let linear = Linear::new(dense(INPUT, 4 * INPUT, 1), Some(pattern(INPUT, 2))).unwrap();
        Layer::TimeConvolution(TimeConvolution::new(linear, 4, 1, padding).unwrap())
    };
    // Behind a convolution without padding, which has no output for few frames.
    let two = Model::new(vec![("first".into(), conv(0)), ("second".into(), conv(3))]).unwrap();
    let one = Model::new(vec![("conv".into(), conv(3))]).unwrap();
    let models = models().into_iter().map(|(_, _, model)| model).chain([Arc::new(one), Arc::new(two.clone())]);
    for model in models {
        let mut session = Session::new(model).unwrap();
        assert_eq!(session.finish().unwrap().rows(), 0);
        assert_eq!(session.push(MatRef::new(&[], 0, INPUT).unwrap()).unwrap().rows(), 0);
        assert_eq!(session.finish().unwrap().rows(), 0);
        let frames = pattern(6 * INPUT, 5);
        let expected = run(&mut session, &frames);
        assert!(!expected.is_empty());
        // It has ended already.
        assert_eq!(session.finish().unwrap().rows(), 0);
        session.push(MatRef::new(&frames, 6, INPUT).unwrap()).unwrap();
        session.reset();
        assert_eq!(session.finish().unwrap().rows(), 0);
        assert_eq!(bits(&run(&mut session, &frames)), bits(&expected));
    }
    let mut session = Session::new(Arc::new(two)).unwrap();
    assert!(run(&mut session, &pattern(3 * INPUT, 5)).is_empty());
    // The first convolution has one output, which is in each of four windows of the second.
    assert_eq!(run(&mut session, &pattern(4 * INPUT, 5)).len() / INPUT, 4);
}

/// Layers read one buffer and write another. With an odd number of layers, each run begins with the other buffer.
#[test]
fn the_first_run_of_a_session_is_the_last_that_allocates() {
    // A convolution's first run has one output less than later ones.
    let steady = |layer: &Layer| !layer.is_bidirectional() && !matches!(layer, Layer::TimeConvolution(_));
    for (name, layer) in layers().into_iter().filter(|(_, layer)| steady(layer)) {
        let model = Model::new(vec![(name.into(), layer)]).unwrap();
        let mut session = Session::new(Arc::new(model)).unwrap().with_time_batch(4).unwrap();
        let frames = pattern(4 * INPUT, 5);
        let frames = MatRef::new(&frames, 4, INPUT).unwrap();
        session.push(frames).unwrap();
        let before = CALLS.get();
        session.push(frames).unwrap();
        session.push(frames).unwrap();
        assert_eq!(CALLS.get(), before, "{name}");
    }
}

/// Parameters of formulas are at the ends of their types.
#[test]
fn parameters_out_of_range_are_errors_or_saturate() {
    let packed = PackedMat::for_tier(MatRef::new(&[127i8; 32], 2, 16).unwrap(), Tier::Portable).unwrap();
    let x = MatRef::new(&[-128i8; 16], 1, 16).unwrap();
    let mut out = [0u8; 2];
    for shift in [32, 33, u32::MAX] {
        let epilogue = Requantize::new(Shift { offset: i32::MIN, multiplier: i32::MIN, shift });
        let view = MatMut::row_vector(&mut out);
        assert!(gemm(&packed, Activations::new(x), &epilogue, view, &mut Workspace::new()).is_err());
    }
    let (constant, row_sum_factor) = ([i32::MAX], [i32::MIN]);
    let x = Activations::with_offsets(x, Offsets { constant: &constant, row_sum_factor: &row_sum_factor });
    for scale in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, 0.0, -0.0] {
        let scales = Scales::new(vec![scale; 2]).unwrap();
        let bias = [i32::MIN, i32::MAX];
        let epilogue = RequantizeFloat::new(&scales, 255u8).with_bias(&bias);
        gemm(&packed, x, &epilogue, MatMut::row_vector(&mut out), &mut Workspace::new()).unwrap();
    }
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(matches!(Scales::new(vec![bad]), Err(Error::NotFinite { .. })));
        assert!(matches!(Weight::dense(Mat::from_vec(vec![bad], 1, 1).unwrap()), Err(Error::NotFinite { .. })));
        assert!(RankPolicy::Variance(bad).rank(&[1.0]).is_err());
    }
    for steps in [0, 11, usize::MAX] {
        assert!(Scratch::new().with_time_batch(steps).is_err());
    }
}

/// Steps a GRU and an LSTM that many times with repeating inputs. The outputs keep repeating, and nothing is allocated.
fn endure(steps: usize) {
    const PERIOD: usize = 20;
    let layers = vec![("gru".to_owned(), Layer::Gru(gru(1))), {
        let weights = (dense(4 * H, H, 3), dense(4 * H, H, 4));
        ("lstm".to_owned(), Layer::Lstm(Lstm::new(weights.0, weights.1, None, None).unwrap()))
    }];
    let model = Model::new(layers).unwrap();
    let quantized = model.quantize_to(WeightFormat::I8, Tier::select().unwrap()).unwrap();
    for (what, model) in [("f32", model), ("int8", quantized)] {
        let frames = pattern(PERIOD * INPUT, 7);
        let frames = MatRef::new(&frames, PERIOD, INPUT).unwrap();
        let mut session = Session::new(Arc::new(model)).unwrap();
        let mut settled = Vec::new();
        let mut calls = 0;
        for period in 0..steps / PERIOD {
            let out = session.push(frames).unwrap();
            if period == 1000 {
                settled = out.as_slice().to_vec();
                calls = CALLS.get();
            }
            assert!(out.as_slice().iter().all(|y| y.abs() <= 1.0), "{what}, period {period}");
        }
        assert_eq!(CALLS.get(), calls, "{what} allocates");
        let last = session.push(frames).unwrap();
        for (a, b) in settled.iter().zip(last.as_slice()) {
            assert!((a - b).abs() < 0.02, "{what} drifts: {settled:?} became {last:?}");
        }
    }
}

#[test]
fn a_million_steps_neither_drift_nor_grow() {
    // Elsewhere an emulator may run the steps.
    endure(if cfg!(target_arch = "x86_64") { 1_000_000 } else { 100_000 });
}

#[test]
#[ignore = "takes a while"]
fn ten_million_steps_neither_drift_nor_grow() {
    endure(10_000_000);
}

#[test]
fn many_sessions_on_many_threads_do_not_disturb_each_other() {
    let (name, layer) = ("gru".to_owned(), Layer::Gru(gru(1)));
    let model = Model::new(vec![(name, layer)]).unwrap();
    let model = Arc::new(model.quantize_to(WeightFormat::I8, Tier::select().unwrap()).unwrap());
    const FRAMES: usize = 30;
    let frames = |salt| pattern(FRAMES * INPUT, salt);
    let alone: Vec<_> = (0..64).map(|i| bits(&run(&mut Session::new(model.clone()).unwrap(), &frames(i)))).collect();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (model, alone) = (&model, &alone);
            scope.spawn(move || {
                // The thread's sessions take turns, each with its own stream and chunks.
                let mut sessions: Vec<_> = (0..64).map(|_| Session::new(model.clone()).unwrap()).collect();
                let mut outputs = vec![Vec::new(); 64];
                let mut next = [0; 64];
                while next.iter().any(|&next| next < FRAMES) {
                    for (i, session) in sessions.iter_mut().enumerate() {
                        let count = ((i + thread) % 7 + 1).min(FRAMES - next[i]);
                        let piece = &frames(i)[next[i] * INPUT..][..count * INPUT];
                        let out = session.push(MatRef::new(piece, count, INPUT).unwrap()).unwrap();
                        outputs[i].extend_from_slice(out.as_slice());
                        next[i] += count;
                    }
                }
                for (i, session) in sessions.iter_mut().enumerate() {
                    outputs[i].extend_from_slice(session.finish().unwrap().as_slice());
                    assert_eq!(bits(&outputs[i]), alone[i], "session {i} of thread {thread}");
                }
            });
        }
    });
}
