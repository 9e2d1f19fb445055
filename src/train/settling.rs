//! A transition that waits until the ranks have settled.

use super::spectrum::Spectrum;
use crate::error::{Error, Result};

/// The criterion for settled ranks: for some epochs, no weight's stable rank ([`Spectrum::stable_rank`]) has varied by
/// more than a tolerance. What stage 1 learns after that fits the ranks it has reached, so stage 2 may as well learn it
/// with fewer parameters (Cuttlefish, Wang et al., arXiv 2305.02538).
///
/// Ranks that have not yet moved have not settled. At the start of training, a CTC loss and the weights stay on a
/// plateau for some epochs. So at least one rank must have moved from its initial value by more than the tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settling {
    /// Number of epochs over which no rank may vary.
    pub window: usize,
    /// The largest variation that counts as none: the range of a weight's stable ranks relative to the last one.
    pub tolerance: f32,
}

impl Default for Settling {
    /// 10% over 5 epochs.
    fn default() -> Self {
        Self { window: 5, tolerance: 0.1 }
    }
}

impl Settling {
    pub(super) fn check(self) -> Result<()> {
        if self.window == 0 {
            let value = self.window as f64;
            return Err(Error::Parameter { what: "epochs of settling", value, expected: "at least 1" });
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            let value = self.tolerance.into();
            return Err(Error::Parameter { what: "tolerance of settling", value, expected: "at least 0" });
        }
        Ok(())
    }
}

/// The stable ranks of all weights, at the start of a run and after each epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RankHistory(pub(super) Vec<Vec<f32>>);

impl RankHistory {
    pub(super) fn push(&mut self, spectra: &[Spectrum]) {
        // Not f64: checkpoints store them as decimals, from which f32 values are recovered exactly.
        self.0.push(spectra.iter().map(|spectrum| spectrum.stable_rank as f32).collect());
    }

    pub(super) fn settled(&self, settling: Settling) -> bool {
        let Settling { window, tolerance } = settling;
        // Ranks before the window's first epoch and after each of its epochs.
        let (Some(first), Some(recent)) = (self.0.first(), self.0.len().checked_sub(window + 1)) else {
            return false;
        };
        let varies = |epochs: &mut dyn Iterator<Item = &Vec<f32>>, weight: usize| {
            let mut range = (f32::INFINITY, 0.0f32);
            let mut last = 0.0;
            for ranks in epochs {
                last = ranks[weight];
                range = (range.0.min(last), range.1.max(last));
            }
            range.1 - range.0 > tolerance * last
        };
        let weights = 0..first.len();
        !weights.clone().any(|weight| varies(&mut self.0[recent..].iter(), weight))
            && weights.clone().any(|weight| varies(&mut self.0.iter(), weight))
    }
}
