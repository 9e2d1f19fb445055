//! Whole models are decomposed, cut and quantized. The tests check their costs, and how close their outputs stay.

#[path = "common/layers.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Random, bits};
use skinny::compress::{Budget, Choice, Core, Cost, RANK_MULTIPLE};
use skinny::factored::{
    Bidirectional, Gru, Linear, LowRank, Quantization, RankPolicy, Rnn, Scheme, TimeConvolution, Weight,
};
use skinny::kernels::WeightFormat;
use skinny::model::{Calibration, Cutting, Graph, ImportOptions, Layer, Model, Session, Storage, Weighting};
use skinny::{Error, Mat, Tier};

const F32: Storage = Storage { format: None, correct: false };
const SCHEMES: [Scheme; 3] = [Scheme::Split, Scheme::PartiallyJoint, Scheme::Joint];

/// The form of the GRU that PyTorch lacks and that is ONNX's default.
fn reset_before() -> (Model, Mat<f32>) {
    let (mut random, input, hidden) = (Random(6), 13, 12);
    let mut weight = |n, k| Weight::dense(random.mat(n, k, 0.4)).unwrap();
    let (w, r, r_n) = (weight(3 * hidden, input), weight(2 * hidden, hidden), weight(hidden, hidden));
    let gru = Gru::reset_before(w, r, r_n, Some(vec![0.1; 3 * hidden]), None).unwrap();
    (Model::new(vec![("gru".into(), Layer::Gru(gru))]).unwrap(), random.mat(25, input, 1.0))
}

