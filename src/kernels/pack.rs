//! Packed weights: an integer matrix in the panels of one tier. [`layout`](super::layout) describes panels.

use alloc::vec::Vec;

use super::layout::{Layout, Line, MAX_COLUMNS, STEP, depth_multiple, rows_per_byte, zero_byte};
use super::micro::{Family, Kernels};
use super::registry;
use super::threads::BYTES_PER_THREAD;
use crate::error::{Error, Result, expect_i2};
#[cfg(doc)]
use crate::format::MAX_DEPTH;
use crate::format::{GROUP, GROUP_I2, MAX_I4, MAX_MULTIPLIER, MIN_I2, WeightFormat};
use crate::matrix::{Mat, MatRef};
use crate::tier::Tier;

/// The most bytes of weights that a product may expect in a cache, where hints cost more than they gain.
///
/// On the small cores of `neon` and `dotprod`, this is a few L1s. Their 8-bit tiles have room for hints: at 1024 x 128, the
/// models of these cores see no loss, and the layers of a model push each other out of the L2. In 4 bits, neon's tiles for
/// groups lose 6% there, so such a matrix counts as cached. I8mm spends up to a tenth on hints, and its cores have a
/// larger L2.
const fn most_cached_bytes(tier: Tier) -> usize {
    match tier {
        Tier::Portable | Tier::Neon | Tier::Dotprod => 96 * 1024,
        Tier::I8mm => 256 * 1024,
    }
}

/// An `n x k` integer matrix, laid out for the kernels of one tier.
///
/// It can be made only for a tier that this machine has, and only that tier's kernels run on it.
#[derive(Clone, Debug)]
pub struct PackedMat {
    family: &'static Family,
    n: usize,
    k: usize,
    /// Depth in steps, padding included.
    steps: usize,
    panels: usize,
    panel_bytes: usize,
    lines: Vec<Line>,
    /// The sum of each row of weights, `panels * panel_rows` sums in all. A zero point on the activations multiplies
    /// them.
    row_sums: Vec<i32>,
    /// Whether each panel has a row with -128 both at `k` and at `k + 8` of a step of 16. Empty if no panel has one.
    extreme: Vec<bool>,
    /// The largest batch whose product is one small block; see [`small_columns`](Self::small_columns).
    small_columns: usize,
}

/// The largest number of sums of a product that is one small block: 3 KB, less than the page of stack that a function
/// may take without touching the pages before.
pub(crate) const SMALL_SUMS: usize = 768;

impl PackedMat {
    /// Packs row-major weights (`n` output features x `k` depth) for the tier that [`Tier::select`] names.
    ///
    /// # Errors
    /// [`Error::Depth`] beyond [`MAX_DEPTH`], [`Error::TooLarge`] or [`Error::Allocation`] if the weights do not fit in
    /// memory, and the errors of [`Tier::select`].
    pub fn new(weights: MatRef<'_, i8>) -> Result<Self> {
        Self::for_tier(weights, Tier::select()?)
    }

    /// Packs for a given tier.
    ///
    /// # Errors
    /// [`Error::TierUnavailable`] if this machine lacks the tier; otherwise as [`new`](Self::new).
    pub fn for_tier(weights: MatRef<'_, i8>, tier: Tier) -> Result<Self> {
        let mut packed = Self::zeros(WeightFormat::I8, weights.shape(), tier)?;
        for row in 0..packed.n {
            let values = weights.row(row);
            packed.row_sums[row] = values.iter().map(|&w| i32::from(w)).sum();
            packed.place_row(row, values);
            if packed.family.extreme.is_some() && values.chunks(STEP).any(has_extreme_pair) {
                packed.mark_extreme(row)?;
            }
        }
        Ok(packed)
    }

