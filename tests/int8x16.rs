//! Activations in 16 bits with 8-bit weights, against wide integers, on every tier.

#[path = "common/layers.rs"]
mod common;

use common::{Random, bits};
use skinny::factored::{DenseWeight, LowRank, Quantization, Scratch, Weight};
use skinny::kernels::{
    Activation, Dequantize, MAX_DEPTH, MAX_I16_ACTIVATION, PackedMat, WeightFormat, WideActivations, Workspace,
    gemm_wide, gemm_wide_sums,
};
use skinny::quant::{QuantizedActivationsI16, QuantizedMat};
use skinny::{Error, Mat, MatMut, MatRef, Tier};

/// `rows x cols` bytes from one to the other end of their range.
fn bytes(random: &mut Random, rows: usize, cols: usize) -> Mat<i8> {
    let byte = |_| (random.next() * 127.99 + 0.49).floor() as i8;
    Mat::from_vec((0..rows * cols).map(byte).collect(), rows, cols).unwrap()
}

/// The sums, from the two parts of each activation, in integers that nothing can overflow.
fn oracle(w: &Mat<i8>, parts: &Mat<i8>) -> Vec<i128> {
    let (w, parts) = (w.view(), parts.view());
    let sum = |(column, row): (usize, usize)| {
        let x = parts.row(2 * column).iter().zip(parts.row(2 * column + 1));
        let x = x.map(|(&high, &low)| 256 * i128::from(high) + i128::from(low));
        x.zip(w.row(row)).map(|(x, &w)| x * i128::from(w)).sum()
    };
    (0..parts.rows() / 2).flat_map(|column| (0..w.rows()).map(move |row| (column, row))).map(sum).collect()
}

fn wide_sums(w: &PackedMat, parts: &Mat<i8>) -> Vec<i128> {
    let x = WideActivations::new(parts.view()).unwrap();
    let (m, n) = (x.m(), w.n());
    let mut out = vec![-1i64; m * n];
    gemm_wide_sums(w, x, MatMut::new(&mut out, m, n).unwrap(), &mut Workspace::new()).unwrap();
    out.into_iter().map(i128::from).collect()
}

#[test]
fn sums_are_those_of_wide_integers() {
    let random = &mut Random(3);
    for (n, k) in [(1, 1), (5, 15), (16, 16), (33, 64), (70, 130), (3, 700)] {
        let w = bytes(random, n, k);
        for m in [0, 1, 2, 3, 5, 6, 11] {
            let parts = bytes(random, 2 * m, k);
            let expected = oracle(&w, &parts);
            for &tier in Tier::available() {
                let packed = PackedMat::for_tier(w.view(), tier).unwrap();
                assert_eq!(wide_sums(&packed, &parts), expected, "{n} x {k}, batch {m}, {tier}");
            }
        }
    }
}

/// The sums of each part reach the end of an `i32`; the whole sum is 257 times as large.
#[test]
fn the_deepest_sums_do_not_overflow() {
    let filled = |byte: i8, rows| Mat::from_vec(vec![byte; rows * MAX_DEPTH], rows, MAX_DEPTH).unwrap();
    for (w, x) in [(-128, -128), (127, -128), (-128, 127)] {
        let (w, parts) = (filled(w, 1), filled(x, 2));
        let expected = oracle(&w, &parts);
        assert!(w.as_slice()[0] != -128 || expected[0].abs() > 1 << 38);
        for &tier in Tier::available() {
            let packed = PackedMat::for_tier(w.view(), tier).unwrap();
            assert_eq!(wide_sums(&packed, &parts), expected, "{tier}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let w = PackedMat::new(MatRef::new(&[1i8; 6], 2, 3).unwrap()).unwrap();
    let odd = WideActivations::new(MatRef::new(&[0i8; 9], 3, 3).unwrap()).unwrap_err();
    assert_eq!(odd, Error::Shape { what: "parts of activations", expected: (4, 3), found: (3, 3) });
    let workspace = &mut Workspace::new();
    let x = |k| WideActivations::new(MatRef::new(&[1i8; 12][..2 * k], 2, k).unwrap()).unwrap();
    let mut out = [7i64; 2];
    let refused = gemm_wide_sums(&w, x(4), MatMut::row_vector(&mut out), workspace).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "activations", expected: (2, 3), found: (2, 4) });
    let refused = gemm_wide_sums(&w, x(3), MatMut::row_vector(&mut out[..1]), workspace).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "output", expected: (1, 2), found: (1, 1) });
    assert_eq!(out, [7; 2]);
    let epilogue =
        Dequantize { row_scales: &[1.0; 3], column_scales: &[1.0], bias: None, activation: Activation::Relu };
    let mut out = [7.0f32; 2];
    let refused = gemm_wide(&w, x(3), &epilogue, MatMut::row_vector(&mut out), workspace).unwrap_err();
    assert_eq!((refused, out), (Error::Length { what: "row scales", expected: 2, found: 3 }, [7.0; 2]));
}

