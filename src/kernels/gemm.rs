//! The driver: the only caller of micro-kernels.
//!
//! The driver works through the weights in blocks of rows. For each block, the micro-kernel leaves the `i32` sums of
//! all columns on the stack, in L1. The epilogue turns these sums into outputs before the next block starts. Weights
//! are therefore read once and in order, and sums never reach memory.
//!
//! A product whose sums fit a small block is a straight line: one call of a kernel, then the epilogue. Its cost counts
//! where a cell of a few units runs thousands of times a second.

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::epilogue::Epilogue;
use super::layout::{MAX_COLUMNS, STEP, column_groups};
use super::micro::{Call, Kernels};
use super::pack::{PackedMat, SMALL_SUMS};
use super::pack_activations::pack_activations;
use super::threads::Threads;
use crate::error::{Error, Result, expect_length};
#[cfg(doc)]
use crate::format::WeightFormat;
use crate::matrix::{MatMut, MatRef};

/// The largest number of sums in a block: 8 KB. They stay in L1 beside activations and weights, yet a block has enough
/// rows to spread the cost of calling a kernel and an epilogue.
const BLOCK_SUMS: usize = 2048;

/// Threads split the rows, and blocks end, at multiples of this number. It is a multiple of every layout's `panel_rows`
/// and of the epilogue's vector length.
const ROW_UNIT: usize = 32;

/// The number of rows per block for `columns` columns.
const fn block_rows(columns: usize) -> usize {
    BLOCK_SUMS / columns / ROW_UNIT * ROW_UNIT
}

/// The activations of a product: a batch of `m` vectors of depth `k`, one per row.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    values: MatRef<'a, i8>,
    offsets: Option<Offsets<'a>>,
}

/// Terms that are added to the sums of each column before the epilogue, modulo `2^32`:
/// `constant[column] + row_sum_factor[column] * row_sum[row]`.
///
/// `row_sum[row]` is the sum of the weights in that row.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    /// One per column.
    pub constant: &'a [i32],
    /// One per column.
    pub row_sum_factor: &'a [i32],
}

impl<'a> Activations<'a> {
    /// Signed activations without a zero point.
    pub fn new(values: MatRef<'a, i8>) -> Self {
        Self { values, offsets: None }
    }

    /// Activations whose sums are corrected by [`Offsets`].
    ///
    /// A zero point `z` of a column becomes `row_sum_factor = -z` and `constant = 0`. A result is exact if its true
    /// value fits an `i32`. For zero points within the `i8` range, this holds up to the depth
    /// [`WeightFormat::max_depth`]. Deeper products are refused.
    pub fn with_offsets(values: MatRef<'a, i8>, offsets: Offsets<'a>) -> Self {
        Self { values, offsets: Some(offsets) }
    }
}

impl Offsets<'_> {
    /// Fails unless they fit a product of `m` columns with `w`.
    fn check(&self, m: usize, w: &PackedMat) -> Result<()> {
        expect_length("column constants", m, self.constant.len())?;
        expect_length("row sum factors", m, self.row_sum_factor.len())?;
        let (k, max) = (w.k(), w.format().max_depth(true));
        if k > max { Err(Error::Depth { k, max }) } else { Ok(()) }
    }

    /// Adds the terms of `column` to its sums.
    #[inline(never)]
    fn add(&self, column: usize, row_sums: &[i32], sums: &mut [i32]) {
        let (constant, factor) = (self.constant[column], self.row_sum_factor[column]);
        for (sum, &row_sum) in sums.iter_mut().zip(row_sums) {
            *sum = sum.wrapping_add(row_sum.wrapping_mul(factor)).wrapping_add(constant);
        }
    }
}

/// Memory and threads for products, kept from call to call.
///
/// Once the memory has grown, a product on the caller's thread allocates nothing. [`Threads`] says what a product on a
/// pool allocates.
#[derive(Debug, Default)]
pub struct Workspace {
    packed: Vec<i8>,
    /// The sums of a product in 16 bits.
    pub(super) wide_sums: Vec<i32>,
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
        Self { threads, ..Self::default() }
    }
}

