//! What layers need besides weights and state: memory, threads, the time batch.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::kernels::{Threads, Workspace};
use crate::quant::QuantizedActivations;

/// The time steps whose input products are done at once unless told otherwise: the paper's compromise between latency
/// and throughput.
pub const DEFAULT_TIME_BATCH: usize = 4;

/// The largest time batch: what the kernels take in one pass over the weights.
pub const MAX_TIME_BATCH: usize = 10;

/// Memory, threads and time batch for the layers that one thread runs. Memory grows to what the layers need and is
/// kept, so from the second step on nothing is allocated, but for the jobs of a pool: see [`Threads`]. It carries nothing
/// from one call to the next that results depend on.
///
/// # Example
/// ```
/// use skinny::{factored::Scratch, kernels::Threads};
///
/// let scratch = Scratch::with_threads(Threads::Caller).with_time_batch(8)?;
/// assert_eq!(scratch.time_batch(), 8);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Debug)]
pub struct Scratch {
    /// Packed activations, and the threads.
    pub(super) workspace: Workspace,
    /// The activations of the product that is running.
    pub(super) quantized: QuantizedActivations,
    /// `V x`, between the two products of a factored weight.
    pub(super) low_rank: Vec<f32>,
    /// The input of a stack of weights, for all of them.
    pub(super) stack_input: QuantizedActivations,
    /// The outputs of one part of a stack.
    pub(super) stack_part: Vec<f32>,
    /// Input products of a recurrent layer, a time batch of them.
    pub(super) input_gates: Vec<f32>,
    /// The recurrent product of one time step.
    pub(super) recurrent_gates: Vec<f32>,
    /// What a layer gathers or holds back of a sequence.
    pub(super) sequence: Vec<f32>,
    time_batch: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::with_threads(Threads::default())
    }
}

impl Scratch {
    /// No memory yet, the caller's thread alone, the default time batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), with large products run on `threads`.
    pub fn with_threads(threads: Threads) -> Self {
        Self {
            workspace: Workspace::with_threads(threads),
            quantized: QuantizedActivations::new(),
            low_rank: Vec::new(),
            stack_input: QuantizedActivations::new(),
            stack_part: Vec::new(),
            input_gates: Vec::new(),
            recurrent_gates: Vec::new(),
            sequence: Vec::new(),
            time_batch: DEFAULT_TIME_BATCH,
        }
    }

    /// One with the same threads and time batch, and no memory yet.
    pub(crate) fn fresh(&self) -> Self {
        Self { time_batch: self.time_batch, ..Self::with_threads(self.workspace.threads().clone()) }
    }

    /// Sets the number of time steps whose input products are done at once when a layer is given a sequence. Results do
    /// not depend on it.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is in `1..=MAX_TIME_BATCH`.
    pub fn with_time_batch(mut self, steps: usize) -> Result<Self> {
        if !(1..=MAX_TIME_BATCH).contains(&steps) {
            return Err(Error::Parameter { what: "time batch", value: steps as f64, expected: "in 1..=10" });
        }
        self.time_batch = steps;
        Ok(self)
    }

    /// Time steps whose input products are done at once.
    pub fn time_batch(&self) -> usize {
        self.time_batch
    }
}
