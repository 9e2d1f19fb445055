//! Vectors of rounding modes and of products of integers.

use skinny_reference::product::{Activation, add_offsets, dequantize, requantize, requantize_float, sums, unsigned};
use skinny_reference::quantize::{Format, Quantized};
use skinny_reference::rounding::Rounding;

use super::json::{file, floats, integers, list, object, outputs, rows, text};
use super::random::Random;

const ENDS: [i32; 5] = [0, 1, -1, i32::MAX, i32::MIN];

/// The mode's entries.
fn mode(mode: Rounding) -> Vec<(&'static str, String)> {
    let (name, parameters) = match mode {
        Rounding::Shift { offset, multiplier, shift } => {
            ("shift", [("offset", offset), ("multiplier", multiplier), ("shift", shift as i32)])
        }
        Rounding::FixedPoint { multiplier, shift, offset } => {
            ("fixed_point", [("multiplier", multiplier), ("shift", shift as i32), ("offset", offset)])
        }
        Rounding::DoubleRounding { multiplier, exponent, zero_point } => {
            ("double_rounding", [("multiplier", multiplier), ("exponent", exponent), ("zero_point", zero_point)])
        }
        Rounding::SingleRounding { multiplier, exponent, zero_point } => {
            ("single_rounding", [("multiplier", multiplier), ("exponent", exponent), ("zero_point", zero_point)])
        }
    };
    let parameters = parameters.map(|(name, value)| (name, value.to_string()));
    std::iter::once(("mode", text(name))).chain(parameters).collect()
}

/// Each mode with the same parameters.
fn modes(multiplier: i32, bits: i32, offset: i32) -> [Rounding; 4] {
    let shift = bits.unsigned_abs();
    [
        Rounding::Shift { offset, multiplier, shift },
        Rounding::FixedPoint { multiplier, shift, offset },
        Rounding::DoubleRounding { multiplier, exponent: bits, zero_point: offset },
        Rounding::SingleRounding { multiplier, exponent: bits, zero_point: offset },
    ]
}

pub fn rounding() -> String {
    let mut random = Random::new(1);
    let mut edges = vec![0, 3, -3, 5, -5, 127, 255, 0x5555_5555, -0x5555_5555];
    for bit in [0, 1, 2, 7, 8, 15, 16, 23, 29, 30] {
        edges.extend([1 << bit, -(1 << bit), (1 << bit) + 1, -(1 << bit) - 1]);
    }
    edges.extend([i32::MAX, i32::MAX - 1, i32::MIN, i32::MIN + 1]);
    let mut cases = vec![];
    let mut case = |sums: &[i32], mode_: Rounding| {
        let rounded: Vec<i32> = sums.iter().map(|&sum| mode_.round(sum)).collect();
        let mut entries = mode(mode_);
        entries.extend([("sums", integers(sums)), ("outputs", integers(&rounded))]);
        cases.push(object(&entries));
    };
    for (i, multiplier) in [0, 1, -1, 3, 1 << 30, -(1 << 30), i32::MAX, i32::MIN].into_iter().enumerate() {
        for (j, bits) in [-31, -30, -16, -2, -1, 0, 1, 2, 30].into_iter().enumerate() {
            for one in modes(multiplier, bits, ENDS[(i + j) % ENDS.len()]) {
                case(&edges, one);
            }
        }
    }
    for _ in 0..60 {
        let sums: Vec<i32> = (0..12).map(|_| random.integer()).collect();
        let (multiplier, bits, offset) = (random.integer(), random.within(-31, 30), random.integer());
        for one in modes(multiplier, bits, offset) {
            case(&sums, one);
        }
    }
    // As in real layers: a multiplier in the upper half, and outputs that fill a byte.
    for _ in 0..40 {
        let sums: Vec<i32> = (0..12).map(|_| random.within(-(1 << 20), 1 << 20)).collect();
        let (multiplier, bits) = (random.within(1 << 30, i32::MAX), random.within(-14, -4));
        let zero_point = random.within(-128, 127);
        for one in modes(multiplier, bits, zero_point) {
            case(&sums, one);
        }
    }
    file("Rounding modes: outputs[i] is the rounded sums[i].", &cases)
}

