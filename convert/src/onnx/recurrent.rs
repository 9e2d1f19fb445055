//! Recurrent layers.

use skinny::factored::{Bidirectional, Gru, Lstm, Reduction, Rnn, RnnFunction, Weight};
use skinny::model::Layer;
use skinny::{Mat, MatRef};

use super::array::Array;
use super::axes::{Axis, Data};
use super::builder::{Builder, Value};
use super::file::{Destinations, refused};
use super::proto::{Attribute, Node};
use crate::error::Result;

/// The matrices of a recurrent node: of each direction `gates hidden x input`, `gates hidden x hidden`, and a bias.
pub(super) struct Parameters {
    pub w: Array,
    pub r: Array,
    pub bias: Option<Array>,
}

/// One direction of a layer.
enum Direction {
    Gru(Gru),
    Lstm(Lstm),
    Rnn(Rnn),
}

impl<'a> Builder<'a> {
    pub fn recurrent(&mut self, node: &'a Node) -> Result<()> {
        let w = self.constant(node, 1, "weight W")?.as_ref().clone();
        let r = self.constant(node, 2, "weight R")?.as_ref().clone();
        let bias = self.optional(node, 3, "bias B")?.map(|bias| bias.as_ref().clone());
        self.recurrent_of(node, &Parameters { w, r, bias })
    }

    /// A recurrent layer with these parameters.
    pub fn recurrent_of(&mut self, node: &'a Node, parameters: &Parameters) -> Result<()> {
        let no = |reason: &str| refused(node, reason);
        let x = self.data(node, 0)?;
        self.expect_supported(node, &x)?;
        let Parameters { w, r, .. } = parameters;
        let [directions, rows, _] = w.shape[..] else { return Err(no("its weight W does not have three dimensions")) };
        let &[_, _, hidden] = &r.shape[..] else { return Err(no("its weight R does not have three dimensions")) };
        if x.axes.len() != 3
            || x.axes[1] != Axis::One
            || matches!(x.axes[0], Axis::Features(_))
            || x.axes[2] == Axis::Time
        {
            return Err(no("expected data of time, batch, features, for a batch of one"));
        }
        let direction = node.text("direction").unwrap_or("forward");
        let expected = if direction == "bidirectional" { 2 } else { 1 };
        if directions != expected || r.shape[0] != expected || rows != r.shape[1] || hidden == 0 {
            return Err(no(&format!("direction {direction}: its weights are {:?} and {:?}", w.shape, r.shape)));
        }
        if let Some(bias) = &parameters.bias
            && bias.shape[..] != [directions, rows.saturating_mul(2)]
        {
            return Err(no(&format!("its bias B is {:?}, and its weight W {:?}", bias.shape, w.shape)));
        }
        let mut of =
            (0..directions).map(|i| self.direction(node, parameters, i)).collect::<Result<Vec<Direction>>>()?;
        let fail = |cause: skinny::Error| refused(node, cause);
        let is_reverse = direction == "reverse";
        let last = of.pop().ok_or_else(|| no("has no direction"))?;
        // There is no layer that runs backward only: half of one that runs both ways is taken.
        let first = match of.pop() {
            Some(first) => Some(first),
            None if is_reverse => Some(self.direction(node, parameters, 0)?),
            None => None,
        };
        let layer = match (first, last) {
            (None, Direction::Gru(layer)) => Layer::Gru(layer),
            (None, Direction::Lstm(layer)) => Layer::Lstm(layer),
            (None, Direction::Rnn(layer)) => Layer::Rnn(layer),
            (Some(Direction::Gru(one)), Direction::Gru(two)) => {
                Layer::BidirectionalGru(Bidirectional::new(one, two).map_err(fail)?)
            }
            (Some(Direction::Lstm(one)), Direction::Lstm(two)) => {
                Layer::BidirectionalLstm(Bidirectional::new(one, two).map_err(fail)?)
            }
            (Some(Direction::Rnn(one)), Direction::Rnn(two)) => {
                Layer::BidirectionalRnn(Bidirectional::new(one, two).map_err(fail)?)
            }
            _ => return Err(no("its directions are of different kinds")),
        };
        if layer.input_size() != x.features() {
            return Err(no(&format!(
                "its weights take {} features, and there are {}",
                layer.input_size(),
                x.features()
            )));
        }
        let mut value = self.layer(node, layer, x.value)?;
        if is_reverse {
            self.assume(format!("{} runs backward only; it is half of a layer that runs both ways", node.title()));
            let name = self.name(node.title());
            value = self.graph.slice(name, hidden..2 * hidden, value)?;
        }
        let axes = vec![x.axes[0], Axis::of(directions), Axis::One, Axis::of(hidden)];
        let y = x.with_value(value, axes);
        self.states(node, &y, direction)?;
        // A value must be read: the last states alone do not make the outputs one.
        self.set_data(node, y)
    }

