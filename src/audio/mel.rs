//! Mel bands: bands of a spectrum, evenly spaced to the ear.

use crate::error::{Error, Result};

/// The largest number of bands.
const MAX_BANDS: usize = 1 << 12;

/// The mel scale, on which bands are evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MelScale {
    /// The scale of HTK, `2595 log10(1 + hz / 700)`: torchaudio's default.
    Htk,
    /// The scale of Slaney's Auditory Toolbox: `3 hz / 200` up to 1000 Hz, and above it 27 mel for each factor of 6.4.
    /// It is librosa's default.
    Slaney,
}

impl MelScale {
    /// The point, in Hz and in mel, up to which Slaney's scale is linear, and the number of mel for each factor of 6.4
    /// above it.
    const KNEE: (f64, f64, f64) = (1000.0, 15.0, 27.0);

    fn mel(self, hz: f64) -> f64 {
        let (knee_hz, knee_mel, rate) = Self::KNEE;
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < knee_hz => hz * 3.0 / 200.0,
            Self::Slaney => knee_mel + (hz / knee_hz).ln() * rate / 6.4f64.ln(),
        }
    }

    fn hz(self, mel: f64) -> f64 {
        let (knee_hz, knee_mel, rate) = Self::KNEE;
        match self {
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < knee_mel => mel * 200.0 / 3.0,
            Self::Slaney => knee_hz * ((mel - knee_mel) * 6.4f64.ln() / rate).exp(),
        }
    }
}

/// The height of the bands' triangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MelNorm {
    /// All triangles have height 1: torchaudio's default (`norm=None`).
    Height,
    /// All triangles have area 1 over Hz, so their height is `2 / (right - left)`: librosa's default (`norm="slaney"`).
    Area,
}

/// Triangular bands over the bins of a spectrum. Their corners are evenly spaced in mel and their sides are linear in
/// Hz. A band begins at the centre of the band below it and ends at the centre of the band above.
///
/// A band's energy is the sum of powers (or magnitudes) under its triangle. A band so narrow that it lies between two
/// bins has no energy; a longer transform helps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MelBands {
    /// The number of bands.
    pub bands: usize,
    /// The lower edge of the lowest band, in Hz.
    pub low_hz: f64,
    /// The upper edge of the highest band, in Hz.
    pub high_hz: f64,
    /// The scale on which the bands are evenly spaced.
    pub scale: MelScale,
    /// The height of the triangles.
    pub norm: MelNorm,
}

impl MelBands {
    /// Bands of height 1 on HTK's scale.
    pub fn new(bands: usize, low_hz: f64, high_hz: f64) -> Self {
        Self { bands, low_hz, high_hz, scale: MelScale::Htk, norm: MelNorm::Height }
    }

    /// Bands of area 1 on Slaney's scale, as librosa makes by default.
    pub fn slaney(bands: usize, low_hz: f64, high_hz: f64) -> Self {
        Self { bands, low_hz, high_hz, scale: MelScale::Slaney, norm: MelNorm::Area }
    }

    pub(super) fn check(&self, rate: u32) -> Result<()> {
        let parameter = |what, value, expected| Err(Error::Parameter { what, value, expected });
        if !(1..=MAX_BANDS).contains(&self.bands) {
            return parameter("mels", self.bands as f64, "1 to 4096");
        }
        // NaN is outside every range.
        if !(1.0..=f64::from(rate) / 2.0).contains(&self.high_hz) {
            return parameter("mel_high_hz", self.high_hz, "1 Hz to half the sample rate");
        }
        if !(0.0..=self.high_hz - 1.0).contains(&self.low_hz) {
            return parameter("mel_low_hz", self.low_hz, "0 to 1 Hz below mel_high_hz");
        }
        Ok(())
    }

    /// The triangles over the bins of transforms of length `fft`.
    pub(super) fn triangles(&self, rate: u32, fft: usize) -> Vec<Triangle> {
        let (low, high) = (self.scale.mel(self.low_hz), self.scale.mel(self.high_hz));
        let step = (high - low) / (self.bands + 1) as f64;
        let corner = |i: usize| self.scale.hz(low + step * i as f64);
        let bin_hz = f64::from(rate) / fft as f64;
        let triangle = |band| {
            let (left, centre, right) = (corner(band), corner(band + 1), corner(band + 2));
            let height = match self.norm {
                MelNorm::Height => 1.0,
                MelNorm::Area => 2.0 / (right - left),
            };
            let weight = |bin: usize| {
                let hz = bin as f64 * bin_hz;
                let rise = (hz - left) / (centre - left);
                let fall = (right - hz) / (right - centre);
                (rise.min(fall).max(0.0) * height) as f32
            };
            let end = ((right / bin_hz) as usize + 2).min(fft / 2 + 1);
            let mut first = ((left / bin_hz) as usize).min(end);
            let mut weights: Vec<f32> = (first..end).map(weight).collect();
            let zeros = weights.iter().take_while(|&&weight| weight == 0.0).count();
            weights.drain(..zeros);
            first = if weights.is_empty() { 0 } else { first + zeros };
            weights.truncate(weights.iter().rposition(|&weight| weight != 0.0).map_or(0, |last| last + 1));
            Triangle { first, weights }
        };
        (0..self.bands).map(triangle).collect()
    }
}

/// The bins of a band and their weights.
#[derive(Clone, Debug)]
pub(super) struct Triangle {
    first: usize,
    weights: Vec<f32>,
}

impl Triangle {
    /// The band's energy in a spectrum.
    pub fn energy(&self, spectrum: &[f32]) -> f32 {
        spectrum[self.first..].iter().zip(&self.weights).map(|(value, weight)| value * weight).sum()
    }
}
