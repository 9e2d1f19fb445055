//! When the frames of a value are ready, and how many there are.

use alloc::format;
use alloc::string::String;

use super::Layer;
use crate::factored::Windows;

/// When the frames of a value are ready, counted in frames of the model's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    Frames(Clock),
    /// One frame per sequence, ready at its end.
    Once,
}

/// After `t` input frames, `(t + ready) / stride` frames of the value are ready, rounded down. A sequence of `t` input
/// frames makes `(t + total) / stride` of them. Negative numbers of frames are none.
///
/// Rounding down twice is the same as once, `((t + a) / s + b) / r = (t + a + b s) / (s r)`, so all values of this kind
/// have that form, whatever the layers before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    pub stride: usize,
    /// `None` if nothing is ready before the sequence ends.
    pub ready: Option<i128>,
    pub total: i128,
}

/// How a layer's output frames follow from its input frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Passage {
    /// One by one.
    Each,
    /// From windows of frames.
    Windows(Windows),
    /// One by one, but only once the sequence has ended.
    AtEnd,
    /// One frame for the sequence, once it has ended.
    Once,
}

impl Timing {
    /// The timing of the inputs of a model.
    pub const INPUT: Self = Self::Frames(Clock { stride: 1, ready: Some(0), total: 0 });

    /// The timing behind a layer, or why it cannot have this input.
    pub fn behind(self, layer: &Layer) -> Result<Self, &'static str> {
        let passage = layer.passage();
        let clock = match self {
            Self::Frames(clock) => clock,
            Self::Once => {
                return match passage {
                    Passage::Each | Passage::AtEnd => Ok(Self::Once),
                    Passage::Windows(_) => Err("its input is one frame for the sequence, which has no windows"),
                    Passage::Once => Err("its input is one frame for the sequence already"),
                };
            }
        };
        Ok(match passage {
            Passage::Each => self,
            Passage::AtEnd => Self::Frames(Clock { ready: None, ..clock }),
            Passage::Once => Self::Once,
            Passage::Windows(windows) => {
                let Windows { stride, before, after, .. } = windows;
                let of = |frames: usize| i128::try_from(frames).unwrap_or(i128::MAX);
                let scale = |frames: i128| frames.saturating_mul(of(clock.stride));
                // (n + before - extent) / stride + 1, rounded down, for n frames.
                let ready = scale(of(before).saturating_sub(of(windows.extent())).saturating_add(of(stride)));
                Self::Frames(Clock {
                    stride: clock.stride.saturating_mul(stride),
                    ready: clock.ready.map(|frames| frames.saturating_add(ready)),
                    total: clock.total.saturating_add(ready).saturating_add(scale(of(after))),
                })
            }
        })
    }

    /// The timing of the frames that two values have in common, or how they differ.
    pub fn meet(self, other: Self) -> Result<Self, String> {
        let (one, two) = match (self, other) {
            (Self::Once, Self::Once) => return Ok(Self::Once),
            (Self::Frames(one), Self::Frames(two)) => (one, two),
            (Self::Once, Self::Frames(_)) => return Err("one frame per sequence, and a frame at a time".into()),
            (Self::Frames(_), Self::Once) => return Err("a frame at a time, and one per sequence".into()),
        };
        if one.stride != two.stride {
            return Err(format!("one frame per {} input frames, and one per {}", one.stride, two.stride));
        }
        if one.total != two.total {
            let [one, two] = [one, two].map(Clock::count);
            return Err(format!("{one} frames for a sequence of t, and {two}"));
        }
        // Without one of them nothing is ready.
        let ready = one.ready.zip(two.ready).map(|(one, two)| one.min(two));
        Ok(Self::Frames(Clock { ready, ..one }))
    }

    /// Input frames per frame; those per sequence have none.
    pub fn stride(self) -> Option<usize> {
        match self {
            Self::Frames(clock) => Some(clock.stride),
            Self::Once => None,
        }
    }

    /// Whether frames are ready before the sequence ends.
    pub fn is_streaming(self) -> bool {
        matches!(self, Self::Frames(Clock { ready: Some(_), .. }))
    }

    /// How many input frames a frame waits for after the last one in its stride.
    pub fn delay(self) -> Option<i128> {
        match self {
            Self::Frames(clock) => clock.ready.map(|ready| -ready),
            Self::Once => None,
        }
    }
}

