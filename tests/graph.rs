//! Models as graphs: values that several nodes read, paths of different delays, several inputs and outputs. What a graph
//! computes is compared with its layers run one after the other over the whole sequence.

#[path = "common/layers.rs"]
mod common;

use std::sync::Arc;

use common::{Random, bits, whole};
use skinny::factored::{
    Bidirectional, Function, Gru, Linear, Lstm, Recurrent, Reduction, Scratch, TimeConvolution, Weight, Windows,
};
use skinny::kernels::WeightFormat;
use skinny::model::{Graph, Join, Layer, Model, Session, Value};
use skinny::{Error, FileError, Mat, MatMut, MatRef, Tier};

const INPUT: usize = 5;
const H: usize = 7;

fn dense(random: &mut Random, n: usize, k: usize) -> Weight {
    Weight::dense(random.mat(n, k, 0.5)).unwrap()
}

fn linear(random: &mut Random, n: usize, k: usize) -> Linear {
    Linear::new(dense(random, n, k), Some(random.vec(n, 0.5))).unwrap()
}

fn convolution(random: &mut Random, [n, k]: [usize; 2], [kernel, stride, padding]: [usize; 3]) -> TimeConvolution {
    TimeConvolution::new(linear(random, n, kernel * k), kernel, stride, padding).unwrap()
}

fn gru(random: &mut Random, n: usize, k: usize) -> Gru {
    Gru::new(dense(random, 3 * n, k), dense(random, 3 * n, n), None, None).unwrap()
}

/// The outputs of a layer for a whole sequence.
fn convolved(layer: &TimeConvolution, x: &Mat<f32>) -> Mat<f32> {
    let (mut state, mut scratch) = (layer.state().unwrap(), Scratch::new());
    let ready = layer.outputs(&state, x.rows());
    let mut out = Mat::zeros(ready, layer.output_size()).unwrap();
    layer.forward(x.view(), &mut state, out.view_mut(), &mut scratch).unwrap();
    let mut end = Mat::zeros(layer.outputs_at_end(&state), layer.output_size()).unwrap();
    layer.finish(&mut state, end.view_mut(), &mut scratch).unwrap();
    let rows = ready + end.rows();
    Mat::from_vec([out.into_vec(), end.into_vec()].concat(), rows, layer.output_size()).unwrap()
}

fn applied(layer: &Linear, x: &Mat<f32>) -> Mat<f32> {
    let mut out = Mat::zeros(x.rows(), layer.output_size()).unwrap();
    layer.forward(x.view(), out.view_mut(), &mut Scratch::new()).unwrap();
    out
}

fn recurred<L: Recurrent>(layer: &L, x: &Mat<f32>) -> Mat<f32> {
    Mat::from_vec(whole(layer, x), x.rows(), layer.output_size()).unwrap()
}

fn zip(a: &Mat<f32>, b: &Mat<f32>, f: impl Fn(f32, f32) -> f32) -> Mat<f32> {
    assert_eq!(a.view().shape(), b.view().shape());
    let values = a.as_slice().iter().zip(b.as_slice()).map(|(&a, &b)| f(a, b)).collect();
    Mat::from_vec(values, a.rows(), a.cols()).unwrap()
}

fn beside(parts: &[&Mat<f32>]) -> Mat<f32> {
    let rows = parts[0].rows();
    assert!(parts.iter().all(|part| part.rows() == rows));
    let values: Vec<f32> =
        (0..rows).flat_map(|t| parts.iter().flat_map(move |part| part.view().row(t))).copied().collect();
    Mat::from_vec(values, rows, parts.iter().map(|part| part.cols()).sum()).unwrap()
}

fn rows(x: &Mat<f32>, from: usize, to: usize) -> MatRef<'_, f32> {
    MatRef::new(&x.as_slice()[from * x.cols()..to * x.cols()], to - from, x.cols()).unwrap()
}