pub fn products() -> String {
    let mut random = Random::new(2);
    let mut cases = vec![];
    for format in Format::ALL {
        let shapes = [
            (1, 1, 1),
            (2, 3, 1),
            (3, 15, 2),
            (4, 16, 3),
            (5, 17, 4),
            (8, 31, 1),
            (7, 32, 2),
            (9, 33, 5),
            (16, 63, 1),
            (3, 64, 6),
            (17, 65, 2),
            (2, 127, 7),
            (6, 129, 8),
            (1, 200, 9),
            (4, 70, 10),
            (11, 40, 11),
            (33, 7, 3),
        ];
        for (case, (n, k, m)) in shapes.into_iter().enumerate() {
            let w = match case {
                // Ends of the range, whose products are the greatest.
                3 | 9 => weights(&mut random, format, n, k, true),
                _ => weights(&mut random, format, n, k, false),
            };
            let mut x = random.integers::<i8>(m, k, -128, 127);
            if case == 9 || case == 3 {
                x.iter_mut().flatten().enumerate().for_each(|(i, x)| *x = if i % 3 == 0 { 127 } else { -128 });
            }
            cases.push(product(&mut random, &w, &x, case % 2 == 1));
        }
    }
    file("Products of integers: the sums of rows x with rows of weights, and what epilogues make of them.", &cases)
}

fn weights(random: &mut Random, format: Format, n: usize, k: usize, ends: bool) -> Quantized {
    let (low, high, most) = match format {
        Format::Int8 => (-128, 127, 1),
        Format::Int4 => (-7, 7, 1),
        Format::Int4Groups => (-7, 7, 127),
        Format::Int2Groups => (-2, 1, 63),
    };
    let mut values = random.integers::<i8>(n, k, low, high);
    let groups = format.group().map_or(1, |columns| k.div_ceil(columns));
    let least = if format == Format::Int2Groups { -63 } else { 0 };
    let mut multipliers = random.integers::<i8>(n, groups, if most == 1 { 1 } else { least }, most);
    if ends {
        values.iter_mut().flatten().for_each(|q| *q = if *q < 0 { low } else { high } as i8);
        multipliers.iter_mut().flatten().for_each(|m| *m = if *m < 0 { least } else { most } as i8);
    }
    let scales = (0..n).map(|_| random.float().abs() + 1e-3).collect();
    Quantized { format, values, multipliers, scales }
}

fn product(random: &mut Random, w: &Quantized, x: &[Vec<i8>], with_offsets: bool) -> String {
    let (n, m) = (w.values.len(), x.len());
    let mut entries = vec![("format", text(w.format.name())), ("weights", rows(&w.values))];
    if w.format.group().is_some() {
        entries.push(("multipliers", rows(&w.multipliers)));
    }
    entries.push(("x", rows(x)));
    let mut all: Vec<Vec<i32>> = x.iter().map(|x| sums(w, x)).collect();
    if with_offsets {
        // Zero points, and constants that bring sums beyond 32 bits.
        let factor: Vec<i32> = (0..m).map(|_| random.within(-128, 127)).collect();
        let constant: Vec<i32> = (0..m).map(|c| if c % 2 == 0 { random.integer() } else { i32::MAX - 9 }).collect();
        for (c, sums) in all.iter_mut().enumerate() {
            add_offsets(sums, w, constant[c], factor[c]);
        }
        entries.extend([("constant", integers(&constant)), ("factor", integers(&factor))]);
    }
    entries.push(("sums", rows(&all)));
    let column_scales: Vec<f32> = (0..m).map(|_| random.float().abs() / 64.0 + 1e-4).collect();
    let bias = random.floats(n, 3.0);
    let mut epilogues = vec![];
    for (activation, name, with_bias) in [
        (Activation::Identity, text("identity"), false),
        (Activation::Relu, text("relu"), true),
        (Activation::ClippedRelu(2.5), object(&[("clipped_relu", floats(&[2.5]))]), true),
    ] {
        let one = |c: usize, j: usize| {
            dequantize(all[c][j], w.scales[j], column_scales[c], with_bias.then_some(bias[j]), activation)
        };
        let mut entries = vec![
            ("epilogue", text("dequantize")),
            ("row_scales", floats(&w.scales)),
            ("column_scales", floats(&column_scales)),
            ("activation", name),
        ];
        if with_bias {
            entries.push(("bias", floats(&bias)));
        }
        let columns = (0..m).map(|c| outputs(&(0..n).map(|j| one(c, j)).collect::<Vec<_>>()));
        entries.push(("outputs", list(columns)));
        epilogues.push(object(&entries));
    }
    // Ties, large and zero scales, negative ones.
    let scales: Vec<f32> = (0..n).map(|j| [0.5, 0.25, random.float() / 256.0, 0.0, 1e30, -0.125][j % 6]).collect();
    let integer_bias: Vec<i32> = (0..n).map(|j| if j % 4 == 3 { i32::MAX } else { random.integer() }).collect();
    for (name, range) in [("i8", (-128, 127)), ("u8", (0, 255))] {
        let zero_point = random.within(range.0, range.1);
        let with_bias = name == "u8";
        let bias = |j: usize| if with_bias { integer_bias[j] } else { 0 };
        let column = |sums: &Vec<i32>| {
            let one = |j| requantize_float(sums[j], bias(j), scales[j], zero_point, range);
            (0..n).map(one).collect::<Vec<i32>>()
        };
        let mut entries = vec![
            ("epilogue", text("requantize_float")),
            ("type", text(name)),
            ("scales", floats(&scales)),
            ("zero_point", zero_point.to_string()),
        ];
        if with_bias {
            entries.push(("bias", integers(&integer_bias)));
        }
        entries.push(("outputs", rows(&all.iter().map(column).collect::<Vec<_>>())));
        epilogues.push(object(&entries));
    }
    let most = all.iter().flatten().map(|sum| sum.unsigned_abs()).max().unwrap_or(1).max(1);
    let exponent = 8 - most.ilog2().min(30) as i32;
    let multipliers: Vec<i32> = (0..n).map(|_| random.within(1 << 30, i32::MAX)).collect();
    for (kind, name) in ["i8", "u8", "i8", "u8"].into_iter().enumerate() {
        let whole = if name == "i8" { (-128, 127) } else { (0, 255) };
        let range = if kind < 2 { whole } else { (whole.0 + 20, whole.1 - 100) };
        let with_bias = kind % 3 == 0;
        let bias = |j: usize| if with_bias { integer_bias[j] } else { 0 };
        let of_row = |j: usize| match kind {
            0 => modes(multipliers[0] >> 20, -10, -60)[0],
            1 => modes(multipliers[0], exponent.min(0), 100)[1],
            2 => modes(multipliers[j], exponent, -5)[2],
            _ => modes(multipliers[j], exponent, 90)[3],
        };
        let mut entries = vec![("epilogue", text("requantize")), ("type", text(name))];
        entries.extend(mode(of_row(0)));
        if kind >= 2 {
            // TFLite's have parameters for each row.
            entries.retain(|(key, _)| !["multiplier", "exponent"].contains(key));
            entries.extend([("multipliers", integers(&multipliers)), ("exponents", integers(&vec![exponent; n]))]);
        }
        entries.push(("range", integers(&[range.0, range.1])));
        if with_bias {
            entries.push(("bias", integers(&integer_bias)));
        }
        let column =
            |sums: &Vec<i32>| (0..n).map(|j| requantize(sums[j], bias(j), of_row(j), range)).collect::<Vec<i32>>();
        entries.push(("outputs", rows(&all.iter().map(column).collect::<Vec<_>>())));
        epilogues.push(object(&entries));
    }
    entries.push(("epilogues", list(epilogues)));
    object(&entries)
}

