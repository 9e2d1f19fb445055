//! Features against librosa's, and their description in a model file.

use std::collections::BTreeMap;

use skinny::audio::{
    Features, Floor, Framing, FrontEnd, Log, LogBase, MelBands, MelNorm, MelScale, Normalization, Spectrum, Stft,
    Window,
};
use skinny::model::Model;
use skinny::{Error, FileError, Tier};

use crate::fixture::{cases, entries, model, read};

#[test]
fn features_are_those_of_librosa() {
    for case in cases() {
        let width = case.features.width();
        let found = FrontEnd::new(case.features.clone()).unwrap().whole(&case.samples).unwrap();
        assert_eq!(found.rows(), case.frames, "{}", case.name);
        assert_eq!(case.features.stft.frames(case.samples.len()).unwrap(), case.frames, "{}", case.name);
        for (row, expected) in case.rows.iter().zip(case.expected.chunks(width)) {
            let found = found.view().row(*row);
            // A transform in f32 rounds relative to the loudest bin, so energies are compared instead of logarithms.
            let energies = |values: &[f32]| values.iter().map(|&x| energy(&case.features, x)).collect::<Vec<_>>();
            let (found, expected) = (energies(found), energies(expected));
            let loudest = expected.iter().copied().fold(0f64, f64::max);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let tolerance = 1e-6 * loudest + 1e-5 * expected;
                let error = (found - expected).abs();
                assert!(error <= tolerance, "{}, frame {row}, feature {i}: {found}, expected {expected}", case.name);
            }
        }
    }
}

/// The energy that a feature is the logarithm of, floor included.
fn energy(features: &Features, value: f32) -> f64 {
    let value = f64::from(value);
    match features.log.map(|log| (log.base, features.stft.spectrum)) {
        None => value,
        Some((LogBase::Natural, _)) => value.exp(),
        Some((LogBase::Decibels, Spectrum::Power)) => 10f64.powf(value / 10.0),
        Some((LogBase::Decibels, _)) => 10f64.powf(value / 20.0),
        Some(_) => 10f64.powf(value),
    }
}

#[test]
fn spectra_of_a_stream_are_those_of_the_front_end() {
    for case in cases().into_iter().filter(|case| case.features.mel.is_none()) {
        let mut stream = case.features.stft.stream().unwrap();
        let mut spectra = stream.push(&case.samples).unwrap().as_slice().to_vec();
        spectra.extend_from_slice(stream.finish().unwrap().as_slice());
        let expected = FrontEnd::new(case.features).unwrap().whole(&case.samples).unwrap();
        assert_eq!(spectra, expected.as_slice(), "{}", case.name);
    }
}

#[test]
fn a_tone_is_loudest_in_its_band() {
    let tone: Vec<f32> = (0..8000).map(|i| (std::f64::consts::TAU * f64::from(i) / 8.0).sin() as f32).collect();
    let features = read(80, &entries()).unwrap().unwrap();
    let steps = FrontEnd::new(features).unwrap().whole(&tone).unwrap();
    let frame = &steps.view().row(10)[..40];
    let loudest = (0..40).max_by(|&a, &b| frame[a].total_cmp(&frame[b]));
    // 1000 Hz is mel 1000; corners are 50 mel apart from mel 92 on.
    assert_eq!(loudest, Some(17));
}

#[test]
fn values_are_normalized_by_band() {
    let samples = &cases()[0].samples;
    let mut features = read(80, &entries()).unwrap().unwrap();
    let plain = FrontEnd::new(features.clone()).unwrap().whole(samples).unwrap();
    let mean: Vec<f32> = (0..40).map(|i| -0.25 * i as f32).collect();
    features.normalization = Some(Normalization { mean: mean.clone(), std: vec![2.0; 40] });
    let steps = FrontEnd::new(features).unwrap().whole(samples).unwrap();
    for (i, (value, plain)) in steps.as_slice().iter().zip(plain.as_slice()).enumerate() {
        assert_eq!(*value, (plain - mean[i % 40]) * 0.5);
    }
}

const WINDOWS: [Window; 7] = [
    Window::Hann,
    Window::HannSymmetric,
    Window::Hamming,
    Window::HammingSymmetric,
    Window::Blackman,
    Window::BlackmanSymmetric,
    Window::Rectangular,
];

#[test]
fn a_symmetric_window_is_a_periodic_one_and_its_end() {
    for window in WINDOWS {
        assert_eq!(window.values(1), [1.0]);
        assert!(window.values(0).is_empty());
    }
    for pair in [
        [Window::Hann, Window::HannSymmetric],
        [Window::Hamming, Window::HammingSymmetric],
        [Window::Blackman, Window::BlackmanSymmetric],
    ] {
        let [periodic, symmetric] = [pair[0].values(12), pair[1].values(13)];
        assert_eq!(periodic, symmetric[..12]);
        assert!((symmetric[12] - symmetric[0]).abs() < 1e-7 && symmetric[6] > 0.9999);
    }
}