impl Clock {
    /// The number of frames for a sequence of `t` input frames, as a formula.
    fn count(self) -> String {
        let sum = match self.total {
            0 => "t".into(),
            more @ 1.. => format!("t + {more}"),
            fewer => format!("t - {}", fewer.unsigned_abs()),
        };
        match self.stride {
            1 => sum,
            stride if self.total == 0 => format!("t / {stride}"),
            stride => format!("({sum}) / {stride}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factored::{Linear, TimeConvolution, Weight};
    use crate::matrix::Mat;

    fn convolution(kernel: usize, stride: usize, padding: usize) -> Layer {
        let weight = Weight::dense(Mat::zeros(1, kernel).unwrap()).unwrap();
        Layer::TimeConvolution(
            TimeConvolution::new(Linear::new(weight, None).unwrap(), kernel, stride, padding).unwrap(),
        )
    }

    /// Frames that are ready after each of `t` frames, and all of them, by running the layers one after the other.
    fn counted(layers: &[Layer], t: usize) -> (usize, usize) {
        let frames = |x: usize| Mat::<f32>::zeros(x, 1).unwrap();
        let mut scratch = crate::factored::Scratch::new();
        let (mut ready, mut total) = (t, t);
        for layer in layers {
            let count = |n: usize, end: bool, scratch: &mut _| {
                let mut out = super::super::frames::Frames::new(1);
                let mut state = layer.state().unwrap();
                layer.push(frames(n).view(), &mut state, &mut out, scratch).unwrap();
                if end {
                    layer.finish(&mut state, &mut out, scratch).unwrap();
                }
                out.rows()
            };
            ready = count(ready, false, &mut scratch);
            total = count(total, true, &mut scratch);
        }
        (ready, total)
    }

    #[test]
    fn frames_are_as_many_as_layers_make() {
        let geometries = [(1, 1, 0), (3, 1, 1), (3, 1, 0), (4, 2, 3), (5, 3, 2), (2, 5, 1)];
        for first in geometries {
            for second in geometries {
                let layers = [first, second].map(|(kernel, stride, padding)| convolution(kernel, stride, padding));
                let timing = layers.iter().fold(Timing::INPUT, |timing, layer| timing.behind(layer).unwrap());
                let Timing::Frames(clock) = timing else { panic!() };
                for t in 20..60 {
                    let of = |more: i128| (t as i128 + more).div_euclid(clock.stride as i128) as usize;
                    let (ready, total) = counted(&layers, t);
                    assert_eq!((of(clock.ready.unwrap()), of(clock.total)), (ready, total), "{first:?} {second:?} {t}");
                }
            }
        }
    }

    #[test]
    fn what_differs_is_said() {
        let behind = |kernel, stride, padding| Timing::INPUT.behind(&convolution(kernel, stride, padding)).unwrap();
        let error = |one: Timing, two| one.meet(two).unwrap_err();
        assert_eq!(error(behind(4, 2, 1), Timing::INPUT), "one frame per 2 input frames, and one per 1");
        assert_eq!(error(behind(3, 1, 0), Timing::INPUT), "t - 2 frames for a sequence of t, and t");
        assert_eq!(error(behind(2, 2, 0), behind(2, 2, 1)), "t / 2 frames for a sequence of t, and (t + 2) / 2");
        assert_eq!(error(Timing::Once, Timing::INPUT), "one frame per sequence, and a frame at a time");
        // A frame late, as the later of both.
        assert_eq!(Timing::INPUT.meet(behind(3, 1, 1)), Ok(behind(3, 1, 1)));
        assert_eq!((behind(3, 1, 1).delay(), behind(5, 1, 2).delay()), (Some(1), Some(2)));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let large = convolution(2, usize::MAX, 1);
        let timing = (0..4).fold(Timing::INPUT, |timing, _| timing.behind(&large).unwrap());
        assert_eq!(timing.stride(), Some(usize::MAX));
    }
}
