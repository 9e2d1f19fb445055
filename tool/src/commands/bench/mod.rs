//! `skinny bench`: how long a model takes, and where it spends that time.

mod measure;
mod predict;
pub mod shape;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use skinny::Tier;
use skinny::compress::Core;
use skinny::model::Model;

use self::measure::{LayerTime, Settings, Stream, counted};
use self::shape::Shape;
use crate::console::Console;
use crate::error::{Failure, Result};
use crate::files::model::{ImportArgs, ModelArgs};
use crate::files::wav;
use crate::precision::Precision;
use crate::report::{Side, Table, count, digits, percent};
use crate::values::{core, share};
use crate::{threads, weights};

pub const EXAMPLES: &str = "\
Examples:
  skinny bench small.safetensors --core cortex-a72
      times a model on this machine, next to the prediction for a Raspberry Pi 4
  skinny bench --paper --rank-share 0.25 --precision int4 --time-batch 8 --predict
      predicts the time of the paper's model on three Raspberry Pis, at a quarter of the rank in 4 bits";

/// Times a model on this machine, layer by layer
///
/// A step is one output frame of the model. A frame is one input frame. They differ by the model's stride.
///
/// Each layer is timed separately, and so are its products with weights, including the rounding of activations. The
/// rest is gates, states and copies. Bytes counts the weights that a step reads. Recurrent weights are read at every
/// step, other weights once per time batch.
///
/// The prediction comes from a simple model of the core: memory or arithmetic, whichever takes longer, and what every
/// call takes. It serves to compare models. It does not promise a time. In parentheses it has the range that follows from
/// what has been published about the core's memory.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct BenchArgs {
    /// The model: a file written by skinny, or a PyTorch state dict in safetensors
    #[arg(value_name = "FILE", required_unless_present_any = ["shape", "paper"])]
    pub model: Option<PathBuf>,

    #[command(flatten)]
    pub import: ImportArgs,

    /// Layers with random weights: gru:HIDDENxLAYERS, lstm:HIDDENxLAYERS, linear:INxOUT or conv:INxOUT:kernel=K:stride=S,
    /// each with an optional :rank=R, a number or a share of the full rank such as 0.25
    #[arg(long, value_name = "SHAPE,...", value_delimiter = ',', conflicts_with = "model")]
    pub shape: Vec<Shape>,

    /// Input features of the first layer of --shape, if it is recurrent; the default is its hidden size
    #[arg(long, value_name = "N", requires = "shape")]
    pub features: Option<usize>,

    /// The speech model of the paper (arXiv 1710.09026) with random weights: 161 spectrogram bins every 10 ms, two
    /// convolutions over time that stand in for the paper's over time and frequency, GRUs of 768, 1024 and 1280, a layer
    /// of 1536 and 29 characters
    #[arg(long, conflicts_with_all = ["model", "shape"])]
    pub paper: bool,

    /// The rank of the GRUs and of the layer of 1536, as a share of the full rank
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["model", "shape"], default_value_t = 1.0, value_parser = share)]
    pub rank_share: f64,

    /// Measure nothing, and only predict
    #[arg(long)]
    pub predict: bool,

    /// Run in this precision; the default is as stored, or int8 for --shape and --paper
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Steps whose input products are computed together
    #[arg(long, value_name = "STEPS", default_value_t = 4)]
    pub time_batch: usize,

    /// Number of threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// The core to predict the time of each layer on: cortex-a53, cortex-a72, cortex-a76, or a file that describes one
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
    let settings =
        Settings { threads: threads::of(args.threads)?, time_batch: args.time_batch, core: args.core.clone() };
    // Fails before the work.
    skinny::factored::Scratch::new()
        .with_time_batch(args.time_batch)
        .map_err(|cause| Failure::input(format!("--time-batch: {cause}")))?;

    let frame_rate = if args.paper { Some(shape::PAPER_FRAMES) } else { wav::frame_rate(&model) };
    if args.predict {
        return predict(args, &name, &model, frame_rate, console);
    }

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

    let report = Report { args, name, tier, model, layers, us_per_step, f32_us_per_step, streams, frame_rate };
    if args.json { console.json(&report.json()) } else { console.answer(report.text()) }
}

/// Answers with predictions alone.
fn predict(args: &BenchArgs, name: &str, model: &Model, frame_rate: Option<f64>, console: Console) -> Result<()> {
    if args.json {
        return console.json(&json!({
            "model": name,
            "time_batch": args.time_batch,
            "parameters": model.parameters(),
            "bytes": model.bytes(),
            "frames_per_second_of_sound": frame_rate,
            "predicted": predict::json(model, &predict::cores(&args.core), args.time_batch, frame_rate),
        }));
    }
    console.answer(format!(
        "{name}: {} parameters in {} bytes, time batch {}\n\n{}\n{}",
        count(model.parameters()),
        count(model.bytes()),
        args.time_batch,
        predict::layer_table(model, &args.core, args.time_batch),
        predict::core_table(model, &predict::cores(&args.core), args.time_batch, frame_rate)
    ))
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
        None if args.paper => {
            let model = shape::model(&shape::paper(args.rank_share), None)?;
            let name = match args.rank_share {
                1.0 => "the paper's model, random weights".into(),
                share => format!("the paper's model at {share} of the rank, random weights"),
            };
            Ok((name, args.precision.unwrap_or(Precision::Int8).of(&model, tier)?))
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
            line(format!("a second of sound: {} ms on this machine", digits(1e3 * factor)));
        }
        line(format!(
            "\n{}",
            predict::core_table(model, &predict::cores(&args.core), args.time_batch, self.frame_rate)
        ));
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
        let cores = predict::cores(&self.args.core);
        let us = |core: &Core| predict::model_us(&self.model, core, self.args.time_batch).into();
        let predicted: serde_json::Map<String, Value> =
            cores.iter().map(|core| (core.name.clone(), us(core))).collect();
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
            "predicted": predict::json(&self.model, &cores, self.args.time_batch, self.frame_rate),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "streams": self.streams.iter().map(stream).collect::<Vec<_>>(),
        })
    }
}

fn counted_frames(frames: usize) -> String {
    if frames == 1 { "1 frame".into() } else { format!("{frames} frames") }
}
