//! Layouts: the place of each weight and each activation in packed operands. Only shapes are here, no kernel code.
//!
//! Weights are cut into panels of `panel_rows` output features. A panel is stored as
//! `[depth / weight_run][panel_rows][weight_run]`: runs of weights at consecutive depths, feature by feature. One
//! register load therefore fetches the weights for one instruction. Panels follow one another, so a product reads the
//! weights in one forward stream. Rows beyond `n` and depth beyond `k` hold zeros.
//!
//! A byte of 4-bit weights is `16 * high + low`. `low` is a weight of a row in the first half of the panel. `high` is
//! the weight at the same depth in the row half a panel below. The bytes are laid out like the weights of a panel with
//! half as many rows.
//!
//! A byte of 2-bit weights holds four rows, a quarter of the panel apart: `64 d + 16 c + 4 b + a + 42`, where `a` is the
//! weight of the first row. With weights in -2..=1 that is -128..=127. The bytes are laid out like the weights of a
//! panel with a quarter of the rows.
//!
//! Multipliers of groups lie behind the weights of their panel: `[groups][panel_rows]`.
//!
//! Activations are stored as `[depth / activation_run][columns][activation_run]`, in groups of at most ten columns.

use core::ops::Range;

use crate::format::{GROUP, GROUP_I2, WeightFormat};

/// The largest number of activation columns that one micro-kernel takes.
pub(crate) const MAX_COLUMNS: usize = 10;

/// One step of depth. The depth of packed weights and activations is padded to a multiple of it.
pub(crate) const STEP: usize = 16;

/// The multiple to which depth is padded for a weight format.
pub(crate) const fn depth_multiple(format: WeightFormat) -> usize {
    match format {
        // The last group of 2-bit weights may be short.
        WeightFormat::I8 | WeightFormat::I4 | WeightFormat::I2Group64 => STEP,
        WeightFormat::I4Group32 => GROUP,
    }
}

/// The number of rows of a panel that share a byte.
pub(crate) const fn rows_per_byte(format: WeightFormat) -> usize {
    match format {
        WeightFormat::I8 => 1,
        WeightFormat::I4 | WeightFormat::I4Group32 => 2,
        WeightFormat::I2Group64 => 4,
    }
}

/// What a byte holds where all its weights are 0.
pub(crate) const fn zero_byte(format: WeightFormat) -> i8 {
    match format {
        WeightFormat::I8 | WeightFormat::I4 | WeightFormat::I4Group32 => 0,
        WeightFormat::I2Group64 => ZERO_I2,
    }
}

/// Four 2-bit weights of 0. The digits of this number in base 4, less 2, are the weights; so are those of any byte, once
/// 128 has been added to it.
pub(crate) const ZERO_I2: i8 = 42;

/// Steps in a whole group of 2-bit weights.
pub(crate) const STEPS_PER_GROUP_I2: usize = GROUP_I2 / STEP;

/// Bytes to which the multipliers of 2-bit weights are padded, so that no vector of any panel crosses a cache line.
const VECTOR: usize = 16;

/// The geometry of packed operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Output features per panel.
    pub panel_rows: usize,
    /// Consecutive weights of one feature.
    pub weight_run: usize,
    /// Consecutive activations of one column.
    pub activation_run: usize,
}

impl Layout {
    /// The number of bytes in a panel with `steps` steps of depth.
    pub(crate) const fn panel_bytes(&self, format: WeightFormat, steps: usize) -> usize {
        self.weight_bytes(format, steps)
            + match format {
                WeightFormat::I8 | WeightFormat::I4 => 0,
                WeightFormat::I4Group32 => self.multiplier_bytes(steps),
                WeightFormat::I2Group64 => {
                    (self.panel_rows * steps.div_ceil(STEPS_PER_GROUP_I2)).next_multiple_of(VECTOR)
                }
            }
    }

    /// The place of a row's multiplier among those of a group in the panel.
    ///
    /// Byte rows of 4-bit weights are taken in fours: the rows in their low parts come first, then the rows in their high
    /// parts.
    pub(crate) const fn multiplier_place(&self, format: WeightFormat, row: usize) -> usize {
        match format {
            WeightFormat::I8 | WeightFormat::I4 | WeightFormat::I2Group64 => row,
            WeightFormat::I4Group32 => {
                let byte_rows = self.panel_rows / 2;
                let fours = if byte_rows < 4 { byte_rows } else { 4 };
                let (part, byte_row) = (row / byte_rows, row % byte_rows);
                byte_row / fours * 2 * fours + part * fours + byte_row % fours
            }
        }
    }

    /// The number of bytes of weights in a panel, which come before its multipliers.
    pub(crate) const fn weight_bytes(&self, format: WeightFormat, steps: usize) -> usize {
        self.panel_rows / rows_per_byte(format) * steps * STEP
    }

    /// The number of bytes of multipliers behind the 4-bit weights of a panel: `[groups][panel_rows]`, padded to whole
    /// cache lines. [`multiplier_place`](Self::multiplier_place) has the order of the rows.
    pub(crate) const fn multiplier_bytes(&self, steps: usize) -> usize {
        (self.panel_rows * (steps * STEP / GROUP)).next_multiple_of(Line::BYTES)
    }
}

/// Sixty-four bytes on a cache line of their own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [i8; 64]);

impl Line {
    pub(crate) const BYTES: usize = size_of::<Self>();
    pub(crate) const ZERO: Self = Line([0; Self::BYTES]);
}

/// Splits `m` columns into the fewest groups of at most [`MAX_COLUMNS`]. The groups are as even as possible.
pub(crate) fn column_groups(m: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let groups = m.div_ceil(MAX_COLUMNS);
    (0..groups).map(move |g| even_part(m, groups, g))
}

/// Part `i` of `0..len`, cut into `parts` parts whose lengths differ by at most 1. Together, the parts cover `0..len`
/// without overlaps.
pub(crate) fn even_part(len: usize, parts: usize, i: usize) -> Range<usize> {
    if parts == 1 {
        // Divisions take a small product longer than its sums.
        return 0..len;
    }
    // In `u64`, because the product may not fit a `usize` where addresses have 32 bits.
    let start = |i: usize| (i as u64 * len as u64 / parts as u64) as usize;
    start(i)..start(i + 1)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The largest length that 32 bits address. Its product with the number of parts exceeds 32 bits.
    #[test]
    fn parts_of_many_are_contiguous() {
        let (len, parts) = (u32::MAX as usize, 1000);
        let mut next = 0;
        for i in 0..parts {
            let part = even_part(len, parts, i);
            assert!(part.start == next && part.len().abs_diff(len / parts) <= 1);
            next = part.end;
        }
        assert_eq!(next, len);
    }

    /// The product of the number of columns and the number of groups exceeds 32 bits.
    #[test]
    fn groups_of_many_columns_are_contiguous() {
        let mut next = 0;
        for group in column_groups(1_000_001) {
            assert!(group.start == next && (1..=MAX_COLUMNS).contains(&group.len()));
            next = group.end;
        }
        assert_eq!(next, 1_000_001);
    }

    #[test]
    fn column_groups_are_even_and_cover_the_batch() {
        for m in 0..100 {
            let groups: Vec<_> = column_groups(m).collect();
            assert_eq!(groups.len(), m.div_ceil(MAX_COLUMNS));
            assert_eq!(groups.iter().flat_map(|group| group.clone()).collect::<Vec<_>>(), (0..m).collect::<Vec<_>>());
            assert!(groups.iter().all(|group| (1..=MAX_COLUMNS).contains(&group.len())));
        }
    }
}