/// The outputs by name of a session that takes `cut` frames at a time.
fn stream(session: &mut Session, inputs: &[Mat<f32>], cut: usize, flush: bool) -> Vec<Vec<f32>> {
    let names: Vec<String> = session.model().outputs().map(|(name, _)| name.into()).collect();
    let mut outputs = vec![Vec::new(); names.len()];
    let take = |session: &Session, outputs: &mut Vec<Vec<f32>>| {
        for (out, name) in outputs.iter_mut().zip(&names) {
            out.extend_from_slice(session.output(name).unwrap().as_slice());
        }
    };
    let time = inputs[0].rows();
    for start in (0..time).step_by(cut) {
        let pieces: Vec<_> = inputs.iter().map(|x| rows(x, start, (start + cut).min(time))).collect();
        session.push_all(&pieces).unwrap();
        take(session, &mut outputs);
        if flush {
            session.flush().unwrap();
            take(session, &mut outputs);
        }
    }
    session.finish().unwrap();
    take(session, &mut outputs);
    outputs
}

/// A model must have these outputs, bit by bit, however its input is cut.
fn expect_outputs(model: &Arc<Model>, inputs: &[Mat<f32>], expected: &[Mat<f32>]) {
    let mut session = Session::new(model.clone()).unwrap();
    for (time_batch, cut, flush) in
        [(4, 1000, false), (1, 1, false), (4, 3, false), (10, 1, false), (7, 2, true), (3, 5, true), (1, 1000, false)]
    {
        session = session.with_time_batch(time_batch).unwrap();
        let found = stream(&mut session, inputs, cut, flush);
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let what = format!("output {i}, time batch {time_batch}, cut {cut}, flush {flush}");
            assert_eq!(found.len(), expected.as_slice().len(), "{what}");
            assert_eq!(bits(found), bits(expected.as_slice()), "{what}");
        }
    }
}

/// Two paths around a convolution that looks three frames ahead, one of them with a shorter look, and both ends as
/// outputs.
#[test]
fn paths_of_different_delays_meet_frame_by_frame() {
    let mut random = Random(1);
    let long = convolution(&mut random, [INPUT, INPUT], [7, 1, 3]);
    let short = convolution(&mut random, [INPUT, INPUT], [3, 1, 1]);
    let recurrent = gru(&mut random, INPUT, INPUT);
    let last = linear(&mut random, 4, 3 * INPUT);

    let mut graph = Graph::new();
    let x = graph.input("x", INPUT).unwrap();
    let a = graph.layer("long", Layer::TimeConvolution(long.clone()), x).unwrap();
    let b = graph.layer("short", Layer::TimeConvolution(short.clone()), x).unwrap();
    let sum = graph.add("sum", &[a, x, b]).unwrap();
    let g = graph.layer("gru", Layer::Gru(recurrent.clone()), x).unwrap();
    let product = graph.multiply("product", &[sum, g]).unwrap();
    let all = graph.concat("all", &[x, product, b]).unwrap();
    let y = graph.layer("fc", Layer::Linear(last.clone()), all).unwrap();
    assert_eq!((graph.features(all), graph.features(y)), (Some(3 * INPUT), Some(4)));
    graph.output("y", y).unwrap();
    graph.output("short", b).unwrap();
    graph.output("again", y).unwrap();
    let model = Arc::new(graph.build().unwrap());
    assert_eq!((model.delay(), model.stride(), model.is_streaming()), (Some(3), 1, true));
    assert_eq!((model.input_size(), model.output_size()), (INPUT, 4));
    assert_eq!(model.layers().map(|(name, _)| name).collect::<Vec<_>>(), ["long", "short", "gru", "fc"]);

    for time in [1, 2, 3, 4, 9, 40] {
        let x = random.mat(time, INPUT, 1.0);
        let [a, b, g] = [convolved(&long, &x), convolved(&short, &x), recurred(&recurrent, &x)];
        let sum = zip(&zip(&a, &x, |a, x| a + x), &b, |sum, b| sum + b);
        let product = zip(&sum, &g, |sum, g| sum * g);
        let y = applied(&last, &beside(&[&x, &product, &b]));
        expect_outputs(&model, &[x], &[y.clone(), b, y]);
    }
}