fn fixture(name: &str) -> (Model, Mat<f32>) {
    if name == RESET_BEFORE {
        return reset_before();
    }
    if name == WITHOUT_GATES {
        return without_gates();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pytorch/{name}.safetensors"));
    let options = ImportOptions { keep: vec!["x".into(), "y".into()], ..ImportOptions::default() };
    let model = Model::load_pytorch(path, &options).unwrap();
    let x = &model.attachments()["x"];
    let x = Mat::from_vec(x.values().to_vec(), x.shape()[0], x.shape()[1]).unwrap();
    (model, x)
}

const RESET_BEFORE: &str = "reset before";
const WITHOUT_GATES: &str = "without gates";

/// A plain recurrent layer, and one in both directions behind it.
fn without_gates() -> (Model, Mat<f32>) {
    let (mut random, input, hidden) = (Random(7), 13, 12);
    let mut rnn = |k: usize| {
        let [w, r] = [k, hidden].map(|k| Weight::dense(random.mat(hidden, k, 0.4)).unwrap());
        Rnn::new(w, r, Some(vec![0.1; hidden]), None).unwrap()
    };
    let (one, both) = (rnn(input), Bidirectional::new(rnn(hidden), rnn(hidden)).unwrap());
    let layers = vec![("one".into(), Layer::Rnn(one)), ("both".into(), Layer::BidirectionalRnn(both))];
    (Model::new(layers).unwrap(), random.mat(25, input, 1.0))
}

const FIXTURES: [&str; 9] = [
    "linear",
    "gru",
    "gru_bidirectional",
    "lstm",
    "lstm_projection",
    "lstm_bidirectional",
    "convolution",
    RESET_BEFORE,
    WITHOUT_GATES,
];

fn outputs(model: &Model, x: &Mat<f32>) -> Vec<f32> {
    let mut session = Session::new(Arc::new(model.clone())).unwrap();
    let mut outputs = session.push(x.view()).unwrap().as_slice().to_vec();
    outputs.extend_from_slice(session.finish().unwrap().as_slice());
    outputs
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A GRU whose input weights are of low rank plus noise, and inputs that lie near a few directions.
fn low_rank_model(input: usize, hidden: usize) -> (Model, Mat<f32>) {
    let mut random = Random(3);
    let mut nearly_low_rank = |n: usize, k: usize, rank: usize| {
        let factors = LowRank::from_factors(random.mat(n, rank, 0.4), random.mat(rank, k, 0.4)).unwrap();
        let mut w = factors.product().unwrap();
        w.as_mut_slice().iter_mut().for_each(|w| *w += random.next() * 0.05);
        w
    };
    let (w, r) = (nearly_low_rank(3 * hidden, input, 20), nearly_low_rank(3 * hidden, hidden, 9));
    let x = nearly_low_rank(200, input, 6);
    let gru = Gru::new(Weight::dense(w).unwrap(), Weight::dense(r).unwrap(), None, None).unwrap();
    (Model::new(vec![("gru".into(), Layer::Gru(gru))]).unwrap(), x)
}

#[test]
fn full_rank_is_the_model_itself_by_every_scheme() {
    for name in FIXTURES {
        let (model, x) = fixture(name);
        let exact = outputs(&model, &x);
        for scheme in SCHEMES {
            let mut calibration = Calibration::new(scheme);
            calibration.add(&model, x.view()).unwrap();
            assert_eq!(calibration.frames(), x.rows());
            for calibration in [None, Some(&calibration)] {
                let decomposed = model.decompose(scheme, calibration, Weighting::Data, |_, _, _| ()).unwrap();
                let plan = decomposed.plan(&Cutting::Each(RankPolicy::Variance(1.0))).unwrap();
                // A matrix stays dense if its factors would cost more, so the factors are forced.
                let forced: Vec<Choice> = decomposed
                    .build(&plan, |_| F32, Tier::Portable)
                    .unwrap()
                    .matrices
                    .iter()
                    .map(|m| Choice::LowRank(m.n.min(m.k)))
                    .collect();
                let factored = decomposed.build(&forced, |_| F32, Tier::Portable).unwrap();
                let difference = largest_difference(&outputs(&factored.model, &x), &exact);
                assert!(difference < 2e-4, "{name}, {scheme:?}: {difference}");
                assert!(factored.matrices.iter().all(|m| m.relative_error < 1e-3), "{name}, {scheme:?}");
                let dense = decomposed.build(&vec![Choice::Dense; plan.len()], |_| F32, Tier::Portable).unwrap();
                assert_eq!(bits(&outputs(&dense.model, &x)), bits(&exact), "{name}, {scheme:?}");
            }
        }
    }
}

#[test]
fn compressed_models_go_through_files_on_every_tier() {
    for name in FIXTURES {
        let (model, x) = fixture(name);
        for scheme in SCHEMES {
            let decomposed = model.decompose(scheme, None, Weighting::Data, |_, _, _| ()).unwrap();
            let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(3))).unwrap();
            for format in [None].into_iter().chain(Quantization::ALL.map(Some)) {
                // The last layer has another precision.
                let storage = |layer: &str| match layer {
                    "fc" => F32,
                    _ => Storage { format, correct: true },
                };
                let built = Tier::available().iter().map(|&tier| decomposed.build(&plan, storage, tier).unwrap().model);
                let built: Vec<Model> = built.collect();
                let expected = bits(&outputs(&built[0], &x));
                let file = built[0].to_bytes().unwrap();
                for (model, &tier) in built.iter().zip(Tier::available()) {
                    assert_eq!(model.to_bytes().unwrap(), file, "{name}, {scheme:?}, {format:?}, {tier}");
                    let loaded = Model::from_bytes(&file, tier).unwrap();
                    for model in [model, &loaded] {
                        assert_eq!(bits(&outputs(model, &x)), expected, "{name}, {scheme:?}, {format:?}, {tier}");
                        assert_eq!(model.bytes(), loaded.bytes());
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_data_does_not_show_is_cut_first() {
    let (model, x) = low_rank_model(60, 32);
    let exact = outputs(&model, &x);
    let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    calibration.add(&model, x.view()).unwrap();
    let noise = |weighting| {
        let scheme = Scheme::PartiallyJoint;
        let decomposed = model.decompose(scheme, Some(&calibration), weighting, |_, _, _| ()).unwrap();
        let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(8))).unwrap();
        let small = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap();
        let outputs = outputs(&small.model, &x);
        outputs.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (plain, weighted) = (noise(Weighting::Weights), noise(Weighting::Data));
    assert!(weighted < plain / 10.0, "weighted {weighted}, plain {plain}");
}

#[test]
fn budgets_are_kept_and_reports_add_up() {
    let (model, x) = low_rank_model(96, 64);
    let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    calibration.add(&model, x.view()).unwrap();
    let mut told = Vec::new();
    let decomposed = model.decompose(Scheme::PartiallyJoint, Some(&calibration), Weighting::Data, |name, done, all| {
        told.push(format!("{name} {done}/{all}"))
    });
    let decomposed = decomposed.unwrap();
    assert_eq!(told, ["gru.weight_ih 0/2", "gru.weight_hh 1/2"]);
    let int8 = Storage { format: Some(WeightFormat::I8.into()), correct: false };
    let (core, format) = (Core::named("cortex-a53").unwrap(), Some(WeightFormat::I8));
    for cost in [Cost::Parameters, Cost::Bytes(format), Cost::Latency(core, format)] {
        let dense = decomposed.cost(&[Choice::Dense; 2], &cost);
        let (mut before, mut snr) = (f64::INFINITY, 0.0);
        // Calls take a part of the time that no cut reduces.
        let least = if matches!(cost, Cost::Latency(..)) { 0.6 } else { 0.35 };
        for share in [least, 0.75, 1.0] {
            let budget = Budget { limit: dense * share, cost: cost.clone() };
            let plan =
                decomposed.plan(&Cutting::Together { budget: budget.clone(), rank_multiple: RANK_MULTIPLE }).unwrap();
            assert!(decomposed.cost(&plan, &cost) <= budget.limit * 1.000_001);
            let error = decomposed.error(&plan);
            assert!(error <= before, "{cost:?}, {share}: {error}, before {before}");
            before = error;
            let small = decomposed.build(&plan, |_| int8, Tier::Portable).unwrap();
            for matrix in &small.matrices {
                assert!(matrix.bytes_after < matrix.bytes_before / 3.0, "{matrix:?}");
                assert!(matrix.nu > 0.0 && matrix.nu < 1.0 && matrix.kept_variance <= 1.0);
                assert_eq!(matrix.singular_values.len(), matrix.n.min(matrix.k));
            }
            let of_input = small.matrices[0].signal_to_noise.unwrap();
            assert!(of_input >= snr - 1.0, "{cost:?}, {share}: {of_input} dB");
            snr = of_input;
        }
        assert_eq!(before, 0.0, "of the whole budget everything is dense");
    }
    let budget = Budget { limit: 10.0, cost: Cost::Parameters };
    let out_of_reach = Cutting::Together { budget, rank_multiple: RANK_MULTIPLE };
    assert!(matches!(decomposed.plan(&out_of_reach), Err(Error::Budget { asked: 10.0, .. })));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, _) = low_rank_model(20, 10);
    let mut calibration = Calibration::new(Scheme::Split);
    assert!(matches!(calibration.add(&model, Mat::zeros(3, 19).unwrap().view()), Err(Error::Shape { .. })));
    let decomposed = model.decompose(Scheme::Joint, None, Weighting::Data, |_, _, _| ()).unwrap();
    assert!(matches!(decomposed.build(&[], |_| F32, Tier::Portable), Err(Error::Length { expected: 1, found: 0, .. })));
    let too_much = decomposed.build(&[Choice::LowRank(31)], |_| F32, Tier::Portable);
    assert!(matches!(too_much, Err(Error::Rank { rank: 31, max: 30 })));
    let calibrated = model.decompose(Scheme::Joint, Some(&calibration), Weighting::Data, |_, _, _| ());
    assert!(matches!(calibrated, Err(Error::Stored { .. })));
    // The model is not the one that was calibrated.
    let other = Linear::new(Weight::dense(Mat::zeros(4, 5).unwrap()).unwrap(), None).unwrap();
    let other = Model::new(vec![("fc".into(), Layer::Linear(other))]).unwrap();
    let mut calibration = Calibration::new(Scheme::Split);
    calibration.add(&other, Mat::from_vec(vec![1.0; 5], 1, 5).unwrap().view()).unwrap();
    assert!(model.decompose(Scheme::Split, Some(&calibration), Weighting::Data, |_, _, _| ()).is_err());
}

/// A model of linear layers in sequence, all with inputs of the same size.
fn linear_model(weights: Vec<Mat<f32>>) -> Model {
    let layer = |w: Mat<f32>| {
        let bias = vec![0.25; w.rows()];
        Layer::Linear(Linear::new(Weight::dense(w).unwrap(), Some(bias)).unwrap())
    };
    let layers = weights.into_iter().enumerate().map(|(i, w)| (format!("fc{i}"), layer(w)));
    Model::new(layers.collect()).unwrap()
}

#[test]
fn a_plan_has_no_rank_above_the_full_one() {
    let (model, _) = low_rank_model(20, 10);
    let decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ()).unwrap();
    for rank in [20, 21, usize::MAX] {
        assert_eq!(decomposed.plan(&Cutting::Each(RankPolicy::Fixed(rank))), Ok(vec![Choice::Dense; 2]));
    }
    let none = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(0)));
    assert_eq!(none, Err(Error::Rank { rank: 0, max: 20 }));
    let budget = Budget { limit: 1e9, cost: Cost::Parameters };
    let together = |rank_multiple| decomposed.plan(&Cutting::Together { budget: budget.clone(), rank_multiple });
    assert!(matches!(together(0), Err(Error::Parameter { .. })));
    for plan in [together(1), together(usize::MAX)] {
        assert_eq!(plan, Ok(vec![Choice::Dense; 2]));
    }
}

/// The biases restore the mean of the outputs after a cut.
#[test]
fn the_mean_of_the_outputs_stays() {
    let mut random = Random(8);
    let mut x = random.mat(60, 24, 1.0);
    x.as_mut_slice().iter_mut().for_each(|x| *x += 3.0);
    let convolution = {
        let linear = Linear::new(Weight::dense(random.mat(16, 24, 0.5)).unwrap(), None).unwrap();
        Layer::TimeConvolution(skinny::factored::TimeConvolution::new(linear, 1, 1, 0).unwrap())
    };
    for model in [
        linear_model(vec![random.mat(16, 24, 0.5)]),
        linear_model(vec![random.mat(16, 24, 0.5), random.mat(30, 16, 0.5)]),
        Model::new(vec![("conv".into(), convolution)]).unwrap(),
    ] {
        let mut calibration = Calibration::new(Scheme::Split);
        calibration.add(&model, x.view()).unwrap();
        let decomposed = model.decompose(Scheme::Split, Some(&calibration), Weighting::Data, |_, _, _| ()).unwrap();
        let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(4))).unwrap();
        // In f32, because inputs in 8 bits have errors of their own.
        let small = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap();
        assert!(small.matrices.iter().all(|matrix| matrix.choice == Choice::LowRank(4)));
        let mean = |model: &Model| {
            let (outputs, mut sums) = (outputs(model, &x), vec![0.0; model.output_size()]);
            for frame in outputs.chunks(sums.len()) {
                sums.iter_mut().zip(frame).for_each(|(sum, &y)| *sum += f64::from(y) / 60.0);
            }
            sums
        };
        for (small, exact) in mean(&small.model).iter().zip(mean(&model)) {
            assert!((small - exact).abs() < 1e-4, "{small}, {exact}");
        }
    }
}