    /// The outputs of a recurrent node that are last states.
    fn states(&mut self, node: &'a Node, y: &Data, direction: &str) -> Result<()> {
        for i in [1, 2] {
            let Some(name) = node.output(i) else { continue };
            let destinations = self.file.destinations(name);
            if destinations == Destinations::default() {
                continue;
            }
            let others = self.file.outputs.iter().any(|output| {
                let states = |node: &Node| {
                    [1, 2].into_iter().filter_map(|i| node.output(i).map(str::to_owned)).collect::<Vec<_>>()
                };
                let of_states = self.file.nodes.iter().filter(|node| is_recurrent(node)).flat_map(states);
                !of_states.into_iter().any(|state| self.file.reaches(&state, output))
            });
            // A state that only leaves the model is the session's.
            if destinations == (Destinations { outputs: true, ..Destinations::default() }) && others {
                self.set(node, i, Value::LastState)?;
                continue;
            }
            if i == 2 {
                let reason = "reads the last cell state (Y_c) within the model, which is not supported";
                return Err(refused(node, reason));
            }
            if direction != "forward" {
                let reason = "reads the last state (Y_h) of the layer that runs backward, which is its first frame; that is \
                              not supported: use the outputs (Y), or their mean over time";
                return Err(refused(node, reason));
            }
            let last = match y.time() {
                Some(time) => self.over_time(node, Reduction::Last, y, time, false)?,
                None => y.with_axes(y.axes[1..].to_vec()),
            };
            self.set(node, i, Value::Data(last))?;
        }
        Ok(())
    }

    /// Fails for options and inputs that the layers do not have.
    fn expect_supported(&self, node: &Node, x: &Data) -> Result<()> {
        let no = |reason: String| Err(refused(node, reason));
        if node.integer("layout").unwrap_or(0) != 0 {
            return no("layout of 1 is not supported; export the model with layout 0, as PyTorch does".into());
        }
        if node.attributes.contains_key("clip") {
            return no("clip is not supported".into());
        }
        if node.integer("input_forget").unwrap_or(0) != 0 {
            return no("input_forget is not supported".into());
        }
        if node.input(7).is_some() && !self.file.constant(node.input(7)).is_some_and(Array::is_zero) {
            return no("peepholes (P) are not supported".into());
        }
        match node.input(4).and_then(|name| self.values.get(name)) {
            None | Some(Value::Lengths) => {}
            Some(Value::Constant(lengths))
                if x.frames.is_some_and(|frames| lengths.scalar() == Some(frames as f32)) => {}
            Some(Value::Shape { dims, .. }) if dims[..] == [super::axes::Dim::Frames(x.clock)] => {}
            Some(_) => {
                return no(
                    "lengths of sequences (sequence_lens) that are not those of its input are not supported".into()
                );
            }
        }
        for (i, what) in [(5, "initial_h"), (6, "initial_c")] {
            match node.input(i).and_then(|name| self.values.get(name)) {
                None | Some(Value::InitialState) => {}
                Some(Value::Constant(state)) if state.is_zero() => {}
                Some(Value::Constant(_)) => {
                    return no(format!(
                        "its initial state ({what}) is not 0; make it an input of the model and give it to the session"
                    ));
                }
                Some(_) => {
                    return no(format!(
                        "its initial state ({what}) is computed within the model, as that of a decoder is; split the model \
                         there, and give the state to the session of the second part"
                    ));
                }
            }
        }
        Ok(())
    }