/// After convolutions with strides, and with a bidirectional layer on one path, whose frames all come at the end.
#[test]
fn strides_and_both_directions_meet() {
    let mut random = Random(2);
    let first = convolution(&mut random, [INPUT, INPUT], [4, 2, 1]);
    let second = convolution(&mut random, [H, INPUT], [3, 3, 1]);
    let around = convolution(&mut random, [H, INPUT], [8, 6, 3]);
    let (forward, reverse) = (gru(&mut random, H, H), gru(&mut random, H, H));
    let both = Bidirectional::new(forward, reverse).unwrap();

    let mut graph = Graph::new();
    let x = graph.input("x", INPUT).unwrap();
    let a = graph.layer("first", Layer::TimeConvolution(first.clone()), x).unwrap();
    let a = graph.layer("second", Layer::TimeConvolution(second.clone()), a).unwrap();
    let b = graph.layer("around", Layer::TimeConvolution(around.clone()), x).unwrap();
    // (t + 2 - 4) / 2 + 1, then / 3: t + 6 - 3 * 2 + 2 * 2; and t + 6 - 8 + 6.
    let sum = graph.add("sum", &[a, b]).unwrap();
    let directions = graph.layer("both", Layer::BidirectionalGru(both.clone()), sum).unwrap();
    let all = graph.concat("all", &[sum, directions]).unwrap();
    graph.output("sum", sum).unwrap();
    graph.output("all", all).unwrap();
    let model = Arc::new(graph.build().unwrap());
    assert_eq!((model.stride(), model.is_streaming(), model.delay()), (6, false, None));

    for time in [12, 13, 14, 40, 41, 47] {
        let x = random.mat(time, INPUT, 1.0);
        let sum = zip(&convolved(&second, &convolved(&first, &x)), &convolved(&around, &x), |a, b| a + b);
        let mut directions = Mat::zeros(sum.rows(), 2 * H).unwrap();
        both.forward(sum.view(), directions.view_mut(), &mut Scratch::new()).unwrap();
        expect_outputs(&model, &[x], &[sum.clone(), beside(&[&sum, &directions])]);
    }
}

#[test]
fn inputs_advance_together_and_one_feature_serves_all() {
    let mut random = Random(3);
    let mut graph = Graph::new();
    let [a, b] = ["a", "b"].map(|name| graph.input(name, if name == "a" { 3 } else { 1 }).unwrap());
    let product = graph.multiply("product", &[b, a]).unwrap();
    let sum = graph.add("sum", &[product, b]).unwrap();
    graph.output("sum", sum).unwrap();
    let model = Arc::new(graph.build().unwrap());
    assert_eq!(model.inputs().collect::<Vec<_>>(), [("a", 3), ("b", 1)]);
    let (a, b) = (random.mat(9, 3, 1.0), random.mat(9, 1, 1.0));
    let values = (0..27).map(|i| b.as_slice()[i / 3] * a.as_slice()[i] + b.as_slice()[i / 3]);
    let sum = Mat::from_vec(values.collect(), 9, 3).unwrap();
    expect_outputs(&model, &[a.clone(), b.clone()], &[sum]);

    let mut session = Session::new(model).unwrap();
    let one_input = session.push(a.view()).map(drop);
    assert_eq!(one_input, Err(Error::Length { what: "inputs", expected: 2, found: 1 }));
    let fewer = session.push_all(&[a.view(), rows(&b, 0, 8)]).map(drop);
    assert_eq!(fewer, Err(Error::Shape { what: "frames", expected: (9, 1), found: (8, 1) }));
    assert!(session.output("total").is_none());
    assert_eq!(session.finish().unwrap().rows(), 0);
}

