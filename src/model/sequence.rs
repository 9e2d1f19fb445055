//! Sequences for calibration and measurements.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Result;
use crate::matrix::{Mat, MatRef};

/// A sequence that a model is calibrated or measured with: the frames of the model's inputs, and the states that it begins
/// with.
///
/// States that are not given are zeros, as at the start of a stream. A decoder begins with the states of its encoder; without
/// them it is calibrated with inputs that it never sees.
///
/// # Example
/// ```
/// use skinny::{Mat, model::Sequence};
///
/// let sequence = Sequence::new(Mat::zeros(20, 40)?).with_state("decoder.h", vec![0.5; 128]);
/// assert_eq!((sequence.frames(), sequence.states().len()), (20, 1));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    inputs: Vec<Mat<f32>>,
    states: Vec<(String, Vec<f32>)>,
}

/// Of so many sequences, one is held out.
const HELD_OUT: usize = 4;

impl Sequence {
    /// A sequence for a model with one input (`time x input`).
    pub fn new(frames: Mat<f32>) -> Self {
        Self::of_inputs(Vec::from([frames]))
    }

    /// A sequence for a model with several inputs: as many frames of each, in the order of
    /// [`Model::inputs`](super::Model::inputs).
    pub fn of_inputs(inputs: Vec<Mat<f32>>) -> Self {
        Self { inputs, states: Vec::new() }
    }

    /// The same sequence beginning with this state, called as in [`Session::states`](super::Session::states). Models that
    /// have no such state refuse it.
    #[must_use]
    pub fn with_state(mut self, name: impl Into<String>, values: Vec<f32>) -> Self {
        self.states.push((name.into(), values));
        self
    }

    /// The frames of each input.
    pub fn inputs(&self) -> &[Mat<f32>] {
        &self.inputs
    }

    /// The states that it begins with.
    pub fn states(&self) -> impl ExactSizeIterator<Item = (&str, &[f32])> {
        self.states.iter().map(|(name, values)| (name.as_str(), &values[..]))
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.inputs.first().map_or(0, Mat::rows)
    }

    pub(super) fn views(&self) -> Vec<MatRef<'_, f32>> {
        self.inputs.iter().map(Mat::view).collect()
    }

    /// Parts sequences into those to calibrate with and those held out, on which to measure what calibration cannot have
    /// learned by heart. Every fourth is held out, counted from the last. Of a single sequence, the last quarter of the
    /// frames is; it begins with the same states. With fewer than four frames, it is in both parts.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, model::Sequence};
    ///
    /// let sequences = (1..=6).map(|frames| Ok(Sequence::new(Mat::zeros(frames, 3)?)));
    /// let [calibrate, held_out] = Sequence::hold_out(sequences.collect::<Result<_, skinny::Error>>()?)?;
    /// let frames = |part: &[Sequence]| part.iter().map(Sequence::frames).collect::<Vec<_>>();
    /// assert_eq!((frames(&calibrate), frames(&held_out)), (vec![1, 3, 4, 5], vec![2, 6]));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn hold_out(sequences: Vec<Sequence>) -> Result<[Vec<Sequence>; 2]> {
        if let [only] = &sequences[..] {
            let frames = only.frames();
            let cut = frames - frames / HELD_OUT;
            return Ok(if cut == frames {
                [sequences.clone(), sequences]
            } else {
                [Vec::from([only.rows(0, cut)?]), Vec::from([only.rows(cut, frames)?])]
            });
        }
        let last = sequences.len().saturating_sub(1);
        let mut parts = [Vec::new(), Vec::new()];
        for (i, sequence) in sequences.into_iter().enumerate() {
            parts[usize::from((last - i).is_multiple_of(HELD_OUT))].push(sequence);
        }
        Ok(parts)
    }

    /// Some of the frames, from the same states.
    fn rows(&self, start: usize, end: usize) -> Result<Self> {
        let part = |input: &Mat<f32>| {
            let rows = start.min(input.rows())..end.min(input.rows());
            let count = rows.len();
            Mat::from_vec(input.view().rows_range(rows).as_slice().to_vec(), count, input.cols())
        };
        Ok(Self { inputs: self.inputs.iter().map(part).collect::<Result<_>>()?, states: self.states.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_held_out_and_nothing_is_lost() {
        for count in 0..14usize {
            let frames = |part: &[Sequence]| part.iter().map(Sequence::frames).collect::<Vec<_>>();
            let sequences: Vec<_> = (0..count).map(|i| Sequence::new(Mat::zeros(100 + i, 2).unwrap())).collect();
            let all = frames(&sequences);
            let [calibrate, held_out] = Sequence::hold_out(sequences).unwrap().map(|part| frames(&part));
            let mut both = [calibrate.clone(), held_out.clone()].concat();
            both.sort_unstable();
            match count {
                1 => assert_eq!((calibrate, held_out), (Vec::from([75]), Vec::from([25]))),
                _ => assert_eq!((both, held_out.len()), (all, count.div_ceil(4))),
            }
        }
    }

    #[test]
    fn one_sequence_is_cut_and_a_short_one_measured_as_it_is() {
        let values: Vec<f32> = (0..14).map(|i| i as f32).collect();
        let sequence = |frames: usize| {
            let inputs = [2, 1].map(|width| Mat::from_vec(values[..frames * width].to_vec(), frames, width).unwrap());
            Sequence::of_inputs(inputs.into()).with_state("h", Vec::from([0.5]))
        };
        let [calibrate, held_out] = Sequence::hold_out(Vec::from([sequence(7)])).unwrap();
        assert_eq!((calibrate[0].frames(), held_out[0].frames()), (6, 1));
        assert_eq!(held_out[0].inputs()[0].as_slice(), [12.0, 13.0]);
        assert_eq!(held_out[0].inputs()[1].as_slice(), [6.0]);
        assert_eq!(held_out[0].states().next(), Some(("h", &[0.5][..])));
        for frames in 0..4 {
            let [calibrate, held_out] = Sequence::hold_out(Vec::from([sequence(frames)])).unwrap();
            assert_eq!((&calibrate, &held_out[0]), (&held_out, &sequence(frames)));
        }
    }
}
