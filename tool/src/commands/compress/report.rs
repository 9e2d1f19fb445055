//! The report of a compression, as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use skinny::compress::Choice;
use skinny::kernels::WeightFormat;
use skinny::model::{MatrixReport, Model};

use crate::comparison::Comparison;
use crate::error::printable;
use crate::precision;
use crate::report::{Side, Table, count, decibels, digits, percent};

/// The contents of the report besides the matrices.
pub struct Summary<'a> {
    pub before: &'a Model,
    pub after: &'a Model,
    /// The assumptions made to read the model.
    pub assumptions: &'a [String],
    pub file_before: usize,
    pub file_after: usize,
    pub calibration_frames: usize,
    /// The outputs of the two models compared, with quantized activations, if there is calibration data.
    pub comparison: Option<Comparison>,
    /// The predicted time, if `--latency` was given.
    pub latency: Option<Latency>,
}

/// Predicted microseconds per step.
pub struct Latency {
    pub core: String,
    pub dense: f64,
    pub planned: f64,
}

/// The report as text: one row per matrix, then the totals.
pub fn text(matrices: &[MatrixReport], summary: &Summary<'_>) -> String {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new([
        ("matrix", left),
        ("shape", right),
        ("rank", right),
        ("variance", right),
        ("nu", right),
        ("stored as", left),
        ("bytes f32", right),
        ("now", right),
        ("error", right),
        ("dB", right),
    ]);
    for matrix in matrices {
        table.row([
            matrix.name.clone(),
            format!("{} x {}", matrix.n, matrix.k),
            match matrix.choice {
                Choice::Dense => "dense".into(),
                Choice::LowRank(rank) => format!("{rank}/{}", matrix.n.min(matrix.k)),
            },
            format!("{:.1}%", 100.0 * matrix.kept_variance),
            format!("{:.3}", matrix.nu),
            precision::name(matrix.format).into(),
            count(matrix.bytes_before as usize),
            count(matrix.bytes_after as usize),
            format!("{:.2}%", 100.0 * matrix.relative_error),
            decibels(matrix.signal_to_noise),
        ]);
    }
    let mut text = table.to_string();
    let mut line = |line: String| {
        // Writing to a string never fails.
        let _ = writeln!(text, "{line}");
    };
    let change = |what: &str, before: usize, after: usize| {
        format!("{what} {} -> {} ({})", count(before), count(after), percent(after as f64, before as f64))
    };
    let parameters = change("parameters", summary.before.parameters(), summary.after.parameters());
    line(format!("{parameters}, {} bytes", change("file", summary.file_before, summary.file_after)));
    if let Some(Latency { core, dense, planned }) = &summary.latency {
        line(format!("predicted on {core}: {} us per step, {} dense", digits(*planned), digits(*dense)));
    }
    for assumption in summary.assumptions {
        line(format!("assumed: {}", printable(assumption)));
    }
    line(match &summary.comparison {
        Some(comparison) => format!(
            "outputs over {} frames of calibration data: {} dB, the same greatest output in {}",
            count(summary.calibration_frames),
            decibels(Some(comparison.decibels())),
            percent(comparison.agreement(), 1.0)
        ),
        None => "no calibration data: what is left of the outputs was not measured".into(),
    });
    text
}

/// Outputs of which a tenth of the energy is error, in dB. Recognizers are of little use beyond.
const RUINED: f64 = 10.0;

/// What must not be overlooked: outputs that are mostly lost, or 2 bits whose effect was not measured.
pub fn warning(matrices: &[MatrixReport], summary: &Summary<'_>) -> Option<String> {
    let mut two_bits = matrices.iter().filter(|matrix| matrix.format == Some(WeightFormat::I2Group64)).peekable();
    let advice = match two_bits.peek() {
        Some(_) => {
            "2 bits ruin most models that were not trained for them: train with `--precision int2`, or take int4-groups"
        }
        None => "take more weights or a higher precision",
    };
    match &summary.comparison {
        Some(comparison) if comparison.decibels() < RUINED => Some(format!(
            "this model is probably ruined: its outputs are only {} dB above their error, with the same greatest output in {}; \
             {advice}",
            decibels(Some(comparison.decibels())),
            percent(comparison.agreement(), 1.0)
        )),
        Some(_) => None,
        None => {
            let worst = two_bits.map(|matrix| matrix.relative_error).reduce(f64::max)?;
            Some(format!(
                "weights in 2 bits are off by up to {}, and what is left of the outputs was not measured (--calibration); \
                 {advice}",
                percent(worst, 1.0)
            ))
        }
    }
}

/// The report as JSON, with all singular values.
pub fn json(matrices: &[MatrixReport], summary: &Summary<'_>) -> Value {
    let finite = |ratio: f64| Some(ratio).filter(|ratio| ratio.is_finite());
    let matrix = |matrix: &MatrixReport| {
        json!({
            "name": matrix.name,
            "n": matrix.n,
            "k": matrix.k,
            "rank": match matrix.choice {
                Choice::Dense => Value::Null,
                Choice::LowRank(rank) => rank.into(),
            },
            "format": precision::name(matrix.format),
            "kept_variance": matrix.kept_variance,
            "nu": matrix.nu,
            "bytes_before": matrix.bytes_before,
            "bytes_after": matrix.bytes_after,
            "relative_error": matrix.relative_error,
            "signal_to_noise_db": matrix.signal_to_noise.and_then(finite),
            "singular_values": matrix.singular_values,
        })
    };
    json!({
        "matrices": matrices.iter().map(matrix).collect::<Vec<_>>(),
        "parameters_before": summary.before.parameters(),
        "parameters_after": summary.after.parameters(),
        "file_bytes_before": summary.file_before,
        "file_bytes_after": summary.file_after,
        "assumptions": summary.assumptions,
        "calibration_frames": summary.calibration_frames,
        "output_signal_to_noise_db": summary.comparison.as_ref().map(Comparison::decibels).and_then(finite),
        "top1_agreement": summary.comparison.as_ref().map(Comparison::agreement),
        "warning": warning(matrices, summary),
        "predicted_us_per_step": summary.latency.as_ref().map(|latency| latency.planned),
    })
}
