//! What compression did, for people and for programs.

use serde_json::{Value, json};
use skinny::compress::Choice;
use skinny::kernels::WeightFormat;
use skinny::model::{MatrixReport, Model};

/// What the report is about besides the matrices.
pub struct Summary<'a> {
    pub before: &'a Model,
    pub after: &'a Model,
    pub file_before: usize,
    pub file_after: usize,
    pub calibration_frames: usize,
    /// Signal-to-noise ratio of the whole model's outputs in dB, activations quantized too, if there is calibration
    /// data.
    pub signal_to_noise: Option<f64>,
}

fn format_name(format: Option<WeightFormat>) -> &'static str {
    match format {
        None => "f32",
        Some(WeightFormat::I8) => "int8",
        Some(WeightFormat::I4) => "int4",
        Some(WeightFormat::I4Group32) => "int4-groups",
        Some(_) => "other",
    }
}

fn decibels(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.1}"))
}

/// Prints a row for each matrix, and the whole.
pub fn print(matrices: &[MatrixReport], summary: &Summary<'_>) {
    let width = matrices.iter().map(|matrix| matrix.name.len()).max().unwrap_or(0).max(6);
    println!(
        "{:<width$}  {:>11}  {:>9}  {:>8}  {:>5}  {:>11}  {:>9}  {:>9}  {:>7}  {:>6}",
        "matrix", "shape", "rank", "variance", "nu", "stored as", "bytes f32", "now", "error", "dB"
    );
    for matrix in matrices {
        let rank = match matrix.choice {
            Choice::Dense => "dense".into(),
            Choice::LowRank(rank) => format!("{rank}/{}", matrix.n.min(matrix.k)),
        };
        println!(
            "{:<width$}  {:>11}  {rank:>9}  {:>7.1}%  {:>5.3}  {:>11}  {:>9}  {:>9}  {:>6.2}%  {:>6}",
            matrix.name,
            format!("{} x {}", matrix.n, matrix.k),
            100.0 * matrix.kept_variance,
            matrix.nu,
            format_name(matrix.format),
            matrix.bytes_before,
            matrix.bytes_after,
            100.0 * matrix.relative_error,
            decibels(matrix.signal_to_noise)
        );
    }
    println!(
        "parameters {} -> {} ({:.1}%), file {} -> {} bytes ({:.1}%)",
        summary.before.parameters(),
        summary.after.parameters(),
        100.0 * summary.after.parameters() as f64 / summary.before.parameters() as f64,
        summary.file_before,
        summary.file_after,
        100.0 * summary.file_after as f64 / summary.file_before as f64
    );
    match summary.signal_to_noise {
        Some(ratio) => {
            println!("outputs over {} frames of calibration data: {ratio:.1} dB", summary.calibration_frames);
        }
        None => println!("no calibration data: what is left of the outputs was not measured"),
    }
}

/// The same as JSON, with all singular values.
pub fn json(matrices: &[MatrixReport], summary: &Summary<'_>) -> Value {
    let matrix = |matrix: &MatrixReport| {
        json!({
            "name": matrix.name,
            "n": matrix.n,
            "k": matrix.k,
            "rank": match matrix.choice {
                Choice::Dense => Value::Null,
                Choice::LowRank(rank) => rank.into(),
            },
            "format": format_name(matrix.format),
            "kept_variance": matrix.kept_variance,
            "nu": matrix.nu,
            "bytes_before": matrix.bytes_before,
            "bytes_after": matrix.bytes_after,
            "relative_error": matrix.relative_error,
            "signal_to_noise_db": matrix.signal_to_noise,
            "singular_values": matrix.singular_values,
        })
    };
    json!({
        "matrices": matrices.iter().map(matrix).collect::<Vec<_>>(),
        "parameters_before": summary.before.parameters(),
        "parameters_after": summary.after.parameters(),
        "file_bytes_before": summary.file_before,
        "file_bytes_after": summary.file_after,
        "calibration_frames": summary.calibration_frames,
        "output_signal_to_noise_db": summary.signal_to_noise,
    })
}