    /// Packs 4-bit weights, each in -7..=7, for a given tier. They take half the bytes of [`for_tier`](Self::for_tier).
    ///
    /// # Errors
    /// [`Error::Parameter`] for a weight outside that range; otherwise as [`for_tier`](Self::for_tier).
    pub fn i4_for_tier(weights: MatRef<'_, i8>, tier: Tier) -> Result<Self> {
        let mut packed = Self::zeros(WeightFormat::I4, weights.shape(), tier)?;
        packed.place_nibbles(weights, |_row, values| values.iter().map(|&w| i32::from(w)).sum())?;
        Ok(packed)
    }

    /// Packs 4-bit weights, each in -7..=7, with one multiplier per [`GROUP`] of weights along `k`.
    ///
    /// `multipliers` is `n x ceil(k / 32)`, each in 0..=127. The product uses `multiplier * weight` as the weight.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a weight or multiplier outside its range, [`Error::Shape`] for multipliers that do not
    /// fit the weights, [`Error::Depth`] beyond [`WeightFormat::max_depth`]; otherwise as [`for_tier`](Self::for_tier).
    pub fn i4_grouped_for_tier(weights: MatRef<'_, i8>, multipliers: MatRef<'_, u8>, tier: Tier) -> Result<Self> {
        multipliers.expect_shape("group multipliers", weights.rows(), weights.cols().div_ceil(GROUP))?;
        if let Some(&value) = multipliers.as_slice().iter().find(|&&m| m > MAX_MULTIPLIER) {
            return Err(Error::Parameter { what: "group multiplier", value: value.into(), expected: "in 0..=127" });
        }
        let mut packed = Self::zeros(WeightFormat::I4Group32, weights.shape(), tier)?;
        packed.place_nibbles(weights, |row, values| {
            let groups = values.chunks(GROUP).zip(multipliers.row(row));
            groups.map(|(group, &m)| i32::from(m) * group.iter().map(|&w| i32::from(w)).sum::<i32>()).sum()
        })?;
        packed.place_multipliers(|row, group| multipliers.row(row)[group] as i8);
        Ok(packed)
    }

    /// Packs 2-bit weights, each in -2..=1, with one multiplier per [`GROUP_I2`] of weights along `k`.
    ///
    /// `multipliers` is `n x ceil(k / 64)`, each in -63..=63. The product uses `multiplier * weight` as the weight. The
    /// weights of a group take 16 bytes and its multiplier one: 2.125 bits a weight.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a weight or multiplier outside its range, [`Error::Shape`] for multipliers that do not
    /// fit the weights; otherwise as [`for_tier`](Self::for_tier).
    pub fn i2_grouped_for_tier(weights: MatRef<'_, i8>, multipliers: MatRef<'_, i8>, tier: Tier) -> Result<Self> {
        multipliers.expect_shape("group multipliers", weights.rows(), weights.cols().div_ceil(GROUP_I2))?;
        expect_i2(weights.as_slice(), multipliers.as_slice())?;
        let mut packed = Self::zeros(WeightFormat::I2Group64, weights.shape(), tier)?;
        for row in 0..packed.n {
            let values = weights.row(row);
            let groups = values.chunks(GROUP_I2).zip(multipliers.row(row));
            let sums = groups.map(|(group, &m)| i32::from(m) * group.iter().map(|&w| i32::from(w)).sum::<i32>());
            packed.row_sums[row] = sums.sum();
            packed.place_row(row, values);
        }
        packed.place_multipliers(|row, group| multipliers.row(row)[group]);
        Ok(packed)
    }

