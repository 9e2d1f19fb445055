//! What layers need besides weights and state: memory, threads and the time batch.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::kernels::{Threads, Workspace};
use crate::quant::{QuantizedActivations, QuantizedActivationsI16};

/// The default time batch: how many time steps' input products are computed at once. It is the paper's compromise
/// between latency and throughput.
pub const DEFAULT_TIME_BATCH: usize = 4;

/// The largest time batch: the largest batch that the kernels handle in one pass over the weights.
pub const MAX_TIME_BATCH: usize = 10;

/// Memory, threads and time batch for the layers that one thread runs. Memory grows to what the layers need and is
/// kept, so nothing is allocated from the second step on, except for the jobs of a thread pool (see [`Threads`]).
/// Results never depend on what earlier calls left in it.
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
    /// The quantized activations of the current product.
    pub(super) quantized: QuantizedActivations,
    /// The same in 16 bits.
    pub(super) quantized_i16: QuantizedActivationsI16,
    /// The quantized vector of a product with a single one.
    pub(super) vector: Vec<i8>,
    /// `V x`, between the two products of a factored weight.
    pub(super) low_rank: Vec<f32>,
    /// The quantized input of a stack of weights, shared by all of them.
    pub(super) stack_input: SharedMemory,
    /// The outputs of one part of a stack.
    pub(super) stack_part: Vec<f32>,
    /// Input products of a recurrent layer, for one time batch.
    pub(super) input_gates: Vec<f32>,
    /// The recurrent product of one time step.
    pub(super) recurrent_gates: Vec<f32>,
    /// Frames or outputs of a sequence that a layer collects.
    pub(super) sequence: Vec<f32>,
    time_batch: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::with_threads(Threads::default())
    }
}

impl Scratch {
    /// A scratch without memory, for the caller's thread only, with the default time batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same as [`new`](Self::new), with large products run on `threads`.
    pub fn with_threads(threads: Threads) -> Self {
        Self {
            workspace: Workspace::with_threads(threads),
            quantized: QuantizedActivations::new(),
            quantized_i16: QuantizedActivationsI16::new(),
            vector: Vec::new(),
            low_rank: Vec::new(),
            stack_input: SharedMemory::default(),
            stack_part: Vec::new(),
            input_gates: Vec::new(),
            recurrent_gates: Vec::new(),
            sequence: Vec::new(),
            time_batch: DEFAULT_TIME_BATCH,
        }
    }

    /// A scratch with the same threads and time batch, without memory.
    pub(crate) fn fresh(&self) -> Self {
        Self { time_batch: self.time_batch, ..Self::with_threads(self.workspace.threads().clone()) }
    }

    /// Sets the number of time steps whose input products are computed at once when a layer is given a sequence.
    /// Results do not depend on it.
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

    /// Number of time steps whose input products are computed at once.
    pub fn time_batch(&self) -> usize {
        self.time_batch
    }
}

/// Memory for an input that several weights share, in each form that one of them needs.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    pub i8: QuantizedActivations,
    pub i16: QuantizedActivationsI16,
}
