//! Checkpoints, from which a run resumes.

use std::collections::BTreeMap;
use std::path::Path;

use burn::optim::{AdamState, AdaptiveMomentumState};
use serde::{Deserialize, Serialize};

use super::export::serialize;
use super::random::Random;
use super::recognizer::Recognizer;
use super::schedule::Schedule;
use super::settling::RankHistory;
use super::tensors::{parameter, tensor, values};
use super::trainer::Trainer;
use crate::error::{Error, FileError, Result};
use crate::model::{Tensors, read, write};

/// The metadata key of the header.
const KEY: &str = "skinny.training";

/// The part of a checkpoint that is not tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// The schedule in its debug form. A run must resume with the same schedule to reach the same weights.
    schedule: String,
    epoch: usize,
    cut: bool,
    /// Epochs before the transition, if ranks have settled.
    #[serde(default)]
    settled: Option<usize>,
    /// Stable ranks at the start and after each epoch of stage 1.
    #[serde(default)]
    ranks: Vec<Vec<f32>>,
    random: u64,
    /// The number of Adam steps of each parameter that had a gradient.
    steps: BTreeMap<String, usize>,
}

const VERSION: u32 = 2;

fn header_error(reason: impl ToString) -> Error {
    FileError::Header { key: KEY.into(), reason: reason.to_string() }.into()
}

impl Trainer {
    /// Writes the complete state of the run to a safetensors file, atomically. Parameters are named as in
    /// [`Recognizer::parameters_mut`]. Adam's moments are `adam.1.NAME` and `adam.2.NAME`. If stage 2 learns from a
    /// teacher, the teacher's parameters are `teacher.NAME`.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.model.parameters() {
            tensors.insert(name, (tensor.dims().to_vec(), values(tensor)));
        }
        for (name, tensor) in self.teacher.iter().flat_map(Recognizer::parameters) {
            tensors.insert(format!("teacher.{name}"), (tensor.dims().to_vec(), values(tensor)));
        }
        for (name, state) in &self.adam.states {
            for (moment, tensor) in [("1", &state.momentum.moment_1), ("2", &state.momentum.moment_2)] {
                tensors.insert(format!("adam.{moment}.{name}"), (tensor.dims().to_vec(), values(tensor.clone())));
            }
        }
        let header = Header {
            version: VERSION,
            schedule: format!("{:?}", self.schedule),
            epoch: self.epoch,
            cut: self.cut,
            settled: self.settled,
            ranks: self.ranks.0.clone(),
            random: self.random.position(),
            steps: self.adam.states.iter().map(|(name, state)| (name.clone(), state.momentum.time)).collect(),
        };
        let header = serde_json::to_string(&header).map_err(header_error)?;
        let bytes = serialize(&tensors, &[(KEY.to_string(), header)].into())?;
        write(path.as_ref(), &bytes)
    }

    /// Reads a run that [`save`](Self::save) wrote. `model` must have the structure that the model had when the run
    /// began; its values are replaced.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, is not a checkpoint, or belongs to another schedule or model.
    pub fn resume(path: impl AsRef<Path>, model: Recognizer, schedule: Schedule) -> Result<Self> {
        let bytes = read(path.as_ref())?;
        let mut tensors = Tensors::new(&bytes)?;
        let json = tensors.metadata().get(KEY).ok_or_else(|| header_error("missing: not a checkpoint"))?;
        let header: Header = serde_json::from_str(json).map_err(header_error)?;
        if header.version != VERSION {
            return Err(FileError::Version { found: header.version.to_string(), supported: "2" }.into());
        }
        let found = format!("{schedule:?}");
        if header.schedule != found {
            return Err(header_error(format!("the run has another schedule: {}, not {found}", header.schedule)));
        }
        let mut run = Self::new(model, schedule)?;
        (run.epoch, run.cut, run.random) = (header.epoch, header.cut, Random::new(header.random));
        let weights = run.model.weights().len();
        if header.ranks.iter().any(|ranks| ranks.len() != weights) {
            return Err(header_error(format!("the ranks do not match the model's {weights} weights")));
        }
        if let Some(settled) = header.settled.filter(|&settled| settled > header.epoch) {
            return Err(header_error(format!(
                "the ranks settled after epoch {settled}, but only {} epochs are done",
                header.epoch
            )));
        }
        (run.settled, run.ranks) = (header.settled, RankHistory(header.ranks));
        let device = run.model.device().clone();
        if run.cut {
            if run.schedule.distillation > 0.0 {
                let mut teacher = run.model.without_gradients();
                for (name, value) in teacher.parameters_mut() {
                    let [rows, cols] = value.dims();
                    let name = format!("teacher.{name}");
                    *value = self::tensor(tensors.take_floats_of(&name, rows, cols)?.view(), &device);
                }
                run.teacher = Some(teacher);
            }
            let ranks: BTreeMap<String, usize> = tensors
                .remaining()
                .filter_map(|(name, shape)| Some((name.strip_suffix(".v")?.to_string(), *shape.first()?)))
                .collect();
            // Their values are read with those of all parameters.
            run.model.set_ranks(&ranks)?;
        }
        for (name, value) in run.model.parameters_mut() {
            let [rows, cols] = value.dims();
            *value = parameter(tensors.take_floats_of(&name, rows, cols)?.view(), &device);
            if let Some(&time) = header.steps.get(&name) {
                let mut moment = |i| {
                    let moment = tensors.take_floats_of(&format!("adam.{i}.{name}"), rows, cols)?;
                    Ok::<_, Error>(self::tensor(moment.view(), &device))
                };
                let momentum = AdaptiveMomentumState::new(time, moment(1)?, moment(2)?);
                run.adam.states.insert(name, AdamState::new(momentum));
            }
        }
        tensors.expect_empty()?;
        Ok(run)
    }
}