/// Errors of weights count relative to each weight; errors on the data count absolutely.
#[test]
fn what_counts_more_gets_the_ranks() {
    let mut random = Random(5);
    let w = random.mat(32, 32, 0.3);
    let larger = Mat::from_vec(w.as_slice().iter().map(|w| w * 64.0).collect(), 32, 32).unwrap();
    // The second layer reads the outputs of the first, and has 64 times its weights.
    let model = linear_model(vec![w, larger]);
    let mut calibration = Calibration::new(Scheme::Split);
    calibration.add(&model, random.mat(200, 32, 1.0).view()).unwrap();
    let ranks = |weighting| {
        let decomposed = model.decompose(Scheme::Split, Some(&calibration), weighting, |_, _, _| ()).unwrap();
        let budget = Budget { limit: 0.5 * 2.0 * 32.0 * 32.0, cost: Cost::Parameters };
        let plan = decomposed.plan(&Cutting::Together { budget, rank_multiple: 1 }).unwrap();
        assert!((0.0..1.0).contains(&decomposed.error(&plan)));
        plan.into_iter().map(|choice| match choice {
            Choice::LowRank(rank) => rank,
            Choice::Dense => 32,
        })
    };
    let [first, second] = ranks(Weighting::Weights).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((first, second), (8, 8));
    let [first, second] = ranks(Weighting::Data).collect::<Vec<_>>().try_into().unwrap();
    assert!(first == 1 && second >= 14, "{first}, {second}");
}

