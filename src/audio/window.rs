//! Window functions, which taper a frame before its transform.

use std::f64::consts::TAU;

/// The window that a frame is multiplied by before its transform.
///
/// A periodic window of length `n` is the symmetric window of length `n + 1` without its last value. It is the default
/// for spectral analysis in librosa and PyTorch. The formulas are those of `scipy.signal.get_window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// `0.5 - 0.5 cos(2 pi i / n)`.
    Hann,
    /// `0.5 - 0.5 cos(2 pi i / (n - 1))`.
    HannSymmetric,
    /// `0.54 - 0.46 cos(2 pi i / n)`.
    Hamming,
    /// `0.54 - 0.46 cos(2 pi i / (n - 1))`.
    HammingSymmetric,
    /// `0.42 - 0.5 cos(2 pi i / n) + 0.08 cos(4 pi i / n)`.
    Blackman,
    /// `0.42 - 0.5 cos(2 pi i / (n - 1)) + 0.08 cos(4 pi i / (n - 1))`.
    BlackmanSymmetric,
    /// 1.
    Rectangular,
}

impl Window {
    /// The window's `len` values. A window of length 1 is the value 1.
    pub fn values(self, len: usize) -> Vec<f32> {
        let period = match self {
            Self::HannSymmetric | Self::HammingSymmetric | Self::BlackmanSymmetric => len.saturating_sub(1),
            Self::Hann | Self::Hamming | Self::Blackman | Self::Rectangular => len,
        };
        let value = |i: usize| {
            let angle = TAU * i as f64 / period as f64;
            match self {
                _ if len == 1 => 1.0,
                Self::Hann | Self::HannSymmetric => 0.5 - 0.5 * angle.cos(),
                Self::Hamming | Self::HammingSymmetric => 0.54 - 0.46 * angle.cos(),
                Self::Blackman | Self::BlackmanSymmetric => 0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos(),
                Self::Rectangular => 1.0,
            }
        };
        (0..len).map(|i| value(i) as f32).collect()
    }
}