    fn direction(&self, node: &Node, parameters: &Parameters, i: usize) -> Result<Direction> {
        let part = |array: &Array| -> Option<Vec<f32>> {
            let each = array.len() / array.shape.first().copied().filter(|&count| count > 0)?;
            array.to_floats().get(i * each..(i + 1) * each).map(<[f32]>::to_vec)
        };
        let Parameters { w, r, bias } = parameters;
        let (w_values, r_values, bias) = (part(w), part(r), bias.as_ref().and_then(part));
        let [w_values, r_values] = [w_values.unwrap_or_default(), r_values.unwrap_or_default()];
        let fail = |cause: skinny::Error| refused(node, cause);
        let w = MatRef::new(&w_values, w.shape[1], w.shape[2]).map_err(fail)?;
        let r = MatRef::new(&r_values, r.shape[1], r.shape[2]).map_err(fail)?;
        let bias = bias.as_deref();
        let functions = activations(node, i);
        let functions: Vec<&str> = functions.iter().map(String::as_str).collect();
        let expect = |expected: &[&str]| {
            if functions.is_empty() || functions == expected {
                return Ok(());
            }
            Err(refused(node, format!("activations {functions:?} are not supported, only {expected:?}")))
        };
        match &node.kind[..] {
            "GRU" => {
                expect(&["sigmoid", "tanh"])?;
                let reset_after = node.integer("linear_before_reset").unwrap_or(0) != 0;
                Ok(Direction::Gru(Gru::from_onnx(w, r, bias, reset_after).map_err(fail)?))
            }
            "RNN" => {
                let function = match functions[..] {
                    ["relu"] => RnnFunction::Relu,
                    _ => RnnFunction::Tanh,
                };
                if function == RnnFunction::Tanh {
                    expect(&["tanh"])?;
                }
                rnn(w, r, bias, function).map(Direction::Rnn).map_err(fail)
            }
            _ => {
                expect(&["sigmoid", "tanh", "tanh"])?;
                Ok(Direction::Lstm(Lstm::from_onnx(w, r, bias).map_err(fail)?))
            }
        }
    }
}

fn is_recurrent(node: &Node) -> bool {
    matches!(&node.kind[..], "GRU" | "LSTM" | "RNN" | "DynamicQuantizeLSTM")
}

fn rnn(w: MatRef<'_, f32>, r: MatRef<'_, f32>, bias: Option<&[f32]>, function: RnnFunction) -> skinny::Result<Rnn> {
    let hidden = r.cols();
    let dense = |m: MatRef<'_, f32>| Weight::dense(Mat::from_vec(m.as_slice().to_vec(), m.rows(), m.cols())?);
    let [bias_ih, bias_hh] = match bias {
        None => [None, None],
        Some(bias) if bias.len() == 2 * hidden => [Some(bias[..hidden].to_vec()), Some(bias[hidden..].to_vec())],
        Some(bias) => return Err(skinny::Error::Length { what: "B", expected: 2 * hidden, found: bias.len() }),
    };
    Ok(Rnn::new(dense(w)?, dense(r)?, bias_ih, bias_hh)?.with_function(function))
}

/// The activations of a direction, in lower case. There are none if the file leaves them out.
fn activations(node: &Node, direction: usize) -> Vec<String> {
    let Some(Attribute::Texts(all)) = node.attributes.get("activations") else { return Vec::new() };
    let each = match &node.kind[..] {
        "GRU" => 2,
        "RNN" => 1,
        _ => 3,
    };
    all.iter().skip(direction * each).take(each).map(|name| name.to_lowercase()).collect()
}
