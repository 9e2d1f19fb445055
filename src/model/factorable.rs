//! What compression needs of a layer: its matrices, their inputs, and the layer rebuilt from the results.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::factored::{Scheme, Weight};
use crate::matrix::{Mat, MatRef};

/// A matrix to be factored.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Its name within its layer.
    pub name: String,
    pub weight: Mat<f32>,
    /// Whether it is multiplied with the state of the previous step, so that a time batch cannot share it.
    pub recurrent: bool,
    /// Whether it must stay one matrix. A projection is already a thin factor.
    pub dense: bool,
    /// The number of columns of the first matrix, if it is two matrices side by side.
    pub halves: Option<usize>,
}

/// What is seen of a layer over a sequence: its input, its outputs, and the vector that its recurrent matrices took at the
/// first step, if not zeros.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub x: MatRef<'a, f32>,
    pub out: MatRef<'a, f32>,
    pub h0: Option<&'a [f32]>,
}

/// The inputs of a layer's matrices over a sequence.
#[derive(Default)]
pub(super) struct Inputs {
    /// One `time x k` matrix for each distinct input.
    pub distinct: Vec<Mat<f32>>,
    /// For each matrix of the layer, the index of its input, or `None` if the input cannot be seen from outside the
    /// layer.
    pub of: Vec<Option<usize>>,
}

impl Inputs {
    /// Adds an input shared by the next `matrices` matrices.
    pub fn add(&mut self, input: Mat<f32>, matrices: usize) {
        self.of.extend(core::iter::repeat_n(Some(self.distinct.len()), matrices));
        self.distinct.push(input);
    }

    pub fn extend(&mut self, more: Inputs) {
        let first = self.distinct.len();
        self.of.extend(more.of.into_iter().map(|input| input.map(|input| first + input)));
        self.distinct.extend(more.distinct);
    }
}

/// The result for a matrix.
pub(super) enum Cut {
    Whole(Replaced),
    /// The first [`Matrix::halves`] columns, and the rest.
    Halves([Replaced; 2]),
}

/// A weight that replaces another.
pub(super) struct Replaced {
    pub weight: Weight,
    /// What to add to the bias, if anything: the mean difference between the products of the old weight and the new.
    pub shift: Option<Vec<f32>>,
}

impl Replaced {
    /// The bias with the shift added. There may have been no bias before.
    pub fn bias(&self, bias: Option<&[f32]>) -> Option<Vec<f32>> {
        match (bias, &self.shift) {
            (bias, None) => bias.map(<[f32]>::to_vec),
            (None, Some(shift)) => Some(shift.clone()),
            (Some(bias), Some(shift)) => Some(bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect()),
        }
    }
}

/// A layer whose matrices can be factored. [`matrices`](Self::matrices), [`inputs`](Self::inputs) and
/// [`rebuild`](Self::rebuild) use the same order.
pub(super) trait Factorable: Sized {
    /// The matrices that `scheme` factors, whatever form the weights have now.
    fn matrices(&self, scheme: Scheme) -> Result<Vec<Matrix>>;

    /// The matrices' inputs, as far as they follow from what was seen of the layer.
    fn inputs(&self, scheme: Scheme, seen: Seen<'_>) -> Result<Inputs>;

    /// The same layer with other weights.
    fn rebuild(&self, scheme: Scheme, cuts: &mut Cuts) -> Result<Self>;
}

/// The results for the matrices of a model, taken in order.
pub(super) struct Cuts(pub alloc::vec::IntoIter<Cut>);

impl Cuts {
    fn next(&mut self) -> Result<Cut> {
        self.0.next().ok_or(Error::Length { what: "cut matrices", expected: 1, found: 0 })
    }

    pub fn whole(&mut self) -> Result<Replaced> {
        match self.next()? {
            Cut::Whole(weight) => Ok(weight),
            Cut::Halves(_) => Err(Error::Stored { operation: "rebuild", expected: "one weight", found: "two" }),
        }
    }

    pub fn halves(&mut self) -> Result<[Replaced; 2]> {
        match self.next()? {
            Cut::Halves(halves) => Ok(halves),
            Cut::Whole(_) => Err(Error::Stored { operation: "rebuild", expected: "two weights", found: "one" }),
        }
    }

    pub fn stack(&mut self, parts: usize) -> Result<Replaced> {
        let (mut weights, mut shift, mut shifted) = (Vec::new(), Vec::new(), false);
        for _ in 0..parts {
            let Replaced { weight, shift: of_part } = self.whole()?;
            shifted |= of_part.is_some();
            shift.extend(of_part.unwrap_or_else(|| alloc::vec![0.0; weight.n()]));
            weights.push(weight);
        }
        Ok(Replaced { weight: Weight::stack(weights)?, shift: shifted.then_some(shift) })
    }
}