pub fn unsigned_products() -> String {
    let mut random = Random::new(3);
    let mut cases = vec![];
    let offsets =
        [(0, 0), (-128, -128), (-1, 5), (-32768, 32512), (32512, -32768), (-255, 0), (17, -200), (32512, 32512)];
    let shapes = [(1, 1, 1), (3, 16, 2), (5, 33, 1), (8, 64, 4), (4, 100, 3), (17, 20, 5), (2, 130, 10), (9, 7, 6)];
    for (case, ((n, k, m), (l_offset, r_offset))) in shapes.into_iter().zip(offsets).enumerate() {
        let mut l = random.integers::<u8>(n, k, 0, 255);
        let mut r = random.integers::<u8>(m, k, 0, 255);
        if case == 3 || case == 7 {
            l.iter_mut()
                .chain(&mut r)
                .flatten()
                .enumerate()
                .for_each(|(i, byte)| *byte = if i % 5 == 0 { 0 } else { 255 });
        }
        let sums: Vec<Vec<i32>> =
            r.iter().map(|r| l.iter().map(|l| unsigned(l, l_offset, r, r_offset)).collect()).collect();
        let shift = modes(random.within(1, 200), -random.within(4, 20), random.within(-99_999, 99_999))[0];
        let byte = |sums: &Vec<i32>| sums.iter().map(|&sum| requantize(sum, 0, shift, (0, 255))).collect::<Vec<_>>();
        let bytes: Vec<Vec<i32>> = sums.iter().map(byte).collect();
        let mut entries = vec![
            ("lhs", rows(&l)),
            ("lhs_offset", l_offset.to_string()),
            ("rhs", rows(&r)),
            ("rhs_offset", r_offset.to_string()),
            ("sums", rows(&sums)),
        ];
        entries.extend(mode(shift));
        entries.push(("bytes", rows(&bytes)));
        cases.push(object(&entries));
    }
    file("Unsigned products with offsets: sums, and bytes by the rounding mode of farm and gemmlowp.", &cases)
}