#[test]
fn inputs_at_the_ends_of_the_range_are_no_cause_to_fail() {
    for (of_w, of_x) in [(1.0, 3e38), (1e-30, 3e38), (1.0, 1e-40), (1e-20, 1e-20), (1e30, 1e-10)] {
        let mut random = Random(9);
        let (w, x) = (random.mat(24, 16, of_w), random.mat(50, 16, of_x));
        let model = linear_model(vec![w]);
        let mut calibration = Calibration::new(Scheme::Split);
        calibration.add(&model, x.view()).unwrap();
        for weighting in [Weighting::Weights, Weighting::Data] {
            let decomposed = model.decompose(Scheme::Split, Some(&calibration), weighting, |_, _, _| ()).unwrap();
            let budget = Budget { limit: 0.5 * 24.0 * 16.0, cost: Cost::Parameters };
            for cutting in [
                Cutting::Together { budget, rank_multiple: 1 },
                Cutting::Each(RankPolicy::Variance(0.7)),
                Cutting::Each(RankPolicy::Fixed(4)),
            ] {
                let plan = decomposed.plan(&cutting).unwrap();
                assert!(matches!(plan[..], [Choice::LowRank(2..=8)]), "{of_w}, {of_x}: {plan:?}");
                assert!((0.1..1.0).contains(&decomposed.error(&plan)), "{of_w}, {of_x}");
                let small = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap();
                let matrix = &small.matrices[0];
                assert!((0.1..1.0).contains(&matrix.relative_error), "{of_w}, {of_x}: {matrix:?}");
                assert!((1.0..20.0).contains(&matrix.signal_to_noise.unwrap()), "{of_w}, {of_x}: {matrix:?}");
            }
        }
    }
}