/// The definition in docs/arithmetic.md, in integers of 128 bits.
fn defined(w: &QuantizedMat, x: MatRef<'_, f32>, bias: &[f32], activation: Activation) -> Vec<f32> {
    let mut out = Vec::new();
    for column in 0..x.rows() {
        let x = x.row(column);
        let a = x.iter().fold(0.0f32, |a, x| a.max(x.abs())).max(32639.0 * f32::MIN_POSITIVE);
        let q: Vec<i128> = x.iter().map(|x| (x * (32639.0 / a)).round_ties_even() as i128).collect();
        assert!(q.iter().all(|q| q.abs() <= i128::from(MAX_I16_ACTIVATION)));
        for (row, bias) in bias.iter().enumerate() {
            let sum: i128 = q.iter().zip(w.values().row(row)).map(|(q, &w)| q * i128::from(w)).sum();
            let y = sum as f32 * w.scales()[row] * (a / 32639.0) + bias;
            out.push(if activation == Activation::Relu { (y + 0.0).max(0.0) } else { y });
        }
    }
    out
}

#[test]
fn products_are_as_defined_on_every_tier() {
    let random = &mut Random(4);
    for (n, k, m) in [(1, 1, 1), (7, 33, 1), (20, 64, 3), (37, 300, 4), (64, 17, 12)] {
        for magnitude in [1.0, 1e-20, 1e15, 0.0] {
            let (w, bias) = (random.mat(n, k, 0.3), random.vec(n, magnitude));
            let mut x = random.mat(m, k, magnitude);
            // Features of different sizes, constant ones, and in some vectors nothing but zeros.
            for row in 0..m {
                for (i, x) in x.view_mut().row_mut(row).iter_mut().enumerate() {
                    *x *= [1.0, 1e-3, 1e3, 0.0][i % 4] * if row == 2 { 0.0 } else { 1.0 };
                }
            }
            let quantized = QuantizedMat::quantize(w.view()).unwrap();
            for activation in [Activation::Identity, Activation::Relu] {
                let expected = defined(&quantized, x.view(), &bias, activation);
                for &tier in Tier::available() {
                    let weight =
                        DenseWeight::from_f32(w.clone()).unwrap().quantize_to(Quantization::I8X16, tier).unwrap();
                    assert_eq!((weight.stored_as(), weight.format()), (Some(Quantization::I8X16), "int8x16"));
                    let mut out = vec![0.0; m * n];
                    let view = MatMut::new(&mut out, m, n).unwrap();
                    weight.apply(x.view(), Some(&bias), activation, view, &mut Scratch::new()).unwrap();
                    assert_eq!(bits(&out), bits(&expected), "{n} x {k}, batch {m}, {magnitude}, {tier}");
                }
            }
        }
    }
}

/// A stack whose parts are quantized in different ways computes what the parts do.
#[test]
fn parts_of_a_stack_take_their_own_activations() {
    let random = &mut Random(5);
    let (k, m) = (30, 3);
    let x = random.mat(m, k, 1.0);
    let f32 = Weight::dense(random.mat(4, k, 1.0)).unwrap();
    let low_rank = Weight::from(LowRank::from_factors(random.mat(6, 2, 1.0), random.mat(2, k, 1.0)).unwrap());
    let run = |weight: &Weight| {
        let mut out = vec![0.0; m * weight.n()];
        let view = MatMut::new(&mut out, m, weight.n()).unwrap();
        weight.apply(x.view(), None, Activation::Identity, view, &mut Scratch::new()).unwrap();
        out
    };
    for &tier in Tier::available() {
        let wide = |weight: &Weight| weight.quantize_to(Quantization::I8X16, tier).unwrap();
        let parts = [wide(&f32), f32.clone(), f32.quantize_to(WeightFormat::I8, tier).unwrap(), wide(&low_rank)];
        let stack = Weight::stack(parts.to_vec()).unwrap();
        let expected: Vec<Vec<f32>> = parts.iter().map(run).collect();
        let found = run(&stack);
        for row in 0..m {
            let apart = parts.iter().zip(&expected).flat_map(|(part, y)| &y[row * part.n()..][..part.n()]);
            assert_eq!(
                bits(&found[row * stack.n()..][..stack.n()]),
                bits(&apart.copied().collect::<Vec<_>>()),
                "{tier}"
            );
        }
    }
}

#[test]
fn small_values_beside_large_ones_survive() {
    let x = [30000.0, 1.0, -2.0, 0.5];
    let weight = Weight::dense(Mat::from_vec(vec![0.0, 1.0, 1.0, 1.0], 1, 4).unwrap()).unwrap();
    let y = |format| {
        let mut out = [0.0];
        let weight = weight.quantize_to(format, Tier::Portable).unwrap();
        let (x, out_view) = (MatRef::row_vector(&x), MatMut::row_vector(&mut out));
        weight.apply(x, None, Activation::Identity, out_view, &mut Scratch::new()).unwrap();
        out[0]
    };
    assert_eq!(y(Quantization::from(WeightFormat::I8)), 0.0);
    assert!((y(Quantization::I8X16) + 0.5).abs() < 0.8);
    let mut quantized = QuantizedActivationsI16::new();
    quantized.quantize(MatRef::row_vector(&x)).unwrap();
    assert_eq!(quantized.parts().row(1), [127, 1, -2, 1]);
}
