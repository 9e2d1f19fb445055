//! Layers allocate nothing in the steady state, not even on a pool if they are called from one of its threads. This
//! test's own allocator counts the calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use skinny::factored::{
    Gru, Linear, LowRank, LowRankLinear, Lstm, Quantization, Recurrent, Scratch, TimeConvolution, Weight,
};
#[cfg(feature = "rayon")]
use skinny::kernels::Threads;
use skinny::kernels::{Activation, Requantize, Shift, Sums, WeightFormat};
use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
use skinny::model::{Graph, Layer, Model, Session};
use skinny::{Mat, MatMut, MatRef, Tier};

struct Counting;

thread_local! {
    /// Allocations by this thread: those of the test harness do not count.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending no longer has a counter.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller promises what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `step` once to warm up, then counts.
fn assert_allocates_nothing(what: &str, mut step: impl FnMut()) {
    step();
    let before = CALLS.get();
    for _ in 0..5 {
        step();
    }
    assert_eq!(CALLS.get() - before, 0, "{what} allocates");
}

fn mat(rows: usize, cols: usize) -> Mat<f32> {
    let value = |i: usize| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5;
    Mat::from_vec((0..rows * cols).map(value).collect(), rows, cols).unwrap()
}

fn low_rank(n: usize, k: usize, rank: usize) -> LowRank {
    LowRank::from_factors(mat(n, rank), mat(rank, k)).unwrap()
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(CALLS.get() - before >= 2);
}

#[test]
fn linear_layers_allocate_nothing() {
    let (n, k, m) = (70, 45, 4);
    let x = mat(m, k);
    let mut y = vec![0.0; m * n];
    let mut scratch = Scratch::new();
    let dense = Linear::new(Weight::dense(mat(n, k)).unwrap(), Some(vec![0.1; n])).unwrap();
    let factored = Linear::new(low_rank(n, k, 9), Some(vec![0.1; n])).unwrap();
    let mut layers = vec![("f32 dense", dense.clone()), ("f32 factored", factored.clone())];
    for &tier in Tier::available() {
        layers.push(("int8 dense", dense.quantize(tier).unwrap()));
        layers.push(("int8 factored", factored.quantize(tier).unwrap()));
    }
    for (what, layer) in layers {
        assert_allocates_nothing(what, || {
            for m in [m, 1, 3] {
                let x = MatRef::new(&x.as_slice()[..m * k], m, k).unwrap();
                layer.forward(x, MatMut::new(&mut y[..m * n], m, n).unwrap(), &mut scratch).unwrap();
            }
        });
    }
}

#[test]
fn low_rank_products_allocate_nothing() {
    let (n, k, m) = (70, 45, 4);
    let x = mat(m, k);
    let mut y = vec![0.0; m * n];
    let layer = LowRankLinear::from(low_rank(n, k, 9));
    let mut layers = vec![layer.clone()];
    layers.extend(Tier::available().iter().map(|&tier| layer.quantize(tier).unwrap()));
    for layer in layers {
        let mut scratch = Scratch::new();
        assert_allocates_nothing(layer.u().format(), || {
            let out = MatMut::new(&mut y, m, n).unwrap();
            layer.apply(x.view(), None, Activation::Identity, out, &mut scratch).unwrap();
        });
    }
}

/// Sequences, steps and resets of a layer in `f32` and on each tier.
fn assert_recurrent_allocates_nothing<L: Recurrent>(what: &str, layer: L) {
    let time = 11;
    let x = mat(time, layer.input_size());
    let mut out = vec![0.0; time * layer.output_size()];
    let of_tier = |&tier: &Tier| {
        let formats = [Quantization::Weights(WeightFormat::I8), Quantization::I8X16];
        let layer = &layer;
        formats.map(|format| (format!("{what}, {format:?}, {tier}"), layer.quantize_to(format, tier).unwrap()))
    };
    let quantized: Vec<_> = Tier::available().iter().flat_map(of_tier).collect();
    for (what, layer) in quantized.into_iter().chain([(format!("{what}, f32"), layer)]) {
        let mut state = layer.state().unwrap();
        let mut scratch = Scratch::new();
        assert_allocates_nothing(&what, || {
            let out = MatMut::new(&mut out, time, layer.output_size()).unwrap();
            layer.forward(x.view(), &mut state, out, &mut scratch).unwrap();
            layer.step(x.view().row(0), &mut state, &mut scratch).unwrap();
            layer.reset(&mut state);
        });
    }
}

/// Pairs of weights of `n` rows, for inputs of two depths: dense, low-rank, split into `gates`, and with a shared `U`.
fn forms(n: usize, gates: usize, depths: [usize; 2]) -> Vec<(&'static str, [Weight; 2])> {
    let split = |k| Weight::stack((1..=gates).map(|rank| low_rank(n / gates, k, 3 * rank).into()).collect()).unwrap();
    let joint = LowRankLinear::with_shared_u(mat(n, 8), depths.map(|k| mat(8, k))).unwrap();
    vec![
        ("dense", depths.map(|k| Weight::dense(mat(n, k)).unwrap())),
        ("partially joint", depths.map(|k| low_rank(n, k, 9).into())),
        ("split", depths.map(split)),
        ("joint", joint.map(Weight::from)),
    ]
}

const INPUT: usize = 45;
const HIDDEN: usize = 40;

#[test]
fn grus_allocate_nothing() {
    let bias = || Some(vec![0.1; 3 * HIDDEN]);
    for (what, [ih, hh]) in forms(3 * HIDDEN, 3, [INPUT, HIDDEN]) {
        assert_recurrent_allocates_nothing(what, Gru::new(ih, hh, bias(), bias()).unwrap());
    }
    let of_rz = forms(2 * HIDDEN, 2, [INPUT, HIDDEN]);
    let of_n = forms(HIDDEN, 1, [INPUT, HIDDEN]);
    for ((what, [ih_rz, hh_rz]), (_, [ih_n, hh_n])) in of_rz.into_iter().zip(of_n) {
        let ih = Weight::stack(vec![ih_rz, ih_n]).unwrap();
        let gru = Gru::reset_before(ih, hh_rz, hh_n, bias(), bias()).unwrap();
        assert_recurrent_allocates_nothing(&format!("{what}, reset before"), gru);
    }
}

#[test]
fn lstms_allocate_nothing() {
    let bias = || Some(vec![0.1; 4 * HIDDEN]);
    for (what, [ih, hh]) in forms(4 * HIDDEN, 4, [INPUT, HIDDEN]) {
        assert_recurrent_allocates_nothing(what, Lstm::new(ih, hh, bias(), bias()).unwrap());
    }
    for (what, [ih, hh]) in forms(4 * HIDDEN, 4, [INPUT, 13]) {
        let lstm = Lstm::with_projection(ih, hh, low_rank(13, HIDDEN, 5), bias(), bias()).unwrap();
        assert_recurrent_allocates_nothing(&format!("{what}, projected"), lstm);
    }
}

#[test]
fn time_convolutions_allocate_nothing() {
    let (input, output, kernel) = (9, 30, 5);
    let x = mat(12, input);
    let mut out = vec![0.0; 12 * output];
    let linear = Linear::new(Weight::dense(mat(output, kernel * input)).unwrap(), Some(vec![0.1; output])).unwrap();
    let layer = TimeConvolution::new(linear, kernel, 2, 2).unwrap();
    let mut layers = vec![("f32", layer.clone())];
    layers.extend(Tier::available().iter().map(|&tier| (tier.name(), layer.quantize(tier).unwrap())));
    for (what, layer) in layers {
        let mut state = layer.state().unwrap();
        let mut scratch = Scratch::new();
        assert_allocates_nothing(what, || {
            for time in [12, 1, 3] {
                let x = MatRef::new(&x.as_slice()[..time * input], time, input).unwrap();
                let out = MatMut::new(&mut out, 12, output).unwrap();
                layer.forward(x, &mut state, out, &mut scratch).unwrap();
            }
            layer.finish(&mut state, MatMut::new(&mut out, 12, output).unwrap(), &mut scratch).unwrap();
        });
    }
}

#[test]
fn unsigned_products_allocate_nothing() {
    let (n, k, m) = (70, 45, 12);
    let (lhs, rhs) = (vec![200u8; n * k], vec![3u8; m * k]);
    let (mut sums, mut bytes) = (vec![0i32; m * n], vec![0u8; m * n]);
    let shift = Requantize::new(Shift { offset: 9, multiplier: 5, shift: 7 });
    for &tier in Tier::available() {
        let mat = UnsignedMat::pack(MatRef::new(&lhs, n, k).unwrap(), tier).unwrap();
        let mut workspace = UnsignedWorkspace::new();
        assert_allocates_nothing(tier.name(), || {
            for m in [m, 1, 3] {
                let rhs = MatRef::new(&rhs[..m * k], m, k).unwrap();
                let out = MatMut::new(&mut sums[..m * n], m, n).unwrap();
                mat.multiply(-128, rhs, -5, &Sums, out, &mut workspace).unwrap();
                let out = MatMut::new(&mut bytes[..m * n], m, n).unwrap();
                mat.multiply(-128, rhs, -5, &shift, out, &mut workspace).unwrap();
            }
        });
    }
}

#[test]
fn sessions_allocate_nothing() {
    let (input, hidden, classes) = (45, 40, 7);
    let weight = |n, k| Weight::dense(mat(n, k)).unwrap();
    let conv = TimeConvolution::new(Linear::new(weight(30, 3 * input), None).unwrap(), 3, 2, 1).unwrap();
    let layers = vec![
        ("conv".into(), Layer::TimeConvolution(conv)),
        (
            "gru".into(),
            Layer::Gru(Gru::new(weight(3 * hidden, 30), low_rank(3 * hidden, hidden, 9), None, None).unwrap()),
        ),
        (
            "lstm".into(),
            Layer::Lstm(Lstm::new(weight(4 * hidden, hidden), weight(4 * hidden, hidden), None, None).unwrap()),
        ),
        ("fc".into(), Layer::Linear(Linear::new(weight(classes, hidden), None).unwrap())),
    ];
    let model = Model::new(layers).unwrap();
    let frames = mat(23, input);
    for (what, model) in [
        ("a session in f32", model.clone()),
        ("a session in 8 bits", model.quantize_to(WeightFormat::I8, Tier::select().unwrap()).unwrap()),
    ] {
        let mut session = Session::new(Arc::new(model)).unwrap();
        assert_allocates_nothing(what, || {
            for count in [1, 7, 15] {
                let frames = MatRef::new(&frames.as_slice()[..count * input], count, input).unwrap();
                session.push(frames).unwrap();
            }
            session.finish().unwrap();
        });
    }
}

#[test]
fn sessions_of_graphs_allocate_nothing() {
    let (input, hidden) = (45, 40);
    let weight = |n, k| Weight::dense(mat(n, k)).unwrap();
    let conv = |n, k, kernel, padding| {
        let linear = Linear::new(weight(n, kernel * k), None).unwrap();
        Layer::TimeConvolution(TimeConvolution::new(linear, kernel, 1, padding).unwrap())
    };
    let mut graph = Graph::new();
    let [x, gain] = [graph.input("x", input).unwrap(), graph.input("gain", 1).unwrap()];
    let long = graph.layer("long", conv(input, input, 7, 3), x).unwrap();
    let short = graph.layer("short", conv(input, input, 3, 1), x).unwrap();
    let sum = graph.add("sum", &[long, x, short]).unwrap();
    let product = graph.multiply("product", &[sum, gain]).unwrap();
    let all = graph.concat("all", &[product, short]).unwrap();
    let gru = Gru::new(weight(3 * hidden, 2 * input), weight(3 * hidden, hidden), None, None).unwrap();
    let gru = graph.layer("gru", Layer::Gru(gru), all).unwrap();
    graph.output("gru", gru).unwrap();
    graph.output("short", short).unwrap();
    let model = Arc::new(graph.build().unwrap());
    let (frames, gains) = (mat(23, input), mat(23, 1));
    let mut session = Session::new(model).unwrap();
    let push = |session: &mut Session, count: usize| {
        let frames = MatRef::new(&frames.as_slice()[..count * input], count, input).unwrap();
        let gains = MatRef::new(&gains.as_slice()[..count], count, 1).unwrap();
        session.push_all(&[frames, gains]).unwrap();
    };
    assert_allocates_nothing("a stream through a graph", || {
        for count in [23, 1, 8, 16] {
            push(&mut session, count);
        }
    });
    assert_allocates_nothing("many streams through a graph", || {
        for count in [1, 7, 15] {
            push(&mut session, count);
        }
        session.flush().unwrap();
        session.finish().unwrap();
    });
}

/// Layers that no test above has, each in a session of its own.
#[test]
fn sessions_of_other_layers_allocate_nothing() {
    use skinny::factored::{
        Affine, DepthwiseConvolution, Embedding, Function, LayerNorm, Mapping, OverTime, Reduction, Rnn, Slice, Windows,
    };

    let n = 20;
    let weight = |n, k| Weight::dense(mat(n, k)).unwrap();
    let windows = Windows { kernel: 3, stride: 1, dilation: 4, before: 5, after: 2 };
    let dilated = TimeConvolution::with_windows(Linear::new(weight(n, 3 * n), None).unwrap(), windows).unwrap();
    let layers = [
        Layer::TimeConvolution(dilated),
        Layer::Depthwise(DepthwiseConvolution::new(mat(3, n), None, windows).unwrap()),
        Layer::Rnn(Rnn::new(weight(n, n), weight(n, n), None, None).unwrap()),
        Layer::Mapping(Mapping::new(Function::Softmax, n).unwrap()),
        Layer::Affine(Affine::new(vec![2.0; n], vec![0.5; n]).unwrap()),
        Layer::LayerNorm(LayerNorm::new(n, None, None, 1e-5).unwrap()),
        Layer::Slice(Slice::new(3..9, n).unwrap()),
        Layer::OverTime(OverTime::new(Reduction::Mean, n)),
    ];
    for layer in layers {
        let what = layer.kind();
        let mut session = Session::new(Arc::new(Model::new(vec![("layer".into(), layer)]).unwrap())).unwrap();
        let frames = mat(24, n);
        assert_allocates_nothing(what, || {
            for count in [24, 1, 3, 12] {
                session.push(MatRef::new(&frames.as_slice()[..count * n], count, n).unwrap()).unwrap();
            }
            session.finish().unwrap();
        });
    }
    let embedding = Layer::Embedding(Embedding::new(mat(5, n)).unwrap().quantize().unwrap());
    let model = Arc::new(Model::new(vec![("embedding".into(), embedding)]).unwrap());
    let mut session = Session::new(model).unwrap();
    assert_allocates_nothing("embedding", || {
        session.push(MatRef::new(&[0.0, 4.0, 2.0, 1.0], 4, 1).unwrap()).unwrap();
    });
}

/// How often each thread of a pool has allocated so far.
#[cfg(feature = "rayon")]
fn calls(pool: &rayon::ThreadPool) -> Vec<usize> {
    pool.broadcast(|_| CALLS.get())
}

/// A layer has two products, each large enough for all threads. Called from a thread of the pool, no thread
/// allocates. Called from elsewhere, rayon allocates a job for each part but the caller's own, and a block of its
/// queue per 63 jobs.
#[cfg(feature = "rayon")]
#[test]
fn steps_on_a_pool_allocate_nothing_when_called_from_it() {
    const THREADS: usize = 4;
    const STEPS: usize = 100;
    const PRODUCTS: usize = 2;
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap());
    let gru = Gru::new(Weight::dense(mat(900, 300)).unwrap(), Weight::dense(mat(900, 300)).unwrap(), None, None);
    let gru = gru.unwrap().quantize(Tier::select().unwrap()).unwrap();
    assert!(gru.bytes() / PRODUCTS >= THREADS * 64 * 1024);
    let x = mat(1, 300);
    let mut state = gru.state().unwrap();
    let mut scratch = Scratch::with_threads(Threads::Pool(pool.clone()));
    let mut steps = || {
        for _ in 0..STEPS {
            gru.step(x.as_slice(), &mut state, &mut scratch).unwrap();
        }
        CALLS.get()
    };

    pool.install(&mut steps);
    let before = calls(&pool);
    pool.install(&mut steps);
    assert_eq!(calls(&pool), before, "on the pool");

    // Outside the pool the caller allocates jobs, and the pool's threads free them.
    let jobs = STEPS * PRODUCTS * (THREADS - 1);
    let first = steps();
    let by_caller = steps() - first;
    assert!((jobs..=jobs + jobs / 20).contains(&by_caller), "{by_caller} by the caller, for {jobs} jobs");
    let by_pool: usize = calls(&pool).iter().zip(before).map(|(after, before)| after - before).sum();
    assert!(by_pool >= jobs, "{by_pool} by the pool, for {jobs} jobs: is it used?");
}

