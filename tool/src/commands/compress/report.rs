//! The report of a compression, as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use skinny::compress::Choice;
use skinny::factored::Table as Rows;
use skinny::kernels::WeightFormat;
use skinny::model::{BudgetPoint, Fidelity, Layer, LayerLoss, LayerPrecision, MatrixReport, Model};

use crate::comparison::finite;
use crate::error::printable;
use crate::precision;
use crate::report::{Side, Table, count, decibels, digits, percent};
use crate::weights::{self, LayerWeight};

/// The contents of the report besides the matrices.
pub struct Summary<'a> {
    pub before: &'a Model,
    pub after: &'a Model,
    /// The assumptions made to read the model.
    pub assumptions: &'a [String],
    pub file_before: usize,
    pub file_after: usize,
    pub calibration_frames: usize,
    /// What is left of the outputs, if there is calibration data.
    pub held_out: Option<HeldOut>,
    /// The values that were scaled.
    pub equalized: Vec<String>,
    /// The precisions that were chosen.
    pub precisions: &'a [LayerPrecision],
    /// What cuts to shares of the weights leave of the outputs, from the largest share on.
    pub verdict: &'a [BudgetPoint],
    /// The predicted time, if `--latency` was given.
    pub latency: Option<Latency>,
}

/// What is left of the outputs over sequences that calibration has not seen. Activations are rounded as they will be.
pub struct HeldOut {
    pub fidelity: Fidelity,
    /// What each layer costs.
    pub layers: Vec<LayerLoss>,
    pub sequences: usize,
    /// Sequences in all.
    pub all: usize,
    pub frames: usize,
}

impl HeldOut {
    /// Which sequences they are.
    fn which(&self) -> String {
        let frames = count(self.frames);
        match self.all {
            1 => format!("the last {frames} frames, held out from calibration"),
            _ => format!("{frames} frames held out from calibration ({} of {} sequences)", self.sequences, self.all),
        }
    }
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
    if !summary.equalized.is_empty() {
        line(format!("scaled, so that 8 bits hold large and small features: {}", summary.equalized.join(", ")));
    }
    for (name, reason) in reasons(summary.precisions) {
        line(format!("{}: {reason}", printable(name)));
    }
    match &summary.held_out {
        None => line("no calibration data: what is left of the outputs was not measured".into()),
        Some(held_out) => {
            line(format!("\n{}", layers(held_out, summary.after)));
            line(format!(
                "outputs over {}: {} dB, the same greatest output in {}",
                held_out.which(),
                decibels(Some(held_out.fidelity.decibels())),
                percent(held_out.fidelity.agreement(), 1.0)
            ));
        }
    }
    if !summary.verdict.is_empty() {
        line(format!("\n{}", budgets(summary.verdict)));
        line(verdict(summary.verdict));
    }
    text
}

/// Why layers have another precision than the cheapest.
fn reasons(precisions: &[LayerPrecision]) -> impl Iterator<Item = (&str, String)> {
    precisions.iter().filter_map(|layer| {
        let (cheaper, ratio) = layer.cheaper?;
        let [chosen, cheaper] = [layer.precision, cheaper].map(precision::name);
        Some((&layer.name[..], format!("{chosen}, since {cheaper} would leave {} dB", decibels(Some(ratio)))))
    })
}

/// A row for each layer: the outputs with only this layer as it will run, and with only this layer as it was.
fn layers(held_out: &HeldOut, after: &Model) -> Table {
    let (left, right) = (Side::Left, Side::Right);
    let headings =
        [("layer", left), ("stored as", left), ("only this layer, dB", right), ("all but this layer, dB", right)];
    let mut table = Table::new(headings);
    for loss in &held_out.layers {
        let layer = after.layers().find(|(name, _)| *name == loss.name).map(|(_, layer)| layer);
        table.row([
            loss.name.clone(),
            layer.map_or(String::new(), stored),
            decibels(Some(loss.only.decibels())),
            decibels(Some(loss.without.decibels())),
        ]);
    }
    table
}

/// Frames that agree, below which a cut loses something.
const LOST: f64 = 0.99;

/// Outputs that are closer than this to a single one that was not cut lose nothing, in dB.
const LOST_DB: f64 = 20.0;

/// Whether outputs lose something: one frame in a hundred has another greatest output, or a hundredth of the energy is error
/// where there is no greatest.
pub fn loses(point: &BudgetPoint) -> bool {
    point.fidelity.agreement() < LOST || !point.fidelity.keeps(LOST_DB)
}

/// A row and a bar for each budget.
fn budgets(points: &[BudgetPoint]) -> Table {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new([("budget", right), ("outputs, dB", right), ("frames that agree", right), ("", left)]);
    for BudgetPoint { share, fidelity, .. } in points {
        let agreement = fidelity.agreement();
        table.row([
            share_of(*share),
            decibels(Some(fidelity.decibels())),
            percent(agreement, 1.0),
            "#".repeat((40.0 * agreement).round() as usize),
        ]);
    }
    table
}

