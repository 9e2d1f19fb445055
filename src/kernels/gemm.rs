//! The driver: the sole caller of a micro-kernel.
//!
//! Weights are taken in blocks of rows. For each block the micro-kernel leaves the `i32` sums of all
//! columns on the stack, in L1, and the epilogue turns them into outputs before the next block; so weights are read
//! once and in order, and sums never reach memory.

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::epilogue::Epilogue;
use super::layout::{MAX_COLUMNS, STEP, column_groups, depth_multiple};
use super::micro::{Call, Kernels};
use super::pack::PackedMat;
use super::pack_activations::pack_activations;
use super::threads::Threads;
use crate::error::{Error, Result, expect_length};
#[cfg(doc)]
use crate::format::WeightFormat;
use crate::matrix::{MatMut, MatRef};

/// Sums that a block holds at most: 8 KB, so that they stay in L1 beside activations and weights, yet enough to spread
/// the cost of calling a kernel and an epilogue over many rows.
const BLOCK_SUMS: usize = 2048;

/// Threads split the rows, and blocks end, at multiples of this: a multiple of every layout's `panel_rows` and of the
/// epilogue's vectors.
const ROW_UNIT: usize = 32;

/// Rows of a block for `columns` columns.
const fn block_rows(columns: usize) -> usize {
    BLOCK_SUMS / columns / ROW_UNIT * ROW_UNIT
}

/// Activations of a product: a batch of `m` vectors of depth `k`, one a row.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    values: MatRef<'a, i8>,
    offsets: Option<Offsets<'a>>,
}

/// What is added to the sums of each column before the epilogue, modulo `2^32`:
/// `constant[column] + row_sum_factor[column] * row_sum[row]`, `row_sum` being the sum of a row of weights.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    /// One for each column.
    pub constant: &'a [i32],
    /// One for each column.
    pub row_sum_factor: &'a [i32],
}

impl<'a> Activations<'a> {
    /// Signed activations without a zero point.
    pub fn new(values: MatRef<'a, i8>) -> Self {
        Self { values, offsets: None }
    }

    /// Activations whose sums are corrected by [`Offsets`]: a zero point `z` of a column is
    /// `row_sum_factor = -z, constant = 0`. A result is exact if its true value fits an `i32`, which holds for
    /// zero points within the `i8` range up to [`WeightFormat::max_depth`]: beyond that depth the product is refused.
    pub fn with_offsets(values: MatRef<'a, i8>, offsets: Offsets<'a>) -> Self {
        Self { values, offsets: Some(offsets) }
    }
}

/// Memory and threads that products use, kept from call to call: once it has grown, a product on the caller's thread
/// allocates nothing. What one on a pool allocates is said at [`Threads`].
#[derive(Debug, Default)]
pub struct Workspace {
    packed: Vec<i8>,
    threads: Threads,
}

impl Workspace {
    /// An empty workspace that runs everything on the caller's thread.
    pub fn new() -> Self {
        Self::default()
    }

    /// The threads that large products run on.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// A workspace that runs large products on `threads`.
    pub fn with_threads(threads: Threads) -> Self {
        Self { packed: Vec::new(), threads }
    }
}

/// `out = epilogue(x w^T)`: `x` is `m x k`, the weights `w` are `n x k`, `out` is `m x n`.
///
/// The `i32` sums are exact, so results are the same bits on every tier, for any number of threads, and however a
/// batch is split into calls.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Length`] when operands do not fit each other or the epilogue does not fit the product,
/// [`Error::Depth`] for offsets beyond [`WeightFormat::max_depth`], [`Error::Allocation`] when the workspace cannot
/// grow. `out` is untouched then.
///
/// # Example
/// ```
/// use skinny::kernels::{gemm, Activations, PackedMat, Sums, Workspace};
/// use skinny::{MatMut, MatRef};
///
/// let weights = [1i8, 2, 3, 4, 5, 6]; // 2 output features, depth 3
/// let w = PackedMat::new(MatRef::new(&weights, 2, 3)?)?;
/// let mut out = [0i32; 2];
/// let x = Activations::new(MatRef::row_vector(&[1, 0, -1]));
/// gemm(&w, x, &Sums, MatMut::row_vector(&mut out), &mut Workspace::new())?;
/// assert_eq!(out, [-2, -2]);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn gemm<E: Epilogue>(
    w: &PackedMat,
    x: Activations<'_>,
    epilogue: &E,
    mut out: MatMut<'_, E::Output>,
    workspace: &mut Workspace,
) -> Result<()> {
    let (m, k) = x.values.shape();
    x.values.expect_shape("activations", m, w.k())?;
    out.expect_shape("output", m, w.n())?;
    epilogue.check(m, w.n())?;
    if let Some(offsets) = x.offsets {
        for (what, values) in [("column constants", offsets.constant), ("row sum factors", offsets.row_sum_factor)] {
            expect_length(what, m, values.len())?;
        }
        let max = w.format().max_depth(true);
        if k > max {
            return Err(Error::Depth { k, max });
        }
    }
    if m == 0 || w.n() == 0 {
        return Ok(());
    }

    // One column is laid out as its packed form already, unless its depth needs padding.
    let packed: &[i8] = if m == 1 && k.is_multiple_of(depth_multiple(w.format())) {
        x.values.as_slice()
    } else {
        pack_activations(w.family(), x.values, &mut workspace.packed)?;
        &workspace.packed
    };

    let product = Product { w, packed, m, offsets: x.offsets, epilogue, out: out.as_mut_slice().as_mut_ptr() };
    let units = w.n().div_ceil(ROW_UNIT);
    workspace.threads.split(units, w.bytes(), |range| {
        // SAFETY: `split` hands out disjoint ranges of rows, so no two threads write the same outputs, and each call
        // ends before `split` returns, while `out` is borrowed.
        unsafe { product.run_rows(range.start * ROW_UNIT..w.n().min(range.end * ROW_UNIT)) }
    });
    Ok(())
}