#[test]
fn a_clone_goes_on_in_the_middle_of_a_stream() {
    let mut random = Random(4);
    let conv = convolution(&mut random, [INPUT, INPUT], [5, 1, 2]);
    let mut graph = Graph::new();
    let x = graph.input("x", INPUT).unwrap();
    let y = graph.layer("conv", Layer::TimeConvolution(conv), x).unwrap();
    let y = graph.add("sum", &[x, y]).unwrap();
    graph.output("y", y).unwrap();
    let mut session = Session::new(Arc::new(graph.build().unwrap())).unwrap();
    let x = random.mat(30, INPUT, 1.0);
    session.push(rows(&x, 0, 17)).unwrap();
    let mut clone = session.clone();
    let run = |session: &mut Session| {
        let mut out = session.push(rows(&x, 17, 30)).unwrap().as_slice().to_vec();
        out.extend_from_slice(session.finish().unwrap().as_slice());
        out
    };
    let (one, other) = (run(&mut session), run(&mut clone));
    assert_eq!(one.len(), (30 - 16 + 2) * INPUT);
    assert_eq!(bits(&one), bits(&other));
}

/// The last state of one part of a graph starts another model.
#[test]
fn states_go_from_an_encoder_to_a_decoder() {
    let mut random = Random(5);
    let encoder = Lstm::new(dense(&mut random, 4 * H, INPUT), dense(&mut random, 4 * H, H), None, None).unwrap();
    let decoder = Lstm::new(dense(&mut random, 4 * H, H), dense(&mut random, 4 * H, H), None, None).unwrap();
    let graph = |name: &str, layer: &Lstm| {
        let mut graph = Graph::new();
        let x = graph.input("x", layer.input_size()).unwrap();
        let y = graph.layer(name, Layer::Lstm(layer.clone()), x).unwrap();
        let sum = graph.add("sum", &[y, y]).unwrap();
        graph.output("y", sum).unwrap();
        Session::new(Arc::new(graph.build().unwrap())).unwrap()
    };
    let (mut source, mut target) = (graph("encoder", &encoder), graph("decoder", &decoder));
    let (x, tokens) = (random.mat(11, INPUT, 1.0), random.mat(6, H, 1.0));
    source.push(x.view()).unwrap();
    source.flush().unwrap();
    for (name, values) in source.states() {
        target.set_state(&name.replace("encoder", "decoder"), values).unwrap();
    }
    let mut found = target.push(tokens.view()).unwrap().as_slice().to_vec();
    found.extend_from_slice(target.finish().unwrap().as_slice());

    let (mut state, mut scratch) = (encoder.state().unwrap(), Scratch::new());
    let mut out = vec![0.0; 11 * H];
    encoder.forward(x.view(), &mut state, MatMut::new(&mut out, 11, H).unwrap(), &mut scratch).unwrap();
    let mut out = vec![0.0; 6 * H];
    decoder.forward(tokens.view(), &mut state, MatMut::new(&mut out, 6, H).unwrap(), &mut scratch).unwrap();
    assert_eq!(bits(&found), bits(&out.iter().map(|y| y + y).collect::<Vec<_>>()));
}

