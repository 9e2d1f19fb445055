//! Resampling against signals whose values are known at any rate.

use std::f64::consts::TAU;

use skinny::Error;
use skinny::audio::Resampler;

use crate::fixture::tensor;

fn whole(input_rate: u32, output_rate: u32, samples: &[f32]) -> Vec<f32> {
    let mut resampler = Resampler::new(input_rate, output_rate).unwrap();
    let mut resampled = resampler.push(samples).unwrap().to_vec();
    resampled.extend_from_slice(resampler.finish().unwrap());
    resampled
}

fn decibels(signal: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = signal.fold((0.0, 0), |(sum, count), value| (sum + value * value, count + 1));
    10.0 * (sum / f64::from(count)).log10()
}

#[test]
fn noise_stays_the_same_noise() {
    for (input, output) in [(44_100, 16_000), (16_000, 8000), (8000, 16_000), (11_025, 8000), (48_000, 44_100)] {
        let samples = tensor(&format!("source_{input}_{output}"));
        let expected = tensor(&format!("resampled_{input}_{output}"));
        let found = whole(input, output, &samples);
        assert_eq!(found.len(), expected.len());
        let difference = found.iter().zip(&expected).map(|(a, b)| f64::from(a - b));
        let ratio = decibels(expected.iter().map(|&x| x.into())) - decibels(difference);
        assert!(ratio > 100.0, "{input} to {output}: {ratio:.1} dB");
    }
}

/// The level of a tone of `hz` and 0 dB after resampling, and the level of its difference from the exact tone.
fn tone(input: u32, output: u32, hz: f64) -> (f64, f64) {
    let sample = |rate: u32, i: usize| 2f64.sqrt() * (TAU * (hz * i as f64 / f64::from(rate)).fract()).sin();
    let samples: Vec<f32> = (0..input as usize / 2).map(|i| sample(input, i) as f32).collect();
    let found = whole(input, output, &samples);
    assert_eq!(found.len(), (samples.len() as u64 * u64::from(output)).div_ceil(input.into()) as usize);
    // The ends are left out, where the tone is switched on and off.
    let middle = found.len() / 4..found.len() * 3 / 4;
    let level = decibels(found[middle.clone()].iter().map(|&x| x.into()));
    let difference = decibels(middle.map(|i| f64::from(found[i]) - sample(output, i)));
    (level, difference)
}

const RATES: [(u32, u32); 10] = [
    (44_100, 16_000),
    (48_000, 16_000),
    (16_000, 8000),
    (8000, 16_000),
    (22_050, 8000),
    (8000, 44_100),
    (48_000, 44_100),
    (11_025, 11_000),
    (96_000, 8000),
    (12_345, 8000),
];

#[test]
fn tones_below_the_limit_are_kept() {
    for (input, output) in RATES {
        let half = f64::from(input.min(output)) / 2.0;
        for share in [0.01, 0.1, 0.5, 0.9] {
            let (_, difference) = tone(input, output, share * half);
            assert!(difference < -95.0, "{input} to {output}, {share}: {difference} dB");
        }
        let (level, _) = tone(input, output, 0.94 * half);
        assert!(level.abs() < 0.1, "{input} to {output}: {level} dB");
    }
}

#[test]
fn tones_beyond_the_limit_are_removed() {
    for (input, output) in RATES.into_iter().filter(|(input, output)| input > output) {
        let half = f64::from(output) / 2.0;
        for share in [1.0, 1.1, 1.5, 1.9] {
            let hz = share * half;
            if hz < f64::from(input) / 2.0 {
                let (level, _) = tone(input, output, hz);
                assert!(level < -100.0, "{input} to {output}, {share}: {level} dB");
            }
        }
    }
}

#[test]
fn the_cut_into_pieces_does_not_matter_and_a_reset_forgets() {
    let samples: Vec<f32> = (0..4000).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5).collect();
    for (input, output) in RATES {
        let expected = whole(input, output, &samples);
        let mut resampler = Resampler::new(input, output).unwrap();
        for piece in [1, 441, 1000, 3999] {
            resampler.push(&samples[..1500]).unwrap();
            resampler.reset();
            let mut found = Vec::new();
            for (i, samples) in samples.chunks(piece).enumerate() {
                found.extend_from_slice(resampler.push(samples).unwrap());
                let due = (i + 1) * piece;
                let waits = found.len() as u64 * u64::from(input) / u64::from(output);
                assert!(waits + resampler.latency() as u64 + 1 >= due.min(4000) as u64);
            }
            found.extend_from_slice(resampler.finish().unwrap());
            assert_eq!(found, expected, "{input} to {output}, pieces of {piece}");
        }
    }
}

#[test]
fn lengths_are_those_of_the_ratio() {
    for (input, output) in RATES {
        for len in [0, 1, 2, 3, 100, 1023] {
            let expected = (len as u64 * u64::from(output)).div_ceil(input.into()) as usize;
            assert_eq!(whole(input, output, &vec![0.1; len]).len(), expected, "{input} to {output}, {len}");
        }
    }
}

#[test]
fn the_same_rate_changes_nothing() {
    let samples = [0.1, -0.5, 0.7];
    assert_eq!(whole(8000, 8000, &samples), samples);
    assert_eq!(Resampler::new(8000, 8000).unwrap().latency(), 0);
}

#[test]
fn what_cannot_be_resampled_is_refused() {
    for (input, output) in [(0, 8000), (8000, 0), (999, 8000), (8000, u32::MAX), (768_001, 8000), (96_001, 16_000)] {
        assert!(matches!(Resampler::new(input, output), Err(Error::Parameter { .. })), "{input} to {output}");
    }
    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    let refused = resampler.push(&[0.0, f32::NAN]).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { what: "samples", index: 1, .. }));
    let refused = resampler.push(&[0.0, -1.1e28]).unwrap_err();
    assert!(matches!(refused, Error::Parameter { what: "sample", .. }));
    // Refused samples leave no trace.
    assert!(resampler.push(&[]).unwrap().is_empty());
    assert!(resampler.finish().unwrap().is_empty());
}

#[test]
fn the_loudest_samples_give_numbers() {
    for (input, output) in [(768_000, 1000), (1000, 768_000), (65_536, 65_535), (44_100, 16_000)] {
        for flip in [1, 2, 3] {
            let loud: Vec<f32> = (0..200_000).map(|i| if i / flip % 2 == 0 { 1e28 } else { -1e28 }).collect();
            let found = whole(input, output, &loud[..if output > input { 2000 } else { loud.len() }]);
            assert!(found.iter().all(|sample| sample.is_finite()), "{input} to {output}");
        }
    }
}
