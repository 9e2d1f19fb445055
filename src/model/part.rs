//! One matrix of a model: its decomposition, truncation and report.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::compress::{MatrixReport, Storage, Weighting};
use super::factorable::{Cut, Matrix, Replaced};
use crate::compress::{
    Choice, Cost, Decomposition, Moment, RoundedFactors, explained_variance, nu, relative_error, round_corrected,
    signal_to_noise,
};
use crate::error::{Error, FileError, Result};
use crate::factored::{
    DenseWeight, LowRank, LowRankLinear, Quantization, Unpacked, Weight, beside, columns, expect_finite,
    singular_values,
};
use crate::kernels::Tier;
use crate::matrix::{Mat, MatRef};

/// A matrix of a model.
#[derive(Debug)]
pub(super) struct Part {
    /// The layer's name, and the matrix's full name.
    pub layer: String,
    pub name: String,
    pub matrix: Matrix,
    pub decomposition: Decomposition,
    /// The unweighted singular values; those of the decomposition may be weighted.
    singular_values: Vec<f64>,
    /// What it becomes, if that was decided before any plan.
    pub pinned: Option<Choice>,
    /// Used to measure errors, and to weight them if `weighted`.
    moment: Option<Moment>,
    pub weighted: bool,
}

impl Part {
    pub fn new(layer: &str, matrix: Matrix, moment: Option<Moment>, weighting: Weighting) -> Result<Self> {
        let name = format!("{layer}.{}", matrix.name);
        let weigh = moment.as_ref().filter(|_| weighting == Weighting::Data);
        let weighted = weigh.is_some();
        let w = matrix.weight.view();
        let named = |cause| FileError::layer(name.clone(), cause);
        let decomposition = Decomposition::new(w, weigh).map_err(named)?;
        let own = if weighted { singular_values(w).map_err(named)? } else { decomposition.singular_values().to_vec() };
        let layer = layer.into();
        Ok(Self { layer, name, matrix, decomposition, singular_values: own, pinned: None, moment, weighted })
    }

    /// The widths of the column ranges that are separate weights.
    fn widths(&self) -> Vec<usize> {
        let k = self.matrix.weight.cols();
        self.matrix.halves.map_or(Vec::from([k]), |half| Vec::from([half, k - half]))
    }

    pub fn cut(&self, choice: Choice, storage: Storage, tier: Tier) -> Result<Cut> {
        let w = self.matrix.weight.view();
        let store = |w: Mat<f32>| match storage.format {
            None => Ok(Unpacked::F32(w)),
            Some(format) => Unpacked::quantize(w.view(), format),
        };
        let split = |w: MatRef<'_, f32>| {
            let mut start = 0;
            let part = |width: usize| {
                start += width;
                store(columns(w, start - width..start)?)
            };
            self.widths().into_iter().map(part).collect::<Result<Vec<Unpacked>>>()
        };
        let pack = |part: Unpacked| part.pack(tier);
        let weights: Vec<Weight> = match choice {
            Choice::Dense => split(w)?.into_iter().map(|part| Ok(Weight::Dense(pack(part)?))).collect::<Result<_>>()?,
            Choice::LowRank(rank) => {
                let low_rank = self.decomposition.truncate(rank)?;
                let RoundedFactors { u, v } = match storage {
                    Storage { format: Some(format), correct: true } => round_corrected(
                        w,
                        &low_rank,
                        format,
                        self.moment.as_ref().filter(|_| self.weighted),
                        &self.widths(),
                    )?,
                    _ => {
                        let (u, v): (Mat<f32>, Mat<f32>) = LowRank::into_factors(low_rank);
                        RoundedFactors { u: store(u)?, v: split(v.view())? }
                    }
                };
                let u: Arc<DenseWeight> = Arc::new(pack(u)?);
                let weight = |v| Ok(LowRankLinear::from_parts(Arc::clone(&u), pack(v)?)?.into());
                v.into_iter().map(weight).collect::<Result<_>>()?
            }
        };
        let replaced = |(i, weight): (usize, Weight)| {
            let columns = if i == 0 { 0..weight.k() } else { w.cols() - weight.k()..w.cols() };
            Ok(Replaced { shift: self.shift(columns, &weight)?, weight })
        };
        let mut weights = weights.into_iter().enumerate().map(replaced).collect::<Result<Vec<Replaced>>>()?.into_iter();
        match (weights.next(), weights.next()) {
            (Some(first), Some(second)) => Ok(Cut::Halves([first, second])),
            (Some(whole), None) => Ok(Cut::Whole(whole)),
            (None, _) => Err(Error::Length { what: "weights", expected: 1, found: 0 }),
        }
    }

    /// The mean difference between products with some columns of the matrix and products with the weight that replaces
    /// them: `(W - A) E[x]`.
    fn shift(&self, range: Range<usize>, weight: &Weight) -> Result<Option<Vec<f32>>> {
        let Some(moment) = self.moment.as_ref().filter(|_| self.weighted) else { return Ok(None) };
        let (mean, became) = (moment.mean(), weight.dequantize()?);
        let of_row = |row: usize| {
            let w = &self.matrix.weight.view().row(row)[range.clone()];
            let terms = w.iter().zip(became.view().row(row)).zip(&mean[range.clone()]);
            terms.map(|((&w, &a), mean)| (f64::from(w) - f64::from(a)) * mean).sum::<f64>() as f32
        };
        let shift: Vec<f32> = (0..weight.n()).map(of_row).collect();
        expect_finite("bias correction", &shift)?;
        Ok(Some(shift))
    }

    pub fn report(&self, choice: Choice, format: Option<Quantization>, cut: &Cut) -> Result<MatrixReport> {
        let w = &self.matrix.weight;
        let (n, k) = (w.rows(), w.cols());
        let became = match cut {
            Cut::Whole(replaced) => replaced.weight.dequantize()?,
            Cut::Halves([first, second]) => {
                beside(first.weight.dequantize()?.view(), second.weight.dequantize()?.view())?
            }
        };
        let sigma = self.singular_values.clone();
        let bytes = Cost::Bytes(format.map(Quantization::weights));
        Ok(MatrixReport {
            name: self.name.clone(),
            n,
            k,
            choice,
            format,
            kept_variance: match choice {
                Choice::Dense => 1.0,
                Choice::LowRank(rank) => explained_variance(&sigma, rank),
            },
            nu: nu(&sigma),
            bytes_before: Cost::Bytes(None).matrix(n, k, false),
            bytes_after: match choice {
                Choice::Dense => bytes.matrix(n, k, false),
                Choice::LowRank(rank) => bytes.factors(n, k, rank, false),
            },
            relative_error: relative_error(w.view(), became.view())?,
            signal_to_noise: match &self.moment {
                None => None,
                Some(moment) => Some(signal_to_noise(w.view(), became.view(), moment)?),
            },
            singular_values: sigma,
        })
    }
}
