//! Log-mel features of a stream of samples, normalised and stacked: what the
//! network reads. `train.py` computes the same ones, and its fixture is the test.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::str::FromStr;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// How features are made; the model file says it in its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureConfig {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples in a frame, under a periodic Hann window.
    pub window: usize,
    /// Samples from the start of a frame to that of the next.
    pub hop: usize,
    /// Length of the Fourier transform; a frame is padded with zeros up to it.
    pub fft: usize,
    /// Bands.
    pub mels: usize,
    /// Where the lowest band begins, in Hz.
    pub mel_low_hz: f64,
    /// Where the highest band ends, in Hz.
    pub mel_high_hz: f64,
    /// Added to the energy of a band before the logarithm.
    pub log_floor: f32,
    /// Frames joined to one step of the network.
    pub stack: usize,
    /// Samples of silence that follow the end of a recording. The network looks at
    /// the past only and needs this time to write the last letters.
    pub tail: usize,
}

impl FeatureConfig {
    /// Reads the `features.*` entries of a model file's metadata.
    ///
    /// # Errors
    ///
    /// A message that names the entry which is missing or makes no sense.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let config = Self {
            sample_rate: entry(metadata, "features.sample_rate")?,
            window: entry(metadata, "features.window")?,
            hop: entry(metadata, "features.hop")?,
            fft: entry(metadata, "features.fft")?,
            mels: entry(metadata, "features.mels")?,
            mel_low_hz: entry(metadata, "features.mel_low_hz")?,
            mel_high_hz: entry(metadata, "features.mel_high_hz")?,
            log_floor: entry(metadata, "features.log_floor")?,
            stack: entry(metadata, "features.stack")?,
            tail: entry(metadata, "features.tail")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Values of one step of the network.
    pub fn step_len(&self) -> usize {
        self.stack * self.mels
    }

    fn check(&self) -> Result<(), String> {
        let nyquist = f64::from(self.sample_rate) / 2.0;
        for (holds, rule) in [
            (self.hop >= 1, "features.hop is at least 1"),
            // Overlap or abut: a hop beyond the window would skip samples.
            (self.hop <= self.window, "features.hop <= features.window"),
            (self.window <= self.fft, "features.window <= features.fft"),
            // The file is not trusted with the size of an allocation.
            (self.fft <= 1 << 16, "features.fft <= 65536"),
            ((1..=self.fft).contains(&self.mels), "features.mels in 1..=features.fft"),
            ((1..=64).contains(&self.stack), "features.stack in 1..=64"),
            (self.tail <= 1 << 20, "features.tail <= 1048576"),
            (
                0.0 <= self.mel_low_hz && self.mel_low_hz < self.mel_high_hz && self.mel_high_hz <= nyquist,
                "0 <= features.mel_low_hz < features.mel_high_hz <= half the sample rate",
            ),
            (self.log_floor > 0.0 && self.log_floor.is_finite(), "features.log_floor > 0"),
        ] {
            if !holds {
                return Err(format!("metadata: expected {rule}, found {self:?}"));
            }
        }
        Ok(())
    }
}

fn entry<T: FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T, String> {
    let text = metadata.get(key).ok_or_else(|| format!("metadata: no entry {key:?}"))?;
    text.parse().map_err(|_| format!("metadata: entry {key:?}: expected a number, found {text:?}"))
}

/// One band: weights of the power spectrum's bins from `first` on. Bands are
/// narrow, so the rest of the matrix would be zeros.
#[derive(Clone, Debug)]
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Triangles of height 1, linear in Hz, their corners evenly spaced in HTK's mel.
fn bands(config: &FeatureConfig) -> Vec<Band> {
    let to_mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let to_hz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (to_mel(config.mel_low_hz), to_mel(config.mel_high_hz));
    let step = (high - low) / (config.mels + 1) as f64;
    let corner = |i: usize| to_hz(low + step * i as f64);
    let bin_hz = f64::from(config.sample_rate) / config.fft as f64;
    (0..config.mels)
        .map(|band| {
            let (left, centre, right) = (corner(band), corner(band + 1), corner(band + 2));
            let weights: Vec<f32> = (0..=config.fft / 2)
                .map(|bin| {
                    let hz = bin as f64 * bin_hz;
                    let rise = (hz - left) / (centre - left);
                    let fall = (right - hz) / (right - centre);
                    rise.min(fall).max(0.0) as f32
                })
                .collect();
            let first = weights.iter().position(|&w| w > 0.0).unwrap_or(0);
            let end = weights.iter().rposition(|&w| w > 0.0).map_or(0, |i| i + 1);
            Band { first, weights: weights[first.min(end)..end].to_vec() }
        })
        .collect()
}

