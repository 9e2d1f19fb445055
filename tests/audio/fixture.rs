//! Reads what `tests/fixtures/audio.py` wrote.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use serde_json::Value;
use skinny::audio::Features;
use skinny::factored::{Linear, Weight};
use skinny::model::{Layer, Model};
use skinny::{Mat, Result};

const FILE: &[u8] = include_bytes!("../fixtures/audio.safetensors");

/// The values of a tensor.
pub fn tensor(name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let data = file.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Features computed by librosa.
pub struct Case {
    pub name: String,
    pub features: Features,
    pub samples: Vec<f32>,
    pub frames: usize,
    /// The range of frames that `expected` holds.
    pub rows: Vec<usize>,
    pub expected: Vec<f32>,
}

pub fn cases() -> Vec<Case> {
    let (_, header) = SafeTensors::read_metadata(FILE).unwrap();
    let cases: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let signal = tensor("signal");
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let case = |(name, case): (&String, &Value)| {
        let entries = case["entries"].as_object().unwrap().iter();
        let entries: BTreeMap<_, _> =
            entries.map(|(key, text)| (key.clone(), text.as_str().unwrap().to_owned())).collect();
        let rows: Vec<usize> = case["rows"].as_array().unwrap().iter().map(number).collect();
        let expected = tensor(name);
        let model = model(expected.len() / rows.len()).with_attached(entries, BTreeMap::new());
        Case {
            name: name.clone(),
            features: Features::of_model(&model).unwrap().unwrap(),
            samples: signal[..number(&case["samples"])].to_vec(),
            frames: number(&case["frames"]),
            rows,
            expected,
        }
    };
    cases.as_object().unwrap().iter().map(case).collect()
}

/// A model that takes that many features.
pub fn model(width: usize) -> Model {
    let weight = Weight::dense(Mat::zeros(2, width).unwrap()).unwrap();
    Model::new(vec![("fc".into(), Layer::Linear(Linear::new(weight, None).unwrap()))]).unwrap()
}

/// Reads the description of the features from these entries, for a model of `width` features.
pub fn read(width: usize, entries: &BTreeMap<String, String>) -> Result<Option<Features>> {
    Features::of_model(&model(width).with_attached(entries.clone(), BTreeMap::new()))
}

/// The entries of the digits models.
pub fn entries() -> BTreeMap<String, String> {
    [
        ("sample_rate", "8000"),
        ("window", "200"),
        ("hop", "96"),
        ("fft", "256"),
        ("window_shape", "hann, periodic"),
        ("mels", "40"),
        ("mel_low_hz", "60.0"),
        ("mel_high_hz", "4000.0"),
        ("mel_shape", "HTK mel scale, triangles of height 1, linear in Hz, on power"),
        ("log_floor", "1e-06"),
        ("stack", "2"),
        ("tail", "1600"),
    ]
    .map(|(name, text)| (format!("features.{name}"), text.to_owned()))
    .into()
}
