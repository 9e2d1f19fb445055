//! The weights of a state dict: one matrix, two factors, or the separate gates of a recurrent layer.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{FileError, Result, TensorProblem};
use crate::factored::{LowRank, LowRankLinear, Weight, columns};
use crate::matrix::Mat;
use crate::model::tensors::{Tensors, wrong_shape};

/// How a weight is stored.
enum Stored {
    /// `NAME`.
    Dense,
    /// `NAME.u` and `NAME.v`.
    Factors,
    /// This many of `NAME.0`, `NAME.1`, ..., each stored in one of the ways above.
    Stack(usize),
}

fn factor_names(name: &str) -> [String; 2] {
    [format!("{name}.u"), format!("{name}.v")]
}

fn part_name(name: &str, part: usize) -> String {
    format!("{name}.{part}")
}

fn is_whole(tensors: &Tensors<'_>, name: &str) -> bool {
    tensors.contains(name) || factor_names(name).iter().any(|factor| tensors.contains(factor))
}

fn stored(tensors: &Tensors<'_>, name: &str) -> Result<Stored> {
    if tensors.contains(name) {
        Ok(Stored::Dense)
    } else if is_whole(tensors, name) {
        Ok(Stored::Factors)
    } else {
        match (0..).take_while(|&part| is_whole(tensors, &part_name(name, part))).count() {
            0 => Err(FileError::tensor(name, TensorProblem::Missing)),
            parts => Ok(Stored::Stack(parts)),
        }
    }
}

fn matrix_shape(tensors: &Tensors<'_>, name: &str) -> Result<[usize; 2]> {
    match tensors.shape(name) {
        Some(&[rows, cols]) => Ok([rows, cols]),
        Some(other) => Err(wrong_shape(name, "two dimensions".into(), other)),
        None => Err(FileError::tensor(name, TensorProblem::Missing)),
    }
}

/// Rows and columns of a weight as one matrix.
pub(super) fn shape(tensors: &Tensors<'_>, name: &str) -> Result<[usize; 2]> {
    match stored(tensors, name)? {
        Stored::Dense => matrix_shape(tensors, name),
        Stored::Factors => {
            let [u, v] = factor_names(name);
            Ok([matrix_shape(tensors, &u)?[0], matrix_shape(tensors, &v)?[1]])
        }
        Stored::Stack(parts) => (0..parts).try_fold([0, 0], |[rows, _], part| {
            let [more, cols] = shape(tensors, &part_name(name, part))?;
            Ok([usize::saturating_add(rows, more), cols])
        }),
    }
}

/// Takes a weight.
pub(super) fn take(tensors: &mut Tensors<'_>, name: &str) -> Result<Weight> {
    match stored(tensors, name)? {
        Stored::Dense => Weight::dense(tensors.take_matrix(name)?),
        Stored::Factors => Ok(take_factors(tensors, name)?.into()),
        Stored::Stack(parts) => {
            let parts = (0..parts).map(|part| take(tensors, &part_name(name, part))).collect::<Result<Vec<_>>>()?;
            Weight::stack(parts).map_err(|cause| FileError::invalid(name, cause))
        }
    }
}

/// Takes input and recurrent weights stored side by side in one matrix; the first `input` columns are the input
/// weights. Factors keep sharing their `U`.
pub(super) fn take_joint(tensors: &mut Tensors<'_>, name: &str, input: usize) -> Result<[Weight; 2]> {
    let halves =
        |w: &Mat<f32>| -> Result<_> { Ok([columns(w.view(), 0..input)?, columns(w.view(), input..w.cols())?]) };
    match stored(tensors, name)? {
        Stored::Factors => {
            let (u, v) = take_factors(tensors, name)?.into_factors();
            Ok(LowRankLinear::with_shared_u(u, halves(&v)?)?.map(Weight::from))
        }
        Stored::Dense | Stored::Stack(_) => {
            let [weight_ih, weight_hh] = halves(&tensors.take_matrix(name)?)?;
            Ok([Weight::dense(weight_ih)?, Weight::dense(weight_hh)?])
        }
    }
}

fn take_factors(tensors: &mut Tensors<'_>, name: &str) -> Result<LowRank> {
    let [u, v] = factor_names(name);
    let factors = [tensors.take_matrix(&u)?, tensors.take_matrix(&v)?];
    let [u, v] = factors;
    LowRank::from_factors(u, v).map_err(|cause| FileError::invalid(name, cause))
}