    /// The weights as they were before packing, `n x k`. Each 4-bit or 2-bit weight takes a byte.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn unpack(&self) -> Result<Mat<i8>> {
        let mut weights = Mat::zeros(self.n, self.k)?;
        for row in 0..self.n {
            let mut weights = weights.view_mut();
            let part = self.byte_part(row);
            let value = |byte: i8| match rows_per_byte(self.family.format) {
                1 => byte,
                2 if part == 0 => byte << 4 >> 4,
                2 => (byte - (byte << 4 >> 4)) >> 4,
                // A digit in base 4, less 2.
                _ => ((byte as u8 ^ 0x80) >> (2 * part) & 3) as i8 + MIN_I2,
            };
            for (block, chunk) in weights.row_mut(row).chunks_mut(self.family.layout.weight_run).enumerate() {
                let at = self.run_place(row, block);
                let places = &self.lines[at / Line::BYTES].0[at % Line::BYTES..];
                for (w, &place) in chunk.iter_mut().zip(places) {
                    *w = value(place);
                }
            }
        }
        Ok(weights)
    }

    /// The group multipliers of 4-bit weights, `n x ceil(k / 32)`, or `None` if there are none.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn unpack_multipliers(&self) -> Result<Option<Mat<u8>>> {
        if self.family.format != WeightFormat::I4Group32 {
            return Ok(None);
        }
        self.multipliers(GROUP, |m| m as u8).map(Some)
    }

    /// The group multipliers of 2-bit weights, `n x ceil(k / 64)`, or `None` if the weights are in another format.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn unpack_multipliers_i2(&self) -> Result<Option<Mat<i8>>> {
        if self.family.format != WeightFormat::I2Group64 {
            return Ok(None);
        }
        self.multipliers(GROUP_I2, |m| m).map(Some)
    }

    /// The multipliers of groups of `group` weights.
    fn multipliers<T: Clone + Default>(&self, group: usize, value: impl Fn(i8) -> T) -> Result<Mat<T>> {
        let mut multipliers = Mat::zeros(self.n, self.k.div_ceil(group))?;
        for row in 0..self.n {
            for (group, m) in multipliers.view_mut().row_mut(row).iter_mut().enumerate() {
                let at = self.multiplier_place(row, group);
                *m = value(self.lines[at / Line::BYTES].0[at % Line::BYTES]);
            }
        }
        Ok(multipliers)
    }

    /// Places the multiplier of each row and group.
    fn place_multipliers(&mut self, multiplier: impl Fn(usize, usize) -> i8) {
        let groups = self.family.format.group().map_or(0, |group| self.k.div_ceil(group));
        for row in 0..self.n {
            for group in 0..groups {
                let at = self.multiplier_place(row, group);
                self.lines[at / Line::BYTES].0[at % Line::BYTES] = multiplier(row, group);
            }
        }
    }

    /// A matrix of zeros.
    fn zeros(format: WeightFormat, (n, k): (usize, usize), tier: Tier) -> Result<Self> {
        let family = registry::select(tier.supported()?, format);
        let max = format.max_depth(false);
        if k > max {
            return Err(Error::Depth { k, max });
        }
        let layout = family.layout;
        let panels = n.div_ceil(layout.panel_rows);
        let steps = k.next_multiple_of(depth_multiple(format)) / STEP;
        let panel_bytes = layout.panel_bytes(format, steps);
        let bytes = panels
            .checked_mul(panel_bytes)
            .filter(|&bytes| bytes <= isize::MAX as usize - Line::BYTES)
            .ok_or(Error::TooLarge { what: "packed weights", rows: n, cols: k })?;
        let mut lines = zeroed(Line::ZERO, bytes.div_ceil(Line::BYTES))?;
        // With a depth of 0, there may be any number of rows.
        let rows = panels.checked_mul(layout.panel_rows);
        let row_sums = zeroed(0, rows.ok_or(Error::TooLarge { what: "packed weights", rows: n, cols: k })?)?;
        // Where bytes of zeros are not 0, each vector of weights is filled.
        let vectors = if zero_byte(format) == 0 { 0 } else { layout.weight_bytes(format, steps) / STEP };
        for at in (0..panels * vectors).map(|i| i / vectors * panel_bytes + i % vectors * STEP) {
            lines[at / Line::BYTES].0[at % Line::BYTES..][..STEP].fill(zero_byte(format));
        }
        let small_columns = match (SMALL_SUMS.checked_div(row_sums.len()), bytes) {
            (Some(columns), 0..=BYTES_PER_THREAD) => columns.min(MAX_COLUMNS),
            _ => 0,
        };
        Ok(Self { family, n, k, steps, panels, panel_bytes, lines, row_sums, extreme: Vec::new(), small_columns })
    }

    /// Adds the weights of a row to the bytes that hold them. So far these bytes hold zeros, or the rows that share
    /// them.
    fn place_row(&mut self, row: usize, values: &[i8]) {
        let bits_per_row = 8 / rows_per_byte(self.family.format);
        let factor = 1i8 << (bits_per_row * self.byte_part(row));
        for (block, chunk) in values.chunks(self.family.layout.weight_run).enumerate() {
            let at = self.run_place(row, block);
            // The length of a run divides that of a line, so a run never crosses into the next line.
            let places = &mut self.lines[at / Line::BYTES].0[at % Line::BYTES..];
            for (place, &w) in places.iter_mut().zip(chunk) {
                *place += factor * w;
            }
        }
    }

    /// The number of byte rows in a panel. Each holds one, two or four rows of weights.
    fn byte_rows(&self) -> usize {
        self.family.layout.panel_rows / rows_per_byte(self.family.format)
    }

    /// The offset of run `block` of a row. A panel is a sequence of blocks, each with one run per byte row.
    fn run_place(&self, row: usize, block: usize) -> usize {
        let Layout { panel_rows, weight_run: run, .. } = self.family.layout;
        let byte_rows = self.byte_rows();
        row / panel_rows * self.panel_bytes + (block * byte_rows + row % byte_rows) * run
    }

    /// The part of its bytes that a row occupies, from the low end.
    fn byte_part(&self, row: usize) -> usize {
        row % self.family.layout.panel_rows / self.byte_rows()
    }

    /// The offset of a group's multiplier, which lies behind the weights of its panel.
    fn multiplier_place(&self, row: usize, group: usize) -> usize {
        let (layout, format) = (self.family.layout, self.family.format);
        let behind = row / layout.panel_rows * self.panel_bytes + layout.weight_bytes(format, self.steps);
        behind + group * layout.panel_rows + layout.multiplier_place(format, row % layout.panel_rows)
    }

    /// Places 4-bit weights and sets each row sum to the result of `row_sum`.
    fn place_nibbles(&mut self, weights: MatRef<'_, i8>, row_sum: impl Fn(usize, &[i8]) -> i32) -> Result<()> {
        if let Some(&value) = weights.as_slice().iter().find(|w| w.unsigned_abs() > MAX_I4.unsigned_abs()) {
            return Err(Error::Parameter { what: "4-bit weight", value: value.into(), expected: "in -7..=7" });
        }
        for row in 0..self.n {
            let values = weights.row(row);
            self.row_sums[row] = row_sum(row, values);
            self.place_row(row, values);
        }
        Ok(())
    }

    fn mark_extreme(&mut self, row: usize) -> Result<()> {
        if self.extreme.is_empty() {
            self.extreme = zeroed(false, self.panels())?;
            self.small_columns = 0;
        }
        self.extreme[row / self.family.layout.panel_rows] = true;
        Ok(())
    }

    /// Output features.
    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Depth: input features.
    #[inline]
    pub fn k(&self) -> usize {
        self.k
    }

    /// The storage format of the weights.
    #[inline]
    pub fn format(&self) -> WeightFormat {
        self.family.format
    }

    /// The tier whose kernels run on it.
    pub fn tier(&self) -> Tier {
        self.family.tier
    }

    /// Bytes of packed weights. One product streams all of them from memory.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.lines.len() * Line::BYTES
    }

    /// Whether a product should expect its weights in memory and not in a cache.
    pub(crate) fn is_from_memory(&self) -> bool {
        self.bytes() > most_cached_bytes(self.tier())
    }

    #[inline]
    pub(crate) fn family(&self) -> &'static Family {
        self.family
    }

    #[inline]
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    #[inline]
    pub(crate) fn row_sums(&self) -> &[i32] {
        &self.row_sums
    }

    /// Depth in steps, padding included.
    #[inline]
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    #[inline]
    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// The depth of packed activations: `k`, padded to whole steps.
    #[inline]
    pub(crate) fn packed_depth(&self) -> usize {
        self.steps * STEP
    }

    /// The largest batch whose product is one small block: its sums are at most [`SMALL_SUMS`], it runs on one thread,
    /// and [`kernels`](Self::kernels) are those of all panels. It is 0 if there is none.
    #[inline]
    pub(crate) fn small_columns(&self) -> usize {
        self.small_columns
    }

    /// Rows in all panels, those beyond `n` included.
    #[inline]
    pub(crate) fn panel_rows(&self) -> usize {
        self.row_sums.len()
    }

    #[inline]
    pub(crate) fn panels(&self) -> usize {
        self.panels
    }

    /// The kernels for all panels, or `None` if some panels need different ones.
    #[inline]
    pub(crate) fn kernels(&self) -> Option<&'static Kernels> {
        self.extreme.is_empty().then_some(&self.family.kernels)
    }

    /// The kernels for `panel`.
    #[inline]
    pub(crate) fn kernels_of_panel(&self, panel: usize) -> &'static Kernels {
        match &self.family.extreme {
            Some(extreme) if self.extreme.get(panel).is_some_and(|&extreme| extreme) => extreme,
            _ => &self.family.kernels,
        }
    }
}

