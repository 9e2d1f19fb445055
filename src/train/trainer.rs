//! The training loop, one epoch at a time.

use std::fmt;
use std::time::{Duration, Instant};

use super::adam::AlignedAdam;
use super::ctc::ctc_loss;
use super::data::Data;
use super::distillation::distillation_loss;
use super::random::Random;
use super::recognizer::Recognizer;
use super::schedule::Schedule;
use super::settling::RankHistory;
use super::spectrum::Spectrum;
use super::tensors::scalar;
use crate::error::{Error, Result};
use crate::error_rate::ErrorCount;

/// A training run between two epochs.
///
/// Call [`save`](Self::save) after each epoch, and an interruption loses at most one. A run read by
/// [`resume`](Self::resume) reaches the same weights.
#[derive(Clone)]
pub struct Trainer {
    pub(super) model: Recognizer,
    pub(super) schedule: Schedule,
    /// Number of epochs done.
    pub(super) epoch: usize,
    /// Whether the transition has been made.
    pub(super) cut: bool,
    /// Epochs before the transition, if ranks have settled.
    pub(super) settled: Option<usize>,
    pub(super) ranks: RankHistory,
    /// The model of stage 1, if stage 2 learns from it.
    pub(super) teacher: Option<Recognizer>,
    pub(super) random: Random,
    pub(super) adam: AlignedAdam,
}

/// The results of an epoch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Number of epochs done, including this one.
    pub epoch: usize,
    /// The stage: 1 or 2.
    pub stage: u8,
    /// The CTC loss per symbol, averaged over the epoch's batches.
    pub loss: f64,
    /// The penalty at the end of the epoch, with the strengths reached by then.
    pub penalty: f64,
    /// Errors on the validation data right after the transition, if this epoch began with it.
    pub at_cut: Option<ErrorCount>,
    /// Errors on the validation data.
    pub errors: ErrorCount,
    /// The spectrum of each weight.
    pub spectra: Vec<Spectrum>,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Wall-clock time.
    pub time: Duration,
}

impl Report {
    /// The mean of nu over the weights.
    pub fn nu(&self) -> f64 {
        self.spectra.iter().map(|spectrum| spectrum.nu).sum::<f64>() / self.spectra.len().max(1) as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {:3}, stage {}: loss {:.4}", self.epoch, self.stage, self.loss)?;
        if let Some(errors) = self.at_cut {
            write!(f, ", CER {:.2}% at the cut", 100.0 * errors.rate())?;
        }
        let ranks: Vec<_> =
            self.spectra.iter().map(|spectrum| format!("{}/{}", spectrum.rank_90, spectrum.rank)).collect();
        write!(f, ", CER {:.2}%, nu {:.3}, ranks {}", 100.0 * self.errors.rate(), self.nu(), ranks.join(" "))?;
        write!(f, ", {} parameters, {:.1} s", self.parameters, self.time.as_secs_f64())
    }
}

impl Trainer {
    /// Starts a run.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an invalid schedule; those of [`RankPolicy::rank`](crate::factored::RankPolicy) for
    /// ranks at the transition that a weight of the model cannot have.
    pub fn new(model: Recognizer, schedule: Schedule) -> Result<Self> {
        schedule.check()?;
        if schedule.has_stage_2() {
            model.expect_rank(schedule.rank)?;
        }
        let random = Random::new(schedule.seed);
        let (adam, ranks) = (AlignedAdam::new(), RankHistory::default());
        Ok(Self { model, schedule, epoch: 0, cut: false, settled: None, ranks, teacher: None, random, adam })
    }

