//! Trainable gate matrices of a recurrent layer, factored by any scheme.

use burn::tensor::{Device, Tensor};

use super::tensors::{Parameters, matrix};
use super::weight::{Weight, WeightKind};
use crate::error::Result;
use crate::factored::{self, LowRank, LowRankLinear, RankPolicy, Scheme};
use crate::matrix::Mat;

/// The input matrices (`g hidden x input`) and recurrent matrices (`g hidden x hidden`) of `g` gates, factored by one
/// of the [`Scheme`]s.
#[allow(clippy::large_enum_variant, reason = "a layer has one")]
#[derive(Clone, Debug)]
pub enum GateWeights {
    /// A weight for each gate.
    Split {
        /// `hidden x input`, in the order of the gates.
        ih: Vec<Weight>,
        /// `hidden x hidden`.
        hh: Vec<Weight>,
    },
    /// One weight for all input products, one for all recurrent products. Dense weights have this form too.
    PartiallyJoint {
        /// `g hidden x input`.
        ih: Weight,
        /// `g hidden x hidden`.
        hh: Weight,
    },
    /// One weight for both, side by side.
    Joint {
        /// `g hidden x (input + hidden)`.
        both: Weight,
        /// Number of columns that belong to the input.
        input: usize,
    },
}

impl GateWeights {
    /// Makes dense weights: `ih` is `g hidden x input`, `hh` is `g hidden x hidden`.
    pub fn dense(ih: &Mat<f32>, hh: &Mat<f32>, device: &Device) -> Self {
        GateWeights::PartiallyJoint { ih: Weight::dense(ih.view(), device), hh: Weight::dense(hh.view(), device) }
    }

