//! ONNX models.
//!
//! ```text
//! bytes -> messages (wire, proto) -> nodes and constants (file) -> a graph of the library (builder)
//! ```
//!
//! A file says how large the axes of its arrays are, not what they are for. The converter follows which axis is time and which
//! are features ([`axes`]), so operators that only move axes leave no trace. Which axis of an input is time is found by trying:
//! the operators behind it fit one choice.

mod array;
mod axes;
mod builder;
mod elementwise;
mod file;
mod fold;
mod linear;
mod over_time;
mod patterns;
mod proto;
mod quantized;
mod recurrent;
mod views;
mod wire;

use skinny::model::Model;

use crate::error::{Error, Result};
use crate::format::Format;
use axes::Axis;
use builder::Builder;
use file::File;
use proto::{Dimension, Input};

/// The most choices of time axes that are tried.
const MOST_CHOICES: usize = 64;

/// Whether this is a protobuf that begins with the fields of ONNX's `ModelProto`: `ir_version`, a small number, and then
/// text, a graph, operator sets or a number.
pub(crate) fn is_onnx(bytes: &[u8]) -> bool {
    matches!(*bytes, [0x08, 1..=99, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

/// The model of a file, and what was assumed.
pub(crate) fn read(bytes: &[u8]) -> Result<(Model, Vec<String>)> {
    let bad = |reason: &str| Error::container(Format::Onnx, reason);
    let model = proto::Model::parse(bytes).map_err(|_| bad("it is damaged, or cut short"))?;
    let graph = model.graph.ok_or_else(|| bad("it has no graph"))?;
    let file = File::new(graph, model.opset)?;
    let choices: Vec<Vec<Vec<Axis>>> = file.inputs.iter().map(choices).collect::<Result<_>>()?;
    let all = choices.iter().map(Vec::len).try_fold(1usize, usize::checked_mul).unwrap_or(usize::MAX);
    // Of the choices that fail, the one that gets farthest says what is wrong.
    let mut farthest: Option<((bool, usize), Error)> = None;
    for mut choice in 0..all.min(MOST_CHOICES) {
        let mut builder = Builder::new(&file);
        let of_inputs = choices.iter().map(|of_input| {
            let picked = choice % of_input.len();
            choice /= of_input.len();
            of_input[picked].clone()
        });
        let axes: Vec<Vec<Axis>> = of_inputs.collect();
        let Err(cause) = builder.run(&axes) else { return builder.finish() };
        // Frames are rather along an axis whose size the file leaves open.
        let is_open = file.inputs.iter().zip(&axes).all(|(input, axes)| {
            let dimensions = input.shape.iter().flatten();
            dimensions.zip(axes).any(|(size, axis)| *axis == Axis::Time && likelihood(size, axes.len()) >= OPEN)
        });
        let place = (is_open, builder.done);
        if farthest.as_ref().is_none_or(|(other, _)| place > *other) {
            farthest = Some((place, cause));
        }
    }
    Err(farthest.map_or_else(|| bad("it has no inputs"), |(_, cause)| cause))
}

/// What the axes of an input may be, the likeliest first.
fn choices(input: &Input) -> Result<Vec<Vec<Axis>>> {
    let Some(shape) = &input.shape else {
        let reason =
            "the file does not say how many dimensions this input has; export the model with the shapes of its inputs";
        return Err(Error::tensor(&input.name, reason));
    };
    let mut places: Vec<usize> = (0..shape.len()).collect();
    // Of equals the later one, before the last: exporters put the batch first and features last.
    let last = shape.len().saturating_sub(1);
    places.sort_by_key(|&i| std::cmp::Reverse((likelihood(&shape[i], shape.len()), i != last || shape.len() == 1, i)));
    let axes = |time: Option<usize>| -> Vec<Axis> {
        let axis = |(i, dimension): (usize, &Dimension)| match dimension {
            _ if time == Some(i) => Axis::Time,
            Dimension::Fixed(size) => Axis::of(*size),
            Dimension::Named(_) => Axis::One,
        };
        shape.iter().enumerate().map(axis).collect()
    };
    Ok(places.into_iter().map(|i| axes(Some(i))).chain([axes(None)]).collect())
}

/// The least likelihood of an axis whose size the file leaves open, unless it is the batch of sequences.
const OPEN: u32 = 3;

/// How likely an axis is time, in an array of `rank` dimensions.
fn likelihood(dimension: &Dimension, rank: usize) -> u32 {
    let name = match dimension {
        Dimension::Named(name) => name.to_lowercase(),
        Dimension::Fixed(1) => return 0,
        Dimension::Fixed(_) => return 2,
    };
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["time", "seq", "frame", "len", "step"]) || matches!(&name[..], "t" | "l") {
        5
    } else if !has(&["batch"]) && !matches!(&name[..], "n" | "b") {
        4
    } else if rank < 3 {
        // A batch of frames.
        3
    } else {
        1
    }
}
