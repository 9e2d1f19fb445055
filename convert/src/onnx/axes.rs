//! Which axis of an array is time, and which are features. The others have one element: the batch of a stream is 1.

use skinny::model::Value;

use super::array::Array;

/// An axis of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// One element: the batch, or a feature that is alone.
    One,
    /// The frames of the sequence.
    Time,
    /// Features, two or more. Those of several axes are in the order of the axes.
    Features(usize),
}

/// An element of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dim {
    Known(i64),
    /// The number of frames of the values with this clock.
    Frames(u32),
}

/// A value of the graph of the library, and what the axes of the array are that stands for it in the file.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub value: Value,
    pub axes: Vec<Axis>,
    /// Tells apart values that have other numbers of frames.
    pub clock: u32,
    /// The number of frames, if the file fixes it.
    pub frames: Option<usize>,
    /// Frames of zeros before the first and after the last, which a convolution takes over.
    pub pad: [usize; 2],
    /// Whether the elements are integers: indices.
    pub integers: bool,
}

impl Axis {
    /// An axis of this many features.
    pub fn of(size: usize) -> Self {
        if size == 1 { Axis::One } else { Axis::Features(size) }
    }

    /// Its features.
    pub fn features(self) -> usize {
        if let Axis::Features(size) = self { size } else { 1 }
    }
}

/// The features of axes together.
pub(super) fn features(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.features()).fold(1, usize::saturating_mul)
}

/// An axis counted from the end if it is negative.
pub(super) fn index(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    usize::try_from(if axis < 0 { axis + signed } else { axis })
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| format!("axis {axis} of {rank} dimensions"))
}

/// Whether known dimensions, of which one may be -1, have `product` elements. Returns what the -1 stands for.
fn fits(dims: &[Dim], product: usize) -> Option<usize> {
    let (mut known, mut open) = (1usize, false);
    for &dim in dims {
        match dim {
            Dim::Known(-1) if !open => open = true,
            Dim::Known(size) => known = known.checked_mul(usize::try_from(size).ok().filter(|&size| size > 0)?)?,
            Dim::Frames(_) => return None,
        }
    }
    match open {
        true => product.is_multiple_of(known).then(|| product / known),
        false => (known == product).then_some(1),
    }
}

impl Data {
    /// The position of the time axis, if there is one.
    pub fn time(&self) -> Option<usize> {
        self.axes.iter().position(|&axis| axis == Axis::Time)
    }

    pub fn features(&self) -> usize {
        features(&self.axes)
    }

    /// The same value with other axes.
    pub fn with_axes(&self, axes: Vec<Axis>) -> Self {
        Self { axes, ..self.clone() }
    }

    /// Another value with these axes.
    pub fn with_value(&self, value: Value, axes: Vec<Axis>) -> Self {
        Self { value, axes, integers: false, ..self.clone() }
    }

    pub fn shape(&self) -> Vec<Dim> {
        let dim = |&axis: &Axis| match (axis, self.frames) {
            (Axis::Time, None) => Dim::Frames(self.clock),
            (Axis::Time, Some(frames)) => Dim::Known(frames.try_into().unwrap_or(i64::MAX)),
            (axis, _) => Dim::Known(axis.features().try_into().unwrap_or(i64::MAX)),
        };
        self.axes.iter().map(dim).collect()
    }

    pub fn reshape(&self, target: &[Dim], zero_is_kept: bool) -> Result<Self, String> {
        let shape = self.shape();
        let mut target = target.to_vec();
        for (i, dim) in target.iter_mut().enumerate() {
            if *dim == Dim::Known(0) && zero_is_kept {
                *dim = *shape.get(i).ok_or("a dimension of 0 stands for one that its input does not have")?;
            }
        }
        let of = |dims: &[Dim], open: usize| -> Vec<Axis> {
            let size = |&dim: &Dim| match dim {
                Dim::Known(size @ 0..) => size as usize,
                _ => open,
            };
            dims.iter().map(|dim| Axis::of(size(dim))).collect()
        };
        let Some(time) = self.time() else {
            let open = fits(&target, self.features()).ok_or_else(|| self.misfit(&target))?;
            return Ok(self.with_axes(of(&target, open)));
        };
        let around = [features(&self.axes[..time]), features(&self.axes[time..])];
        let parts = |at: usize| Some([fits(&target[..at], around[0])?, fits(&target[at + 1..], around[1])?]);
        // The number of frames by name, then what is left over, then the number that the file fixes.
        let named = target.iter().position(|&dim| dim == Dim::Frames(self.clock));
        let open = target.iter().position(|&dim| dim == Dim::Known(-1));
        let fixed = (0..target.len()).filter(|&at| target[at] == shape[time]);
        let places = named.into_iter().chain(fixed.clone().filter(|&at| at == time)).chain(open).chain(fixed);
        let found = places.into_iter().find_map(|at| Some((at, parts(at)?)));
        let (at, [before, after]) = found.ok_or_else(|| self.misfit(&target))?;
        let mut axes = of(&target[..at], before);
        axes.push(Axis::Time);
        axes.extend(of(&target[at + 1..], after));
        Ok(self.with_axes(axes))
    }

