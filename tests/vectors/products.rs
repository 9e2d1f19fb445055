//! Rounding modes, products of integers, and epilogues.

use serde_json::Value;
use skinny::kernels::{
    Activation, Activations, Byte, Dequantize, DoubleRounding, Epilogue, FixedPoint, Offsets, PackedMat,
    QuantizedMultipliers, Requantize, RequantizeFloat, Rounding, Scales, Shift, SingleRounding, Sums, UnsignedMat,
    UnsignedWorkspace, Workspace, gemm,
};
use skinny::{Mat, MatMut, Tier};

use crate::json::{cases, float, floats, integer, integers, matrix, same, text};

/// Calls back with the rounding mode of a case, whose parameters may differ from row to row.
fn with_mode<T>(case: &Value, rows: usize, user: impl Fn(&dyn Rounding) -> T) -> T {
    let one_or_each = |one: &str, each: &str| match case.get(one) {
        Some(value) => vec![integer(value); rows],
        None => integers(&case[each]),
    };
    let number = |name: &str| integer::<i32>(&case[name]);
    match text(&case["mode"]) {
        "shift" => {
            user(&Shift { offset: number("offset"), multiplier: number("multiplier"), shift: number("shift") as u32 })
        }
        "fixed_point" => user(&FixedPoint {
            multiplier: number("multiplier"),
            shift: number("shift") as u32,
            offset: number("offset"),
        }),
        mode => {
            let (multipliers, exponents) =
                (one_or_each("multiplier", "multipliers"), one_or_each("exponent", "exponents"));
            let scales = QuantizedMultipliers { multipliers: &multipliers, exponents: &exponents };
            match mode {
                "double_rounding" => user(&DoubleRounding { scales, zero_point: number("zero_point") }),
                "single_rounding" => user(&SingleRounding { scales, zero_point: number("zero_point") }),
                other => panic!("the mode {other}"),
            }
        }
    }
}

/// A mode behind a reference.
struct Mode<'a>(&'a dyn Rounding);

impl Rounding for Mode<'_> {
    fn check(&self, n: usize) -> skinny::Result<()> {
        self.0.check(n)
    }

    fn round(&self, sum: i32, row: usize) -> i32 {
        self.0.round(sum, row)
    }
}

#[test]
fn rounding_modes() {
    for case in cases("rounding.json", 600) {
        let (sums, expected): (Vec<i32>, Vec<i32>) = (integers(&case["sums"]), integers(&case["outputs"]));
        with_mode(&case, 1, |mode| {
            assert_eq!(mode.check(1), Ok(()));
            let found: Vec<i32> = sums.iter().map(|&sum| mode.round(sum, 0)).collect();
            assert_eq!(found, expected, "{case}");
        });
    }
}

fn packed(case: &Value, tier: Tier) -> PackedMat {
    let weights = matrix::<i8>(&case["weights"]);
    match text(&case["format"]) {
        "int8" => PackedMat::for_tier(weights.view(), tier),
        "int4" => PackedMat::i4_for_tier(weights.view(), tier),
        "int4 in groups of 32" => {
            PackedMat::i4_grouped_for_tier(weights.view(), matrix(&case["multipliers"]).view(), tier)
        }
        "int2 in groups of 64" => {
            PackedMat::i2_grouped_for_tier(weights.view(), matrix(&case["multipliers"]).view(), tier)
        }
        other => panic!("the format {other}"),
    }
    .unwrap()
}

/// The outputs of a product with an epilogue.
fn product<E: Epilogue>(case: &Value, w: &PackedMat, epilogue: &E) -> Vec<E::Output>
where
    E::Output: Default,
{
    let x = matrix::<i8>(&case["x"]);
    let (constant, factor);
    let activations = match case.get("factor") {
        None => Activations::new(x.view()),
        Some(values) => {
            (constant, factor) = (integers(&case["constant"]), integers(values));
            Activations::with_offsets(x.view(), Offsets { constant: &constant, row_sum_factor: &factor })
        }
    };
    let mut out = vec![E::Output::default(); x.rows() * w.n()];
    let out_mat = MatMut::new(&mut out, x.rows(), w.n()).unwrap();
    gemm(w, activations, epilogue, out_mat, &mut Workspace::new()).unwrap();
    out
}