/// Whether a step of weights has -128 in both places of a pair.
///
/// Kernels with `smull` and `smlal2` add the two products of a pair in `i16`. `2 * (-128)^2 = 2^15` overflows it; every
/// other pair of `i8` products fits.
fn has_extreme_pair(step: &[i8]) -> bool {
    const HALF: usize = STEP / 2;
    step.len() > HALF && step[HALF..].iter().zip(step).any(|(&high, &low)| high == i8::MIN && low == i8::MIN)
}

fn zeroed<T: Clone>(zero: T, len: usize) -> Result<Vec<T>> {
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| Error::Allocation { bytes: len.saturating_mul(size_of::<T>()) })?;
    data.resize(len, zero);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::format::MAX_DEPTH;

    #[test]
    fn a_depth_beyond_the_limit_is_refused() {
        let weights = vec![0i8; MAX_DEPTH + 1];
        let error = PackedMat::new(MatRef::row_vector(&weights)).unwrap_err();
        assert_eq!(error, Error::Depth { k: MAX_DEPTH + 1, max: MAX_DEPTH });
        assert!(PackedMat::new(MatRef::row_vector(&weights[1..])).is_ok());
    }

    #[test]
    fn every_weight_is_stored_once_and_the_rest_is_zero() {
        for &tier in Tier::available() {
            for (n, k) in [(0, 0), (0, 5), (5, 0), (1, 1), (17, 33), (16, 32), (33, 100)] {
                let weights: Vec<i8> = (0..n * k).map(|i| (i % 127) as i8 + 1).collect();
                let packed = PackedMat::for_tier(MatRef::new(&weights, n, k).unwrap(), tier).unwrap();
                let mut stored: Vec<i8> = packed.lines().iter().flat_map(|line| line.0).filter(|&w| w != 0).collect();
                let mut expected = weights.clone();
                stored.sort_unstable();
                expected.sort_unstable();
                assert_eq!(stored, expected, "{tier} {n} x {k}");
                let panels = packed.panels() * packed.panel_bytes();
                assert!(panels >= n * k && packed.bytes() == panels.next_multiple_of(Line::BYTES));
            }
        }
    }

    /// Each panel gets the fast kernels unless a pair of its own weights would overflow them.
    #[test]
    fn kernels_for_extreme_pairs_run_on_the_panels_that_have_one() {
        for &tier in Tier::available() {
            let rows = registry::select(tier.supported().unwrap(), WeightFormat::I8).layout.panel_rows;
            let (n, k) = (3 * rows, 2 * STEP);
            let is = |kernels: &'static Kernels, others: &'static Kernels| core::ptr::eq(kernels, others);
            let mut weights = vec![-128i8; n * k];
            // -128 everywhere except in the second half of each step, where later only one row has one.
            weights.chunks_mut(STEP).for_each(|step| step[STEP / 2..].fill(-127));
            let ordinary = PackedMat::for_tier(MatRef::new(&weights, n, k).unwrap(), tier).unwrap();
            let family = ordinary.family();
            assert!(is(ordinary.kernels().unwrap(), &family.kernels), "{tier}");
            weights[(rows + 1) * k + STEP + STEP / 2 + 3] = -128;
            let packed = PackedMat::for_tier(MatRef::new(&weights, n, k).unwrap(), tier).unwrap();
            match &family.extreme {
                Some(extreme) => {
                    assert!(packed.kernels().is_none(), "{tier}");
                    assert!(is(packed.kernels_of_panel(1), extreme), "{tier}");
                    for panel in [0, 2] {
                        assert!(is(packed.kernels_of_panel(panel), &family.kernels), "{tier}");
                    }
                }
                None => assert!(is(packed.kernels().unwrap(), &family.kernels), "{tier}"),
            }
        }
    }

    #[test]
    fn what_was_packed_comes_back() {
        for &tier in Tier::available() {
            for (n, k) in [(0, 0), (0, 5), (5, 0), (1, 1), (17, 33), (16, 32), (33, 100)] {
                let bytes: Vec<i8> = (0..n * k).map(|i| (i * 37) as i8).collect();
                let weights = MatRef::new(&bytes, n, k).unwrap();
                let packed = PackedMat::for_tier(weights, tier).unwrap();
                assert_eq!((packed.unpack().unwrap().view(), packed.unpack_multipliers().unwrap()), (weights, None));
                let halves: Vec<i8> = (0..n * k).map(|i| (i * 37 % 15) as i8 - MAX_I4).collect();
                let halves = MatRef::new(&halves, n, k).unwrap();
                assert_eq!(PackedMat::i4_for_tier(halves, tier).unwrap().unpack().unwrap().view(), halves);
                let groups = k.div_ceil(GROUP);
                let multipliers: Vec<u8> = (0..n * groups).map(|i| (i * 29 % 128) as u8).collect();
                let multipliers = MatRef::new(&multipliers, n, groups).unwrap();
                let packed = PackedMat::i4_grouped_for_tier(halves, multipliers, tier).unwrap();
                assert_eq!(packed.unpack().unwrap().view(), halves, "{tier} {n} x {k}");
                assert_eq!(packed.unpack_multipliers().unwrap().unwrap().view(), multipliers, "{tier} {n} x {k}");
                let pairs: Vec<i8> = (0..n * k).map(|i| (i * 37 % 4) as i8 + MIN_I2).collect();
                let pairs = MatRef::new(&pairs, n, k).unwrap();
                let groups = k.div_ceil(GROUP_I2);
                let multipliers: Vec<i8> = (0..n * groups).map(|i| (i * 29 % 127) as i8 - 63).collect();
                let multipliers = MatRef::new(&multipliers, n, groups).unwrap();
                let packed = PackedMat::i2_grouped_for_tier(pairs, multipliers, tier).unwrap();
                assert_eq!(packed.unpack().unwrap().view(), pairs, "{tier} {n} x {k}");
                assert_eq!(packed.unpack_multipliers_i2().unwrap().unwrap().view(), multipliers, "{tier} {n} x {k}");
                assert_eq!(packed.unpack_multipliers().unwrap(), None);
            }
        }
    }
}