#[test]
fn a_calibration_is_of_one_model() {
    let mut random = Random(2);
    let [one, two] = [1, 2].map(|layers| linear_model((0..layers).map(|_| random.mat(8, 8, 0.5)).collect()));
    let x = random.mat(5, 8, 1.0);
    let mut calibration = Calibration::new(Scheme::Split);
    calibration.add(&one, x.view()).unwrap();
    let misfit = Err(Error::Length { what: "calibrated layers", expected: 1, found: 2 });
    assert_eq!(calibration.add(&two, x.view()), misfit);
    assert_eq!(calibration.frames(), 5);
    let decomposed = two.decompose(Scheme::Split, Some(&calibration), Weighting::Data, |_, _, _| ());
    assert_eq!(decomposed.err(), Some(Error::Length { what: "calibrated layers", expected: 2, found: 1 }));
    // A failure in the second layer adds nothing to the first.
    let huge = linear_model(vec![random.mat(8, 8, 1e30), random.mat(8, 8, 0.5)]);
    let (mut calibration, huge_x) = (Calibration::new(Scheme::Split), random.mat(5, 8, 1e30));
    assert!(matches!(calibration.add(&huge, huge_x.view()), Err(Error::NotFinite { .. })));
    assert_eq!(calibration.frames(), 0);
    calibration.add(&one, x.view()).unwrap();
}

/// A model is compressed to the same bytes on any number of threads.
#[cfg(feature = "rayon")]
#[test]
fn threads_change_no_bit() {
    let compressed = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut files = Vec::new();
            // Large enough for faer to split if it had threads, with enough matrices for the crate to distribute.
            for (input, hidden, scheme) in [(300, 160, Scheme::PartiallyJoint), (40, 24, Scheme::Split)] {
                let (model, x) = low_rank_model(input, hidden);
                let mut calibration = Calibration::new(scheme);
                calibration.add(&model, x.view()).unwrap();
                let mut told = 0;
                let decomposed = model.decompose(scheme, Some(&calibration), Weighting::Data, |_, done, _| {
                    assert_eq!(done, told);
                    told += 1;
                });
                let decomposed = decomposed.unwrap();
                let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(8))).unwrap();
                let storage = Storage { format: Some(WeightFormat::I4.into()), correct: true };
                for storage in [F32, storage] {
                    let small = decomposed.build(&plan, |_| storage, Tier::Portable).unwrap();
                    let sigma = small.matrices.iter().flat_map(|matrix| &matrix.singular_values);
                    files.push((
                        small.model.to_bytes().unwrap(),
                        sigma.map(|sigma| sigma.to_bits()).collect::<Vec<_>>(),
                    ));
                }
            }
            files
        })
    };
    let one = compressed(1);
    for threads in [2, 4] {
        assert!(compressed(threads) == one, "{threads} threads");
    }
}