    fn misfit(&self, target: &[Dim]) -> String {
        format!(
            "makes {} of {}; only changes that keep the frames apart are supported, for a batch of one",
            shown(target),
            shown(&self.shape())
        )
    }

    pub fn transpose(&self, permutation: &[usize]) -> Result<Self, String> {
        let mut seen = vec![false; self.axes.len()];
        permutation.iter().for_each(|&axis| seen.get_mut(axis).map_or((), |seen| *seen = true));
        if permutation.len() != self.axes.len() || seen.contains(&false) {
            return Err(format!("permutation {permutation:?} of {} dimensions", self.axes.len()));
        }
        let wide = permutation.iter().copied().filter(|&axis| matches!(self.axes[axis], Axis::Features(_)));
        if !wide.is_sorted() {
            return Err("changes the order of features within a frame, which is not supported".into());
        }
        Ok(self.with_axes(permutation.iter().map(|&axis| self.axes[axis]).collect()))
    }

    /// Drops these axes of one element, or all.
    pub fn squeeze(&self, dropped: Option<&[i64]>) -> Result<Self, String> {
        let rank = self.axes.len();
        let dropped = match dropped {
            None => (0..rank).filter(|&i| self.axes[i] == Axis::One).collect(),
            Some(dropped) => dropped.iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<usize>, String>>()?,
        };
        if let Some(axis) = dropped.iter().find(|&&axis| self.axes[axis] != Axis::One) {
            return Err(format!("axis {axis} of {} does not have one element", shown(&self.shape())));
        }
        let kept = (0..rank).filter(|axis| !dropped.contains(axis)).map(|axis| self.axes[axis]);
        Ok(self.with_axes(kept.collect()))
    }

    pub fn unsqueeze(&self, added: &[i64]) -> Result<Self, String> {
        let rank = self.axes.len() + added.len();
        let added = added.iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<usize>, String>>()?;
        let mut old = self.axes.iter().copied();
        let axes = (0..rank).map(|axis| if added.contains(&axis) { None } else { old.next() });
        Ok(self.with_axes(axes.map(|axis| axis.unwrap_or(Axis::One)).collect()))
    }

    /// A constant that is combined with the elements, for each feature, and the axes of the result.
    pub fn spread(&self, array: &Array) -> Result<(Vec<f32>, Vec<Axis>), String> {
        let values = array.to_floats();
        let rank = self.axes.len().max(array.shape.len());
        let mut axes = vec![Axis::One; rank - self.axes.len()];
        axes.extend(&self.axes);
        let mut shape = vec![1; rank - array.shape.len()];
        shape.extend(&array.shape);
        let mut terms = vec![0usize];
        let mut stride = 1;
        // From the last axis to the first: where the elements of the constant are that belong to the features.
        for (&axis, &size) in axes.iter().zip(&shape).rev() {
            let step = match (axis, size) {
                (_, 1) => 0,
                (Axis::Features(features), size) if features == size => stride,
                (Axis::Time, _) => {
                    return Err("combines frames with a constant that differs from frame to frame".into());
                }
                (axis, size) => return Err(format!("combines {} features with {size} constants", axis.features())),
            };
            stride *= size;
            terms = (0..axis.features()).flat_map(|i| terms.iter().map(move |term| i * step + term)).collect();
        }
        Ok((terms.into_iter().map(|term| values[term]).collect(), axes))
    }

    /// The axes of a combination with other data.
    pub fn meet(&self, other: &Self) -> Result<Vec<Axis>, String> {
        let rank = self.axes.len().max(other.axes.len());
        let axis = |data: &Self, i: usize| (i + data.axes.len()).checked_sub(rank).map_or(Axis::One, |i| data.axes[i]);
        let mut axes = Vec::new();
        for i in 0..rank {
            axes.push(match (axis(self, i), axis(other, i)) {
                (one, two) if one == two => one,
                (Axis::One, axis) | (axis, Axis::One) => axis,
                _ => return Err(self.unlike(other)),
            });
        }
        let all = features(&axes);
        if [self, other].iter().any(|data| ![1, all].contains(&data.features())) {
            return Err(self.unlike(other));
        }
        Ok(axes)
    }

    fn unlike(&self, other: &Self) -> String {
        format!("{} and {} do not fit each other feature by feature", shown(&self.shape()), shown(&other.shape()))
    }

    /// The range of features that elements of an axis have, if they lie side by side.
    pub fn range(&self, axis: usize, elements: core::ops::Range<usize>) -> Result<core::ops::Range<usize>, String> {
        if features(&self.axes[..axis]) != 1 {
            return Err("takes apart an axis of features behind another one, which is not supported".into());
        }
        let inner = features(&self.axes[axis + 1..]);
        Ok(elements.start * inner..elements.end * inner)
    }
}

/// Dimensions in a message.
pub(super) fn shown(dims: &[Dim]) -> String {
    let dim = |dim: &Dim| match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Frames(_) => "frames".into(),
    };
    format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
}
