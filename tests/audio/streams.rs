//! Streams that are cut anywhere, are empty, end early, or contain values that are not numbers.

use skinny::Error;
use skinny::audio::{Features, FrontEnd, Normalization, Stft};

use crate::fixture::{cases, entries, read};

/// The steps of a stream that comes in pieces.
fn in_pieces(front_end: &mut FrontEnd, samples: &[f32], piece: usize) -> Vec<f32> {
    let mut steps = Vec::new();
    for samples in samples.chunks(piece) {
        steps.extend_from_slice(front_end.push(samples).unwrap().as_slice());
    }
    steps.extend_from_slice(front_end.finish().unwrap().as_slice());
    steps
}

#[test]
fn the_cut_into_pieces_does_not_matter() {
    for case in cases() {
        for input_rate in [case.features.rate, 44_100] {
            let front_end = FrontEnd::new(case.features.clone()).unwrap();
            let mut front_end = front_end.with_input_rate(input_rate).unwrap();
            let whole = front_end.whole(&case.samples).unwrap();
            let hop = case.features.stft.hop;
            for piece in [1, 7, hop - 1, hop, hop + 1, case.features.stft.fft, 1000] {
                let steps = in_pieces(&mut front_end, &case.samples, piece);
                assert_eq!(steps, whole.as_slice(), "{}, {input_rate} Hz, pieces of {piece}", case.name);
            }
        }
    }
}

#[test]
fn steps_come_as_soon_as_their_samples_do() {
    let mut front_end = FrontEnd::new(read(80, &entries()).unwrap().unwrap()).unwrap();
    // The second frame of a step ends at sample 96 + 200.
    assert_eq!(front_end.push(&[0.1; 295]).unwrap().shape(), (0, 80));
    assert_eq!(front_end.push(&[0.1]).unwrap().shape(), (1, 80));
}

#[test]
fn an_empty_stream_is_its_tail() {
    let mut front_end = FrontEnd::new(read(80, &entries()).unwrap().unwrap()).unwrap();
    for _ in 0..2 {
        assert_eq!(front_end.push(&[]).unwrap().rows(), 0);
        let steps = front_end.finish().unwrap();
        // (1600 - 200) / 96 + 1 = 15 frames: 7 pairs.
        assert_eq!(steps.shape(), (7, 80));
        assert!(steps.as_slice().iter().all(|value| (value - 1e-6f32.ln()).abs() < 1e-5));
    }
}

#[test]
fn streams_shorter_than_a_window_have_the_frames_that_their_framing_gives_them() {
    for case in cases() {
        for len in [0, 1, 2, 3, 31] {
            let mut front_end = FrontEnd::new(case.features.clone()).unwrap();
            let frames = case.features.stft.frames(len).unwrap();
            let steps = front_end.whole(&case.samples[..len]).unwrap();
            assert_eq!(steps.rows(), frames, "{}, {len} samples", case.name);
            assert_eq!(in_pieces(&mut front_end, &case.samples[..len], 1), steps.as_slice(), "{}", case.name);
        }
    }
}

#[test]
fn a_reset_forgets_the_stream() {
    for case in cases() {
        let mut front_end = FrontEnd::new(case.features.clone()).unwrap().with_input_rate(12_000).unwrap();
        let expected = front_end.whole(&case.samples).unwrap();
        front_end.push(&case.samples[..1234.min(case.samples.len())]).unwrap();
        front_end.reset();
        assert_eq!(in_pieces(&mut front_end, &case.samples, 500), expected.as_slice(), "{}", case.name);
    }
}

#[test]
fn samples_that_are_no_numbers_are_refused_and_change_nothing() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let case = &cases()[0];
        let mut front_end = FrontEnd::new(case.features.clone()).unwrap();
        let expected = front_end.whole(&case.samples).unwrap();
        let mut stream = case.features.stft.stream().unwrap();
        let mut steps = Vec::new();
        for piece in case.samples.chunks(700) {
            steps.extend_from_slice(front_end.push(piece).unwrap().as_slice());
            let refused = front_end.push(&[0.5, 0.5, bad]).unwrap_err();
            let Error::NotFinite { what: "samples", index: 2, .. } = refused else { panic!("{refused}") };
            assert!(stream.push(&[bad]).is_err());
        }
        steps.extend_from_slice(front_end.finish().unwrap().as_slice());
        assert_eq!(steps, expected.as_slice());
    }
}

#[test]
fn samples_that_are_too_loud_to_resample_are_refused_and_change_nothing() {
    let case = &cases()[0];
    let mut front_end = FrontEnd::new(case.features.clone()).unwrap().with_input_rate(44_100).unwrap();
    let expected = front_end.whole(&case.samples).unwrap();
    let mut steps = front_end.push(&case.samples).unwrap().as_slice().to_vec();
    assert!(matches!(front_end.push(&[f32::MAX]), Err(Error::Parameter { what: "sample", .. })));
    steps.extend_from_slice(front_end.finish().unwrap().as_slice());
    assert_eq!(steps, expected.as_slice());
}

#[test]
fn results_that_are_no_numbers_are_refused_and_end_the_stream() {
    for case in cases() {
        let mut front_end = FrontEnd::new(case.features.clone()).unwrap();
        let expected = front_end.whole(&case.samples).unwrap();
        let loud = vec![f32::MAX; 3000];
        front_end.push(&case.samples).unwrap();
        let refused = front_end.push(&loud).unwrap_err();
        let Error::NotFinite { what: "feature", .. } = refused else { panic!("{refused}") };
        assert_eq!(in_pieces(&mut front_end, &case.samples, 500), expected.as_slice(), "{}", case.name);

        let mut stream = case.features.stft.stream().unwrap();
        let refused = stream.push(&loud).unwrap_err();
        let Error::NotFinite { what: "bin", .. } = refused else { panic!("{refused}") };
    }
    let mut features = Features::spectra(8000, Stft::new(4, 4));
    features.normalization = Some(Normalization { mean: vec![0.0; 3], std: vec![1e-37; 3] });
    let refused = FrontEnd::new(features).unwrap().whole(&[9.0; 4]).unwrap_err();
    assert_eq!(refused, Error::NotFinite { what: "feature", index: 0, value: f32::INFINITY });
}
