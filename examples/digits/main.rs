//! Transcribes spoken digits with a recurrent network on this crate's kernels: log-mel features, GRU layers, a linear
//! layer and greedy CTC decoding, as the model's file describes.
//!
//!     cargo run --release --features audio --example digits
//!
//! `--help` lists the options; README.md describes the networks.

mod args;
mod fsdd;
mod sound;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skinny::Tier;
use skinny::audio::{ErrorCount, Features, Transcriber};
use skinny::kernels::WeightFormat;
use skinny::model::{ImportOptions, Model};

use args::Args;
use sound::{Item, items};

type Failure = Box<dyn std::error::Error>;
/// A dense model in f32, embedded so that the program needs no other file.
const DENSE: &[u8] = include_bytes!("model.safetensors");
/// A low-rank model in int8, trained by this crate.
const LOW_RANK: &[u8] = include_bytes!("low_rank.safetensors");

/// A network and its results.
struct Variant {
    name: &'static str,
    model: Arc<Model>,
    singles: ErrorCount,
    strings: ErrorCount,
    busy: Duration,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let args = Args::parse(std::env::args().skip(1))?;
    if args.help {
        println!("{}", args::USAGE);
        return Ok(());
    }
    let tier = Tier::select()?;
    let mut variants = match &args.model {
        None => {
            let dense = read(DENSE, tier)?;
            let int8 = dense.quantize_to(WeightFormat::I8, tier)?;
            vec![variant("f32", dense), variant("int8", int8), variant("low-rank int8", read(LOW_RANK, tier)?)]
        }
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
            vec![variant("from file", read(&bytes, tier)?)]
        }
    };
    let items = items(&args)?;
    for item in &items {
        let mut texts = Vec::new();
        for variant in &mut variants {
            let text = transcribe(variant, item)?;
            if let Some(reference) = &item.reference {
                let errors = if item.is_string { &mut variant.strings } else { &mut variant.singles };
                errors.add_text(&text, reference);
            }
            texts.push((variant.name, text));
        }
        if args.data.is_none() {
            print_texts(item, &texts);
        }
    }
    let seconds = items.iter().map(|item| item.samples.len() as f64 / f64::from(item.rate)).sum::<f64>();
    println!("\nkernel tier {tier}; one thread; {seconds:.1} s of sound");
    print_table(&variants, seconds, args.string_length);
    check(&args, &variants)
}

/// Reads a model file of PyTorch, in f32, or of this crate.
fn read(bytes: &[u8], tier: Tier) -> Result<Model, Failure> {
    let options = ImportOptions { keep: Features::TENSORS.map(String::from).into(), ..ImportOptions::default() };
    Ok(Model::read(bytes, &options, tier)?)
}

fn variant(name: &'static str, model: Model) -> Variant {
    Variant { name, model: Arc::new(model), singles: <_>::default(), strings: <_>::default(), busy: Duration::ZERO }
}

/// Transcribes as a product would, with sound in pieces of 100 ms.
fn transcribe(variant: &mut Variant, item: &Item) -> Result<String, Failure> {
    let mut transcriber = Transcriber::new(&variant.model)?.with_input_rate(item.rate)?;
    let start = Instant::now();
    for piece in item.samples.chunks((item.rate / 10).max(1) as usize) {
        transcriber.push(piece)?;
    }
    let text = transcriber.finish()?;
    variant.busy += start.elapsed();
    Ok(text)
}

fn print_texts(item: &Item, texts: &[(&str, String)]) {
    let (_, first) = &texts[0];
    let mark = match &item.reference {
        Some(reference) if reference == first => "  correct".to_owned(),
        Some(reference) => format!("  WRONG, said: {reference}"),
        None => String::new(),
    };
    println!("{:<22} {first}{mark}", item.name);
    for (name, text) in texts.iter().filter(|(_, text)| text != first) {
        println!("{:<22} {text}  ({name} differs)", "");
    }
}

fn print_table(variants: &[Variant], seconds: f64, length: usize) {
    let strings = format!("CER, strings of {length}");
    println!("network        parameters    bytes      CER, digits {strings:>18} ms per s sound");
    let rate = |errors: &ErrorCount| match errors.symbols {
        0 => "-".into(),
        symbols => format!("{:.2}% of {symbols}", 100.0 * errors.rate()),
    };
    for Variant { name, model, singles, strings, busy } in variants {
        let (parameters, bytes, busy) = (model.parameters(), model.bytes(), busy.as_secs_f64() * 1e3 / seconds);
        let (singles, strings) = (rate(singles), rate(strings));
        println!("{name:<14} {parameters:>10} {bytes:>8} {singles:>16} {strings:>18} {busy:>14.2}");
    }
}

/// Fails if an error rate over the strings exceeds the bounds given on the command line.
fn check(args: &Args, variants: &[Variant]) -> Result<(), Failure> {
    let first = 100.0 * variants[0].strings.rate();
    for Variant { name, strings, .. } in variants {
        let cer = 100.0 * strings.rate();
        if args.max_cer.is_some_and(|max| cer > max) || args.max_gap.is_some_and(|max| cer - first > max) {
            return Err(format!("{name}: CER {cer:.2}% over the strings is too high (f32: {first:.2}%)").into());
        }
    }
    Ok(())
}
