//! Loads a model file and runs a stream through it, in pieces of several sizes.
//!
//!     cargo run --release --features safetensors --example model
//!
//! The file is the low-rank network of the example `digits`: two GRU layers and a linear layer, in int8.

use std::sync::Arc;
use std::time::Instant;

use skinny::model::{Model, Session};
use skinny::{Mat, MatRef, Tier};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/digits/low_rank.safetensors");

/// Number of frames of the stream.
const FRAMES: usize = 400;

fn main() -> skinny::Result<()> {
    // The weights are packed for the best kernels of this machine, without changing their values.
    let tier = Tier::select()?;
    let model = Arc::new(Model::load(FILE, tier)?);
    for (name, layer) in model.layers() {
        let (input, output) = (layer.input_size(), layer.output_size());
        println!(
            "{name:<8} {input:>4} -> {output:<4} {:>6} parameters in {:>6} bytes",
            layer.parameters(),
            layer.bytes()
        );
    }
    println!("architecture: {}", model.metadata()["architecture"]);

    let frames = frames(model.input_size())?;
    println!("\nframes per call  time batch  outputs of the calls  microseconds per frame");
    let mut expected: Option<Vec<u32>> = None;
    for (piece, time_batch) in [(FRAMES, 8), (1, 1), (1, 4), (7, 4)] {
        // A session is one stream. Any number of sessions, on any threads, can share a model. A time batch of 4 reads
        // the input weights once per four steps, but the first output waits for four frames.
        let mut session = Session::new(Arc::clone(&model))?.with_time_batch(time_batch)?;
        let (mut outputs, mut counts) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for rows in (0..FRAMES).step_by(piece).map(|first| first..(first + piece).min(FRAMES)) {
            let values = &frames.as_slice()[rows.start * frames.cols()..rows.end * frames.cols()];
            let ready = session.push(MatRef::new(values, rows.len(), frames.cols())?)?;
            outputs.extend(ready.as_slice().iter().map(|value| value.to_bits()));
            counts.push(ready.rows());
        }
        let rest = session.finish()?;
        outputs.extend(rest.as_slice().iter().map(|value| value.to_bits()));
        let microseconds = start.elapsed().as_secs_f64() * 1e6 / FRAMES as f64;
        let first = format!("{:?}", &counts[..counts.len().min(5)]);
        println!("{piece:>15}  {time_batch:>10}  {first:>20}  {microseconds:>22.1}");

        // The outputs are bit-identical for any split of the stream and any time batch.
        assert_eq!(outputs.len(), FRAMES * model.output_size());
        assert_eq!(expected.get_or_insert_with(|| outputs.clone()), &outputs);
    }
    println!("the same {} outputs each time, bit for bit", FRAMES * model.output_size());
    Ok(())
}

/// Frames that look random, in -1..1 (a linear congruential generator).
fn frames(width: usize) -> skinny::Result<Mat<f32>> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Mat::from_vec((0..FRAMES * width).map(|_| next()).collect(), FRAMES, width)
}