    /// The model so far.
    pub fn model(&self) -> &Recognizer {
        &self.model
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Number of epochs done.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// Number of epochs before the transition: the schedule's, or fewer if ranks have settled.
    pub fn transition(&self) -> Option<usize> {
        self.settled.or(self.schedule.transition)
    }

    /// The schedule, with the transition at the epoch where ranks settled.
    fn plan(&self) -> Schedule {
        self.settled.map_or_else(|| self.schedule.clone(), |epoch| self.schedule.with_transition(epoch))
    }

    /// The same run with another schedule from here on, for example to try several ranks after one stage 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a schedule that is invalid, puts the transition in the past, or needs a model of stage
    /// 1 that was not kept. For ranks, the errors of [`new`](Self::new).
    pub fn with_schedule(mut self, schedule: Schedule) -> Result<Self> {
        schedule.check()?;
        if !self.cut && schedule.has_stage_2() {
            self.model.expect_rank(schedule.rank)?;
        }
        if !self.cut && schedule.settling != self.schedule.settling {
            self.settled = None;
        }
        if !self.cut && self.epoch > 0 && schedule.is_stage_2(self.epoch - 1) {
            let value = schedule.transition.unwrap_or(0) as f64;
            return Err(Error::Parameter { what: "transition", value, expected: "not before the epochs done" });
        }
        if self.cut && schedule.distillation == 0.0 {
            self.teacher = None;
        } else if self.cut && self.teacher.is_none() {
            let value = schedule.distillation.into();
            let expected = "0, as the model of stage 1 was not kept";
            return Err(Error::Parameter { what: "strength of the distillation", value, expected });
        }
        self.schedule = schedule;
        Ok(self)
    }

    /// Trains for one epoch; returns `None` if the run is complete. An epoch that fails leaves the run unchanged.
    ///
    /// # Errors
    /// Those of the data; [`Error::NotFinite`] for a loss that diverged (a lower learning rate or clip helps); those of
    /// [`Recognizer::truncate`] at the transition.
    pub fn train_epoch(&mut self, data: &mut impl Data) -> Result<Option<Report>> {
        if self.epoch >= self.plan().epochs {
            return Ok(None);
        }
        let mut next = self.clone();
        let report = next.epoch_of(data)?;
        *self = next;
        Ok(Some(report))
    }

    fn epoch_of(&mut self, data: &mut impl Data) -> Result<Report> {
        let start = Instant::now();
        data.validation().iter().try_for_each(|batch| self.model.expect_fitting(batch))?;
        let plan = self.plan();
        let stage_2 = plan.is_stage_2(self.epoch);
        let mut at_cut = None;
        if stage_2 && !self.cut {
            let low_rank = self.model.truncate(plan.rank)?;
            let full_rank = std::mem::replace(&mut self.model, low_rank);
            self.teacher = (plan.distillation > 0.0).then(|| full_rank.without_gradients());
            // The moments belong to parameters that no longer exist.
            self.adam = AlignedAdam::new();
            self.cut = true;
            at_cut = Some(self.as_it_runs(&plan)?.evaluate(data.validation())?);
        }
        if self.epoch == 0 {
            self.ranks.push(&self.spectra()?);
        }
        let mut sum = 0.0;
        for batch in 0..plan.batches {
            sum += f64::from(self.step(data, &plan, batch)?);
        }
        let penalty = plan.penalty(self.epoch, plan.batches - 1);
        self.epoch += 1;
        let spectra = self.spectra()?;
        if !stage_2 {
            self.ranks.push(&spectra);
            if plan.settling.is_some_and(|settling| self.ranks.settled(settling)) {
                self.settled = Some(self.epoch);
            }
        }
        let weights = self.model.weights();
        let penalty = penalty.of(weights.iter().map(|&(_, kind, weight)| (kind, weight)));
        Ok(Report {
            epoch: self.epoch,
            stage: if stage_2 { 2 } else { 1 },
            loss: sum / plan.batches as f64,
            penalty: penalty.map_or(0.0, |penalty| f64::from(scalar(penalty))),
            at_cut,
            errors: self.as_it_runs(&plan)?.evaluate(data.validation())?,
            spectra,
            parameters: self.model.parameter_count(),
            time: start.elapsed(),
        })
    }

    /// The model, with rounded weights if stage 2 has a format.
    fn as_it_runs(&self, plan: &Schedule) -> Result<Recognizer> {
        match plan.format {
            Some(format) if self.cut => self.model.rounded(format),
            _ => Ok(self.model.clone()),
        }
    }

    fn spectra(&self) -> Result<Vec<Spectrum>> {
        self.model.weights().iter().map(|(name, _, weight)| Spectrum::of(name, weight)).collect()
    }

    /// Trains on one batch; returns the loss per symbol, without the penalty.
    fn step(&mut self, data: &mut impl Data, plan: &Schedule, index: usize) -> Result<f32> {
        if plan.aligns(self.epoch, index) {
            for (name, weight) in self.model.weights_mut() {
                self.adam.align(&name, weight)?;
            }
        }
        let batch = data.batch(&mut self.random)?;
        let scores = self.as_it_runs(plan)?.scores(&batch)?;
        let symbols = batch.symbols().max(1) as f32;
        let mut loss = ctc_loss(scores.clone(), &batch)?.div_scalar(symbols);
        let value = scalar(loss.clone());
        if !value.is_finite() {
            return Err(Error::NotFinite { what: "loss", index, value });
        }
        if let Some(teacher) = &self.teacher {
            let distillation = distillation_loss(scores, teacher.scores(&batch)?, &batch);
            loss = loss + distillation.mul_scalar(plan.distillation / symbols);
        }
        let weights = self.model.weights();
        let penalty = plan.penalty(self.epoch, index);
        let penalty = penalty.of(weights.iter().map(|&(_, kind, weight)| (kind, weight)));
        let mut gradients = penalty.map_or(loss.clone(), |penalty| loss + penalty).backward();

        let mut parameters = self.model.parameters_mut();
        let mut of: Vec<_> = parameters.iter().map(|(_, tensor)| tensor.grad_remove(&mut gradients)).collect();
        let squares = of.iter().flatten().map(|gradient| gradient.clone().square().sum());
        let norm = squares.reduce(|sum, square| sum + square).map_or(0.0, |sum| scalar(sum).sqrt());
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "gradient", index, value: norm });
        }
        let scale = (plan.clip / norm.max(f32::MIN_POSITIVE)).min(1.0);
        let rate = plan.rate(self.epoch, index);
        for ((name, tensor), gradient) in parameters.iter_mut().zip(&mut of) {
            let Some(gradient) = gradient.take() else { continue };
            self.adam.step(name, tensor, gradient.mul_scalar(scale), rate);
        }
        Ok(value)
    }
}
