//! Vectors of layers, each in a model of its own, and of one whole model.

use std::collections::BTreeMap;

use skinny_reference::file::read;
use skinny_reference::layer::{Frames, State};
use skinny_reference::model::Model;

use super::builder::Builder;
use super::json::{file, floats, list, object, outputs, text};

const FORMATS: [&str; 5] = ["f32", "int8", "int4", "int4 in groups of 32", "int2 in groups of 64"];

/// Collects cases, and numbers them.
struct Cases {
    all: Vec<String>,
}

impl Cases {
    /// A model of one layer, `layer` as in the header, over `frames` random frames.
    fn one(&mut self, name: &str, builder: &mut Builder, version: u32, layer: &str, k: usize, frames: usize) {
        let x = builder.random.frames(frames, k, 1.5);
        self.with(name, builder, version, layer, x);
    }

    fn with(&mut self, name: &str, builder: &mut Builder, version: u32, layer: &str, x: Frames) {
        let model = format!(r#"{{"version":"{version}","layers":[{{"name":"layer","layer":{layer}}}]}}"#);
        self.model(name, builder, &model, &[x]);
    }

    /// From the states at the start, and from random ones.
    fn model(&mut self, name: &str, builder: &mut Builder, header: &str, inputs: &[Frames]) {
        let model = read(&builder.file(header)).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.all.push(case(name, builder, header, &model, inputs, model.start()));
        let mut states = model.start();
        if !states.is_empty() {
            for state in states.values_mut() {
                state.h.iter_mut().chain(&mut state.c).for_each(|x| *x = builder.random.float() * 2.0);
            }
            self.all.push(case(&format!("{name}, from a state"), builder, header, &model, inputs, states));
        }
    }
}

fn case(
    name: &str,
    builder: &Builder,
    header: &str,
    model: &Model,
    inputs: &[Frames],
    mut states: BTreeMap<String, State>,
) -> String {
    let before = json_of(&states);
    let found = model.run(inputs, &mut states).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut entries = vec![
        ("name", text(name)),
        ("model", header.to_string()),
        ("tensors", builder.json()),
        ("inputs", list(inputs.iter().map(|x| list(x.iter().map(|x| floats(x)))))),
        ("outputs", list(found.iter().map(|y| list(y.iter().map(|y| outputs(y)))))),
    ];
    if !states.is_empty() {
        entries.push(("states", before));
        // A stream that has not ended lacks the frames that a convolution makes of its padding.
        if model.nodes.len() == 1 {
            entries.push(("end_states", json_of(&states)));
        }
    }
    object(&entries)
}

/// By the names that the library gives them.
fn json_of(states: &BTreeMap<String, State>) -> String {
    let mut entries = vec![];
    for (name, state) in states {
        entries.push((format!("{name}.h"), outputs(&state.h)));
        if !state.c.is_empty() {
            entries.push((format!("{name}.c"), outputs(&state.c)));
        }
    }
    object(&entries)
}

pub fn layers() -> String {
    let mut cases = Cases { all: vec![] };
    linear(&mut cases);
    over_time(&mut cases);
    recurrent(&mut cases);
    others(&mut cases);
    graphs(&mut cases);
    file("Layers: model files with their inputs and outputs. Inputs and outputs are lists of frames.", &cases.all)
}

fn version(format: &str) -> u32 {
    if format.starts_with("int2") { 2 } else { 1 }
}

fn linear(cases: &mut Cases) {
    let identity = r#""identity""#;
    for (i, format) in FORMATS.iter().enumerate() {
        for (n, k) in [(3, 1), (4, 15), (5, 16), (2, 17), (3, 33), (2, 70)] {
            let b = &mut Builder::new(100 * i as u64 + k as u64);
            let weight = b.dense("layer.weight", n, k, format);
            let activation = [identity, r#""relu""#, r#"{"clipped_relu":0.75}"#][k % 3];
            let linear = b.linear("layer", &weight, if k == 16 { 0 } else { n }, activation);
            cases.one(
                &format!("linear, {format}, {n} x {k}"),
                b,
                version(format),
                &format!(r#"{{"linear":{linear}}}"#),
                k,
                2,
            );
        }
        let b = &mut Builder::new(700 + i as u64);
        let weight = b.low_rank("layer.weight", 9, 20, 3, [format, format]);
        let linear = b.linear("layer", &weight, 9, r#""relu""#);
        cases.one(
            &format!("linear, low rank, {format}"),
            b,
            version(format),
            &format!(r#"{{"linear":{linear}}}"#),
            20,
            3,
        );
        // What is not finite, what is tiny, and what is large.
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let b = &mut Builder::new(750 + i as u64);
        let weight = b.dense("layer.weight", 4, 6, format);
        let linear = b.linear("layer", &weight, 4, [identity, r#""relu""#, r#"{"clipped_relu":2.0}"#][i % 3]);
        let x = vec![
            vec![nan, 1.0, -2.0, 0.5, 0.25, 3.0],
            vec![infinity, 1.0, -2.0, 0.5, 0.25, 3.0],
            vec![-infinity, infinity, -2.0, 0.5, 0.25, 3.0],
            vec![nan, infinity, 0.0, -0.0, 0.0, 0.0],
            vec![0.0, -0.0, 0.0, -0.0, 0.0, -0.0],
            vec![1e-45, 1e-40, -1e-39, 1e-38, 0.0, -1e-45],
            vec![3e38, -3e38, 1e38, f32::MAX, 1.0, 0.0],
        ];
        cases.with(&format!("linear, {format}, edges"), b, version(format), &format!(r#"{{"linear":{linear}}}"#), x);
    }
    let b = &mut Builder::new(800);
    let weight = b.low_rank("layer.weight", 6, 10, 4, ["f32", "int8"]);
    let linear = b.linear("layer", &weight, 6, identity);
    cases.one("linear, factors in two formats", b, 1, &format!(r#"{{"linear":{linear}}}"#), 10, 2);
    let b = &mut Builder::new(801);
    let parts = [
        b.dense("layer.weight.0", 3, 12, "int8"),
        b.low_rank("layer.weight.1", 5, 12, 2, ["int4", "int4"]),
        b.dense("layer.weight.2", 2, 12, "f32"),
    ];
    let weight = format!(r#"{{"stacked":[{}]}}"#, parts.join(","));
    let linear = b.linear("layer", &weight, 10, r#""relu""#);
    cases.one("linear, stacked", b, 1, &format!(r#"{{"linear":{linear}}}"#), 12, 2);
}

fn over_time(cases: &mut Cases) {
    for (i, (kernel, stride, padding, more, v, frames)) in [
        (1, 1, 0, "", 1, 2),
        (3, 1, 1, "", 1, 5),
        (4, 3, 2, "", 1, 8),
        (2, 5, 0, "", 1, 11),
        (3, 1, 2, "", 1, 1),
        (5, 1, 0, "", 1, 3),
        (3, 1, 4, r#","padding_after":0,"dilation":2"#, 2, 6),
        (3, 2, 0, r#","padding_after":2"#, 2, 6),
        (2, 2, 1, r#","dilation":3"#, 2, 9),
    ]
    .into_iter()
    .enumerate()
    {
        for format in ["f32", "int8"] {
            let b = &mut Builder::new(900 + i as u64);
            let weight = b.dense("layer.weight", 3, 2 * kernel, format);
            let linear = b.linear("layer", &weight, 3 * (i % 2), r#""identity""#);
            let layer = format!(
                r#"{{"time_convolution":{{"linear":{linear},"kernel":{kernel},"stride":{stride},"padding":{padding}{more}}}}}"#
            );
            cases.one(&format!("time convolution {i}, {format}"), b, v, &layer, 2, frames);
        }
    }
    for (i, (kernel, stride, dilation, before, after)) in
        [(1, 1, 1, 0, 0), (3, 1, 1, 2, 0), (3, 2, 2, 1, 3), (4, 1, 1, 3, 3)].into_iter().enumerate()
    {
        let b = &mut Builder::new(950 + i as u64);
        let features = 3;
        let w = b.random.floats(kernel * features, 1.0);
        b.floats("layer.weight", &[kernel, features], w);
        let bias = if i % 2 == 0 { "false" } else { b.vector("layer.bias", features, 1.0) };
        let layer = format!(
            r#"{{"depthwise":{{"features":{features},"bias":{bias},"windows":{{"kernel":{kernel},"stride":{stride},"dilation":{dilation},"before":{before},"after":{after}}}}}}}"#
        );
        let mut x = b.random.frames(7, features, 2.0);
        x[0] = vec![-0.0; 3];
        x[1] = vec![-0.0, f32::INFINITY, f32::NAN];
        cases.with(&format!("depthwise {i}"), b, 2, &layer, x);
    }
    for reduction in ["last", "mean", "sum", "max"] {
        let layer = format!(r#"{{"over_time":{{"reduction":"{reduction}","features":4}}}}"#);
        let b = &mut Builder::new(960);
        cases.one(&format!("over time, {reduction}"), b, 2, &layer, 4, 7);
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let x = vec![
            vec![-0.0, nan, -0.0, 1e38],
            vec![-0.0, nan, 0.0, 3e38],
            vec![-0.0, nan, -0.0, 3e38],
            vec![-0.0, nan, -0.0, -infinity],
        ];
        cases.with(&format!("over time, {reduction}, edges"), b, 2, &layer, x);
        let x = vec![
            vec![1.0, nan, -infinity, 16777216.0],
            vec![nan, -1.0, -infinity, 1.0],
            vec![0.5, 2.0, -infinity, 1.0],
        ];
        cases.with(&format!("over time, {reduction}, more edges"), b, 2, &layer, x);
    }
}

/// The entries that all recurrent layers have. `gates` of `weight_hh` may be fewer than those of `weight_ih`.
fn weights(b: &mut Builder, [rows_ih, rows_hh]: [usize; 2], [k, h]: [usize; 2], storage: &str, format: &str) -> String {
    let mut one = |name: &str, n: usize, k: usize| match storage {
        "dense" => b.dense(name, n, k, format),
        "low rank" => b.low_rank(name, n, k, 2, [format, format]),
        _ => {
            let half = n / 2;
            let parts = [
                b.dense(&format!("{name}.0"), half, k, format),
                b.low_rank(&format!("{name}.1"), n - half, k, 1, [format, format]),
            ];
            format!(r#"{{"stacked":[{}]}}"#, parts.join(","))
        }
    };
    if storage != "joint" {
        let [ih, hh] = [one("layer.weight_ih", rows_ih, k), one("layer.weight_hh", rows_hh, h)];
        return format!(r#"{{"apart":{{"weight_ih":{ih},"weight_hh":{hh}}}}}"#);
    }
    let [u, ih, hh] = [("weight.u", rows_ih, 3), ("weight_ih.v", 3, k), ("weight_hh.v", 3, h)]
        .map(|(name, n, k)| b.matrix(&format!("layer.{name}"), n, k, format));
    format!(r#"{{"joint":{{"u":{u},"v_ih":{ih},"v_hh":{hh}}}}}"#)
}

fn recurrent(cases: &mut Cases) {
    let storages = ["dense", "low rank", "joint", "stacked"];
    for (i, format) in FORMATS.iter().enumerate() {
        for (s, storage) in storages.iter().enumerate() {
            // Units beyond vectors of 4 and 8, in one of the storages.
            let (k, h) = if s == 0 { (5, 9) } else { (4, 3) };
            let seed = 1000 + 10 * i as u64 + s as u64;
            let b = &mut Builder::new(seed);
            let w = weights(b, [3 * h; 2], [k, h], storage, format);
            let bias_ih = if s == 1 { "false" } else { b.vector("layer.bias_ih", 3 * h, 1.0) };
            let bias_hh = if s == 2 { "false" } else { b.vector("layer.bias_hh", 3 * h, 1.0) };
            let gru =
                format!(r#"{{"gru":{{"weights":{w},"weight_hh_n":null,"bias_ih":{bias_ih},"bias_hh":{bias_hh}}}}}"#);
            cases.one(&format!("gru, {storage}, {format}"), b, version(format), &gru, k, 3);
            let b = &mut Builder::new(seed + 100);
            let w = weights(b, [4 * h; 2], [k, h], storage, format);
            let bias_ih = if s == 2 { "false" } else { b.vector("layer.bias_ih", 4 * h, 1.0) };
            let lstm = format!(r#"{{"lstm":{{"weights":{w},"weight_hr":null,"bias_ih":{bias_ih},"bias_hh":false}}}}"#);
            cases.one(&format!("lstm, {storage}, {format}"), b, version(format), &lstm, k, 3);
        }
        let (k, h, projected) = (4, 5, 2);
        let b = &mut Builder::new(1200 + i as u64);
        let w = weights(b, [3 * h, 2 * h], [k, h], "dense", format);
        let n = b.low_rank("layer.weight_hh_n", h, h, 2, [format, format]);
        let biases = [b.vector("layer.bias_ih", 3 * h, 1.0), b.vector("layer.bias_hh", 3 * h, 1.0)];
        let gru =
            format!(r#"{{"gru":{{"weights":{w},"weight_hh_n":{n},"bias_ih":{},"bias_hh":{}}}}}"#, biases[0], biases[1]);
        cases.one(&format!("gru that resets before, {format}"), b, version(format), &gru, k, 3);
        let b = &mut Builder::new(1300 + i as u64);
        let w = weights(b, [4 * h; 2], [k, projected], "dense", format);
        let weight_hr = b.dense("layer.weight_hr", projected, h, format);
        let bias = b.vector("layer.bias_hh", 4 * h, 1.0);
        let lstm = format!(r#"{{"lstm":{{"weights":{w},"weight_hr":{weight_hr},"bias_ih":false,"bias_hh":{bias}}}}}"#);
        cases.one(&format!("lstm with a projection, {format}"), b, version(format), &lstm, k, 3);
        for function in ["tanh", "relu"] {
            let b = &mut Builder::new(1400 + i as u64);
            let w = weights(b, [h; 2], [k, h], storages[i % 4], format);
            let bias = b.vector("layer.bias_ih", h, 1.0);
            let rnn =
                format!(r#"{{"rnn":{{"weights":{w},"bias_ih":{bias},"bias_hh":false,"function":"{function}"}}}}"#);
            cases.one(&format!("rnn, {function}, {format}"), b, 2, &rnn, k, 3);
        }
    }
    // Gates at the ends of their clamps, and what is not finite.
    let edges: Frames =
        [0.0, -0.0, 1e-45, 7.0, -8.0, 14.0, -15.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0]
            .map(|x| vec![x])
            .to_vec();
    for kind in ["gru", "lstm", "rnn"] {
        let b = &mut Builder::new(1500);
        let rows = match kind {
            "gru" => 9,
            "lstm" => 12,
            _ => 3,
        };
        let ones = (0..rows).map(|i| [1.0, -1.0, 0.5][(i + i / 3) % 3]).collect();
        b.floats("layer.weight_ih", &[rows, 1], ones);
        let hh = b.dense("layer.weight_hh", rows, 3, "f32");
        let w =
            format!(r#"{{"apart":{{"weight_ih":{{"dense":{{"n":{rows},"k":1,"format":"f32"}}}},"weight_hh":{hh}}}}}"#);
        let more = match kind {
            "gru" => r#""weight_hh_n":null"#,
            "lstm" => r#""weight_hr":null"#,
            _ => r#""function":"tanh""#,
        };
        let layer = format!(r#"{{"{kind}":{{"weights":{w},"bias_ih":false,"bias_hh":false,{more}}}}}"#);
        let v = if kind == "rnn" { 2 } else { 1 };
        cases.with(&format!("{kind}, edges"), b, v, &layer, edges.clone());
    }
    for (i, kind) in ["gru", "lstm", "rnn"].into_iter().enumerate() {
        let b = &mut Builder::new(1600 + i as u64);
        let (k, h, format) = (3, 2, FORMATS[i]);
        let gates = [3, 4, 1][i];
        let mut direction = |which: &str| {
            let ih = b.dense(&format!("layer.{which}.weight_ih"), gates * h, k, format);
            let hh = b.dense(&format!("layer.{which}.weight_hh"), gates * h, h, format);
            let bias = b.vector(&format!("layer.{which}.bias_ih"), gates * h, 1.0);
            let more = [r#""weight_hh_n":null"#, r#""weight_hr":null"#, r#""function":"tanh""#][i];
            let w = format!(r#"{{"apart":{{"weight_ih":{ih},"weight_hh":{hh}}}}}"#);
            format!(r#"{{"weights":{w},"bias_ih":{bias},"bias_hh":false,{more}}}"#)
        };
        let (forward, reverse) = (direction("forward"), direction("reverse"));
        let layer = format!(r#"{{"bidirectional_{kind}":{{"forward":{forward},"reverse":{reverse}}}}}"#);
        cases.one(&format!("bidirectional {kind}"), b, if i == 2 { 2 } else { 1 }, &layer, k, 4);
    }
}

fn others(cases: &mut Cases) {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    for (i, n) in [1, 2, 7, 8, 9, 16, 17, 33].into_iter().enumerate() {
        let b = &mut Builder::new(1700 + i as u64);
        let weight = if i % 2 == 0 { b.vector("layer.weight", n, 2.0) } else { "false" };
        let bias = if i % 3 == 0 { b.vector("layer.bias", n, 1.0) } else { "false" };
        let epsilon = ["1e-5", "0.125", "1e-12"][i % 3];
        let layer =
            format!(r#"{{"layer_norm":{{"features":{n},"weight":{weight},"bias":{bias},"epsilon":{epsilon}}}}}"#);
        let mut x = b.random.frames(3, n, 3.0);
        x.extend([vec![0.0; n], vec![-0.0; n], vec![1e-30; n], vec![1e25; n], vec![infinity; n], vec![nan; n]]);
        cases.with(&format!("layer norm of {n}"), b, 2, &layer, x);
    }
    let b = &mut Builder::new(1720);
    b.vector("layer.scale", 5, 2.0);
    b.vector("layer.shift", 5, 1.0);
    let x = vec![
        b.random.floats(5, 4.0),
        vec![0.0, -0.0, infinity, nan, f32::MAX],
        vec![1e-45, -1e-45, 1e-40, -infinity, 3e38],
    ];
    cases.with("affine", b, 2, r#"{"affine":{"features":5}}"#, x);
    for format in ["f32", "int8"] {
        let b = &mut Builder::new(1721);
        b.matrix("layer.weight", 6, 5, format);
        let layer = format!(r#"{{"embedding":{{"n":6,"k":5,"format":"{format}"}}}}"#);
        let x = [3.0, 0.0, -0.0, 5.0, 1.0].map(|x| vec![x]).to_vec();
        cases.with(&format!("embedding, {format}"), b, 2, &layer, x);
    }
    let b = &mut Builder::new(1722);
    cases.one("slice", b, 2, r#"{"slice":{"features":7,"start":2,"end":5}}"#, 7, 2);
    cases.one("slice of all", b, 2, r#"{"slice":{"features":3,"start":0,"end":3}}"#, 3, 2);
    for function in [
        r#"{"hard_sigmoid":{"slope":0.2,"offset":0.5}}"#,
        r#"{"normalize":{"epsilon":1e-6}}"#,
        r#"{"leaky_relu":0.01}"#,
        r#"{"clipped_relu":6}"#,
    ] {
        let layer = format!(r#"{{"function":{{"function":{function},"features":4}}}}"#);
        cases.one(&format!("a function with a parameter, {}", layer.len()), b, 2, &layer, 4, 3);
    }
}

fn graphs(cases: &mut Cases) {
    for join in ["concat", "add", "multiply"] {
        let b = &mut Builder::new(1800);
        let header = format!(
            r#"{{"version":"2","inputs":[{{"name":"x","features":3}},{{"name":"one","features":1}},{{"name":"y","features":3}}],"layers":[{{"name":"join","reads":["x","one","y","x"],"join":"{join}"}}]}}"#
        );
        let mut inputs = [b.random.frames(4, 3, 2.0), b.random.frames(4, 1, 2.0), b.random.frames(4, 3, 2.0)];
        inputs[0][1] = vec![-0.0, 1e38, f32::NAN];
        inputs[1][1] = vec![-0.0];
        inputs[2][1] = vec![-0.0, 3e38, 1.0];
        inputs[0][2] = vec![1.0, 16777216.0, -1e38];
        inputs[1][2] = vec![1.0];
        inputs[2][2] = vec![1e-8, 1.0, 1e38];
        cases.model(&format!("join, {join}"), b, &header, &inputs);
    }
    // Of the shortest sequences one of the two values has no frames.
    for frames in 1..=4 {
        let b = &mut Builder::new(1850);
        let convolution = |b: &mut Builder, name: &str, padding: usize| {
            let weight = b.dense(&format!("{name}.weight"), 1, 3, "f32");
            let linear = b.linear(name, &weight, 1, r#""identity""#);
            format!(
                r#"{{"name":"{name}","layer":{{"time_convolution":{{"linear":{linear},"kernel":3,"stride":1,"padding":{padding}}}}}}}"#
            )
        };
        let [one, two] = [convolution(b, "one", 0), convolution(b, "two", 2)];
        let header = format!(
            r#"{{"version":"2","inputs":[{{"name":"x","features":1}}],"layers":[{one},{two},{{"name":"sum","reads":["two","x"],"join":"add"}}]}}"#
        );
        let x = b.random.frames(frames, 1, 1.0);
        cases.model(&format!("a join of convolutions, {frames} frames"), b, &header, &[x]);
    }
    let (header, mut b, x) = whole();
    cases.model("a model without names of inputs and outputs", &mut b, &header, &[x]);
}

/// A model of version 2 with most kinds of layers, which is also a file of its own: its header, tensors and a stream.
fn whole() -> (String, Builder, Frames) {
    let mut b = Builder::new(1900);
    let weight = b.dense("conv.weight", 8, 12, "int8");
    let linear = b.linear("conv", &weight, 8, r#"{"clipped_relu":4.0}"#);
    let conv = format!(
        r#"{{"name":"conv","layer":{{"time_convolution":{{"linear":{linear},"kernel":3,"stride":2,"padding":1}}}}}}"#
    );
    let norm = format!(
        r#"{{"name":"norm","layer":{{"layer_norm":{{"features":8,"weight":{},"bias":{},"epsilon":0.00001}}}}}}"#,
        b.vector("norm.weight", 8, 1.0),
        b.vector("norm.bias", 8, 0.5)
    );
    let mut apart = |name: &str, rows: usize, k: usize, h: usize, format: &str| {
        let ih = b.low_rank(&format!("{name}.weight_ih"), rows, k, 3, [format, format]);
        let hh = b.low_rank(&format!("{name}.weight_hh"), rows, h, 2, [format, format]);
        format!(r#"{{"apart":{{"weight_ih":{ih},"weight_hh":{hh}}}}}"#)
    };
    let of_gru = apart("gru", 18, 8, 6, "int8");
    let of_lstm = apart("lstm", 24, 14, 6, "int4 in groups of 32");
    let biases =
        [("gru.bias_ih", 18), ("gru.bias_hh", 18), ("lstm.bias_ih", 24)].map(|(name, n)| b.vector(name, n, 1.0));
    let gru = format!(
        r#"{{"name":"gru","layer":{{"gru":{{"weights":{of_gru},"weight_hh_n":null,"bias_ih":{},"bias_hh":{}}}}}}}"#,
        biases[0], biases[1]
    );
    let both = r#"{"name":"both","reads":["gru","norm"],"join":"concat"}"#;
    let lstm = format!(
        r#"{{"name":"lstm","layer":{{"lstm":{{"weights":{of_lstm},"weight_hr":null,"bias_ih":{},"bias_hh":false}}}}}}"#,
        biases[2]
    );
    let residual = r#"{"name":"residual","reads":["lstm","gru"],"join":"add"}"#;
    let weight = b.dense("fc.weight", 5, 6, "int2 in groups of 64");
    let linear = b.linear("fc", &weight, 5, r#""identity""#);
    let fc = format!(r#"{{"name":"fc","layer":{{"linear":{linear}}}}}"#);
    let scores = r#"{"name":"scores","layer":{"function":{"function":"log_softmax","features":5}}}"#;
    let layers = [&conv, &norm, &gru, both, &lstm, residual, &fc, scores].join(",");
    let header = format!(r#"{{"version":"2","layers":[{layers}],"metadata":{{"made":"by the reference"}}}}"#);
    let x = b.random.frames(23, 4, 1.5);
    (header, b, x)
}

/// The whole model as a file, and its stream.
pub fn stream() -> (Vec<u8>, String) {
    let (header, b, x) = whole();
    let bytes = b.file(&header);
    let model = read(&bytes).expect("the file is right");
    let found = model.run(std::slice::from_ref(&x), &mut model.start()).expect("the frames fit");
    let case = object(&[
        ("file", text("model.safetensors")),
        ("inputs", list([list(x.iter().map(|x| floats(x)))])),
        ("outputs", list(found.iter().map(|y| list(y.iter().map(|y| outputs(y)))))),
    ]);
    (bytes, file("A whole model in a file, and a stream through it.", &[case]))
}
