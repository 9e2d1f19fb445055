//! Vectors of quantization and of functions.

use skinny_reference::function::Function;
use skinny_reference::quantize::{Activations, Format, Quantized};

use super::json::{file, floats, integers, list, object, outputs, rows, text};
use super::random::Random;

const TINY: f32 = f32::MIN_POSITIVE;

pub fn weights() -> String {
    let mut random = Random::new(4);
    let mut matrices: Vec<Vec<Vec<f32>>> = vec![
        vec![vec![0.0], vec![-0.0], vec![1.0], vec![-3.5], vec![f32::MAX], vec![1e-45], vec![-TINY]],
        // Ties, of 8 and of 4 bits.
        vec![vec![127.0, 0.5, 1.5, -0.5, -2.5, 126.5, -126.5], vec![7.0, 0.5, 1.5, -0.5, -2.5, 6.5, -6.5]],
        vec![vec![f32::MAX, -f32::MAX, 1e38, -1e30, 1.0, 0.0, 1e-45]],
        vec![vec![1e-45, -3e-45, 1e-40, 0.0, -0.0], vec![TINY, -TINY / 2.0, TINY * 7.0, 0.0, TINY * 0.5]],
        vec![vec![0.0; 70], random.floats(70, 1.0)],
        // Multipliers at their ends: a group of nearly nothing beside a large one.
        vec![[random.floats(64, 1e-6), random.floats(64, 10.0), vec![0.0; 9]].concat()],
        vec![(0..140).map(|i| if i == 77 { 100.0 } else { (i % 5) as f32 - 2.0 }).collect()],
        vec![(0..64).map(|i| (i % 4) as f32 - 2.0).collect(), (0..64).map(|i| 2.0 - (i % 4) as f32).collect()],
    ];
    for k in [1, 2, 7, 31, 32, 33, 63, 64, 65, 100, 129] {
        let size = 10f32.powi(random.within(-6, 6));
        matrices.push(random.frames(2, k, size));
        // Most weights of trained layers are small.
        let cube = |x: f32| x * x * x;
        matrices.push(vec![random.floats(k, 1.0).into_iter().map(cube).collect()]);
    }
    matrices.push(vec![(0..40).map(|_| random.any_float()).collect(), (0..40).map(|_| random.any_float()).collect()]);
    let mut cases = vec![];
    for w in &matrices {
        for format in Format::ALL {
            let quantized = Quantized::new(w, format);
            let mut entries = vec![
                ("format", text(format.name())),
                ("weights", list(w.iter().map(|row| floats(row)))),
                ("scales", floats(&quantized.scales)),
                ("values", rows(&quantized.values)),
            ];
            if format.group().is_some() {
                entries.push(("multipliers", rows(&quantized.multipliers)));
            }
            let value = |row| (0..w[0].len()).map(|column| quantized.value(row, column)).collect::<Vec<_>>();
            entries.push(("dequantized", list((0..w.len()).map(|row| outputs(&value(row))))));
            cases.push(object(&entries));
        }
    }
    file("Quantized weights: rows of floats, what they become, and what that stands for.", &cases)
}

pub fn activations() -> String {
    let mut random = Random::new(5);
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let mut all: Vec<Vec<f32>> = vec![
        vec![0.0],
        vec![-0.0, 0.0, -0.0],
        vec![nan, -nan],
        vec![infinity, 0.0, nan],
        vec![-infinity, -0.0],
        vec![infinity, -infinity, 1.5, -2.5, -nan],
        vec![f32::MAX, -f32::MAX, infinity],
        vec![f32::MAX, 1.0, -1e38],
        vec![1e-45, -1e-45, 1e-40],
        vec![TINY, 126.5 * TINY, -127.0 * TINY],
        vec![128.0 * TINY, TINY, -64.5 * TINY, 0.5 * TINY],
        // Ties.
        vec![127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5],
        vec![254.0, 1.0, 3.0, 5.0, -1.0, -3.0, -253.0],
        vec![255.0, 0.5, 1.5, 2.5, 254.5],
        vec![-255.0, -0.5, -1.5, -254.5],
        vec![200.0, -55.0, 0.5, -0.5],
        vec![5.0, 6.0, 7.0],
        vec![-5.0, -6.0, -7.0],
        vec![1.0, -1e30, 1e30, -1.0],
        vec![-3.4e38, 1e-45],
        vec![0.0, 1e-45],
    ];
    for k in [1, 2, 15, 16, 17, 31, 33, 64, 100] {
        for size in [1.0, 1e-38, 3e38, 20.0] {
            all.push(random.floats(k, size));
        }
        all.push(random.floats(k, 4.0).into_iter().map(|x| x.max(0.0)).collect());
    }
    for _ in 0..6 {
        all.push((0..20).map(|_| f32::from_bits(random.bits())).collect());
    }
    let mut cases = vec![];
    for x in &all {
        for (name, quantized) in [("none", Activations::symmetric(x)), ("per column", Activations::with_zero_point(x))]
        {
            cases.push(object(&[
                ("zero_point", text(name)),
                ("x", floats(x)),
                ("values", integers(&quantized.values)),
                ("scale", floats(&[quantized.scale])),
                ("z", quantized.zero_point.to_string()),
            ]));
        }
    }
    file("Quantized activations: a row each, symmetric (none) or with a zero point (per column).", &cases)
}