#[cfg(feature = "audio")]
#[test]
fn streams_of_sound_allocate_nothing() {
    use skinny::audio::{Features, Framing, FrontEnd, GreedyDecoder, Labels, MelBands, Resampler, Stft};

    let samples: Vec<f32> = (0..4410).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5).collect();
    let framings = [Framing::Window, Framing::Transform, Framing::CenteredZeros, Framing::CenteredReflected];
    for (framing, input_rate) in framings.into_iter().zip([8000, 44_100, 16_000, 8000]) {
        let mut stft = Stft::new(200, 96);
        (stft.fft, stft.framing) = (256, framing);
        let mut features = Features::log_mel(8000, stft, MelBands::new(40, 60.0, 4000.0));
        (features.stack, features.tail) = (2, 1600);
        let mut front_end = FrontEnd::new(features).unwrap().with_input_rate(input_rate).unwrap();
        assert_allocates_nothing(&format!("{framing:?}"), || {
            for piece in samples.chunks(441).chain(samples.chunks(1).take(500)) {
                front_end.push(piece).unwrap();
            }
            front_end.finish().unwrap();
        });
    }

    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    assert_allocates_nothing("resampling", || {
        samples.chunks(441).for_each(|piece| assert!(resampler.push(piece).unwrap().len() < 1000));
        resampler.finish().unwrap();
    });

    let mut decoder = GreedyDecoder::new(Labels::from_alphabet("ab", 0).unwrap());
    assert_allocates_nothing("decoding", || {
        for scores in [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]] {
            decoder.push(MatRef::row_vector(&scores)).unwrap();
        }
        decoder.reset();
    });
}
