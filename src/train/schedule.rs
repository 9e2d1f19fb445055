//! What a user decides about a training run.

use super::penalty::Penalty;
use super::settling::Settling;
use crate::error::{Error, Result};
use crate::factored::RankPolicy;
use crate::kernels::WeightFormat;

/// Both stages of a training run. Stage 1 are the epochs before the transition, stage 2 those after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Epochs of both stages.
    pub epochs: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Epochs before the transition; without one the run is a stage 1 to its end.
    pub transition: Option<usize>,
    /// Makes the transition as soon as ranks have settled, `transition` being its last epoch then. Stage 2 keeps its length,
    /// so that the run is shorter.
    pub settling: Option<Settling>,
    /// What the ranks are at the transition.
    pub rank: RankPolicy,
    /// The penalty of stage 1. Stage 2 has none.
    pub penalty: Penalty,
    /// The share of stage 1 over which the penalty rises, by the same amount at each batch, from zero to its strength: 1 all
    /// of it, 0 none, a constant penalty. One that is there from the start kills directions before they are of use: a CTC
    /// loss stays on a plateau at first, where weights have next to nothing but the penalty to follow.
    pub rise: f32,
    /// Adam's learning rate in stage 1.
    pub rates: Rates,
    /// Adam's learning rate in stage 2.
    pub rates_2: Rates,
    /// What the model is to run in: stage 2 computes losses and errors with all weights rounded to this format
    /// ([`Recognizer::rounded`](super::Recognizer::rounded)), and its steps move the numbers before rounding. An alignment
    /// changes what factors round to, though not what they are the factors of.
    pub format: Option<WeightFormat>,
    /// What stage 2 adds to the loss: so many times the [`distillation_loss`](super::distillation_loss) from the model of stage
    /// 1, a symbol.
    pub distillation: f32,
    /// Every so many batches, from the first of the run on, factors are turned into the basis of their singular directions
    /// and Adam's moments with them, in both stages; never without it. The weights do not change, but Adam's steps do: in
    /// other bases they are much too long for the greatest singular values, and training stalls.
    pub align: Option<usize>,
    /// Batches at the start of each stage over which the learning rate rises to its first value.
    pub warm_up: usize,
    /// The greatest norm of the gradient of all parameters, of the loss a symbol; longer ones are scaled down to it.
    pub clip: f32,
    /// Where the random numbers of the batches begin.
    pub seed: u64,
}

/// A learning rate that falls by the same factor at each batch of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// At the first batch.
    pub first: f64,
    /// At the last.
    pub last: f64,
}

impl Default for Schedule {
    /// 30 epochs of stage 1, trace norm, 15 of stage 2 at 90% of the variance.
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
    /// The same with the transition after other epochs, and a stage 2 as long as it was.
    pub(super) fn with_transition(&self, transition: usize) -> Self {
        let stage_2 = self.epochs - self.transition.unwrap_or(self.epochs);
        Self { epochs: transition + stage_2, transition: Some(transition), ..self.clone() }
    }

    /// Whether an epoch, counted from 0, is of stage 2.
    pub fn is_stage_2(&self, epoch: usize) -> bool {
        self.transition.is_some_and(|transition| epoch >= transition)
    }

    /// Whether there is an epoch of stage 2.
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

    /// Whether factors are turned before a batch of an epoch, both counted from 0.
    pub(super) fn aligns(&self, epoch: usize, batch: usize) -> bool {
        self.align.is_some_and(|period| (epoch * self.batches + batch).is_multiple_of(period))
    }

    pub(super) fn check(&self) -> Result<()> {
        let expect = |what, value: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(Error::Parameter { what, value, expected }) }
        };
        expect("batches of an epoch", self.batches as f64, self.batches > 0, "at least 1")?;
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
        expect("stages", 1.0, holds, "2, as settling, format and distillation are about the second one")?;
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