fn paths(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(error @ Error::File(FileError::Paths { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut random = Random(6);
    let mut graph = Graph::new();
    let x = graph.input("x", INPUT).unwrap();
    let conv = |random: &mut Random, geometry| Layer::TimeConvolution(convolution(random, [INPUT, INPUT], geometry));
    let half = graph.layer("half", conv(&mut random, [4, 2, 1]), x).unwrap();
    let deeper = graph.layer("deeper", conv(&mut random, [3, 1, 1]), half).unwrap();
    let valid = graph.layer("valid", conv(&mut random, [3, 1, 0]), x).unwrap();
    assert_eq!(
        paths(graph.add("sum", &[x, deeper])),
        "layer sum: x and x > half > deeper: one frame per 1 input frames, and one per 2"
    );
    assert_eq!(
        paths(graph.concat("both", &[valid, x])),
        "layer both: x > valid and x: t - 2 frames for a sequence of t, and t"
    );
    let told = |result: Result<skinny::model::Value, Error>| result.unwrap_err().to_string();
    assert_eq!(told(graph.add("sum", &[x])), "layer sum: values to join: expected 2 elements, found 1");
    assert_eq!(told(graph.add("sum", &[])), "layer sum: values to join: expected 2 elements, found 0");
    let wide = graph.concat("wide", &[x, x]).unwrap();
    let error = "layer sum: features of a joined value: expected 10 elements, found 5";
    assert_eq!(told(graph.add("sum", &[x, wide])), error);
    for name in ["x", "half", "wide"] {
        let error = format!("layer {name}: layers of this name is 2, must be 1");
        assert_eq!(told(graph.join(name, Join::Add, &[x, x])), error);
    }
    assert_eq!(told(graph.input("late", 1)), "layer late: nodes before an input: expected 0 elements, found 4");
    let fc = Layer::Linear(linear(&mut random, 2, 3));
    assert_eq!(told(graph.layer("fc", fc, x)), "layer fc: input: expected 5 elements, found 3");
    let mut other = Graph::new();
    assert_eq!(told(other.add("sum", &[wide, x])), "layer sum: index of a value is 4, must be a value of this graph");
    assert_eq!(told(other.input("none", 0)), "layer none: features is 0, must be at least 1");
    let many = other.input("many", 1 << 23).unwrap();
    let error = "layer twice: features of all values together is 25165824, must be at most 2^24";
    assert_eq!(told(other.concat("twice", &[many, many])), error);

    assert!(matches!(graph.clone().build(), Err(Error::Length { what: "outputs", .. })));
    graph.output("y", deeper).unwrap();
    assert_eq!(graph.output("y", x).unwrap_err().to_string(), "layer y: layers of this name is 2, must be 1");
    let unread = graph.clone().build().unwrap_err().to_string();
    assert_eq!(unread, "layer valid: readers of its value: expected 1 elements, found 0");
    graph.output("valid", valid).unwrap();
    graph.output("wide", wide).unwrap();
    graph.build().unwrap();
}

#[test]
fn a_graph_is_quantized_layer_by_layer() {
    let mut random = Random(7);
    let conv = convolution(&mut random, [INPUT, INPUT], [3, 1, 1]);
    let mut graph = Graph::new();
    let x = graph.input("x", INPUT).unwrap();
    let y = graph.layer("conv", Layer::TimeConvolution(conv.clone()), x).unwrap();
    let y = graph.add("sum", &[x, y]).unwrap();
    graph.output("y", y).unwrap();
    let model = graph.build().unwrap();
    let x = random.mat(20, INPUT, 1.0);
    for &tier in Tier::available() {
        let layer = conv.quantize(tier).unwrap();
        let sum = zip(&x, &convolved(&layer, &x), |x, y| x + y);
        let quantized = Arc::new(model.quantize_to(WeightFormat::I8, tier).unwrap());
        assert_eq!((quantized.bytes(), quantized.parameters()), (layer.bytes(), layer.parameters()));
        expect_outputs(&quantized, std::slice::from_ref(&x), &[sum]);
    }
}

/// A graph of up to 20 nodes, each of some kind with some of the values before it. Most joins that do not fit are refused.
fn some_graph(random: &mut Random) -> Model {
    let mut graph = Graph::new();
    let mut values: Vec<Value> = (0..2).map(|i| graph.input(format!("in{i}"), 2 + i).unwrap()).collect();
    let mut below = |limit: usize| (((random.next() + 1.0) * 0.5 * limit as f32) as usize).min(limit - 1);
    for i in 0..20 {
        let name = format!("node{i}");
        let [a, b, c] = [0; 3].map(|_| values[values.len() - 1 - below(values.len().min(6))]);
        let (k, kind, seed) = (graph.features(a).unwrap(), below(14), below(1000) as u64);
        let mut weights = Random(seed);
        let n = 1 + below(4);
        let made = match kind {
            0 => graph.add(name, &[a, b]),
            1 => graph.multiply(name, &[a, b, c]),
            2 | 3 => graph.concat(name, &[a, b]),
            4 => graph.layer(name, Layer::Linear(linear(&mut weights, n, k)), a),
            5 => graph.layer(name, Layer::Gru(gru(&mut weights, n, k)), a),
            6 => {
                let both = Bidirectional::new(gru(&mut weights, n, k), gru(&mut weights, n, k)).unwrap();
                graph.layer(name, Layer::BidirectionalGru(both), a)
            }
            7 => graph.function(name, Function::Tanh, a),
            8 => graph.slice(name, 0..k.div_ceil(2), a),
            9 => graph.over_time(name, Reduction::ALL[below(4)], a),
            // Windows that keep the number of frames, looking ahead by some of them, or that halve it.
            10.. => {
                let (kernel, dilation) = (1 + below(4), 1 + below(3));
                let reach = (kernel - 1) * dilation;
                let before = below(reach + 1);
                let windows = Windows { kernel, stride: 1, dilation, before, after: reach - before };
                let halves = Windows { kernel: 4, stride: 2, dilation: 1, before: 1, after: 1 };
                let windows = if kind == 13 { halves } else { windows };
                let linear = linear(&mut weights, k, windows.kernel * k);
                graph.layer(name, Layer::TimeConvolution(TimeConvolution::with_windows(linear, windows).unwrap()), a)
            }
        };
        values.extend(made);
    }
    for (i, &value) in values.iter().enumerate() {
        graph.output(format!("out{i}"), value).unwrap();
    }
    graph.build().unwrap()
}

/// All values of random graphs are the same bits however the inputs are cut, and so are all those of a stream that ends.
#[test]
fn random_graphs_give_the_same_bits_in_any_pieces() {
    let mut random = Random(11);
    let (mut joins, mut late) = (0, 0);
    for round in 0..150 {
        let model = Arc::new(some_graph(&mut random));
        let is_join = |node: &&skinny::model::Node| node.reads().len() > 1;
        joins += model.nodes().iter().filter(is_join).count();
        late += usize::from(model.nodes().iter().any(|node| node.name().starts_with("node") && is_join(&node)));
        let time = [1, 2, 5, 17, 40][round % 5];
        let inputs = [2, 3].map(|width| random.mat(time, width, 1.0));
        let mut session = Session::new(model.clone()).unwrap().with_time_batch(10).unwrap();
        let whole = stream(&mut session, &inputs, time, false);
        for (time_batch, cut, flush) in [(1, 1, false), (4, 3, false), (3, 2, true)] {
            let mut session = Session::new(model.clone()).unwrap().with_time_batch(time_batch).unwrap();
            let pieces = stream(&mut session, &inputs, cut, flush);
            for (i, (pieces, whole)) in pieces.iter().zip(&whole).enumerate() {
                assert_eq!(bits(pieces), bits(whole), "round {round}, output {i}, cut {cut}: {model:?}");
            }
        }
    }
    assert!(joins > 300 && late > 100, "{joins} joins, {late} graphs with them");
}

#[test]
fn a_model_says_how_its_frames_follow() {
    let mut random = Random(9);
    let random = &mut random;
    let first = Layer::TimeConvolution(convolution(random, [4, 2], [3, 2, 1]));
    let middle = Layer::Gru(gru(random, 4, 4));
    let last = Layer::TimeConvolution(convolution(random, [4, 4], [7, 3, 3]));
    let end = Layer::Linear(linear(random, 3, 4));
    assert_eq!([&first, &middle, &last, &end].map(Layer::stride), [2, 1, 3, 1]);
    let layers = [("a", first), ("b", middle), ("c", last), ("d", end)].map(|(name, layer)| (name.into(), layer));
    let model = Model::new(layers.to_vec()).unwrap();
    assert_eq!((model.stride(), model.runs_per_output()), (6, vec![3, 3, 1, 1]));
    // The first output needs eight frames: the first four of every second one, each with one to both sides.
    assert_eq!((model.delay(), model.is_streaming()), (Some(2), true));
    assert_eq!((model.input_size(), model.output_size()), (2, 3));

    let both = Layer::BidirectionalGru(Bidirectional::new(gru(random, 2, 3), gru(random, 2, 3)).unwrap());
    assert!(both.is_bidirectional() && both.stride() == 1);
    let linear = Layer::Linear(linear(random, 1, 4));
    assert!(!linear.is_bidirectional());
    let model = Model::new(vec![("both".into(), both), ("fc".into(), linear)]).unwrap();
    assert_eq!((model.delay(), model.is_streaming(), model.runs_per_output()), (None, false, vec![1, 1]));
    assert_eq!((model.input_size(), model.output_size()), (3, 1));
}
