//! A model: a graph of layers, run over whole sequences.

use std::collections::BTreeMap;

use crate::layer::{Frames, Layer, State};

/// What combines several values into one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of model files")]
pub enum Join {
    Concat,
    Add,
    Multiply,
}

impl Join {
    /// Features of its output, if values of these features can be joined.
    pub fn features(self, of_values: &[usize]) -> Option<usize> {
        let most = of_values.iter().copied().max().unwrap_or(0);
        match self {
            Self::Concat => Some(of_values.iter().sum()),
            Self::Add | Self::Multiply => of_values.iter().all(|&n| n == 1 || n == most).then_some(most),
        }
    }

    /// One frame of the output, from one frame of each value.
    fn of(self, frames: &[&Vec<f32>]) -> Vec<f32> {
        let features = frames.iter().map(|frame| frame.len()).max().unwrap_or(0);
        let f = match self {
            Self::Concat => return frames.iter().flat_map(|frame| frame.iter().copied()).collect(),
            Self::Add => |a, b| a + b,
            Self::Multiply => |a, b| a * b,
        };
        let feature = |c: usize| frames.iter().map(move |frame| if frame.len() == 1 { frame[0] } else { frame[c] });
        (0..features).filter_map(|c| feature(c).reduce(f)).collect()
    }
}

/// What a node computes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "there is nothing to add")]
pub enum Operation {
    Layer(Box<Layer>),
    Join(Join),
}

/// A layer or a join, with the values that it reads. Values are numbered: the inputs first, then the nodes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "there is nothing to add")]
pub struct Node {
    pub name: String,
    pub reads: Vec<usize>,
    pub operation: Operation,
}

/// A model as its file describes it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Names and features.
    pub inputs: Vec<(String, usize)>,
    /// In an order in which they can run.
    pub nodes: Vec<Node>,
    /// Names and values.
    pub outputs: Vec<(String, usize)>,
    /// Shapes and numbers of tensors that belong to no layer.
    pub attachments: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Text that came with the model.
    pub metadata: BTreeMap<String, String>,
}

impl Model {
    /// The states of all recurrent layers at the start of a sequence, by the names of the layers.
    pub fn start(&self) -> BTreeMap<String, State> {
        let state = |node: &Node| match &node.operation {
            Operation::Layer(layer) => match layer.as_ref() {
                Layer::Recurrent(recurrent) => Some((node.name.clone(), recurrent.start())),
                _ => None,
            },
            Operation::Join(_) => None,
        };
        self.nodes.iter().filter_map(state).collect()
    }

    /// The outputs for a sequence of each input. The recurrent layers begin at `states` and leave their last ones there.
    ///
    /// # Errors
    /// Inputs that do not fit, and an index that an embedding does not have.
    pub fn run(&self, inputs: &[Frames], states: &mut BTreeMap<String, State>) -> Result<Vec<Frames>, String> {
        let fits = |x: &Frames, features| x.len() == inputs[0].len() && x.iter().all(|x| x.len() == features);
        if inputs.len() != self.inputs.len() || inputs.iter().zip(&self.inputs).any(|(x, (_, n))| !fits(x, *n)) {
            return Err("the inputs do not fit the model".into());
        }
        let mut values = inputs.to_vec();
        for node in &self.nodes {
            let reads: Vec<&Frames> = node.reads.iter().map(|&value| &values[value]).collect();
            let value = match &node.operation {
                Operation::Layer(layer) => {
                    let mut none = State::default();
                    let state = states.get_mut(&node.name).unwrap_or(&mut none);
                    layer.run(reads[0], state).map_err(|error| format!("{}: {error}", node.name))?
                }
                Operation::Join(join) => {
                    let frame = |t: usize| join.of(&reads.iter().map(|frames| &frames[t]).collect::<Vec<_>>());
                    // They differ only where a sequence is too short for one of them.
                    (0..reads.iter().map(|frames| frames.len()).min().unwrap_or(0)).map(frame).collect()
                }
            };
            values.push(value);
        }
        Ok(self.outputs.iter().map(|(_, value)| values[*value].clone()).collect())
    }
}
