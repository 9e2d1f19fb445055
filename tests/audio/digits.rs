//! The models of the example `digits`, from sound to text.

use std::sync::Arc;

use skinny::audio::{Features, FrontEnd, Transcriber};
use skinny::model::{ImportOptions, Model};
use skinny::{Error, FileError, Tier};

const DENSE: &[u8] = include_bytes!("../../examples/digits/model.safetensors");
const LOW_RANK: &[u8] = include_bytes!("../../examples/digits/low_rank.safetensors");
const SEVEN: &[u8] = include_bytes!("../../examples/digits/recordings/7_jackson_45.wav");
const THREE: &[u8] = include_bytes!("../../examples/digits/recordings/3_theo_46.wav");
/// Frames computed by `train.py`.
const FRAMES: &str = include_str!("../../examples/digits/fixtures/log_mel_7_jackson_45.txt");

fn read(bytes: &[u8], tier: Tier) -> Arc<Model> {
    let options = ImportOptions { keep: Features::TENSORS.map(String::from).into(), ..ImportOptions::default() };
    Arc::new(Model::read(bytes, &options, tier).unwrap())
}

fn samples(wav: &[u8]) -> Vec<f32> {
    let reader = hound::WavReader::new(wav).unwrap();
    reader.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect()
}

#[test]
fn the_frames_are_those_of_train_py() {
    // The two transforms add floats in different orders. Rounding relative to the loudest bin reaches the quietest
    // bands, where the logarithm magnifies it.
    const TOLERANCE: f32 = 1e-4;
    let mut features = Features::of_model(&read(DENSE, Tier::Portable)).unwrap().unwrap();
    features.normalization = None;
    let steps = FrontEnd::new(features).unwrap().whole(&samples(SEVEN)).unwrap();
    let mut last = 0;
    for line in FRAMES.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(' ');
        last = fields.next().unwrap().parse().unwrap();
        let expected: Vec<f32> = fields.map(|value| value.parse().unwrap()).collect();
        assert_eq!(expected.len(), 40);
        for (found, expected) in steps.as_slice()[last * 40..][..40].iter().zip(&expected) {
            assert!((found - expected).abs() < TOLERANCE, "frame {last}: {found}, expected {expected}");
        }
    }
    // The last line is the last frame.
    assert_eq!(steps.as_slice().len(), (last + 1) * 40);
}

fn transcribe(model: &Arc<Model>, samples: &[f32], piece: usize) -> String {
    let mut transcriber = Transcriber::new(model).unwrap();
    let mut pieces = String::new();
    // A reset discards everything before it.
    transcriber.push(samples).unwrap();
    transcriber.reset();
    for samples in samples.chunks(piece) {
        pieces.push_str(transcriber.push(samples).unwrap());
    }
    let text = transcriber.finish().unwrap();
    assert!(text.starts_with(pieces.trim()), "{text:?} {pieces:?}");
    text
}

#[test]
fn the_text_does_not_depend_on_how_sound_comes_nor_on_the_tier_nor_on_a_file_between() {
    let samples = [samples(SEVEN), vec![0.0; 1600], samples(THREE)].concat();
    for bytes in [DENSE, LOW_RANK] {
        let model = read(bytes, Tier::Portable);
        assert_eq!(transcribe(&model, &samples, samples.len()), "seven three");
        let file = model.to_bytes().unwrap();
        for &tier in Tier::available() {
            for piece in [1, 77, 800, 4001] {
                assert_eq!(transcribe(&read(bytes, tier), &samples, piece), "seven three", "{tier}, pieces of {piece}");
            }
            assert_eq!(transcribe(&read(&file, tier), &samples, 800), "seven three", "{tier}, from a file");
        }
    }
}

#[test]
fn sound_of_another_rate_is_resampled() {
    let samples = [samples(SEVEN), vec![0.0; 1600], samples(THREE)].concat();
    let mut resampler = skinny::audio::Resampler::new(8000, 44_100).unwrap();
    let mut faster = resampler.push(&samples).unwrap().to_vec();
    faster.extend_from_slice(resampler.finish().unwrap());
    let mut transcriber = Transcriber::new(&read(LOW_RANK, Tier::Portable)).unwrap().with_input_rate(44_100).unwrap();
    assert_eq!(transcriber.front_end().input_rate(), 44_100);
    transcriber.push(&faster).unwrap();
    assert_eq!(transcriber.finish().unwrap(), "seven three");
}

#[test]
fn a_model_that_does_not_say_what_it_takes_and_gives_is_refused() {
    let model = read(LOW_RANK, Tier::Portable);
    let without = |prefix: &str| {
        let mut metadata = model.metadata().clone();
        metadata.retain(|key, _| !key.starts_with(prefix));
        let model = Model::clone(&model).with_attached(metadata, model.attachments().clone());
        match Transcriber::new(&Arc::new(model)) {
            Err(Error::File(FileError::Header { key, .. })) => key,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(without("features."), "features.*");
    assert_eq!(without("alphabet"), "labels");
}
