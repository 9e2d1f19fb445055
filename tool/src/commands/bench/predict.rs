//! What a model takes on other cores, predicted.

use serde_json::{Value, json};
use skinny::compress::Core;
use skinny::model::Model;

use crate::report::{Side, Table, count, digits, percent};
use crate::weights::{self, LayerWeight};

/// The predicted time of a layer on a core, in microseconds per step of the model.
pub struct LayerPrediction {
    pub name: String,
    pub kind: &'static str,
    /// Multiply-accumulates per step.
    pub macs: usize,
    /// Bytes of weights read per step.
    pub bytes: f64,
    pub us: f64,
}

/// The layers of a model that computes `time_batch` steps together.
pub fn layers(model: &Model, core: &Core, time_batch: usize) -> Vec<LayerPrediction> {
    let layers = model.layers().zip(model.runs_per_output());
    let prediction = |((name, layer), runs): ((&str, _), usize)| {
        let (parts, kind) = (weights::of(layer), skinny::model::Layer::kind(layer));
        let sum = |of: &dyn Fn(&LayerWeight<'_>) -> f64| runs as f64 * parts.iter().map(of).sum::<f64>();
        LayerPrediction {
            name: name.into(),
            kind,
            macs: runs * parts.iter().map(LayerWeight::macs).sum::<usize>(),
            bytes: sum(&|part| part.bytes_per_step(time_batch)),
            us: sum(&|part| part.predicted_us(core, time_batch)),
        }
    };
    layers.map(prediction).collect()
}

/// The predicted microseconds per step of a model on a core.
pub fn model_us(model: &Model, core: &Core, time_batch: usize) -> f64 {
    sum_us(&layers(model, core, time_batch))
}

fn sum_us(layers: &[LayerPrediction]) -> f64 {
    layers.iter().map(|layer| layer.us).sum()
}

/// The same with the fastest and the slowest memory that the core may have.
fn range_us(model: &Model, core: &Core, time_batch: usize) -> [f64; 2] {
    let [slow, fast] = core.bytes_per_us_range;
    [fast, slow].map(|bytes_per_us| model_us(model, &core.with_bytes_per_us(bytes_per_us), time_batch))
}

/// The layers of a model on one core.
pub fn layer_table(model: &Model, core: &Core, time_batch: usize) -> Table {
    let us = format!("us per step, {}", core.name);
    let right = Side::Right;
    let mut table = Table::new([
        ("layer", Side::Left),
        ("kind", Side::Left),
        ("MACs per step", right),
        ("bytes per step", right),
        (us.as_str(), right),
        ("share", right),
    ]);
    let layers = layers(model, core, time_batch);
    let whole = sum_us(&layers);
    let sum = LayerPrediction {
        name: "sum".into(),
        kind: "",
        macs: layers.iter().map(|layer| layer.macs).sum(),
        bytes: layers.iter().map(|layer| layer.bytes).sum(),
        us: whole,
    };
    for layer in layers.iter().chain([&sum]) {
        table.row([
            layer.name.clone(),
            layer.kind.into(),
            count(layer.macs),
            count(layer.bytes as usize),
            digits(layer.us),
            percent(layer.us, whole),
        ]);
    }
    table
}

/// The crate's cores, and the one that was asked for.
pub fn cores(asked: &Core) -> Vec<Core> {
    let mut cores = Core::all();
    match cores.iter_mut().find(|core| core.name == asked.name) {
        Some(core) => core.clone_from(asked),
        None => cores.push(asked.clone()),
    }
    cores
}

/// Some cores, a row each. With `frames` of sound per second, also the milliseconds that a second of sound takes.
pub fn core_table(model: &Model, cores: &[Core], time_batch: usize, frames: Option<f64>) -> Table {
    let right = Side::Right;
    let mut columns = vec![("predicted for", Side::Left), ("GB/s", right), ("us per step", right)];
    if frames.is_some() {
        columns.extend([("ms per s of sound", right), ("share of a core", right)]);
    }
    let mut table = Table::new(columns);
    for core in cores {
        let [least, most] = range_us(model, core, time_batch);
        let ([slow, fast], us) = (core.bytes_per_us_range, model_us(model, core, time_batch));
        let range = |[low, value, high]: [f64; 3]| format!("{} ({} to {})", digits(value), digits(low), digits(high));
        let mut row = vec![
            core.name.clone(),
            range([slow, core.bytes_per_us, fast].map(|bytes_per_us| bytes_per_us / 1e3)),
            range([least, us, most]),
        ];
        if let Some(frames) = frames {
            let per_second = |us: f64| us * frames / model.stride() as f64 / 1e3;
            row.extend([range([least, us, most].map(per_second)), percent(per_second(us), 1e3)]);
        }
        table.row(row);
    }
    table
}

/// The predictions for some cores.
pub fn json(model: &Model, cores: &[Core], time_batch: usize, frames: Option<f64>) -> Value {
    let core = |core: &Core| {
        let predicted = layers(model, core, time_batch);
        let us = sum_us(&predicted);
        let per_second = frames.map(|frames| us * frames / model.stride() as f64 / 1e3);
        let layers: Vec<Value> = predicted
            .iter()
            .map(|layer| {
                json!({
                    "name": layer.name,
                    "macs_per_step": layer.macs,
                    "bytes_per_step": layer.bytes,
                    "us_per_step": layer.us,
                })
            })
            .collect();
        let value = json!({
            "bytes_per_us": core.bytes_per_us,
            "bytes_per_us_range": core.bytes_per_us_range,
            "us_per_step": us,
            "us_per_step_range": range_us(model, core, time_batch),
            "ms_per_second_of_sound": per_second,
            "layers": layers,
        });
        (core.name.clone(), value)
    };
    cores.iter().map(core).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::shape;

    /// A layer before a stride of 2 runs twice per step; what is not recurrent runs once per time batch.
    #[test]
    fn a_model_takes_the_sum_of_its_products() {
        let core =
            Core { call_cycles: 0.0, column_cycles: 0.0, input_cycles: 0.0, ..Core::named("cortex-a53").unwrap() };
        let shapes = ["linear:64x512", "conv:512x256:kernel=3:stride=2", "gru:256"].map(|text| text.parse().unwrap());
        let model = shape::model(&shapes, None).unwrap();
        for time_batch in [1, 4] {
            let product = |n, k, batch| core.step_us(n, k, None, batch);
            let expected = 2.0 * product(512, 64, time_batch)
                + product(256, 3 * 512, time_batch)
                + product(768, 256, time_batch)
                + product(768, 256, 1);
            let found = model_us(&model, &core, time_batch);
            assert!((found - expected).abs() < 1e-9 * expected, "{found} for {expected}");
            let [least, most] = range_us(&model, &core, time_batch);
            assert!(least <= found && found <= most);
        }
        let bytes: f64 = layers(&model, &core, 4).iter().map(|layer| layer.bytes).sum();
        let shared = 4 * (2 * 512 * 64 + 256 * 3 * 512 + 768 * 256) / 4;
        // The biases of the linear layers are not weights.
        assert_eq!(bytes, (shared + 4 * 768 * 256) as f64);
    }
}
