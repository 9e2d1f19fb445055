//! Quantization, and functions of frames.

use serde_json::Value;
use skinny::factored::Function;
use skinny::quant::{QuantizedActivations, QuantizedMat, QuantizedMatI2, QuantizedMatI4, ZeroPoint};
use skinny::{Mat, MatRef};

use crate::json::{cases, float, floats, frames, integer, integers, matrix, same, text};

#[test]
fn quantized_weights() {
    for case in cases("weights.json", 100) {
        let w = frames(&case["weights"]);
        let (values, multipliers, scales, dequantized): (Mat<i8>, Option<Mat<i32>>, Vec<f32>, Mat<f32>) =
            match text(&case["format"]) {
                "int8" => {
                    let q = QuantizedMat::quantize(w.view()).unwrap();
                    let dequantized = q.dequantize().unwrap();
                    let (values, scales) = q.into_parts();
                    (values, None, scales, dequantized)
                }
                "int2 in groups of 64" => {
                    let q = QuantizedMatI2::quantize(w.view()).unwrap();
                    (owned(q.values()), Some(wide(q.multipliers())), q.scales().to_vec(), q.dequantize().unwrap())
                }
                format => {
                    let q = match format {
                        "int4" => QuantizedMatI4::quantize(w.view()),
                        _ => QuantizedMatI4::quantize_grouped(w.view()),
                    };
                    let q = q.unwrap();
                    (owned(q.values()), q.multipliers().map(wide), q.scales().to_vec(), q.dequantize().unwrap())
                }
            };
        same(&scales, &floats(&case["scales"]), &case);
        assert_eq!(multipliers, case.get("multipliers").map(matrix), "{case}");
        assert_eq!(values, matrix(&case["values"]), "{case}");
        same(dequantized.as_slice(), frames(&case["dequantized"]).as_slice(), &case);
    }
}

fn owned(values: MatRef<'_, i8>) -> Mat<i8> {
    Mat::from_vec(values.as_slice().to_vec(), values.rows(), values.cols()).unwrap()
}

fn wide<T: Copy + Into<i32>>(values: MatRef<'_, T>) -> Mat<i32> {
    let wide = values.as_slice().iter().map(|&value| value.into()).collect();
    Mat::from_vec(wide, values.rows(), values.cols()).unwrap()
}

#[test]
fn quantized_activations() {
    let mut quantized = QuantizedActivations::new();
    for case in cases("activations.json", 100) {
        let zero_point = match text(&case["zero_point"]) {
            "none" => ZeroPoint::None,
            _ => ZeroPoint::PerColumn,
        };
        let x = floats(&case["x"]);
        // Twice the row, because neither may depend on the other.
        let batch = [&x[..], &x[..]].concat();
        quantized.quantize(MatRef::new(&batch, 2, x.len()).unwrap(), zero_point).unwrap();
        for row in 0..2 {
            assert_eq!(quantized.values().row(row), integers::<i8>(&case["values"]), "{case}");
            same(&quantized.scales()[row..=row], &floats(&case["scale"]), &case);
            assert_eq!(quantized.zero_points()[row], integer::<i32>(&case["z"]), "{case}");
        }
    }
}

#[test]
fn functions_of_frames() {
    for case in cases("functions.json", 150) {
        let mut frame = floats(&case["x"]);
        function(&case["function"]).apply(&mut frame);
        same(&frame, &floats(&case["outputs"]), &case);
    }
}

fn function(value: &Value) -> Function {
    let Some(name) = value.as_str() else {
        let (name, parameters) = value.as_object().unwrap().iter().next().unwrap();
        return match name.as_str() {
            "clipped_relu" => Function::ClippedRelu(float(parameters)),
            "leaky_relu" => Function::LeakyRelu(float(parameters)),
            "hard_sigmoid" => {
                Function::HardSigmoid { slope: float(&parameters["slope"]), offset: float(&parameters["offset"]) }
            }
            "normalize" => Function::Normalize { epsilon: float(&parameters["epsilon"]) },
            other => panic!("the function {other}"),
        };
    };
    match name {
        "tanh" => Function::Tanh,
        "sigmoid" => Function::Sigmoid,
        "relu" => Function::Relu,
        "silu" => Function::Silu,
        "gelu" => Function::Gelu,
        "gelu_tanh" => Function::GeluTanh,
        "hard_swish" => Function::HardSwish,
        "absolute" => Function::Absolute,
        "square" => Function::Square,
        "square_root" => Function::SquareRoot,
        "softmax" => Function::Softmax,
        "log_softmax" => Function::LogSoftmax,
        other => panic!("the function {other}"),
    }
}
