//! The interface of micro-kernels.
//!
//! A micro-kernel multiplies consecutive panels of packed weights with one group of packed activation columns and
//! stores the `i32` sums. It knows one tier, one weight layout and one batch size. The driver handles everything else:
//! tails, offsets, scales and threads.

use super::layout::{Layout, MAX_COLUMNS};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The operands of one micro-kernel call.
///
/// Below, `columns` is the batch size of the kernel, `rows` is `panels * layout.panel_rows`, and `depth` is
/// `steps * STEP`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// `panels` packed panels of `layout.panel_bytes(depth)` bytes each, one after the other.
    pub weights: *const u8,
    /// The number of panels, at least 1.
    pub panels: usize,
    /// Depth in steps; 0 gives sums of 0.
    pub steps: usize,
    /// `depth * columns` packed activations.
    pub activations: *const i8,
    /// Sum `(row, column)` goes to `sums[column * sums_stride + row]`.
    pub sums: *mut i32,
    /// Elements from one column of sums to the next, at least `rows`.
    pub sums_stride: usize,
    /// Whether the weights come from memory. If so, a kernel asks for their cache lines ahead of their use.
    #[cfg_attr(not(kernel_aarch64), allow(dead_code, reason = "the portable kernels give no hints"))]
    pub from_memory: bool,
}

/// A micro-kernel.
///
/// # Safety
/// The processor must have the instructions of the kernel's tier. The pointers of the [`Call`] must be valid for the
/// reads and writes that its fields state. The kernel touches nothing beyond them, and needs only the alignment of the
/// element types.
pub(crate) type MicroKernel = unsafe fn(&Call);

/// The kernels for batch sizes 1..=10.
pub(crate) type Kernels = [MicroKernel; MAX_COLUMNS];

/// All kernels of one tier and weight format. They share one packed layout, so weights packed once serve every batch
/// size.
#[derive(Debug)]
pub(crate) struct Family {
    pub tier: Tier,
    pub format: WeightFormat,
    pub layout: Layout,
    pub kernels: Kernels,
    /// Kernels for panels with an extreme pair of weights; `None` if the usual kernels handle them.
    ///
    /// An extreme pair is -128 twice, where the products of the two weights are added in an `i16`. The usual kernels
    /// would overflow the `i16`.
    pub extreme: Option<Kernels>,
}

/// Instantiates a kernel that is generic over the batch size, once per batch size.
macro_rules! for_each_batch {
    ($kernel:path) => {{
        use $kernel as kernel;
        const KERNELS: $crate::kernels::micro::Kernels = [
            kernel::<1>,
            kernel::<2>,
            kernel::<3>,
            kernel::<4>,
            kernel::<5>,
            kernel::<6>,
            kernel::<7>,
            kernel::<8>,
            kernel::<9>,
            kernel::<10>,
        ];
        KERNELS
    }};
}

pub(crate) use for_each_batch;
