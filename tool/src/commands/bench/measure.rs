//! Measures a model: its layers, their products, the whole model, and streams in several time batches.

use std::sync::Arc;
use std::time::Instant;

use skinny::compress::Core;
use skinny::factored::Scratch;
use skinny::kernels::{Activation, Threads};
use skinny::model::{Layer, Model, Session};
use skinny::{Mat, MatMut, MatRef};

use crate::error::{Failure, Result};
use crate::progress::Progress;
use crate::random::Random;
use crate::timing::seconds_per_call;
use crate::weights;

/// Frames per run of a layer that waits for the end.
const WHOLE: usize = 64;

/// Frames per stream, and streams per time batch. The fastest stream counts.
const FRAMES: usize = 800;
const STREAMS: usize = 3;

/// Settings for all measurements.
pub struct Settings {
    pub threads: Threads,
    pub time_batch: usize,
    pub core: Core,
}

/// The times of a layer, in microseconds per step of the model.
pub struct LayerTime {
    pub name: String,
    pub kind: &'static str,
    pub us: f64,
    /// The part of `us` in products with weights, including the rounding and packing of activations.
    pub products_us: f64,
    /// Bytes of weights read per step.
    pub bytes: f64,
    /// The prediction by the model of the core.
    pub predicted_us: f64,
}

/// A stream cut into time batches.
pub struct Stream {
    pub time_batch: usize,
    /// Frames pushed until the first output came, or none if it came at the end.
    pub first_output: Option<usize>,
    pub us_per_frame: f64,
}

impl Settings {
    fn session(&self, model: Arc<Model>, time_batch: usize) -> Result<Session> {
        Ok(Session::with_threads(model, self.threads.clone())?.with_time_batch(time_batch)?)
    }

    /// The microseconds per step of a model. A step is one output frame.
    pub fn model_us(&self, model: &Arc<Model>) -> Result<f64> {
        let mut session = self.session(Arc::clone(model), self.time_batch)?;
        let steps = if model.is_streaming() { self.time_batch } else { WHOLE };
        let x = frames(model.input_size(), steps * model.stride())?;
        let seconds = seconds_per_call(|| {
            session.push(x.view())?;
            if !session.model().is_streaming() {
                session.finish()?;
            }
            Ok::<(), skinny::Error>(())
        })?;
        Ok(seconds * 1e6 / steps as f64)
    }

    /// Times a layer that runs `runs` times per step of the model.
    pub fn layer(&self, name: &str, layer: &Layer, runs: usize) -> Result<LayerTime> {
        let alone = Arc::new(Model::new(vec![(name.into(), layer.clone())])?);
        let runs = runs as f64;
        let us = runs * self.model_us(&alone)?;
        let (mut products_us, mut bytes, mut predicted_us) = (0.0, 0.0, 0.0);
        for part in weights::of(layer) {
            let rows = if part.recurrent { 1 } else { self.time_batch };
            let (n, x) = (part.weight.n(), frames(part.weight.k(), rows)?);
            let (mut out, mut scratch) = (vec![0.0; rows * n], Scratch::with_threads(self.threads.clone()));
            let seconds = seconds_per_call(|| {
                let out = MatMut::new(&mut out, rows, n)?;
                part.weight.apply(x.view(), None, Activation::Identity, out, &mut scratch)
            })?;
            products_us += runs * seconds * 1e6 / rows as f64;
            bytes += runs * part.bytes_per_step(self.time_batch);
            predicted_us += runs * part.predicted_us(&self.core, self.time_batch);
        }
        // Both are measured, so the rest could come out slightly below zero.
        let products_us = products_us.min(us);
        Ok(LayerTime { name: name.into(), kind: layer.kind(), us, products_us, bytes, predicted_us })
    }

    /// Times streams in several time batches, with one frame per call, as from a microphone. The outputs must have the
    /// same bits.
    pub fn streams(&self, model: &Arc<Model>, progress: &mut impl FnMut(usize)) -> Result<Vec<Stream>> {
        let x = frames(model.input_size(), FRAMES)?;
        let mut expected: Option<Vec<u32>> = None;
        let mut streams = Vec::new();
        for time_batch in [1, 2, 4, 8] {
            progress(time_batch);
            let mut session = self.session(Arc::clone(model), time_batch)?;
            let (mut fastest, mut first_output, mut outputs) = (f64::INFINITY, None, Vec::new());
            for _ in 0..STREAMS {
                outputs.clear();
                let start = Instant::now();
                for (i, frame) in x.as_slice().chunks(x.cols()).enumerate() {
                    let ready = session.push(MatRef::row_vector(frame))?;
                    outputs.extend_from_slice(ready.as_slice());
                    if ready.rows() > 0 {
                        first_output.get_or_insert(i + 1);
                    }
                }
                outputs.extend_from_slice(session.finish()?.as_slice());
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
            let bits: Vec<u32> = outputs.iter().map(|output| output.to_bits()).collect();
            if *expected.get_or_insert_with(|| bits.clone()) != bits {
                return Err(Failure::No(format!("a time batch of {time_batch} changed the outputs")));
            }
            streams.push(Stream { time_batch, first_output, us_per_frame: fastest * 1e6 / FRAMES as f64 });
        }
        Ok(streams)
    }
}

/// `count` pseudo-random frames.
fn frames(width: usize, count: usize) -> Result<Mat<f32>> {
    Ok(Mat::from_vec(Random::new(7).floats(width * count), count, width)?)
}

impl LayerTime {
    /// The sum over layers.
    pub fn sum(layers: &[LayerTime]) -> Self {
        let sum = |of: fn(&LayerTime) -> f64| layers.iter().map(of).sum();
        LayerTime {
            name: "sum".into(),
            kind: "",
            us: sum(|layer| layer.us),
            products_us: sum(|layer| layer.products_us),
            bytes: sum(|layer| layer.bytes),
            predicted_us: sum(|layer| layer.predicted_us),
        }
    }
}

/// A function that advances the progress over `all` measurements. Its argument is the name of the next one.
pub fn counted<'p>(progress: &'p mut Progress, all: usize) -> impl FnMut(&str) + use<'p> {
    let mut done = 0;
    move |next| {
        progress.at(done, all, next);
        done += 1;
    }
}