/// Descriptions with every possible choice.
fn descriptions() -> Vec<Features> {
    let mut all: Vec<_> = cases().into_iter().map(|case| case.features).collect();
    for shape in WINDOWS {
        for framing in [Framing::Window, Framing::Transform, Framing::CenteredZeros, Framing::CenteredReflected] {
            let mut stft = Stft::new(100, 50);
            (stft.fft, stft.shape, stft.framing) = (120, shape, framing);
            all.push(Features::spectra(16_000, stft));
        }
    }
    for base in [LogBase::Natural, LogBase::Ten, LogBase::Decibels] {
        for floor in [Floor::Added(1.0 / 3.0), Floor::AtLeast(f32::MIN_POSITIVE)] {
            let mut mel = MelBands::slaney(7, 1.0 / 3.0, 7000.1);
            let mut stft = Stft::new(64, 64);
            stft.spectrum = Spectrum::Magnitude;
            let mut features = Features::log_mel(44_100, stft, mel.clone());
            (features.log, features.stack, features.tail) = (Some(Log { base, floor }), 3, 77);
            features.normalization = Some(Normalization { mean: vec![-0.1; 7], std: vec![1.0 / 3.0; 7] });
            all.push(features.clone());
            (mel.scale, mel.norm) = (MelScale::Htk, MelNorm::Area);
            (features.mel, features.normalization) = (Some(mel), None);
            all.push(features);
        }
    }
    all
}

#[test]
fn a_description_is_read_as_it_was_written() {
    for features in descriptions() {
        let model = features.attach(model(features.width())).unwrap();
        assert_eq!(Features::of_model(&model).unwrap().as_ref(), Some(&features));
        let model = Model::from_bytes(&model.to_bytes().unwrap(), Tier::Portable).unwrap();
        assert_eq!(Features::of_model(&model).unwrap().as_ref(), Some(&features));
        // A new attachment replaces the old one.
        let mut plain = features;
        plain.normalization = None;
        let model = plain.attach(model).unwrap();
        assert_eq!(Features::of_model(&model).unwrap(), Some(plain));
        assert!(model.attachments().is_empty());
    }
}

#[test]
fn a_file_may_say_nothing_of_features() {
    assert_eq!(Features::of_model(&model(80)).unwrap(), None);
    let other = BTreeMap::from([("feature".to_owned(), "a".to_owned())]);
    assert_eq!(read(80, &other).unwrap(), None);
}

#[test]
fn the_entries_of_older_files_mean_what_they_meant() {
    let features = read(80, &entries()).unwrap().unwrap();
    let mut stft = Stft::new(200, 96);
    stft.fft = 256;
    let mut expected = Features::log_mel(8000, stft, MelBands::new(40, 60.0, 4000.0));
    (expected.stack, expected.tail) = (2, 1600);
    assert_eq!(features, expected);
    assert_eq!((features.frame_width(), features.width(), features.samples_per_step()), (40, 80, 192));
}

#[test]
fn features_that_do_not_fit_the_model_are_refused() {
    let error = read(79, &entries()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model file, metadata features.*: they give 80 features per step, but the model takes 79"
    );
    let features = read(80, &entries()).unwrap().unwrap();
    let error = features.attach(model(81)).unwrap_err();
    assert_eq!(error, Error::Length { what: "features", expected: 81, found: 80 });
}

#[test]
fn a_normalization_that_does_not_fit_is_refused() {
    use skinny::model::Attachment;
    let attached = |tensors: &[(&str, Vec<f32>)]| {
        let tensors = tensors
            .iter()
            .map(|(name, values)| ((*name).to_owned(), Attachment::new(vec![values.len()], values.clone()).unwrap()));
        let error = Features::of_model(&model(80).with_attached(entries(), tensors.collect())).unwrap_err();
        assert!(matches!(error, Error::File(FileError::Tensor { .. })));
        error.to_string()
    };
    let (mean, std) = ("features.mean", "features.std");
    assert_eq!(attached(&[(mean, vec![0.0; 40])]), "tensor features.std: missing");
    assert_eq!(attached(&[(std, vec![1.0; 40])]), "tensor features.mean: missing");
    assert_eq!(
        attached(&[(mean, vec![0.0; 39]), (std, vec![1.0; 40])]),
        "tensor features.mean: features.mean: expected 40 elements, found 39"
    );
    for std_of_one in [0.0, -1.0, 1e-39] {
        let mut values = vec![1.0; 40];
        values[3] = std_of_one;
        let message = attached(&[(mean, vec![0.0; 40]), (std, values)]);
        assert!(message.starts_with("tensor features.std: features.std is "), "{message}");
    }
}