/// Turns samples, pushed in pieces of any length, into steps of the network.
/// How the samples are cut into pieces changes nothing in the result.
pub struct FrontEnd {
    config: FeatureConfig,
    hann: Vec<f32>,
    bands: Vec<Band>,
    mean: Vec<f32>,
    /// Reciprocals, to multiply where `train.py` divides.
    inverse_std: Vec<f32>,
    fft: Arc<dyn RealToComplex<f32>>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// Samples from the start of the next frame on.
    pending: Vec<f32>,
    /// Frames of the step under way, normalised.
    step: Vec<f32>,
}

impl FrontEnd {
    /// A front end at the start of a recording. `mean` and `std` hold one value a
    /// band: the model file's `features.mean` and `features.std`.
    ///
    /// # Errors
    ///
    /// When the configuration makes no sense, or when `mean` and `std` do not fit
    /// it or hold a value that cannot normalise anything.
    pub fn new(config: FeatureConfig, mean: &[f32], std: &[f32]) -> Result<Self, String> {
        config.check()?;
        for (name, values) in [("features.mean", mean), ("features.std", std)] {
            if values.len() != config.mels {
                return Err(format!("{name}: expected {} values, found {}", config.mels, values.len()));
            }
        }
        if let Some(bad) = mean.iter().find(|m| !m.is_finite()) {
            return Err(format!("features.mean: expected finite values, found {bad}"));
        }
        if let Some(bad) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(format!("features.std: expected positive values, found {bad}"));
        }
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(config.fft);
        let hann =
            (0..config.window).map(|i| (0.5 - 0.5 * (TAU * i as f64 / config.window as f64).cos()) as f32).collect();
        Ok(Self {
            hann,
            bands: bands(&config),
            mean: mean.to_vec(),
            inverse_std: std.iter().map(|s| 1.0 / s).collect(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
            pending: Vec::new(),
            step: Vec::with_capacity(config.step_len()),
            config,
        })
    }

    /// Values of one step: the length of what `push` appends is a multiple of it.
    pub fn step_len(&self) -> usize {
        self.config.step_len()
    }

    /// Takes the next samples of the recording and appends to `steps` those steps
    /// which are complete now.
    pub fn push(&mut self, samples: &[f32], steps: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        let mut start = 0;
        while self.pending.len() - start >= self.config.window {
            self.add_frame(start);
            start += self.config.hop;
            if self.step.len() == self.config.step_len() {
                steps.append(&mut self.step);
            }
        }
        // `start` may not pass the end: the hop is at most the window.
        self.pending.drain(..start);
    }

    /// Ends the recording: pushes the tail of silence, drops what does not fill a
    /// step, and starts over for the next recording.
    pub fn finish(&mut self, steps: &mut Vec<f32>) {
        let tail = vec![0.0; self.config.tail];
        self.push(&tail, steps);
        self.pending.clear();
        self.step.clear();
    }

    /// All steps of one whole recording.
    #[cfg(test)]
    pub fn steps(&mut self, samples: &[f32]) -> Vec<f32> {
        self.pending.clear();
        self.step.clear();
        let mut steps = Vec::new();
        self.push(samples, &mut steps);
        self.finish(&mut steps);
        steps
    }