pub fn functions() -> String {
    let mut random = Random::new(6);
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let mut edges = vec![0.0, -0.0, nan, -nan, infinity, -infinity, f32::MAX, -f32::MAX];
    for x in [
        1e-45, 1e-40, TINY, 1e-20, 1e-6, 0.25, 0.5, 1.0, 1.5, 3.0, 6.0, 7.0, 7.75, 7.750001, 9.0, 14.0, 14.000001, 20.0,
    ] {
        edges.extend([x, -x]);
    }
    for x in [43.5, 86.5, 87.0, 87.5, 88.0, 100.0, 1e10, 1e19, 1e20, 3e38] {
        edges.extend([x, -x]);
    }
    let mut frames = vec![edges];
    frames.push(random.floats(40, 1.0));
    frames.push(random.floats(40, 12.0));
    frames.push((0..40).map(|_| random.any_float()).collect());
    // What makes a difference where a function is of the whole frame.
    let mut wholes: Vec<Vec<f32>> = vec![
        vec![0.0],
        vec![-0.0],
        vec![-0.0, -0.0],
        vec![-0.0, 0.0],
        vec![3.0],
        vec![infinity],
        vec![-infinity],
        vec![nan],
        vec![-infinity; 3],
        vec![infinity, 1.0, infinity],
        vec![nan, 1.0, 2.0, -infinity],
        vec![-1e30, -2e30],
        vec![f32::MAX, -f32::MAX],
        vec![1e-20, -1e-20],
        vec![1e-45; 9],
    ];
    wholes.extend([2, 5, 7, 8, 9, 15, 16, 17, 33].map(|n| random.floats(n, 5.0)));
    wholes.push(random.floats(12, 100.0));
    let bits = |x: f32| floats(&[x]);
    let of_one = [
        (Function::Tanh, text("tanh")),
        (Function::Sigmoid, text("sigmoid")),
        (Function::Relu, text("relu")),
        (Function::ClippedRelu(6.0), object(&[("clipped_relu", bits(6.0))])),
        (Function::LeakyRelu(0.01), object(&[("leaky_relu", bits(0.01))])),
        (Function::LeakyRelu(-2.0), object(&[("leaky_relu", bits(-2.0))])),
        (Function::Silu, text("silu")),
        (Function::Gelu, text("gelu")),
        (Function::GeluTanh, text("gelu_tanh")),
        (
            Function::HardSigmoid { slope: 0.2, offset: 0.5 },
            object(&[("hard_sigmoid", object(&[("slope", bits(0.2)), ("offset", bits(0.5))]))]),
        ),
        (
            Function::HardSigmoid { slope: -1.5, offset: -0.0 },
            object(&[("hard_sigmoid", object(&[("slope", bits(-1.5)), ("offset", bits(-0.0))]))]),
        ),
        (Function::HardSwish, text("hard_swish")),
        (Function::Absolute, text("absolute")),
        (Function::Square, text("square")),
        (Function::SquareRoot, text("square_root")),
    ];
    let normalize =
        |epsilon| (Function::Normalize { epsilon }, object(&[("normalize", object(&[("epsilon", bits(epsilon))]))]));
    let of_frame = [
        (Function::Softmax, text("softmax")),
        (Function::LogSoftmax, text("log_softmax")),
        normalize(1e-12),
        normalize(1.0),
    ];
    let mut cases = vec![];
    let mut case = |function: Function, name: &str, x: &[f32]| {
        cases.push(object(&[("function", name.to_string()), ("x", floats(x)), ("outputs", outputs(&function.of(x)))]));
    };
    for (function, name) in &of_one {
        frames.iter().for_each(|x| case(*function, name, x));
    }
    for (function, name) in &of_frame {
        frames.iter().chain(&wholes).for_each(|x| case(*function, name, x));
    }
    file("Functions of a frame.", &cases)
}
