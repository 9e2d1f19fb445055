//! Compresses a trained model: factors its weights, rounds them to 8 bits, saves it and measures the loss.
//!
//!     cargo run --release --features audio,svd --example compress
//!
//! The model is the dense network of the example `digits`, as PyTorch wrote it. The program `skinny compress` (tool/) does
//! the same to any file.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use skinny::audio::{Features, FrontEnd};
use skinny::compress::{Budget, Choice, Cost, RANK_MULTIPLE};
use skinny::factored::Scheme;
use skinny::kernels::WeightFormat;
use skinny::model::{Calibration, Cutting, ImportOptions, Model, Session, Storage, Weighting};
use skinny::{Mat, Tier};

fn main() -> Result<(), Box<dyn Error>> {
    let tier = Tier::select()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits");

    // 1. Import. Tensors that belong to the model but to no layer are kept by name.
    let options = ImportOptions { keep: Features::TENSORS.map(String::from).into(), ..ImportOptions::default() };
    let model = Model::load_pytorch(folder.join("model.safetensors"), &options)?;

    // 2. Calibrate: collect statistics of each layer's inputs, which decide which directions of its weight to keep.
    let front_end = &mut FrontEnd::new(Features::of_model(&model)?.ok_or("features are not described")?)?;
    let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    for digit in 0..10 {
        let frames = features(&folder.join(format!("recordings/{digit}_jackson_45.wav")), front_end)?;
        calibration.add(&model, frames.view())?;
    }

    // 3. Decompose once, then plan: here a quarter of the weights, allocated where they help most.
    let decomposed =
        model.decompose(Scheme::PartiallyJoint, Some(&calibration), Weighting::Data, |name, done, count| {
            println!("decomposing {name}, {} of {count}", done + 1);
        })?;
    let all = decomposed.cost(&decomposed.dense(), &Cost::Parameters);
    let budget = Budget { limit: 0.25 * all, cost: Cost::Parameters };
    let plan = decomposed.plan(&Cutting::Together { budget, rank_multiple: RANK_MULTIPLE })?;

    // 4. Build it in 8 bits, with factors that compensate each other's rounding.
    let storage = Storage { format: Some(WeightFormat::I8.into()), correct: true };
    let small = decomposed.build(&plan, |_| storage, tier)?;
    println!("\nmatrix               shape      rank   error");
    for matrix in &small.matrices {
        let rank = match matrix.choice {
            Choice::Dense => "dense".into(),
            Choice::LowRank(rank) => rank.to_string(),
        };
        let shape = format!("{} x {}", matrix.n, matrix.k);
        println!("{:<18} {shape:>10}  {rank:>6}  {:>5.1}%", matrix.name, 100.0 * matrix.relative_error);
    }

    // 5. Save, and load as a device would.
    let path = std::env::temp_dir().join(format!("compress-{}.safetensors", std::process::id()));
    small.model.save(&path)?;
    let bytes = std::fs::metadata(&path)?.len();
    let loaded = Model::load(&path, tier)?;
    std::fs::remove_file(&path)?;

    // 6. Measure on recordings of another speaker.
    let (mut signal, mut noise) = (0.0, 0.0);
    for digit in 0..10 {
        let frames = features(&folder.join(format!("recordings/{digit}_theo_46.wav")), front_end)?;
        for (y, exact) in outputs(&loaded, &frames)?.iter().zip(outputs(&model, &frames)?) {
            signal += f64::from(exact).powi(2);
            noise += f64::from(y - exact).powi(2);
        }
    }
    let decibels = 10.0 * f64::log10(signal / noise);
    println!("\n{} -> {} parameters", model.parameters(), loaded.parameters());
    println!("{} -> {} bytes in memory, {bytes} in a file", model.bytes(), loaded.bytes());
    println!("outputs of another speaker's recordings: {decibels:.1} dB");
    assert!(4 * loaded.parameters() < model.parameters() && 10 * bytes < model.bytes() as u64);
    assert!(decibels > 15.0);
    Ok(())
}

/// The features of a recording, computed as the model's file describes.
fn features(path: &Path, front_end: &mut FrontEnd) -> Result<Mat<f32>, Box<dyn Error>> {
    let samples = hound::WavReader::open(path)?.into_samples::<i16>().map(|sample| Ok(f32::from(sample?) / 32768.0));
    Ok(front_end.whole(&samples.collect::<Result<Vec<_>, hound::Error>>()?)?)
}

/// The outputs of a model for a sequence.
fn outputs(model: &Model, frames: &Mat<f32>) -> skinny::Result<Vec<f32>> {
    let mut session = Session::new(Arc::new(model.clone()))?;
    let mut outputs = session.push(frames.view())?.as_slice().to_vec();
    outputs.extend_from_slice(session.finish()?.as_slice());
    Ok(outputs)
}
