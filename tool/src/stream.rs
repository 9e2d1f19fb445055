//! Latency against speed: streams frames through a model, one frame a call as a microphone brings them, with time
//! batches of 1, 2, 4 and 8 steps.
//!
//!     cargo run --release --example stream                             the digits model in int8
//!     cargo run --release --example stream -- small.safetensors        a file that the example `compress` wrote
//!
//! A time batch of T reads the input weights once for T steps instead of once for each, and the first output waits for
//! T steps. The outputs are the same bits; the program checks it.

use std::sync::Arc;
use std::time::Instant;

use skinny::kernels::WeightFormat;
use skinny::model::{ImportOptions, Model, Session};
use skinny::{MatRef, Tier};

type Failure = Box<dyn std::error::Error>;

/// Frames of a run, and runs, of which the fastest counts.
const FRAMES: usize = 800;
const RUNS: usize = 5;

fn model(tier: Tier) -> Result<Model, Failure> {
    let options = ImportOptions { keep: vec!["features.mean".into(), "features.std".into()], ..Default::default() };
    let model = match std::env::args().nth(1) {
        Some(path) => Model::read(&std::fs::read(&path).map_err(|cause| format!("{path}: {cause}"))?, &options, tier)?,
        None => Model::from_pytorch(include_bytes!("digits/model.safetensors"), &options)?
            .quantize_to(WeightFormat::I8, tier)?,
    };
    Ok(model)
}

/// Frames that look random, in -1..1 (a linear congruential generator).
fn frames(width: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..FRAMES * width).map(|_| next()).collect()
}

/// What a run brought.
struct Run {
    outputs: Vec<f32>,
    /// Frames that were pushed when the first output came; none if it came at the end.
    first_output: Option<usize>,
    seconds: f64,
}

fn run(session: &mut Session, frames: &[f32]) -> Result<Run, Failure> {
    let mut outputs = Vec::new();
    let mut first_output = None;
    let start = Instant::now();
    for (i, frame) in frames.chunks(session.model().input_size()).enumerate() {
        let ready = session.push(MatRef::row_vector(frame))?;
        outputs.extend_from_slice(ready.as_slice());
        if ready.rows() > 0 {
            first_output.get_or_insert(i + 1);
        }
    }
    outputs.extend_from_slice(session.finish()?.as_slice());
    Ok(Run { outputs, first_output, seconds: start.elapsed().as_secs_f64() })
}

fn main() -> Result<(), Failure> {
    let tier = Tier::select()?;
    let model = Arc::new(model(tier)?);
    let frames = frames(model.input_size());
    println!(
        "{} layers, {} parameters in {} bytes, {} -> {} features; kernel tier {tier}; {FRAMES} frames, one a call",
        model.layers().len(),
        model.parameters(),
        model.bytes(),
        model.input_size(),
        model.output_size()
    );
    if !model.is_streaming() {
        println!("a bidirectional layer waits for the end: the first output comes after the last frame");
    }
    println!("time batch  first output after  us a frame  frames a second");
    let mut expected: Option<Vec<u32>> = None;
    for time_batch in [1, 2, 4, 8] {
        let mut session = Session::new(Arc::clone(&model))?.with_time_batch(time_batch)?;
        let runs = (0..RUNS).map(|_| run(&mut session, &frames)).collect::<Result<Vec<_>, _>>()?;
        let seconds = runs.iter().map(|run| run.seconds).fold(f64::INFINITY, f64::min);
        let bits: Vec<u32> = runs[0].outputs.iter().map(|output| output.to_bits()).collect();
        if *expected.get_or_insert_with(|| bits.clone()) != bits {
            return Err(format!("a time batch of {time_batch} changed the outputs").into());
        }
        let wait = runs[0].first_output.map_or("the end".into(), |frames| format!("{frames} frames"));
        println!(
            "{time_batch:>10}  {wait:>18}  {:>10.2}  {:>15.0}",
            seconds * 1e6 / FRAMES as f64,
            FRAMES as f64 / seconds
        );
    }
    println!("outputs: the same bits for all time batches");
    Ok(())
}