/// Matrices of a graph are decomposed with the values that their layers read. A list of one layer with those values as
/// its input is the oracle.
#[test]
fn the_matrices_of_a_graph_see_what_their_layers_read() {
    let mut random = Random(8);
    let (input, hidden) = (16, 24);
    let mut linear = |n: usize, k| Linear::new(Weight::dense(random.mat(n, k, 0.5)).unwrap(), None).unwrap();
    let conv = Layer::TimeConvolution(TimeConvolution::new(linear(input, 3 * input), 3, 1, 1).unwrap());
    let [first, last] = [linear(hidden, input), linear(20, hidden + input)].map(Layer::Linear);
    let mut graph = Graph::new();
    let x = graph.input("x", input).unwrap();
    let c = graph.layer("conv", conv.clone(), x).unwrap();
    let sum = graph.add("sum", &[c, x]).unwrap();
    let h = graph.layer("first", first.clone(), sum).unwrap();
    let all = graph.concat("all", &[h, x]).unwrap();
    let y = graph.layer("last", last.clone(), all).unwrap();
    graph.output("y", y).unwrap();
    let model = graph.build().unwrap();

    let x = random.mat(60, input, 1.0);
    let run = |layer: &Layer, x: &Mat<f32>| {
        let model = Model::new(vec![("layer".into(), layer.clone())]).unwrap();
        Mat::from_vec(outputs(&model, x), x.rows(), layer.output_size()).unwrap()
    };
    let c = run(&conv, &x);
    let sum = c.as_slice().iter().zip(x.as_slice()).map(|(c, x)| c + x).collect();
    let sum = Mat::from_vec(sum, 60, input).unwrap();
    let h = run(&first, &sum);
    let all = (0..60).flat_map(|t| [h.view().row(t), x.view().row(t)].concat()).collect();
    let all = Mat::from_vec(all, 60, hidden + input).unwrap();

    let reports = |model: &Model, x: &Mat<f32>| {
        let mut calibration = Calibration::new(Scheme::PartiallyJoint);
        calibration.add(model, x.view()).unwrap();
        assert_eq!(calibration.frames(), 60);
        let decomposed =
            model.decompose(Scheme::PartiallyJoint, Some(&calibration), Weighting::Data, |_, _, _| ()).unwrap();
        let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(4))).unwrap();
        decomposed.build(&plan, |_| F32, Tier::Portable).unwrap()
    };
    let small = reports(&model, &x);
    assert_eq!(
        small.matrices.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["conv", "first", "last"].map(|name| format!("{name}.weight"))
    );
    for ((layer, input), found) in [(&conv, &x), (&first, &sum), (&last, &all)].into_iter().zip(&small.matrices) {
        let alone = Model::new(vec![("layer".into(), layer.clone())]).unwrap();
        let expected = &reports(&alone, input).matrices[0];
        assert_eq!(found.signal_to_noise, expected.signal_to_noise, "{}", found.name);
        assert!(found.signal_to_noise.is_some() && found.choice == Choice::LowRank(4));
    }
    // The graph stays what it was around them.
    assert!(small.model.parameters() < model.parameters());
    assert_eq!(small.model.nodes().len(), 5);
    assert_eq!(outputs(&small.model, &x).len(), 60 * 20);
    let mut other = Calibration::new(Scheme::PartiallyJoint);
    let two = [x.view(), x.view()];
    assert_eq!(other.add_all(&model, &two), Err(Error::Length { what: "inputs", expected: 1, found: 2 }));
}