/// Computes `out = epilogue(x w^T)`, where `x` is `m x k`, the weights `w` are `n x k` and `out` is `m x n`.
///
/// The `i32` sums are exact. Results therefore have the same bits on every tier, for any number of threads, and for any
/// split of a batch into calls.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Length`] if the operands do not fit each other or the epilogue does not fit the
/// product, [`Error::Depth`] for offsets beyond [`WeightFormat::max_depth`], [`Error::Allocation`] if the workspace
/// cannot grow. After an error, `out` is untouched.
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
#[inline]
pub fn gemm<E: Epilogue>(
    w: &PackedMat,
    x: Activations<'_>,
    epilogue: &E,
    mut out: MatMut<'_, E::Output>,
    workspace: &mut Workspace,
) -> Result<()> {
    let ((m, k), n) = (x.values.shape(), w.n());
    // One branch for what nearly always fits.
    if k != w.k() || out.shape() != (m, n) {
        x.values.expect_shape("activations", m, w.k())?;
        out.expect_shape("output", m, n)?;
    }
    epilogue.check(m, n)?;
    if let Some(offsets) = &x.offsets {
        offsets.check(m, w)?;
    }
    if m == 0 || n == 0 {
        return Ok(());
    }

    // A single column is already in its packed layout, unless its depth needs padding.
    let packed: &[i8] = if m == 1 && k == w.packed_depth() {
        x.values.as_slice()
    } else {
        pack_activations(w.family(), x.values, &mut workspace.packed)?;
        &workspace.packed
    };

    let product = Product { w, packed, m, offsets: x.offsets.as_ref(), epilogue, out: out.as_mut_slice().as_mut_ptr() };
    if (1..=w.small_columns()).contains(&m) {
        product.run_small();
    } else {
        product.run(&workspace.threads);
    }
    Ok(())
}

/// As [`gemm`] for a single vector, which is padded with zeros to the depth of the packed weights: `x` has
/// [`PackedMat::packed_depth`] elements. Where a layer has a few units, what leads to the product takes as long as the
/// product, and there is little of it here.
///
/// # Errors
/// Those of [`gemm`].
#[inline(always)]
pub(crate) fn gemm_vector<E: Epilogue>(
    w: &PackedMat,
    x: &[i8],
    epilogue: &E,
    out: &mut [E::Output],
    workspace: &Workspace,
) -> Result<()> {
    expect_length("packed activations", w.packed_depth(), x.len())?;
    expect_length("output", w.n(), out.len())?;
    epilogue.check(1, w.n())?;
    let product = Product { w, packed: x, m: 1, offsets: None, epilogue, out: out.as_mut_ptr() };
    if w.small_columns() >= 1 {
        product.run_small();
    } else {
        product.run(&workspace.threads);
    }
    Ok(())
}

/// A product whose operands have been checked.
struct Product<'a, E: Epilogue> {
    w: &'a PackedMat,
    /// The activations in the layout of `w`'s kernels.
    packed: &'a [i8],
    m: usize,
    offsets: Option<&'a Offsets<'a>>,
    epilogue: &'a E,
    /// `m x n`, row-major.
    out: *mut E::Output,
}

// SAFETY: threads share the product read-only, except for `out`, where each thread writes its own blocks. `Output` is
// `Send`, and the other fields are `Sync`.
unsafe impl<E: Epilogue> Sync for Product<'_, E> {}