/// A product whose operands were checked.
struct Product<'a, E: Epilogue> {
    w: &'a PackedMat,
    /// The activations in the layout of `w`'s kernels.
    packed: &'a [i8],
    m: usize,
    offsets: Option<Offsets<'a>>,
    epilogue: &'a E,
    /// `m x n`, row-major.
    out: *mut E::Output,
}

// SAFETY: threads share the product read-only but for `out`, of which each writes its own blocks; `Output: Send`, and
// the other fields are `Sync`.
unsafe impl<E: Epilogue> Sync for Product<'_, E> {}

impl<E: Epilogue> Product<'_, E> {
    /// Computes the outputs of some rows, for all columns. `rows` starts at a multiple of [`ROW_UNIT`].
    ///
    /// # Safety
    /// No other thread may access those outputs meanwhile.
    #[inline]
    unsafe fn run_rows(&self, rows: Range<usize>) {
        let mut sums = [MaybeUninit::<i32>::uninit(); BLOCK_SUMS];
        let n = self.w.n();
        let height = block_rows(self.m.min(MAX_COLUMNS));
        for start in rows.clone().step_by(height) {
            let rows = start..rows.end.min(start + height);
            for group in column_groups(self.m) {
                self.block_sums(rows.clone(), height, group.clone(), &mut sums);
                for (i, column) in group.enumerate() {
                    // SAFETY: `block_sums` has written the sums of all rows of the block for each column of the group.
                    let sums: &mut [i32] =
                        unsafe { core::slice::from_raw_parts_mut(sums[i * height..].as_mut_ptr().cast(), rows.len()) };
                    if let Some(offsets) = self.offsets {
                        let (constant, factor) = (offsets.constant[column], offsets.row_sum_factor[column]);
                        for (sum, &row_sum) in sums.iter_mut().zip(&self.w.row_sums()[rows.clone()]) {
                            *sum = sum.wrapping_add(row_sum.wrapping_mul(factor)).wrapping_add(constant);
                        }
                    }
                    // SAFETY: `column < m` and `rows` is within `n`, so this is inside `out`'s `m x n` elements; by
                    // this function's contract nobody else accesses them.
                    let out =
                        unsafe { core::slice::from_raw_parts_mut(self.out.add(column * n + rows.start), rows.len()) };
                    self.epilogue.apply(sums, rows.clone(), column, out);
                }
            }
        }
    }

    /// Leaves the sums of rows `rows`, at most `height`, and the columns of `group` in `sums`, `height` elements a
    /// column.
    fn block_sums(
        &self,
        rows: Range<usize>,
        height: usize,
        group: Range<usize>,
        sums: &mut [MaybeUninit<i32>; BLOCK_SUMS],
    ) {
        let panel_rows = self.w.family().layout.panel_rows;
        let panel_bytes = self.w.panel_bytes();
        let mut run = |kernels: &Kernels, panels: Range<usize>| {
            debug_assert!(panels.end <= self.w.panels());
            debug_assert!((panels.end * panel_rows) - rows.start <= height);
            let call = Call {
                // SAFETY: panels up to `w.panels()` lie inside `lines`.
                weights: unsafe { self.w.lines().as_ptr().cast::<u8>().add(panels.start * panel_bytes) },
                panels: panels.len(),
                steps: self.w.steps(),
                // A group's columns lie behind those of the groups before it.
                activations: self.packed[group.start * self.w.steps() * STEP..].as_ptr(),
                // SAFETY: panels of the block start inside its rows, hence inside the first column of `sums`.
                sums: unsafe { sums.as_mut_ptr().cast::<i32>().add(panels.start * panel_rows - rows.start) },
                sums_stride: height,
            };
            // SAFETY: `PackedMat` proves that the processor has the tier. Its panels hold `panel_bytes` each; `packed`
            // was laid out by the same layout for `steps` steps of the group's columns; the block's panels have at most
            // `height` rows (a multiple of `panel_rows`), and `sums` has room for the group's columns of that many.
            unsafe { kernels[group.len() - 1](&call) }
        };

        let panels = rows.start / panel_rows..rows.end.div_ceil(panel_rows);
        match self.w.kernels() {
            Some(kernels) => run(kernels, panels),
            None => {
                for panel in panels {
                    run(self.w.kernels_of_panel(panel), panel..panel + 1);
                }
            }
        }
    }
}
