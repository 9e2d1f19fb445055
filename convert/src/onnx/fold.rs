//! Operations on constants.

use super::array::{Array, MOST, Numbers, elements, is_float, is_integer};
use super::axes::index;
use super::proto::{Attribute, Node};

/// The first output of a node whose inputs are constants, or why it has none.
pub(super) fn fold(node: &Node, opset: i64, inputs: &[Option<&Array>]) -> Result<Array, String> {
    let input = |i: usize| inputs.get(i).copied().flatten().ok_or_else(|| format!("has no input {i}"));
    let x = || input(0);
    if !node.domain.is_empty() {
        return Err(format!("operators of {} on constants are not supported", node.domain));
    }
    match &node.kind[..] {
        "Constant" => constant(node),
        "Identity" | "Dropout" => Ok(x()?.clone()),
        "Cast" => cast(x()?, node.integer("to").unwrap_or_default()),
        "Shape" => {
            let shape: Vec<i64> = x()?.shape.iter().map(|&size| size as i64).collect();
            Ok(Array::integers(vec![shape.len()], shape))
        }
        "ConstantOfShape" => {
            let shape = sizes(x()?)?;
            let len = bounded(&shape)?;
            Ok(match node.attributes.get("value") {
                Some(Attribute::Tensor(Ok(value))) if value.len() == 1 => {
                    value.picked(shape, std::iter::repeat_n(0, len))
                }
                Some(Attribute::Tensor(Err(reason))) => return Err(reason.clone()),
                Some(_) => return Err("value: expected one element".into()),
                None => Array::floats(shape, vec![0.0; len]),
            })
        }
        "Reshape" => reshape(x()?, input(1)?, node.integer("allowzero") != Some(1)),
        "Flatten" => {
            let x = x()?;
            let axis = node.integer("axis").unwrap_or(1);
            let at = if axis == x.shape.len() as i64 { x.shape.len() } else { index(axis, x.shape.len())? };
            let product = |part: &[usize]| part.iter().product();
            Ok(Array { shape: vec![product(&x.shape[..at]), product(&x.shape[at..])], values: x.values.clone() })
        }
        "Squeeze" | "Unsqueeze" => {
            let x = x()?;
            let axes = axes(node, inputs.get(1).copied().flatten());
            let shape: Vec<usize> = match (&node.kind[..], axes) {
                ("Squeeze", None) => x.shape.iter().copied().filter(|&size| size != 1).collect(),
                ("Squeeze", Some(axes)) => {
                    let dropped: Vec<usize> =
                        axes.iter().map(|&axis| index(axis, x.shape.len())).collect::<Result<_, _>>()?;
                    if dropped.iter().any(|&axis| x.shape[axis] != 1) {
                        return Err(format!("axes {axes:?} of {:?} do not all have one element", x.shape));
                    }
                    (0..x.shape.len()).filter(|axis| !dropped.contains(axis)).map(|axis| x.shape[axis]).collect()
                }
                (_, None) => return Err("has no axes".into()),
                (_, Some(axes)) => {
                    let rank = x.shape.len() + axes.len();
                    let added: Vec<usize> = axes.iter().map(|&axis| index(axis, rank)).collect::<Result<_, _>>()?;
                    let mut old = x.shape.iter().copied();
                    (0..rank).map(|axis| if added.contains(&axis) { 1 } else { old.next().unwrap_or(1) }).collect()
                }
            };
            if elements(&shape) != Some(x.len()) {
                return Err("its axes are not distinct".into());
            }
            Ok(Array { shape, values: x.values.clone() })
        }
        "Transpose" => transpose(x()?, node.integers("perm")),
        "Concat" => concat(inputs, node.integer("axis").unwrap_or(0)),
        "Gather" => gather(x()?, input(1)?, node.integer("axis").unwrap_or(0)),
        "Slice" => {
            let x = x()?;
            let (axis, range) = slice(node, inputs, x.shape.len(), |axis| Some(x.shape[axis]))?;
            Ok(part(x, axis, range))
        }
        "Expand" => {
            let (x, target) = (x()?, sizes(input(1)?)?);
            let shape = broadcast(&x.shape, &target)?;
            bounded(&shape)?;
            Ok(x.picked(shape.clone(), spread(&x.shape, &shape)))
        }
        "Range" => {
            let number = |i: usize| input(i)?.scalar().ok_or_else(|| "expected scalars".to_owned());
            let [start, limit, delta] = [number(0)?, number(1)?, number(2)?].map(f64::from);
            let len = ((limit - start) / delta).ceil().max(0.0);
            if len.is_nan() || len > MOST as f64 {
                return Err(format!("a range from {start} to {limit} by {delta} is too long"));
            }
            let values = (0..len as usize).map(|i| start + i as f64 * delta);
            Ok(match x()?.as_integers() {
                Some(_) => Array::integers(vec![len as usize], values.map(|value| value as i64).collect()),
                None => Array::floats(vec![len as usize], values.map(|value| value as f32).collect()),
            })
        }
        "Where" => {
            let (condition, x, y) = (x()?, input(1)?, input(2)?);
            let shape = broadcast(&broadcast(&condition.shape, &x.shape)?, &y.shape)?;
            bounded(&shape)?;
            let (c, a, b) = (condition.to_floats(), x.to_floats(), y.to_floats());
            let places = spread(&condition.shape, &shape).zip(spread(&x.shape, &shape)).zip(spread(&y.shape, &shape));
            let values = places.map(|((i, j), k)| if c[i] != 0.0 { a[j] } else { b[k] }).collect();
            Ok(like(x, Array::floats(shape, values)))
        }
        "DequantizeLinear" => {
            let zero = inputs.get(2).copied().flatten();
            let axis = node.integer("axis").unwrap_or(if opset < 13 { 0 } else { 1 });
            if node.integer("block_size").unwrap_or(0) != 0 {
                return Err("scales of blocks are not supported".into());
            }
            dequantize(x()?, input(1)?, zero, axis)
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Equal" => arithmetic(&node.kind, x()?, input(1)?),
        "Sqrt" | "Neg" | "Reciprocal" | "Exp" | "Abs" | "Tanh" | "Sigmoid" | "Relu" => {
            let f = |x: f32| match &node.kind[..] {
                "Sqrt" => x.sqrt(),
                "Neg" => -x,
                "Reciprocal" => 1.0 / x,
                "Exp" => x.exp(),
                "Abs" => x.abs(),
                "Tanh" => x.tanh(),
                "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
                _ => x.max(0.0),
            };
            let x = x()?;
            Ok(like(x, Array::floats(x.shape.clone(), x.to_floats().into_iter().map(f).collect())))
        }
        _ => Err("is not supported on constants; simplify the file: python -m onnxsim FILE OUT".into()),
    }
}

/// `result` in integers, if `x` is.
fn like(x: &Array, result: Array) -> Array {
    match &x.values {
        Numbers::Floats(_) => result,
        Numbers::Integers { .. } => {
            Array::integers(result.shape.clone(), result.to_floats().into_iter().map(|value| value as i64).collect())
        }
    }
}

fn constant(node: &Node) -> Result<Array, String> {
    let attribute = node.attributes.iter().find(|(name, _)| name.starts_with("value"));
    match attribute.map(|(_, attribute)| attribute) {
        Some(Attribute::Tensor(array)) => array.clone(),
        Some(Attribute::Float(value)) => Ok(Array::floats(Vec::new(), vec![*value])),
        Some(Attribute::Integer(value)) => Ok(Array::integers(Vec::new(), vec![*value])),
        Some(Attribute::Floats(values)) => Ok(Array::floats(vec![values.len()], values.clone())),
        Some(Attribute::Integers(values)) => Ok(Array::integers(vec![values.len()], values.clone())),
        _ => Err("has no value that is a tensor, a number or a list of numbers".into()),
    }
}

/// The axes of a node: an input, or an attribute in earlier versions.
pub(super) fn axes<'a>(node: &'a Node, input: Option<&'a Array>) -> Option<&'a [i64]> {
    input.and_then(Array::as_integers).or_else(|| node.integers("axes"))
}

fn cast(x: &Array, to: i64) -> Result<Array, String> {
    if is_float(to) {
        return Ok(Array::floats(x.shape.clone(), x.to_floats()));
    }
    if is_integer(to) {
        return Ok(match &x.values {
            Numbers::Integers { values, .. } => Array::integers(x.shape.clone(), values.clone()),
            Numbers::Floats(values) => {
                Array::integers(x.shape.clone(), values.iter().map(|&value| value as i64).collect())
            }
        });
    }
    let truths = x.to_floats().iter().map(|&value| i64::from(value != 0.0)).collect();
    if to == 9 { Ok(Array::integers(x.shape.clone(), truths)) } else { Err(format!("a cast to type {to}")) }
}

/// The elements as dimensions.
fn sizes(x: &Array) -> Result<Vec<usize>, String> {
    let values = x.as_integers().ok_or("expected integers")?;
    values.iter().map(|&size| usize::try_from(size).map_err(|_| format!("a dimension of {size}"))).collect()
}

fn bounded(shape: &[usize]) -> Result<usize, String> {
    elements(shape).filter(|&len| len <= MOST).ok_or_else(|| format!("a constant of dimensions {shape:?} is too large"))
}

fn reshape(x: &Array, target: &Array, zero_is_kept: bool) -> Result<Array, String> {
    let target = target.as_integers().ok_or("expected integers")?;
    let misfit = || format!("makes {target:?} of {:?}", x.shape);
    let mut shape = Vec::new();
    for (i, &size) in target.iter().enumerate() {
        shape.push(match size {
            0 if zero_is_kept => *x.shape.get(i).ok_or_else(misfit)?,
            -1 => 1,
            size => usize::try_from(size).map_err(|_| misfit())?,
        });
    }
    if let Some(open) = target.iter().position(|&size| size == -1) {
        let others = elements(&shape).filter(|&others| others > 0).ok_or_else(misfit)?;
        shape[open] = x.len() / others;
    }
    if elements(&shape) != Some(x.len()) {
        return Err(misfit());
    }
    Ok(Array { shape, values: x.values.clone() })
}

/// The axes reversed, or in another order.
fn transpose(x: &Array, permutation: Option<&[i64]>) -> Result<Array, String> {
    let rank = x.shape.len();
    let permutation: Vec<usize> = match permutation {
        None => (0..rank).rev().collect(),
        Some(axes) => axes.iter().map(|&axis| index(axis, rank)).collect::<Result<_, _>>()?,
    };
    if permutation.len() != rank || (0..rank).any(|axis| !permutation.contains(&axis)) {
        return Err(format!("permutation {permutation:?} of {rank} dimensions"));
    }
    let strides = strides(&x.shape);
    let mut places = vec![0usize];
    for &axis in permutation.iter() {
        let (size, stride) = (x.shape[axis], strides[axis]);
        places = places.iter().flat_map(|place| (0..size).map(move |i| place + i * stride)).collect();
    }
    Ok(x.picked(permutation.iter().map(|&axis| x.shape[axis]).collect(), places.into_iter()))
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

fn concat(inputs: &[Option<&Array>], axis: i64) -> Result<Array, String> {
    let arrays: Vec<&Array> = inputs.iter().copied().flatten().collect();
    let first = *arrays.first().ok_or("has no inputs")?;
    let axis = index(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for array in &arrays {
        let fits = array.shape.len() == shape.len()
            && (0..shape.len()).all(|i| i == axis || array.shape[i] == shape[i])
            && array.as_integers().is_some() == first.as_integers().is_some();
        if !fits {
            return Err(format!("puts {:?} behind {:?}", array.shape, first.shape));
        }
        shape[axis] += array.shape[axis];
    }
    bounded(&shape)?;
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let places = (0..outer).flat_map(|o| {
        arrays.iter().enumerate().flat_map(move |(i, array)| {
            let len = array.shape[axis] * inner;
            (o * len..(o + 1) * len).map(move |place| (i, place))
        })
    });
    Ok(if first.as_integers().is_some() {
        let values: Vec<&[i64]> = arrays.iter().filter_map(|array| array.as_integers()).collect();
        Array::integers(shape, places.map(|(i, place)| values[i][place]).collect())
    } else {
        let values: Vec<Vec<f32>> = arrays.iter().map(|array| array.to_floats()).collect();
        Array::floats(shape, places.map(|(i, place)| values[i][place]).collect())
    })
}

fn gather(x: &Array, indices: &Array, axis: i64) -> Result<Array, String> {
    let axis = index(axis, x.shape.len())?;
    let size = x.shape[axis];
    let picked: Vec<usize> = indices
        .as_integers()
        .ok_or("expected integers as indices")?
        .iter()
        .map(|&i| index(i, size).map_err(|_| format!("index {i} of {size}")))
        .collect::<Result<_, _>>()?;
    let shape = [&x.shape[..axis], &indices.shape[..], &x.shape[axis + 1..]].concat();
    bounded(&shape)?;
    let (outer, inner): (usize, usize) = (x.shape[..axis].iter().product(), x.shape[axis + 1..].iter().product());
    let places = (0..outer)
        .flat_map(|o| picked.iter().flat_map(move |i| (0..inner).map(move |place| (o * size + i) * inner + place)));
    Ok(x.picked(shape, places))
}

/// The axis and the range of a `Slice` over one axis. The size of an axis may not be known: then the range may only be
/// open at its end, or say how many elements before the end it stops.
pub(super) fn slice(
    node: &Node,
    inputs: &[Option<&Array>],
    rank: usize,
    size: impl Fn(usize) -> Option<usize>,
) -> Result<(usize, [i64; 2]), String> {
    let of = |i: usize, name: &str| -> Option<Vec<i64>> {
        inputs
            .get(i)
            .copied()
            .flatten()
            .and_then(Array::as_integers)
            .or_else(|| node.integers(name))
            .map(<[i64]>::to_vec)
    };
    let (starts, ends) =
        (of(1, "starts").ok_or("its starts are not constant")?, of(2, "ends").ok_or("its ends are not constant")?);
    let axes = of(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = of(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    if [starts.len(), ends.len(), axes.len(), steps.len()] != [1; 4] {
        return Err("slices several axes at once, which is not supported".into());
    }
    if steps[0] != 1 {
        return Err(format!("takes every {}th element; only steps of 1 are supported", steps[0]));
    }
    let axis = index(axes[0], rank)?;
    let bound = |at: i64| match size(axis).and_then(|size| i64::try_from(size).ok()) {
        Some(size) => (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size),
        None => at,
    };
    Ok((axis, [bound(starts[0]), bound(ends[0])]))
}

/// The elements in a range along an axis.
pub(super) fn part(x: &Array, axis: usize, [start, end]: [i64; 2]) -> Array {
    let (start, end) = (start as usize, (end as usize).max(start as usize));
    let size = x.shape[axis];
    let (outer, inner): (usize, usize) = (x.shape[..axis].iter().product(), x.shape[axis + 1..].iter().product());
    let mut shape = x.shape.clone();
    shape[axis] = end - start;
    let places = (0..outer).flat_map(|o| (o * size + start) * inner..(o * size + end) * inner);
    x.picked(shape, places)
}

/// The dimensions of the combination of two arrays.
fn broadcast(one: &[usize], two: &[usize]) -> Result<Vec<usize>, String> {
    let rank = one.len().max(two.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let pairs = (0..rank).map(|i| match (size(one, i), size(two, i)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("combines {one:?} with {two:?}")),
    });
    pairs.collect()
}

/// For each element of a combination of dimensions `to`, the index of the element of an array of dimensions `from`.
fn spread(from: &[usize], to: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let (offset, strides) = (to.len() - from.len(), strides(from));
    let mut places = vec![0usize];
    for (i, &size) in to.iter().enumerate() {
        let step = i.checked_sub(offset).map_or(0, |i| if from[i] == 1 { 0 } else { strides[i] });
        places = places.iter().flat_map(|place| (0..size).map(move |i| place + i * step)).collect();
    }
    places.into_iter()
}

fn arithmetic(kind: &str, x: &Array, y: &Array) -> Result<Array, String> {
    let shape = broadcast(&x.shape, &y.shape)?;
    bounded(&shape)?;
    let places = spread(&x.shape, &shape).zip(spread(&y.shape, &shape));
    if let (Some(a), Some(b)) = (x.as_integers(), y.as_integers()) {
        let f = |(i, j): (usize, usize)| match kind {
            "Add" => a[i].checked_add(b[j]),
            "Sub" => a[i].checked_sub(b[j]),
            "Mul" => a[i].checked_mul(b[j]),
            "Div" => a[i].checked_div(b[j]),
            "Pow" => u32::try_from(b[j]).ok().and_then(|power| a[i].checked_pow(power)),
            _ => Some(i64::from(a[i] == b[j])),
        };
        let values = places.map(f).collect::<Option<Vec<i64>>>().ok_or("its result is no integer of 64 bits")?;
        return Ok(Array::integers(shape, values));
    }
    let (a, b) = (x.to_floats(), y.to_floats());
    if kind == "Equal" {
        return Ok(Array::integers(shape, places.map(|(i, j)| i64::from(a[i] == b[j])).collect()));
    }
    let f = |(i, j): (usize, usize)| match kind {
        "Add" => a[i] + b[j],
        "Sub" => a[i] - b[j],
        "Mul" => a[i] * b[j],
        "Div" => a[i] / b[j],
        _ => a[i].powf(b[j]),
    };
    Ok(Array::floats(shape, places.map(f).collect()))
}

/// `(x - zero) scale`, with one scale or one for each element of an axis.
pub(super) fn dequantize(x: &Array, scale: &Array, zero: Option<&Array>, axis: i64) -> Result<Array, String> {
    let q = x.as_integers().ok_or("expected integers")?;
    let (scales, zeros) = (scale.to_floats(), zero.map(Array::to_floats));
    let (size, inner) = if scales.len() == 1 {
        (1, 1)
    } else {
        let axis = index(axis, x.shape.len())?;
        (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>())
    };
    let zeros = zeros.unwrap_or_else(|| vec![0.0]);
    if scales.len() != size || (zeros.len() != size && zeros.len() != 1) {
        return Err(format!("{} scales and {} zero points for {:?}", scales.len(), zeros.len(), x.shape));
    }
    let value = |(i, &q): (usize, &i64)| {
        let at = i / inner % size;
        (q as f32 - zeros[at.min(zeros.len() - 1)]) * scales[at]
    };
    Ok(Array::floats(x.shape.clone(), q.iter().enumerate().map(value).collect()))
}
