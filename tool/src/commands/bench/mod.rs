//! `skinny bench`: how long a model takes, and where it spends that time.

mod measure;
mod shape;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use skinny::Tier;
use skinny::compress::Core;
use skinny::model::Model;

use self::measure::{LayerTime, Settings, Stream, counted, predicted_us};
use self::shape::Shape;
use crate::console::Console;
use crate::error::{Failure, Result};
use crate::files::model::{ImportArgs, ModelArgs};
use crate::files::wav;
use crate::precision::Precision;
use crate::report::{Side, Table, count, digits, percent};
use crate::values::core;
use crate::{threads, weights};

pub const EXAMPLES: &str = "\
Examples:
  skinny bench small.safetensors --core cortex-a72
      times a model on this machine, next to the prediction for a Raspberry Pi 4
  skinny bench --shape linear:80x512,gru:512x3:rank=128,linear:512x40 --precision int4 --json
      times a model that has not been trained yet, for a program";

/// Times a model on this machine, layer by layer
///
/// A step is one output frame of the model. A frame is one input frame. They differ by the model's stride.
///
/// Each layer is timed separately, and so are its products with weights, including the rounding of activations. The
/// rest is gates, states and copies. Bytes counts the weights that a step reads. Recurrent weights are read at every
/// step, other weights once per time batch.
///
/// The prediction comes from a simple model of the core: memory or arithmetic, whichever takes longer. It serves to
/// compare models. It does not promise a time.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct BenchArgs {
    /// The model: a file written by skinny, or a PyTorch state dict in safetensors
    #[arg(value_name = "FILE", required_unless_present = "shape")]
    pub model: Option<PathBuf>,

    #[command(flatten)]
    pub import: ImportArgs,

    /// Layers with random weights: gru:HIDDENxLAYERS, lstm:HIDDENxLAYERS or linear:INxOUT, each with an optional
    /// :rank=R
    #[arg(long, value_name = "SHAPE,...", value_delimiter = ',', conflicts_with = "model")]
    pub shape: Vec<Shape>,

    /// Input features of the first layer of --shape, if it is recurrent; the default is its hidden size
    #[arg(long, value_name = "N", requires = "shape")]
    pub features: Option<usize>,

    /// Run in this precision; the default is as stored, or int8 for --shape
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Steps whose input products are computed together
    #[arg(long, value_name = "STEPS", default_value_t = 4)]
    pub time_batch: usize,

    /// Number of threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// The core to predict the time of each layer on
    #[arg(long, value_name = "CORE", default_value = "cortex-a53", value_parser = core)]
    pub core: Core,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

/// All measurements.
struct Report<'a> {
    args: &'a BenchArgs,
    name: String,
    tier: Tier,
    model: Arc<Model>,
    layers: Vec<LayerTime>,
    us_per_step: f64,
    /// The time in `f32`, unless the model is in `f32` already.
    f32_us_per_step: Option<f64>,
    streams: Vec<Stream>,
    /// Input frames per second of sound, if the model's file describes its features.
    frame_rate: Option<f64>,
}

pub fn run(args: &BenchArgs, console: Console) -> Result<()> {
    let tier = Tier::select()?;
    let (name, model) = model(args, tier)?;
    let model = Arc::new(model);
    let settings = Settings { threads: threads::of(args.threads)?, time_batch: args.time_batch, core: args.core };
    // Fails before the work.
    skinny::factored::Scratch::new()
        .with_time_batch(args.time_batch)
        .map_err(|cause| Failure::input(format!("--time-batch: {cause}")))?;

    let mut progress = console.progress("timing");
    let mut next = counted(&mut progress, model.layers().len() + 2 + 4);
    let mut layers = Vec::new();
    for ((name, layer), runs) in model.layers().zip(model.runs_per_output()) {
        next(name);
        layers.push(settings.layer(name, layer, runs)?);
    }
    next("all layers");
    let us_per_step = settings.model_us(&model)?;
    next("f32");
    let is_f32 = |model: &Model| {
        let mut parts = model.layers().flat_map(|(_, layer)| weights::of(layer));
        parts.all(|part| part.matrices().iter().all(|matrix| matrix.stored_as().is_none()))
    };
    let f32_us_per_step = match is_f32(&model) {
        true => None,
        false => Some(settings.model_us(&Arc::new(model.dequantize()?))?),
    };
    let streams = settings.streams(&model, &mut |time_batch| next(&format!("time batch {time_batch}")))?;
    drop(next);
    drop(progress);

    let frame_rate = wav::frame_rate(&model);
    let report = Report { args, name, tier, model, layers, us_per_step, f32_us_per_step, streams, frame_rate };
    if args.json { console.json(&report.json()) } else { console.answer(report.text()) }
}

fn model(args: &BenchArgs, tier: Tier) -> Result<(String, Model)> {
    match &args.model {
        Some(file) => {
            let model = ModelArgs { model: file.clone(), import: args.import.clone() }.load(tier)?.model;
            let model = match args.precision {
                None => model,
                Some(precision) => precision.of(&model, tier)?,
            };
            Ok((file.display().to_string(), model))
        }
        None => {
            let told = |cause: Failure| Failure::input(format!("--shape: {cause}"));
            if args.features == Some(0) {
                return Err(Failure::input("--features 0: expected at least 1"));
            }
            let model = shape::model(&args.shape, args.features).map_err(told)?;
            Ok(("random weights".into(), args.precision.unwrap_or(Precision::Int8).of(&model, tier)?))
        }
    }
}

