//! Operations on several values.

use crate::error::{Error, Result};
use crate::matrix::{MatMut, MatRef};

/// Makes one value of several, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Join {
    /// The features of all values, one value after the other.
    Concat,
    /// Sums, from the first value to the last. A value of one feature is added to every feature.
    Add,
    /// Products, from the first value to the last. A value of one feature multiplies every feature.
    Multiply,
}

impl Join {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Concat, Self::Add, Self::Multiply];

    /// Its name, in a word.
    pub fn name(self) -> &'static str {
        match self {
            Join::Concat => "concat",
            Join::Add => "add",
            Join::Multiply => "multiply",
        }
    }

    /// The number of features made of values with these numbers of features.
    pub(super) fn features(self, widths: impl ExactSizeIterator<Item = usize> + Clone) -> Result<usize> {
        if widths.len() < 2 {
            return Err(Error::Length { what: "values to join", expected: 2, found: widths.len() });
        }
        match self {
            Join::Concat => Ok(widths.fold(0, usize::saturating_add)),
            Join::Add | Join::Multiply => {
                let most = widths.clone().fold(1, usize::max);
                match widths.into_iter().find(|&width| width != most && width != 1) {
                    None => Ok(most),
                    Some(found) => Err(Error::Length { what: "features of a joined value", expected: most, found }),
                }
            }
        }
    }

    /// Joins frames. `parts` have as many rows as `out`, and their features fit it.
    pub(super) fn run<'a>(self, parts: impl Iterator<Item = MatRef<'a, f32>>, mut out: MatMut<'_, f32>) {
        match self {
            Join::Concat => {
                let mut start = 0;
                for part in parts {
                    for row in 0..part.rows() {
                        out.row_mut(row)[start..start + part.cols()].copy_from_slice(part.row(row));
                    }
                    start += part.cols();
                }
            }
            Join::Add => fold(parts, out, |sum, x| sum + x),
            Join::Multiply => fold(parts, out, |product, x| product * x),
        }
    }
}

/// Combines parts feature by feature, in order.
fn fold<'a>(parts: impl Iterator<Item = MatRef<'a, f32>>, mut out: MatMut<'_, f32>, f: impl Fn(f32, f32) -> f32) {
    for (i, part) in parts.enumerate() {
        for row in 0..part.rows() {
            let (x, out) = (part.row(row), out.row_mut(row));
            match x {
                &[x] if i == 0 => out.fill(x),
                &[x] => out.iter_mut().for_each(|y| *y = f(*y, x)),
                x if i == 0 => out.copy_from_slice(x),
                x => out.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x)),
            }
        }
    }
}
