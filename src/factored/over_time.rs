//! One frame of a whole sequence.

use alloc::vec::Vec;

use super::expect_depth;
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, expect_length};
use crate::matrix::{MatMut, MatRef, grow};

/// What becomes of a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// The last frame.
    Last,
    /// The mean of each feature.
    Mean,
    /// The sum of each feature.
    Sum,
    /// The largest number of each feature. NaN counts for nothing.
    Max,
}

impl Reduction {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Last, Self::Mean, Self::Sum, Self::Max];

    /// Its name, in a word.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Last => "last",
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::Max => "max",
        }
    }
}

/// A layer that makes one frame of a sequence, when it ends. Sums are in `f64`, in the order of the frames, and rounded
/// once at the end.
///
/// # Example
/// ```
/// use skinny::factored::{OverTime, Reduction};
/// use skinny::{MatMut, MatRef};
///
/// let layer = OverTime::new(Reduction::Mean, 2);
/// let mut state = layer.state()?;
/// layer.push(MatRef::new(&[1.0, 0.0, 2.0, -1.0], 2, 2)?, &mut state)?;
/// layer.push(MatRef::row_vector(&[6.0, 4.0]), &mut state)?;
/// let mut out = [0.0; 2];
/// assert_eq!(layer.outputs_at_end(&state), 1);
/// layer.finish(&mut state, MatMut::row_vector(&mut out))?;
/// assert_eq!(out, [3.0, 1.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTime {
    reduction: Reduction,
    features: usize,
}

/// The state of an [`OverTime`] between pieces of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct OverTimeState {
    /// The sums, the largest numbers or the last frame.
    values: Vec<f64>,
    frames: u64,
}

impl OverTime {
    /// Makes a layer for frames of `features` features.
    pub fn new(reduction: Reduction, features: usize) -> Self {
        Self { reduction, features }
    }

    /// What it makes of a sequence.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Features per frame, of the input and of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// A state for this layer: the start of a sequence.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn state(&self) -> Result<OverTimeState> {
        let mut state = OverTimeState { values: Vec::new(), frames: 0 };
        grow(&mut state.values, self.features)?;
        self.reset(&mut state);
        Ok(state)
    }

    /// Sets a state back to the start of a sequence.
    pub fn reset(&self, state: &mut OverTimeState) {
        state.values.fill(if self.reduction == Reduction::Max { f64::NEG_INFINITY } else { 0.0 });
        state.frames = 0;
    }

    /// Takes frames `x` (`time x features`).
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for frames or a state that do not fit; the state is untouched then.
    pub fn push(&self, x: MatRef<'_, f32>, state: &mut OverTimeState) -> Result<()> {
        self.expect_state(state)?;
        expect_depth("input", x, self.features)?;
        for row in 0..x.rows() {
            for (value, &x) in state.values.iter_mut().zip(x.row(row)) {
                let x = f64::from(x);
                match self.reduction {
                    Reduction::Last => *value = x,
                    Reduction::Mean | Reduction::Sum => *value += x,
                    Reduction::Max if x > *value => *value = x,
                    Reduction::Max => {}
                }
            }
        }
        state.frames += x.rows() as u64;
        Ok(())
    }

    /// Number of frames that [`finish`](Self::finish) writes: none for a sequence without frames, else one.
    pub fn outputs_at_end(&self, state: &OverTimeState) -> usize {
        usize::from(state.frames > 0)
    }

    /// Ends the sequence: writes its frame, if there is one, to the first row of `out` and resets the state.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for an output or a state that does not fit; both are untouched then.
    pub fn finish(&self, state: &mut OverTimeState, mut out: MatMut<'_, f32>) -> Result<()> {
        self.expect_state(state)?;
        let rows = self.outputs_at_end(state);
        out.expect_shape("output", out.rows().max(rows), self.features)?;
        if rows > 0 {
            let divisor = if self.reduction == Reduction::Mean { state.frames as f64 } else { 1.0 };
            for (y, value) in out.row_mut(0).iter_mut().zip(&state.values) {
                *y = (value / divisor) as f32;
            }
        }
        self.reset(state);
        Ok(())
    }

    fn expect_state(&self, state: &OverTimeState) -> Result<()> {
        expect_length("state", self.features, state.values.len())
    }
}