impl Report<'_> {
    fn us_per_frame(&self) -> f64 {
        self.us_per_step / self.model.stride() as f64
    }

    /// The share of one core that real-time sound takes.
    fn real_time_factor(&self) -> Option<f64> {
        self.frame_rate.map(|rate| self.us_per_frame() * rate / 1e6)
    }

    fn text(&self) -> String {
        let Self { args, name, tier, model, .. } = self;
        let mut text = format!(
            "{name}: {} layers, {} parameters in {} bytes, {} -> {} features; tier {tier}, threads {}, time batch {}\n\n{}\n",
            model.layers().len(),
            count(model.parameters()),
            count(model.bytes()),
            model.input_size(),
            model.output_size(),
            args.threads,
            args.time_batch,
            self.layer_table()
        );
        let mut line = |line: String| text.extend([line, "\n".into()]);
        let frame =
            if model.stride() > 1 { format!(", {} us per frame", digits(self.us_per_frame())) } else { String::new() };
        line(format!("the model as a whole: {} us per step{frame}", digits(self.us_per_step)));
        if let Some(f32) = self.f32_us_per_step {
            line(format!("in f32: {} us per step, {} times as long", digits(f32), digits(f32 / self.us_per_step)));
        }
        if let (Some(rate), Some(factor)) = (self.frame_rate, self.real_time_factor()) {
            let period = digits(1e3 / rate);
            line(format!("a frame of sound each {period} ms: real-time factor {}", digits(factor)));
        }
        let predicted = Core::ALL.map(|core| format!("{} {} us", core.name, digits(predicted_us(model, &core))));
        line(format!("predicted per step: {}", predicted.join(", ")));
        line(String::new());
        if !model.is_streaming() {
            line("a layer in two directions waits for the end: the first output comes after the last frame".into());
        }
        text.push_str(&self.stream_table().to_string());
        text + "outputs: the same bits for all time batches\n"
    }

    fn layer_table(&self) -> Table {
        let right = Side::Right;
        let predicted = format!("us, {}", self.args.core.name);
        let mut table = Table::new([
            ("layer", Side::Left),
            ("kind", Side::Left),
            ("us per step", right),
            ("share", right),
            ("products", right),
            ("rest", right),
            ("bytes per step", right),
            ("GB/s", right),
            (predicted.as_str(), right),
        ]);
        let sum = LayerTime::sum(&self.layers);
        for layer in self.layers.iter().chain([&sum]) {
            table.row([
                layer.name.clone(),
                layer.kind.into(),
                digits(layer.us),
                percent(layer.us, sum.us),
                percent(layer.products_us, layer.us),
                percent(layer.us - layer.products_us, layer.us),
                count(layer.bytes as usize),
                digits(layer.bytes / layer.us / 1e3),
                digits(layer.predicted_us),
            ]);
        }
        table
    }

    fn stream_table(&self) -> Table {
        let right = Side::Right;
        let columns = [
            ("time batch", right),
            ("first output after", right),
            ("us per frame", right),
            ("frames per second", right),
        ];
        let mut table = Table::new(columns);
        for stream in &self.streams {
            table.row([
                stream.time_batch.to_string(),
                stream.first_output.map_or("the end".into(), counted_frames),
                digits(stream.us_per_frame),
                count((1e6 / stream.us_per_frame) as usize),
            ]);
        }
        table
    }

    fn json(&self) -> Value {
        let layer = |layer: &LayerTime| {
            json!({
                "name": layer.name,
                "kind": layer.kind,
                "us_per_step": layer.us,
                "products_us_per_step": layer.products_us,
                "rest_us_per_step": layer.us - layer.products_us,
                "bytes_per_step": layer.bytes,
                "predicted_us_per_step": layer.predicted_us,
            })
        };
        let stream = |stream: &Stream| {
            json!({
                "time_batch": stream.time_batch,
                "first_output_after_frames": stream.first_output,
                "us_per_frame": stream.us_per_frame,
            })
        };
        let predicted: serde_json::Map<String, Value> =
            Core::ALL.iter().map(|core| (core.name.into(), predicted_us(&self.model, core).into())).collect();
        json!({
            "model": self.name,
            "tier": self.tier.name(),
            "threads": self.args.threads,
            "time_batch": self.args.time_batch,
            "core": self.args.core.name,
            "parameters": self.model.parameters(),
            "bytes": self.model.bytes(),
            "us_per_step": self.us_per_step,
            "us_per_frame": self.us_per_frame(),
            "f32_us_per_step": self.f32_us_per_step,
            "frames_per_second_of_sound": self.frame_rate,
            "real_time_factor": self.real_time_factor(),
            "predicted_us_per_step": predicted,
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "streams": self.streams.iter().map(stream).collect::<Vec<_>>(),
        })
    }
}

fn counted_frames(frames: usize) -> String {
    if frames == 1 { "1 frame".into() } else { format!("{frames} frames") }
}