fn requantized<O: Byte + Default>(case: &Value, w: &PackedMat, epilogue: &Value, expected: &Mat<i32>, tier: Tier) {
    let bias: Option<Vec<i32>> = epilogue.get("bias").map(integers);
    let found = if text(&epilogue["epilogue"]) == "requantize_float" {
        let scales = Scales::new(floats(&epilogue["scales"])).unwrap();
        let zero_point = O::from_clamped(integer(&epilogue["zero_point"]));
        let plain = RequantizeFloat::new(&scales, zero_point);
        match &bias {
            Some(bias) => product(case, w, &plain.with_bias(bias)),
            None => product(case, w, &plain),
        }
    } else {
        let [low, high] = integers(&epilogue["range"])[..] else { panic!("{epilogue}") };
        with_mode(epilogue, w.n(), |mode| {
            let plain = Requantize::<O, _>::new(Mode(mode)).with_range(O::from_clamped(low), O::from_clamped(high));
            match &bias {
                Some(bias) => product(case, w, &plain.with_bias(bias)),
                None => product(case, w, &plain),
            }
        })
    };
    let found: Vec<i32> = found.into_iter().map(Into::into).collect();
    assert_eq!(found, expected.as_slice(), "{tier}: {epilogue}");
}

#[test]
fn products_and_their_epilogues() {
    for case in cases("products.json", 60) {
        for &tier in Tier::available() {
            let w = packed(&case, tier);
            assert_eq!(product(&case, &w, &Sums), matrix::<i32>(&case["sums"]).as_slice(), "{tier}: {case}");
            for epilogue in case["epilogues"].as_array().unwrap() {
                match epilogue["type"].as_str() {
                    Some("i8") => requantized::<i8>(&case, &w, epilogue, &matrix(&epilogue["outputs"]), tier),
                    Some("u8") => requantized::<u8>(&case, &w, epilogue, &matrix(&epilogue["outputs"]), tier),
                    _ => {
                        let bias = epilogue.get("bias").map(floats);
                        let activation = match &epilogue["activation"] {
                            Value::String(name) if name == "identity" => Activation::Identity,
                            Value::String(name) if name == "relu" => Activation::Relu,
                            other => Activation::ClippedRelu(float(&other["clipped_relu"])),
                        };
                        let dequantize = Dequantize {
                            row_scales: &floats(&epilogue["row_scales"]),
                            column_scales: &floats(&epilogue["column_scales"]),
                            bias: bias.as_deref(),
                            activation,
                        };
                        let expected: Vec<f32> =
                            epilogue["outputs"].as_array().unwrap().iter().flat_map(floats).collect();
                        same(&product(&case, &w, &dequantize), &expected, format_args!("{tier}: {epilogue}"));
                    }
                }
            }
        }
    }
}

#[test]
fn unsigned_products() {
    let mut workspace = UnsignedWorkspace::new();
    for case in cases("unsigned.json", 8) {
        let (lhs, rhs) = (matrix::<u8>(&case["lhs"]), matrix::<u8>(&case["rhs"]));
        let [lhs_offset, rhs_offset] = ["lhs_offset", "rhs_offset"].map(|name| integer(&case[name]));
        for &tier in Tier::available() {
            let packed = UnsignedMat::pack(lhs.view(), tier).unwrap();
            let mut sums = Mat::zeros(rhs.rows(), lhs.rows()).unwrap();
            let out = sums.view_mut();
            packed.multiply(lhs_offset, rhs.view(), rhs_offset, &Sums, out, &mut workspace).unwrap();
            assert_eq!(sums, matrix::<i32>(&case["sums"]), "{tier}");
            let bytes = with_mode(&case, 1, |mode| {
                let mut bytes = Mat::<u8>::zeros(rhs.rows(), lhs.rows()).unwrap();
                let (epilogue, out) = (Requantize::new(Mode(mode)), bytes.view_mut());
                packed
                    .multiply(lhs_offset, rhs.view(), rhs_offset, &epilogue, out, &mut UnsignedWorkspace::new())
                    .unwrap();
                bytes
            });
            assert_eq!(bytes, matrix::<u8>(&case["bytes"]), "{tier}");
        }
    }
}