    fn add_frame(&mut self, start: usize) {
        let (frame, padding) = self.frame.split_at_mut(self.config.window);
        for ((value, sample), weight) in frame.iter_mut().zip(&self.pending[start..]).zip(&self.hann) {
            *value = sample * weight;
        }
        // The transform uses its input as scratch, so the zeros do not last.
        padding.fill(0.0);
        self.fft
            .process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers were made by this plan");
        for (i, band) in self.bands.iter().enumerate() {
            let bins = self.spectrum[band.first..].iter().zip(&band.weights);
            let energy: f32 = bins.map(|(bin, weight)| bin.norm_sqr() * weight).sum();
            let log = (energy + self.config.log_floor).ln();
            self.step.push((log - self.mean[i]) * self.inverse_std[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = include_str!("fixtures/log_mel_7_jackson_45.txt");
    const RECORDING: &[u8] = include_bytes!("recordings/7_jackson_45.wav");

    /// The configuration the fixture was made with: that of `train.py`.
    fn config() -> FeatureConfig {
        FeatureConfig {
            sample_rate: 8000,
            window: 200,
            hop: 96,
            fft: 256,
            mels: 40,
            mel_low_hz: 60.0,
            mel_high_hz: 4000.0,
            log_floor: 1e-6,
            stack: 2,
            tail: 1600,
        }
    }

    fn front_end(config: FeatureConfig) -> FrontEnd {
        let mels = config.mels;
        FrontEnd::new(config, &vec![0.0; mels], &vec![1.0; mels]).unwrap()
    }

    fn recording() -> Vec<f32> {
        // 16-bit samples after the usual header of 44 bytes.
        let pcm = RECORDING[44..].chunks_exact(2);
        pcm.map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
    }

    #[test]
    fn the_frames_are_those_of_train_py() {
        // Two float transforms of different order: rounding relative to the
        // loudest bin reaches the quietest bands, where the logarithm magnifies it.
        const TOLERANCE: f32 = 1e-4;
        let steps = front_end(config()).steps(&recording());
        let mut last = 0;
        let mut worst = 0f32;
        for line in FIXTURE.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split(' ');
            let t: usize = fields.next().unwrap().parse().unwrap();
            let expected: Vec<f32> = fields.map(|v| v.parse().unwrap()).collect();
            assert_eq!(expected.len(), 40);
            for (found, expected) in steps[t * 40..][..40].iter().zip(&expected) {
                worst = worst.max((found - expected).abs());
            }
            last = t;
        }
        assert!(worst < TOLERANCE, "{worst}");
        // The fixture's last line is the last frame.
        assert_eq!(steps.len(), (last + 1) * 40);
    }

    #[test]
    fn the_cut_into_pieces_does_not_matter() {
        let samples = recording();
        let mut front_end = front_end(config());
        let whole = front_end.steps(&samples);
        for piece in [1, 7, 95, 96, 97, 200, 1000] {
            let mut steps = Vec::new();
            for samples in samples.chunks(piece) {
                front_end.push(samples, &mut steps);
            }
            front_end.finish(&mut steps);
            assert_eq!(steps, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn steps_come_as_soon_as_their_samples_do() {
        let mut front_end = front_end(config());
        let mut steps = Vec::new();
        // The second frame of a step ends at sample 96 + 200.
        front_end.push(&[0.1; 295], &mut steps);
        assert_eq!(steps.len(), 0);
        front_end.push(&[0.1], &mut steps);
        assert_eq!(steps.len(), front_end.step_len());
    }

    #[test]
    fn nothing_is_its_tail() {
        let steps = front_end(config()).steps(&[]);
        // (1600 - 200) / 96 + 1 = 15 frames: 7 pairs.
        assert_eq!(steps.len(), 7 * 80);
        assert!(steps.iter().all(|v| (v - 1e-6f32.ln()).abs() < 1e-5));
    }

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let tone: Vec<f32> = (0..8000).map(|i| (TAU * 1000.0 * f64::from(i) / 8000.0).sin() as f32).collect();
        let steps = front_end(config()).steps(&tone);
        let frame = &steps[40 * 20..][..40];
        let loudest = (0..40).max_by(|&a, &b| frame[a].total_cmp(&frame[b]));
        // 1000 Hz is mel 1000; corners are 50 mel apart from mel 92 on.
        assert_eq!(loudest, Some(17));
    }

    #[test]
    fn values_are_normalised_by_band() {
        let samples = recording();
        let plain = front_end(config()).steps(&samples);
        let mean: Vec<f32> = (0..40).map(|i| -0.25 * i as f32).collect();
        let steps = FrontEnd::new(config(), &mean, &[2.0; 40]).unwrap().steps(&samples);
        for (i, (value, plain)) in steps.iter().zip(&plain).enumerate() {
            assert_eq!(*value, (plain - mean[i % 40]) * 0.5);
        }
    }

    #[test]
    fn metadata_is_read_and_checked() {
        let mut metadata: BTreeMap<String, String> = [
            ("features.sample_rate", "8000"),
            ("features.window", "200"),
            ("features.hop", "96"),
            ("features.fft", "256"),
            ("features.mels", "40"),
            ("features.mel_low_hz", "60.0"),
            ("features.mel_high_hz", "4000.0"),
            ("features.log_floor", "1e-06"),
            ("features.stack", "2"),
            ("features.tail", "1600"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        assert_eq!(FeatureConfig::from_metadata(&metadata), Ok(config()));
        for (key, value, message) in [
            ("features.hop", "", "expected a number, found \"\""),
            ("features.hop", "0", "features.hop is at least 1"),
            ("features.window", "999", "features.window <= features.fft"),
            ("features.mel_low_hz", "NaN", "0 <= features.mel_low_hz"),
            ("features.stack", "0", "features.stack in 1..=64"),
        ] {
            let mut metadata = metadata.clone();
            metadata.insert(key.to_owned(), value.to_owned());
            let error = FeatureConfig::from_metadata(&metadata).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        metadata.remove("features.fft");
        assert_eq!(FeatureConfig::from_metadata(&metadata).unwrap_err(), "metadata: no entry \"features.fft\"");
    }

    #[test]
    fn statistics_that_do_not_fit_are_refused() {
        assert!(FrontEnd::new(config(), &[0.0; 39], &[1.0; 40]).is_err());
        assert!(FrontEnd::new(config(), &[f32::NAN; 40], &[1.0; 40]).is_err());
        assert!(FrontEnd::new(config(), &[0.0; 40], &[0.0; 40]).is_err());
    }
}
