//! Changes to recordings that keep their text.

use skinny::train::Random;

/// The speeds at which each recording is used in training.
pub const SPEEDS: [f32; 5] = [0.85, 0.92, 1.0, 1.08, 1.16];

/// The amplitude ratio of a level in decibels.
pub fn decibels(value: f32) -> f32 {
    10f32.powf(value / 20.0)
}

/// Changes the level, and adds noise half of the time.
pub fn level_and_noise(samples: &mut [f32], random: &mut Random) {
    let level = decibels(random.uniform(-6.0, 6.0));
    let noise = if random.below(2) == 0 { decibels(random.uniform(-80.0, -40.0)) } else { 0.0 };
    for sample in samples {
        *sample *= level;
        if noise > 0.0 {
            *sample += noise * hiss(random);
        }
    }
}

/// White noise of variance 1: the sum of four uniform numbers, which is nearly normal. A normal number takes a logarithm
/// and a cosine, and those of all samples took a tenth of the training time.
fn hiss(random: &mut Random) -> f32 {
    let bits = random.next_u64();
    let sum: u32 = (0..4).map(|i| u32::from((bits >> (16 * i)) as u16)).sum();
    // A sum of four numbers uniform in 0..1 has the mean 2 and the variance 1/3.
    (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
}

/// Changes the speed, by linear interpolation.
pub fn resample(samples: &[f32], speed: f32) -> Vec<f32> {
    if speed == 1.0 {
        return samples.to_vec();
    }
    (0..resampled_len(samples.len(), speed))
        .map(|i| {
            let at = i as f32 * speed;
            let (left, part) = (at as usize, at.fract());
            let right = samples.get(left + 1).copied().unwrap_or(samples[left]);
            samples[left] + part * (right - samples[left])
        })
        .collect()
}

/// The number of samples that `len` samples become at this speed.
pub fn resampled_len(len: usize, speed: f32) -> usize {
    if speed == 1.0 { len } else { (len.saturating_sub(1) as f32 / speed) as usize }
}

#[test]
fn noise_has_mean_0_and_variance_1_and_no_correlation() {
    let mut random = Random::new(1);
    let noise: Vec<f64> = (0..100_000).map(|_| hiss(&mut random).into()).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / noise.len() as f64;
    let moments = [
        mean(&mut noise.iter().copied()),
        mean(&mut noise.iter().map(|x| x * x)) - 1.0,
        mean(&mut noise.windows(2).map(|pair| pair[0] * pair[1])),
    ];
    assert!(moments.iter().all(|moment| moment.abs() < 0.02), "{moments:?}");
}
