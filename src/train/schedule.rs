//! The settings of a training run.

use super::penalty::Penalty;
use super::settling::Settling;
use crate::error::{Error, Result};
use crate::factored::RankPolicy;
use crate::kernels::WeightFormat;

/// The schedule of a training run. Stage 1 is the epochs before the transition, stage 2 the epochs after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Number of epochs of both stages together.
    pub epochs: usize,
    /// Batches per epoch.
    pub batches: usize,
    /// Epochs before the transition; with `None` the whole run is stage 1.
    pub transition: Option<usize>,
    /// Makes the transition as soon as ranks have settled, after `transition` epochs at the latest. Stage 2 keeps its
    /// length, so the run becomes shorter.
    pub settling: Option<Settling>,
    /// How ranks are chosen at the transition.
    pub rank: RankPolicy,
    /// The penalty of stage 1. Stage 2 has none.
    pub penalty: Penalty,
    /// The share of stage 1 over which the penalty rises linearly from zero to its strength. 1 is all of it; 0 is a
    /// constant penalty. A penalty present from the start kills directions before they are useful: a CTC loss stays on
    /// a plateau at first, where the penalty is almost the only force on the weights.
    pub rise: f32,
    /// Adam's learning rate in stage 1.
    pub rates: Rates,
    /// Adam's learning rate in stage 2.
    pub rates_2: Rates,
    /// The format that the model will run in. Stage 2 computes losses and errors with all weights rounded to it
    /// ([`Recognizer::rounded`](super::Recognizer::rounded)), and its steps update the weights before rounding. An
    /// alignment changes the rounded factors, but not the unrounded product.
    pub format: Option<WeightFormat>,
    /// The strength of distillation: stage 2 adds this many times the [`distillation_loss`](super::distillation_loss)
    /// per symbol, with the model of stage 1 as teacher.
    pub distillation: f32,
    /// The period, in batches, at which factors and Adam's moments are rotated into the singular basis, in both stages;
    /// with `None`, never. The weights do not change, but Adam's steps do. In other bases they are much too long for
    /// the largest singular values, and training stalls.
    pub align: Option<usize>,
    /// Batches at the start of each stage over which the learning rate rises to its first value.
    pub warm_up: usize,
    /// The largest norm of the gradient of all parameters, for the loss per symbol. A longer gradient is scaled down to
    /// it.
    pub clip: f32,
    /// The seed of the batches' random numbers.
    pub seed: u64,
}

/// A learning rate that falls by a constant factor per batch of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The rate at the first batch.
    pub first: f64,
    /// The rate at the last batch.
    pub last: f64,
}

impl Default for Schedule {
    /// The default schedule: 30 epochs of stage 1 with the trace norm penalty, then 15 of stage 2 at 90% of the
    /// variance.
    fn default() -> Self {
        Self {
            epochs: 45,
            batches: 100,
            transition: Some(30),
            settling: None,
            rank: RankPolicy::Variance(0.9),
            penalty: Penalty::TraceNorm { recurrent: 2e-3, non_recurrent: 2e-3 },
            rise: 1.0,
            rates: Rates { first: 2e-3, last: 5e-4 },
            rates_2: Rates { first: 1e-3, last: 1e-4 },
            format: None,
            distillation: 0.0,
            align: Some(5),
            warm_up: 50,
            clip: 1.0,
            seed: 1,
        }
    }
}

impl Schedule {
    /// The same schedule with the transition after this many epochs. Stage 2 keeps its length.
    pub(super) fn with_transition(&self, transition: usize) -> Self {
        let stage_2 = self.epochs - self.transition.unwrap_or(self.epochs);
        Self { epochs: transition + stage_2, transition: Some(transition), ..self.clone() }
    }

    /// Whether an epoch, counted from 0, belongs to stage 2.
    pub fn is_stage_2(&self, epoch: usize) -> bool {
        self.transition.is_some_and(|transition| epoch >= transition)
    }

    /// Whether there is a stage 2.
    pub(super) fn has_stage_2(&self) -> bool {
        self.transition.is_some_and(|transition| transition < self.epochs)
    }

    /// The learning rate at a batch of an epoch, both counted from 0.
    pub fn rate(&self, epoch: usize, batch: usize) -> f64 {
        let (rates, start, end) = match self.transition {
            Some(transition) if epoch >= transition => (self.rates_2, transition, self.epochs),
            transition => (self.rates, 0, transition.unwrap_or(self.epochs)),
        };
        let done = ((epoch - start) * self.batches + batch) as f64;
        let all = ((end - start) * self.batches) as f64;
        let rise = ((done + 1.0) / (self.warm_up as f64 + 1.0)).min(1.0);
        rise * rates.first * (rates.last / rates.first).powf(done / (all - 1.0).max(1.0))
    }

    /// The penalty at a batch of an epoch, both counted from 0.
    pub fn penalty(&self, epoch: usize, batch: usize) -> Penalty {
        if self.is_stage_2(epoch) {
            return Penalty::None;
        }
        let risen = (epoch * self.batches + batch + 1) as f64;
        let all = f64::from(self.rise) * (self.transition.unwrap_or(self.epochs) * self.batches) as f64;
        self.penalty.scaled(if risen < all { (risen / all) as f32 } else { 1.0 })
    }

    /// Whether factors are rotated before a batch of an epoch, both counted from 0.
    pub(super) fn aligns(&self, epoch: usize, batch: usize) -> bool {
        self.align.is_some_and(|period| (epoch * self.batches + batch).is_multiple_of(period))
    }

    pub(super) fn check(&self) -> Result<()> {
        let expect = |what, value: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(Error::Parameter { what, value, expected }) }
        };
        expect("batches per epoch", self.batches as f64, self.batches > 0, "at least 1")?;
        if let Some(transition) = self.transition {
            expect("transition", transition as f64, transition <= self.epochs, "at most the number of epochs")?;
        }
        if let Some(align) = self.align {
            expect("batches between alignments", align as f64, align > 0, "at least 1")?;
        }
        if let Some(settling) = self.settling {
            settling.check()?;
        }
        let about_stage_2 = self.settling.is_some() || self.format.is_some() || self.distillation > 0.0;
        let holds = self.transition.is_some() || !about_stage_2;
        expect("stages", 1.0, holds, "2, because settling, format and distillation need a stage 2")?;
        for rate in [self.rates.first, self.rates.last, self.rates_2.first, self.rates_2.last] {
            expect("learning rate", rate, rate > 0.0 && rate.is_finite(), "positive")?;
        }
        expect("rise of the penalty", self.rise.into(), (0.0..=1.0).contains(&self.rise), "a share in 0..=1")?;
        let distillation = self.distillation;
        let holds = distillation >= 0.0 && distillation.is_finite();
        expect("strength of the distillation", distillation.into(), holds, "at least 0")?;
        expect("clip", self.clip.into(), self.clip > 0.0, "positive")?;
        match self.penalty {
            Penalty::None => Ok(()),
            Penalty::TraceNorm { recurrent, non_recurrent } | Penalty::L2 { recurrent, non_recurrent } => {
                let least = f64::from(recurrent.min(non_recurrent));
                let finite = recurrent.is_finite() && non_recurrent.is_finite();
                expect("strength of the penalty", least, finite && least >= 0.0, "at least 0")
            }
        }
    }
}