impl<E: Epilogue> Product<'_, E> {
    /// Computes all outputs of a product of at most [`PackedMat::small_columns`] columns.
    #[inline(always)]
    fn run_small(&self) {
        let mut sums = [MaybeUninit::<i32>::uninit(); SMALL_SUMS];
        let (w, stride) = (self.w, self.w.panel_rows());
        let call = Call {
            weights: w.lines().as_ptr().cast(),
            panels: w.panels(),
            steps: w.steps(),
            activations: self.packed.as_ptr(),
            sums: sums.as_mut_ptr().cast(),
            sums_stride: stride,
            // So few bytes are in a cache on every tier.
            from_memory: false,
        };
        debug_assert!(!w.is_from_memory());
        // SAFETY: `PackedMat` proves that the processor has the tier, and holds the panels. `packed` has the same
        // layout, for `steps` steps of `m` columns. The product is small, so the family's usual kernels serve all
        // panels, and `sums` has room for all their rows in every column.
        unsafe { w.family().kernels[self.m - 1](&call) };
        let mut sums = sums.as_mut_ptr().cast::<i32>();
        for column in 0..self.m {
            // SAFETY: the kernel has written the column's sums of all rows.
            let of_column = unsafe { core::slice::from_raw_parts_mut(sums, w.n()) };
            sums = sums.wrapping_add(stride);
            // SAFETY: `out` is borrowed, and no other thread works on this product.
            unsafe { self.finish(of_column, 0..w.n(), column) };
        }
    }

    /// Computes all outputs, on `threads`.
    #[inline(never)]
    fn run(&self, threads: &Threads) {
        let n = self.w.n();
        threads.split(n.div_ceil(ROW_UNIT), self.w.bytes(), |range| {
            // SAFETY: `split` hands out disjoint ranges of rows, so no two threads write the same outputs. Each call
            // ends before `split` returns, and `out` is borrowed until then.
            unsafe { self.run_rows(range.start * ROW_UNIT..n.min(range.end * ROW_UNIT)) }
        });
    }

    /// Turns the sums of `rows` in `column` into outputs.
    ///
    /// # Safety
    /// `column < m` and `rows` lies within `n`. No other thread may access these outputs during the call.
    #[inline(always)]
    unsafe fn finish(&self, sums: &mut [i32], rows: Range<usize>, column: usize) {
        if let Some(offsets) = self.offsets {
            offsets.add(column, &self.w.row_sums()[rows.clone()], sums);
        }
        // SAFETY: by this function's contract, the slice lies inside the `m x n` elements of `out`, and nobody else
        // accesses them.
        let out =
            unsafe { core::slice::from_raw_parts_mut(self.out.add(column * self.w.n() + rows.start), rows.len()) };
        self.epilogue.apply(sums, rows, column, out);
    }

    /// Computes the outputs of `rows` for all columns. `rows` starts at a multiple of [`ROW_UNIT`].
    ///
    /// # Safety
    /// No other thread may access these outputs during the call.
    #[inline]
    unsafe fn run_rows(&self, rows: Range<usize>) {
        let mut sums = [MaybeUninit::<i32>::uninit(); BLOCK_SUMS];
        let height = block_rows(self.m.min(MAX_COLUMNS));
        for start in rows.clone().step_by(height) {
            let rows = start..rows.end.min(start + height);
            for group in column_groups(self.m) {
                self.block_sums(rows.clone(), height, group.clone(), &mut sums);
                for (i, column) in group.enumerate() {
                    // SAFETY: `block_sums` has written the sums of all the block's rows for each column of the group.
                    let sums: &mut [i32] =
                        unsafe { core::slice::from_raw_parts_mut(sums[i * height..].as_mut_ptr().cast(), rows.len()) };
                    // SAFETY: the column is one of the `m`, and `rows` lies within `n`. By this function's contract,
                    // nobody else accesses the outputs.
                    unsafe { self.finish(sums, rows.clone(), column) };
                }
            }
        }
    }

    /// Writes the sums of `rows` and the columns of `group` to `sums`, `height` elements per column. There are at most
    /// `height` rows.
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
                // A group's columns follow the columns of earlier groups.
                activations: self.packed[group.start * self.w.steps() * STEP..].as_ptr(),
                // SAFETY: the block's panels start inside its rows, hence inside the first column of `sums`.
                sums: unsafe { sums.as_mut_ptr().cast::<i32>().add(panels.start * panel_rows - rows.start) },
                sums_stride: height,
                from_memory: self.w.is_from_memory(),
            };
            // SAFETY: `PackedMat` proves that the processor has the tier, and its panels hold `panel_bytes` each.
            // `packed` has the same layout, for `steps` steps of the group's columns. The block's panels have at most
            // `height` rows (a multiple of `panel_rows`), and `sums` has room for `height` rows of every column in the
            // group.
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
