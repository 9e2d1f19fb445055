//! Transcribes spoken digits with a recurrent network that runs on this crate's kernels: log-mel features, GRU layers,
//! a linear layer, greedy CTC decoding.
//!
//!     cargo run --release --features audio --example digits
//!
//! `--help` lists what else it does; README.md beside it tells about the network.

mod args;
mod ctc;
mod features;
mod fsdd;
mod model;
mod wav;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skinny::Tier;
use skinny::kernels::WeightFormat;
use skinny::model::Model;

use args::{Args, USAGE};
use ctc::{Alphabet, ErrorCount};
use fsdd::{Recording, WORDS, draw};
use model::{Failure, Transcriber};

/// A dense model in f32, part of the program: copied to a Pi, it needs nothing else.
pub const MODEL: &[u8] = include_bytes!("model.safetensors");

/// A low-rank model in int8, as `skinny train` wrote it.
pub const LOW_RANK: &[u8] = include_bytes!("low_rank.safetensors");

/// The recordings that come with the example, all of the validation split.
pub const RECORDINGS: [(&str, &[u8]); 20] = {
    macro_rules! recordings {
        ($($name:literal)*) => { [$(($name, include_bytes!(concat!("recordings/", $name)))),*] };
    }
    recordings! {
        "0_jackson_45.wav" "1_jackson_45.wav" "2_jackson_45.wav" "3_jackson_45.wav" "4_jackson_45.wav"
        "5_jackson_45.wav" "6_jackson_45.wav" "7_jackson_45.wav" "8_jackson_45.wav" "9_jackson_45.wav"
        "0_theo_46.wav" "1_theo_46.wav" "2_theo_46.wav" "3_theo_46.wav" "4_theo_46.wav"
        "5_theo_46.wav" "6_theo_46.wav" "7_theo_46.wav" "8_theo_46.wav" "9_theo_46.wav"
    }
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("digits: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Something to transcribe.
struct Item {
    name: String,
    samples: Vec<f32>,
    /// What is said, if known.
    reference: Option<String>,
}

/// A network and how it did.
struct Variant {
    name: &'static str,
    network: Arc<Model>,
    alphabet: Alphabet,
    singles: ErrorCount,
    strings: ErrorCount,
    busy: Duration,
}

fn run() -> Result<(), Failure> {
    let args = Args::parse(std::env::args().skip(1))?;
    if args.help {
        println!("{USAGE}");
        return Ok(());
    }
    let tier = Tier::select()?;
    let mut variants = match &args.model {
        None => variants(tier)?,
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
            vec![Variant::new("from file", model::read(&bytes, tier)?)?]
        }
    };
    let rate = model::sample_rate(&variants[0].network)?;

    let (singles, strings) = match (&args.data, args.files.is_empty()) {
        (Some(folder), _) => {
            let listing = fsdd::list(folder, args.indices.clone())?;
            println!(
                "{} recordings with index {}..{} of {} ({} with another index)",
                listing.recordings.len(),
                args.indices.start(),
                args.indices.end(),
                folder.display(),
                listing.other_indices
            );
            items(&listing.recordings, args.strings.unwrap_or(200), &args, |r| Ok(wav::read(&r.path, rate)?))?
        }
        (None, true) => {
            let bytes: HashMap<_, _> =
                RECORDINGS.into_iter().map(|(name, bytes)| (PathBuf::from(name), bytes)).collect();
            let mut recordings: Vec<_> = bytes.keys().filter_map(|path| Recording::from_path(path)).collect();
            recordings.sort();
            let read = |r: &Recording| Ok(wav::decode(bytes[&r.path], &r.path.display().to_string(), rate)?);
            items(&recordings, args.strings.unwrap_or(10), &args, read)?
        }
        (None, false) => {
            let item = |path: &PathBuf| -> Result<Item, Failure> {
                Ok(Item { name: path.display().to_string(), samples: wav::read(path, rate)?, reference: None })
            };
            (args.files.iter().map(item).collect::<Result<Vec<_>, _>>()?, Vec::new())
        }
    };

    let verbose = args.data.is_none();
    for (items, are_strings) in [(&singles, false), (&strings, true)] {
        for item in items {
            let mut transcripts = Vec::new();
            for variant in &mut variants {
                let transcript = variant.transcribe(item, rate)?;
                if let Some(reference) = &item.reference {
                    let errors = if are_strings { &mut variant.strings } else { &mut variant.singles };
                    errors.add(&transcript, reference);
                }
                transcripts.push((variant.name, transcript));
            }
            if verbose {
                print_transcripts(item, &transcripts);
            }
        }
    }
    let seconds = singles.iter().chain(&strings).map(|item| item.samples.len()).sum::<usize>() as f64 / f64::from(rate);
    print_table(&variants, tier, seconds, args.string_length);
    check(&args, &variants)
}

/// The dense network as it was trained and in int8, and the low-rank one.
fn variants(tier: Tier) -> Result<Vec<Variant>, Failure> {
    let dense = model::read(MODEL, tier)?;
    let int8 = dense.quantize_to(WeightFormat::I8, tier)?;
    let low_rank = model::read(LOW_RANK, tier)?;
    Ok(vec![Variant::new("f32", dense)?, Variant::new("int8", int8)?, Variant::new("low-rank int8", low_rank)?])
}

/// The recordings one by one, and strings drawn from them.
fn items(
    recordings: &[Recording],
    strings: usize,
    args: &Args,
    read: impl Fn(&Recording) -> Result<Vec<f32>, Failure>,
) -> Result<(Vec<Item>, Vec<Item>), Failure> {
    let single = |r: &Recording| -> Result<Item, Failure> {
        let reference = WORDS[usize::from(r.digit)].to_owned();
        let name = r.path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        Ok(Item { name, samples: read(r)?, reference: Some(reference) })
    };
    let singles = recordings.iter().map(single).collect::<Result<Vec<_>, _>>()?;
    let drawn = draw(recordings, args.string_length, strings, args.seed);
    let string = |(i, string): (usize, &fsdd::DigitString<'_>)| -> Result<Item, Failure> {
        let speaker = &string.parts[0].0.speaker;
        Ok(Item {
            name: format!("string {i}, {speaker}"),
            samples: string.samples(&read)?,
            reference: Some(string.text()),
        })
    };
    let strings = drawn.iter().enumerate().map(string).collect::<Result<Vec<_>, _>>()?;
    Ok((singles, strings))
}

impl Variant {
    fn new(name: &'static str, network: Model) -> Result<Self, Failure> {
        let alphabet = model::alphabet(&network)?;
        let (singles, strings) = (ErrorCount::default(), ErrorCount::default());
        Ok(Self { name, network: Arc::new(network), alphabet, singles, strings, busy: Duration::ZERO })
    }

    /// Transcribes as a product would: sound comes in pieces of 100 ms.
    fn transcribe(&mut self, item: &Item, rate: u32) -> Result<String, Failure> {
        let mut transcriber = Transcriber::new(&self.network, &self.alphabet)?;
        let start = Instant::now();
        for piece in item.samples.chunks(rate as usize / 10) {
            transcriber.push(piece)?;
        }
        let text = transcriber.finish()?;
        self.busy += start.elapsed();
        Ok(text)
    }
}

fn print_transcripts(item: &Item, transcripts: &[(&str, String)]) {
    let (_, first) = &transcripts[0];
    let mark = match &item.reference {
        Some(reference) if reference == first => "  correct".to_owned(),
        Some(reference) => format!("  WRONG, said: {reference}"),
        None => String::new(),
    };
    println!("{:<22} {first}{mark}", item.name);
    for (name, text) in transcripts.iter().filter(|(_, text)| text != first) {
        println!("{:<22} {text}  ({name} differs)", "");
    }
}

fn print_table(variants: &[Variant], tier: Tier, seconds: f64, length: usize) {
    let rate = |errors: &ErrorCount| {
        errors
            .character_error_rate()
            .map_or("-".into(), |rate| format!("{:.2}% of {}", 100.0 * rate, errors.characters))
    };
    println!("\nkernel tier {tier}; one thread; {seconds:.1} s of sound");
    println!(
        "{:<14} {:>10} {:>8} {:>16} {:>18} {:>15}",
        "network",
        "parameters",
        "bytes",
        "CER, digits",
        format!("CER, strings of {length}"),
        "ms per s sound"
    );
    for variant in variants {
        println!(
            "{:<14} {:>10} {:>8} {:>16} {:>18} {:>15.2}",
            variant.name,
            variant.network.parameters(),
            variant.network.bytes(),
            rate(&variant.singles),
            rate(&variant.strings),
            variant.busy.as_secs_f64() * 1e3 / seconds
        );
    }
}

/// Fails if an error rate over the strings is beyond the bounds that the caller set.
fn check(args: &Args, variants: &[Variant]) -> Result<(), Failure> {
    let percent = |variant: &Variant| variant.strings.character_error_rate().map(|rate| 100.0 * rate);
    for variant in variants {
        if let (Some(max), Some(cer)) = (args.max_cer, percent(variant))
            && cer > max
        {
            return Err(format!("{}: CER {cer:.2}% over the strings exceeds {max}%", variant.name).into());
        }
        if let (Some(max), Some(cer), Some(f32)) = (args.max_gap, percent(variant), percent(&variants[0]))
            && cer - f32 > max
        {
            return Err(format!(
                "{}: CER {cer:.2}% over the strings exceeds f32's {f32:.2}% by more than {max}",
                variant.name
            )
            .into());
        }
    }
    Ok(())
}