/// How a layer's matrices are stored.
fn stored(layer: &Layer) -> String {
    match layer {
        Layer::Embedding(layer) if matches!(layer.table(), Rows::F32(_)) => "f32".into(),
        Layer::Embedding(_) => "int8".into(),
        layer => {
            let mut names: Vec<String> = weights::of(layer).iter().map(LayerWeight::stored).collect();
            names.dedup();
            names.join(", ")
        }
    }
}

fn share_of(share: f64) -> String {
    let digits = format!("{share:.2}");
    digits.strip_suffix('0').map_or(digits.clone(), str::to_owned)
}

/// Where loss begins, in a sentence.
fn verdict(points: &[BudgetPoint]) -> String {
    let agreement = |point: &BudgetPoint| {
        let (share, fidelity) = (share_of(point.share), &point.fidelity);
        let agreement = percent(fidelity.agreement(), 1.0);
        format!("at {share} the outputs agree in {agreement} of frames ({} dB)", decibels(Some(fidelity.decibels())))
    };
    let lowest = points.last().map_or(String::new(), agreement);
    match points.iter().position(loses) {
        None => format!("cutting alone loses nothing down to the lowest budget: {lowest}"),
        Some(0) => format!("cutting alone loses at every budget: {lowest}"),
        Some(first) => {
            let middle = agreement(&points[first + (points.len() - 1 - first) / 2]);
            format!("cutting alone: loss begins at budget {}; {middle}; {lowest}", share_of(points[first].share))
        }
    }
}

/// A warning for each layer that rounds inputs of unknown range, if no data can tell what that costs.
pub fn unknown_ranges(before: &Model, after: &Model, measured: bool) -> Vec<String> {
    if measured {
        return Vec::new();
    }
    let unknown = before.layers_of_unknown_range();
    let rounds = |layer: &Layer| {
        let weights = weights::of(layer);
        let mut bits = weights.iter().flat_map(|weight| weight.matrices()).filter_map(|matrix| matrix.stored_as());
        bits.any(|stored| stored.activation_bits() == 8)
    };
    let layers = after.layers().filter(|(name, layer)| unknown.contains(name) && rounds(layer));
    let warning = |(name, _): (&str, &Layer)| {
        format!(
            "{}: nothing is known about the range of its input, and 8 bits lose features that are much smaller than others; \
             measure it with --calibration, or take int8x16",
            printable(name)
        )
    };
    layers.map(warning).collect()
}

/// Outputs of which a tenth of the energy is error, in dB. Recognizers are of little use beyond.
const RUINED: f64 = 10.0;

/// What must not be overlooked: outputs that are mostly lost, or 2 bits whose effect was not measured.
pub fn warning(matrices: &[MatrixReport], summary: &Summary<'_>) -> Option<String> {
    let mut two_bits =
        matrices.iter().filter(|matrix| matrix.format == Some(WeightFormat::I2Group64.into())).peekable();
    let advice = match two_bits.peek() {
        Some(_) => {
            "2 bits ruin most models that were not trained for them: train with `--precision int2`, or take int4-groups"
        }
        None => "take more weights or a higher precision",
    };
    match summary.held_out.as_ref().map(|held_out| &held_out.fidelity) {
        Some(fidelity) if !fidelity.keeps(RUINED) => Some(format!(
            "this model is probably ruined: its outputs are only {} dB above their error, with the same greatest output in {}; \
             {advice}",
            decibels(Some(fidelity.decibels())),
            percent(fidelity.agreement(), 1.0)
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
    let fidelity = summary.held_out.as_ref().map(|held_out| &held_out.fidelity);
    let layer = |loss: &LayerLoss| {
        let chosen = summary.precisions.iter().find(|chosen| chosen.name == loss.name);
        json!({
            "name": loss.name,
            "precision": chosen.map(|chosen| precision::name(chosen.precision)),
            "cheaper": chosen.and_then(|chosen| chosen.cheaper).map(|(cheaper, ratio)| {
                json!({ "precision": precision::name(cheaper), "output_signal_to_noise_db": finite(ratio) })
            }),
            "only_this_db": finite(loss.only.decibels()),
            "all_but_this_db": finite(loss.without.decibels()),
        })
    };
    let budget = |point: &BudgetPoint| {
        json!({
            "share": point.share,
            "output_signal_to_noise_db": finite(point.fidelity.decibels()),
            "top1_agreement": point.fidelity.agreement(),
        })
    };
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
        "held_out_frames": summary.held_out.as_ref().map_or(0, |held_out| held_out.frames),
        "equalized": summary.equalized,
        "layers": summary.held_out.as_ref().map(|held_out| held_out.layers.iter().map(layer).collect::<Vec<_>>()),
        "budgets": summary.verdict.iter().map(budget).collect::<Vec<_>>(),
        "verdict": (!summary.verdict.is_empty()).then(|| verdict(summary.verdict)),
        "output_signal_to_noise_db": fidelity.map(Fidelity::decibels).and_then(finite),
        "top1_agreement": fidelity.map(Fidelity::agreement),
        "warning": warning(matrices, summary),
        "predicted_us_per_step": summary.latency.as_ref().map(|latency| latency.planned),
    })
}