    /// Converts to another scheme: `each` makes its weights from the values of these.
    ///
    /// # Errors
    /// Those of `each`, and of [`Weight::to_mat`].
    pub fn refactor(
        &self,
        scheme: Scheme,
        mut each: impl FnMut(Mat<f32>, WeightKind) -> Result<Weight>,
    ) -> Result<Self> {
        let (ih, hh) = self.to_mats()?;
        let gates = ih.rows() / hh.cols();
        Ok(match scheme {
            Scheme::Split => {
                let mut split = |w: &Mat<f32>, kind| {
                    let rows = w.rows() / gates;
                    let gate = |i: usize| {
                        let rows = w.view().rows_range(i * rows..(i + 1) * rows);
                        Mat::from_vec(rows.as_slice().to_vec(), rows.rows(), rows.cols())
                    };
                    (0..gates).map(|i| each(gate(i)?, kind)).collect::<Result<_>>()
                };
                GateWeights::Split { ih: split(&ih, WeightKind::NonRecurrent)?, hh: split(&hh, WeightKind::Recurrent)? }
            }
            Scheme::PartiallyJoint => GateWeights::PartiallyJoint {
                ih: each(ih, WeightKind::NonRecurrent)?,
                hh: each(hh, WeightKind::Recurrent)?,
            },
            Scheme::Joint => {
                let input = ih.cols();
                let both = factored::beside(ih.view(), hh.view())?;
                GateWeights::Joint { both: each(both, WeightKind::Recurrent)?, input }
            }
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        match self {
            GateWeights::Split { .. } => Scheme::Split,
            GateWeights::PartiallyJoint { .. } => Scheme::PartiallyJoint,
            GateWeights::Joint { .. } => Scheme::Joint,
        }
    }

    /// Truncates each weight to its rank by `policy`.
    ///
    /// # Errors
    /// Those of [`Weight::truncate`].
    pub fn truncate(&self, policy: RankPolicy, device: &Device) -> Result<Self> {
        let all = |weights: &[Weight]| weights.iter().map(|w| w.truncate(policy, device)).collect::<Result<_>>();
        Ok(match self {
            GateWeights::Split { ih, hh } => GateWeights::Split { ih: all(ih)?, hh: all(hh)? },
            GateWeights::PartiallyJoint { ih, hh } => {
                GateWeights::PartiallyJoint { ih: ih.truncate(policy, device)?, hh: hh.truncate(policy, device)? }
            }
            GateWeights::Joint { both, input } => {
                GateWeights::Joint { both: both.truncate(policy, device)?, input: *input }
            }
        })
    }

    /// All input matrices (`g hidden x input`) and all recurrent matrices (`g hidden x hidden`), as part of the graph.
    pub fn matrices(&self) -> (Tensor<2>, Tensor<2>) {
        let stacked = |weights: &[Weight]| Tensor::cat(weights.iter().map(Weight::matrix).collect(), 0);
        match self {
            GateWeights::Split { ih, hh } => (stacked(ih), stacked(hh)),
            GateWeights::PartiallyJoint { ih, hh } => (ih.matrix(), hh.matrix()),
            GateWeights::Joint { both, input } => {
                let w = both.matrix();
                let [rows, cols] = w.dims();
                (w.clone().slice([0..rows, 0..*input]), w.slice([0..rows, *input..cols]))
            }
        }
    }

    /// The products of all rows of `x` with the input matrices (`rows x g hidden`), and the recurrent matrices
    /// (`g hidden x hidden`).
    pub(super) fn input_products(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        match self {
            GateWeights::PartiallyJoint { ih, hh } => (ih.apply(x), hh.matrix()),
            _ => {
                let (ih, hh) = self.matrices();
                (x.matmul(ih.transpose()), hh)
            }
        }
    }

    fn to_mats(&self) -> Result<(Mat<f32>, Mat<f32>)> {
        let (ih, hh) = self.matrices();
        Ok((matrix(&ih)?, matrix(&hh)?))
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        match self {
            GateWeights::Split { ih, .. } => ih[0].shape()[1],
            GateWeights::PartiallyJoint { ih, .. } => ih.shape()[1],
            GateWeights::Joint { input, .. } => *input,
        }
    }

    /// State features.
    pub fn hidden_size(&self) -> usize {
        match self {
            GateWeights::Split { hh, .. } => hh[0].shape()[1],
            GateWeights::PartiallyJoint { hh, .. } => hh.shape()[1],
            GateWeights::Joint { both, input } => both.shape()[1] - input,
        }
    }

    /// The input weight and the recurrent weight for inference.
    ///
    /// # Errors
    /// Those of [`Weight::to_inference`].
    pub fn to_inference(&self) -> Result<(factored::Weight, factored::Weight)> {
        let stacked = |weights: &[Weight]| -> Result<_> {
            factored::Weight::stack(weights.iter().map(Weight::to_inference).collect::<Result<_>>()?)
        };
        match self {
            GateWeights::Split { ih, hh } => Ok((stacked(ih)?, stacked(hh)?)),
            GateWeights::PartiallyJoint { ih, hh } => Ok((ih.to_inference()?, hh.to_inference()?)),
            GateWeights::Joint { both: Weight::Factored { u, v }, input } => {
                let (u, v) = LowRank::from_factors(matrix(u)?, matrix(v)?)?.into_factors();
                let v = [0..*input, *input..v.cols()].map(|range| factored::columns(v.view(), range));
                let [of_input, of_state] = v;
                Ok(LowRankLinear::with_shared_u(u, [of_input?, of_state?])?.map(factored::Weight::from).into())
            }
            GateWeights::Joint { both: Weight::Dense(_), .. } => {
                let (ih, hh) = self.to_mats()?;
                Ok((factored::Weight::dense(ih)?, factored::Weight::dense(hh)?))
            }
        }
    }

    /// Each weight with its name and kind; `suffix` is the layer's (`_l0`).
    pub(super) fn weights(&self, prefix: &str, suffix: &str) -> Vec<(String, WeightKind, &Weight)> {
        use WeightKind::{NonRecurrent, Recurrent};
        let name = |weight: &str| format!("{prefix}{weight}{suffix}");
        match self {
            GateWeights::Split { ih, hh } => {
                let ih = ih.iter().enumerate().map(|(i, w)| (format!("{}.{i}", name("weight_ih")), NonRecurrent, w));
                let hh = hh.iter().enumerate().map(|(i, w)| (format!("{}.{i}", name("weight_hh")), Recurrent, w));
                ih.chain(hh).collect()
            }
            GateWeights::PartiallyJoint { ih, hh } => {
                vec![(name("weight_ih"), NonRecurrent, ih), (name("weight_hh"), Recurrent, hh)]
            }
            GateWeights::Joint { both, .. } => vec![(name("weight"), Recurrent, both)],
        }
    }

    /// Each weight, mutable, with its name as in [`weights`](Self::weights).
    pub(super) fn weights_mut(&mut self, prefix: &str, suffix: &str) -> Vec<(String, &mut Weight)> {
        let names: Vec<String> = self.weights(prefix, suffix).into_iter().map(|(name, _, _)| name).collect();
        let weights: Vec<&mut Weight> = match self {
            GateWeights::Split { ih, hh } => ih.iter_mut().chain(hh).collect(),
            GateWeights::PartiallyJoint { ih, hh } => vec![ih, hh],
            GateWeights::Joint { both, .. } => vec![both],
        };
        names.into_iter().zip(weights).collect()
    }

    pub(super) fn add_parameters<'a>(&'a mut self, prefix: &str, suffix: &str, parameters: &mut Parameters<'a>) {
        for (name, weight) in self.weights_mut(prefix, suffix) {
            weight.add_parameters(name, parameters);
        }
    }
}
