//! All ways to compute give one hash: every tier, 1 to 8 threads, every chunking and time batch, x86-64 and aarch64.

use std::sync::Arc;

use skinny::factored::{Gru, Linear, LowRank, LowRankLinear, Lstm, TimeConvolution, Weight};
use skinny::kernels::{Activation, Threads, WeightFormat};
use skinny::model::{Layer, Model, Session};
use skinny::{Mat, MatRef, Tier};

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn add(&mut self, values: &[f32]) {
        for byte in values.iter().flat_map(|value| value.to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// A pattern of integers as floats in -1..=1, times a power of two. It is exact, so it is the same on every machine.
fn pattern(len: usize, salt: usize, magnitude: f32) -> Vec<f32> {
    let value = |i: u64| ((i * 7919 + salt as u64 * 104_729 + i / 13 * 31) % 257) as f32 / 128.0 - 1.0;
    (0..len as u64).map(|i| value(i) * magnitude).collect()
}

fn mat(rows: usize, cols: usize, salt: usize, magnitude: f32) -> Mat<f32> {
    Mat::from_vec(pattern(rows * cols, salt, magnitude), rows, cols).unwrap()
}

/// Numbers are smaller where more of them are summed, so that gates do not saturate.
fn dense(rows: usize, cols: usize, salt: usize) -> Weight {
    let magnitude = 4.0 / cols.next_power_of_two() as f32;
    Weight::dense(mat(rows, cols, salt, magnitude)).unwrap()
}

fn low_rank(rows: usize, cols: usize, rank: usize, salt: usize) -> Weight {
    LowRank::from_factors(mat(rows, rank, salt, 0.5), mat(rank, cols, salt + 1, 0.125)).unwrap().into()
}

fn bias(len: usize, salt: usize) -> Option<Vec<f32>> {
    Some(pattern(len, salt, 0.125))
}

const INPUT: usize = 13;

/// Every kind of layer that streams, with dense, factored, stacked and joint weights and `hidden` features between
/// them.
fn model(hidden: usize) -> Model {
    let h = hidden;
    let linear = |weight, salt| Linear::new(weight, bias(h, salt)).unwrap();
    let joint =
        LowRankLinear::with_shared_u(mat(4 * h, 8, 30, 0.5), [mat(8, h, 31, 0.25), mat(8, h, 32, 0.25)]).unwrap();
    let split = |salt| Weight::stack((0..3).map(|i| low_rank(h, h, 3 + i, salt + 2 * i)).collect()).unwrap();
    let [joint_ih, joint_hh] = joint;
    let layers = vec![
        (
            "convolution",
            Layer::TimeConvolution(TimeConvolution::new(linear(dense(h, 3 * INPUT, 1), 2), 3, 2, 1).unwrap()),
        ),
        ("linear", Layer::Linear(linear(dense(h, h, 3), 4).with_activation(Activation::ClippedRelu(4.0)))),
        ("gru", Layer::Gru(Gru::new(dense(3 * h, h, 5), dense(3 * h, h, 6), bias(3 * h, 7), bias(3 * h, 8)).unwrap())),
        ("lstm", Layer::Lstm(Lstm::new(dense(4 * h, h, 9), low_rank(4 * h, h, 9, 10), bias(4 * h, 12), None).unwrap())),
        ("split", Layer::Gru(Gru::new(split(13), split(20), None, bias(3 * h, 27)).unwrap())),
        ("joint", Layer::Lstm(Lstm::new(joint_ih, joint_hh, bias(4 * h, 33), bias(4 * h, 34)).unwrap())),
        ("low rank", Layer::Linear(Linear::new(low_rank(11, h, 7, 35), bias(11, 37)).unwrap())),
    ];
    Model::new(layers.into_iter().map(|(name, layer)| (name.into(), layer)).collect()).unwrap()
}

fn frames(count: usize) -> Vec<f32> {
    pattern(count * INPUT, 40, 2.0)
}

/// The outputs for `frames`, pushed `chunk` at a time.
fn outputs(mut session: Session, frames: &[f32], chunk: usize) -> Vec<f32> {
    let mut outputs = Vec::new();
    for chunk in frames.chunks(chunk * INPUT) {
        let rows = chunk.len() / INPUT;
        outputs.extend_from_slice(session.push(MatRef::new(chunk, rows, INPUT).unwrap()).unwrap().as_slice());
    }
    outputs.extend_from_slice(session.finish().unwrap().as_slice());
    outputs
}

/// No pool, and pools of 1 to 8 threads.
fn threads() -> Vec<Threads> {
    #[allow(unused_mut, reason = "grows with the feature alone")]
    let mut threads = vec![Threads::Caller];
    #[cfg(feature = "rayon")]
    threads.extend((1..=8).map(|count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        Threads::Pool(Arc::new(pool))
    }));
    threads
}

/// The model in `f32`, and in each of `formats` on every tier.
fn stored(model: &Model, formats: &[WeightFormat]) -> Vec<(String, Arc<Model>)> {
    let quantized = formats.iter().flat_map(|&format| {
        let of_tier = |&tier: &Tier| (format!("{format:?} on {tier}"), model.quantize_to(format, tier).unwrap());
        Tier::available().iter().map(of_tier).collect::<Vec<_>>()
    });
    let all: Vec<_> = quantized.chain([("f32".to_owned(), model.clone())]).collect();
    all.into_iter().map(|(what, model)| (what, Arc::new(model))).collect()
}

/// Runs `model` over `count` frames in all ways and returns one hash for `f32` and each of `formats`.
fn hash(
    model: &Model,
    formats: &[WeightFormat],
    count: usize,
    chunks: &[usize],
    time_batches: &[usize],
    threads: &[Threads],
) -> u64 {
    let frames = frames(count);
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    let mut of_format: Vec<(String, Vec<u32>)> = Vec::new();
    for (what, model) in stored(model, formats) {
        let format = what.split(' ').next().unwrap().to_owned();
        for threads in threads {
            for &time_batch in time_batches {
                for &chunk in chunks {
                    let session = Session::with_threads(model.clone(), threads.clone()).unwrap();
                    let session = session.with_time_batch(time_batch).unwrap();
                    let outputs = outputs(session, &frames, chunk);
                    assert!(outputs.iter().all(|y| y.is_finite()));
                    let bits: Vec<u32> = outputs.iter().map(|y| y.to_bits()).collect();
                    match of_format.iter().find(|(known, _)| *known == format) {
                        Some((_, known)) => {
                            assert!(bits == *known, "{what}, time batch {time_batch}, chunk {chunk}, {threads:?}");
                        }
                        None => {
                            hash.add(&outputs);
                            of_format.push((format.clone(), bits));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(of_format.len(), 1 + formats.len());
    assert!(of_format.windows(2).all(|pair| pair[0].1 != pair[1].1), "formats are alike");
    hash.0
}

/// The formats, in the order in which they came: those of each line have hashes of their own, which never change.
const FORMATS: [&[WeightFormat]; 2] =
    [&[WeightFormat::I8, WeightFormat::I4, WeightFormat::I4Group32], &[WeightFormat::I2Group64]];

#[test]
fn every_format_has_a_hash() {
    assert_eq!(FORMATS.concat(), WeightFormat::ALL);
}

/// The hashes are the same on every machine and tier, for any number of threads, chunking and time batch.
const HASHES: [u64; 2] = [0x5387_9b7c_b5cd_dfaa, 0x4e41_9862_b2d6_62b0];

#[test]
fn one_hash_however_a_stream_is_cut() {
    let every: Vec<usize> = (1..=10).collect();
    let found = FORMATS.map(|formats| hash(&model(24), formats, 27, &every, &every, &threads()));
    assert_eq!(found, HASHES, "{found:#018x?}");
}

/// The hashes of a model whose products are large enough to be divided among eight threads, even in 4 bits.
const HASHES_OF_LARGE: [u64; 2] = [0x6b29_0de3_5b98_f77e, 0x4433_f315_78b9_8efd];

#[test]
fn one_hash_for_any_number_of_threads() {
    let model = model(608);
    // Each of eight threads has at least 64 KB.
    #[cfg(feature = "rayon")]
    {
        let Layer::Gru(gru) = model.layers().nth(2).unwrap().1 else { unreachable!() };
        assert!(gru.weight_hh().parameters() / 2 >= 8 * 64 * 1024);
    }
    let found = FORMATS.map(|formats| hash(&model, formats, 5, &[2], &[4], &threads()));
    assert_eq!(found, HASHES_OF_LARGE, "{found:#018x?}");
}
