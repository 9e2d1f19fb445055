//! Tests every micro-kernel of the table alone, on operands that end where memory ends.
//!
//! The tests iterate over [`registry::families`], so a kernel is tested as soon as it is entered there.

#[path = "../../tests/common/guard.rs"]
mod guard;
#[path = "../../tests/common/random.rs"]
mod random;

use alloc::vec;
use alloc::vec::Vec;

use guard::{EDGES, Guarded};
use random::Random;

use super::layout::{MAX_COLUMNS, STEP, depth_multiple, rows_per_byte};
use super::micro::{Call, Family, MicroKernel};
use super::registry;
use crate::format::WeightFormat;
use crate::tier::Tier;

const CANARY: i32 = 0x5a5a_5a5a;

/// The families that this machine can run. Miri takes the families of all tiers, because [`kernels`] leaves out what it
/// cannot run.
fn families() -> impl Iterator<Item = &'static Family> {
    registry::families().filter(|family| cfg!(miri) || family.tier.is_available())
}

/// The batch sizes to test: all of them, or a few of each kind under Miri, which is slow.
fn batches() -> impl Iterator<Item = usize> {
    (1..=MAX_COLUMNS).filter(|batch| !cfg!(miri) || [1, 2, 3].contains(batch))
}

/// The kernels of a family for one batch size. The flag says whether a kernel is for weights with an extreme pair. Miri
/// gets only kernels without assembly whose intrinsics it knows.
fn kernels(family: &Family, columns: usize) -> impl Iterator<Item = (MicroKernel, bool)> {
    let extreme = family.extreme.map(|kernels| (kernels[columns - 1], true));
    let kernels = [Some((family.kernels[columns - 1], false)), extreme];
    let known_to_miri = match (family.tier, family.format) {
        (Tier::Portable, _) | (Tier::I8mm, WeightFormat::I8) => true,
        // A single column has a loop in assembly.
        (Tier::I8mm, WeightFormat::I4 | WeightFormat::I4Group32 | WeightFormat::I2Group64) => columns > 1,
        // Assembly, and intrinsics such as `vpadalq_s16` and `vrshrq_n_s8`.
        (Tier::Dotprod | Tier::Neon, _) => false,
    };
    kernels.into_iter().flatten().filter(move |_| !cfg!(miri) || known_to_miri)
}

/// Weights of whole panels, row by row.
#[derive(Clone)]
struct Weights {
    values: Vec<i8>,
    /// One per group of a row; all 1 for formats without multipliers.
    multipliers: Vec<i8>,
    /// The number of weights in a group.
    group: usize,
}

/// The number of weights that share a multiplier, or any number for formats without multipliers.
fn group(format: WeightFormat) -> usize {
    format.group().unwrap_or(STEP)
}

/// The least and the greatest weight and multiplier of a format.
fn ranges(format: WeightFormat) -> [(i8, i8); 2] {
    match format {
        WeightFormat::I8 => [(-128, 127), (1, 1)],
        WeightFormat::I4 => [(-7, 7), (1, 1)],
        WeightFormat::I4Group32 => [(-7, 7), (0, 127)],
        WeightFormat::I2Group64 => [(-2, 1), (-63, 63)],
    }
}

impl Weights {
    fn random(format: WeightFormat, rows: usize, depth: usize, random: &mut Random) -> Self {
        let group = group(format);
        let mut within = |(low, high): (i8, i8), len| -> Vec<i8> {
            (0..len).map(|_| random.within(low.into(), high.into()) as i8).collect()
        };
        let [weight, multiplier] = ranges(format);
        let values = within(weight, rows * depth);
        Self { values, multipliers: within(multiplier, rows * depth.div_ceil(group)), group }
    }

    /// The same weights, with -127 in place of -128. Only kernels for extreme pairs may be given two -128 in a step.
    fn without_extremes(&self) -> Self {
        let values = self.values.iter().map(|&w| w.max(-127)).collect();
        Self { values, ..self.clone() }
    }

    /// The sum of one row and one column, by definition.
    fn sum(&self, row: usize, depth: usize, column: &[i8]) -> i32 {
        let groups = depth.div_ceil(self.group);
        let terms = column.iter().enumerate().map(|(k, &x)| {
            let multiplier = i32::from(self.multipliers[row * groups + k / self.group]);
            multiplier * i32::from(self.values[row * depth + k]) * i32::from(x)
        });
        terms.sum()
    }

    /// Packs by the layout's definition in `layout.rs`, without using the code there.
    fn packed(&self, family: &Family, panels: usize, steps: usize) -> Vec<u8> {
        let (layout, depth) = (family.layout, steps * STEP);
        let panel_bytes = layout.panel_bytes(family.format, steps);
        let mut packed = vec![0u8; panels * panel_bytes];
        for row in 0..panels * layout.panel_rows {
            let panel = &mut packed[row / layout.panel_rows * panel_bytes..][..panel_bytes];
            let row_in_panel = row % layout.panel_rows;
            for k in 0..depth {
                let (block, in_run) = (k / layout.weight_run, k % layout.weight_run);
                let value = self.values[row * depth + k];
                let sharing = rows_per_byte(family.format);
                let byte_rows = layout.panel_rows / sharing;
                let (part, byte_row) = (row_in_panel / byte_rows, row_in_panel % byte_rows);
                let place = &mut panel[(block * byte_rows + byte_row) * layout.weight_run + in_run];
                // The byte already holds the rows of lower parts. Adding to it takes off what a negative one borrows.
                let first = if sharing == 4 && part == 0 { 42 } else { i32::from(*place as i8) };
                *place = (first + (i32::from(value) << (8 / sharing * part))) as u8;
            }
            if family.format.group().is_some() {
                let groups = depth.div_ceil(self.group);
                let behind = layout.panel_rows * depth / rows_per_byte(family.format);
                let place = multiplier_order(family).iter().position(|&row| row == row_in_panel).unwrap();
                for group in 0..groups {
                    panel[behind + group * layout.panel_rows + place] = self.multipliers[row * groups + group] as u8;
                }
            }
        }
        packed
    }
}

/// The rows of a panel in the order of their multipliers.
fn multiplier_order(family: &Family) -> Vec<usize> {
    let rows = family.layout.panel_rows;
    if family.format != WeightFormat::I4Group32 {
        return (0..rows).collect();
    }
    // Four rows of the first half of a panel, or two if it has no more, then as many of the second half.
    let (half, fours) = (rows / 2, 4.min(rows / 2));
    let pairs = (0..half).step_by(fours).flat_map(|first| [first, first + half]);
    pairs.flat_map(|first| first..first + fours).collect()
}

/// Packs columns of `depth` activations as `[depth / run][columns][run]`.
fn packed_activations(x: &[i8], columns: usize, depth: usize, run: usize) -> Vec<i8> {
    let mut packed = vec![0; columns * depth];
    for column in 0..columns {
        for k in 0..depth {
            packed[(k / run * columns + column) * run + k % run] = x[column * depth + k];
        }
    }
    packed
}

/// Calls a kernel on guarded operands and compares every sum, and every element between the columns of sums.
fn check(family: &Family, kernel: MicroKernel, columns: usize, panels: usize, weights: &Weights, x: &[i8]) {
    check_apart(family, kernel, columns, panels, weights, x, [0; 3]);
}

/// As [`check`], with the operands (weights, activations, sums) `apart` bytes away from their forbidden pages.
fn check_apart(
    family: &Family,
    kernel: MicroKernel,
    columns: usize,
    panels: usize,
    weights: &Weights,
    x: &[i8],
    apart: [usize; 3],
) {
    let depth = x.len() / columns;
    let (steps, rows) = (depth / STEP, panels * family.layout.panel_rows);
    let packed = weights.packed(family, panels, steps);
    let activations = packed_activations(x, columns, depth, family.layout.activation_run);
    // Under Miri, an allocation ends where its operand ends, so one edge is enough.
    for &edge in if cfg!(miri) { &EDGES[..1] } else { &EDGES } {
        for (gap, from_memory) in [(5, true), (0, false)] {
            let sums_stride = rows + gap;
            let packed = Guarded::apart(&packed, edge, apart[0]);
            let activations = Guarded::apart(&activations, edge, apart[1]);
            // There is no gap behind the last column.
            let mut sums = Guarded::apart(&vec![CANARY; (columns - 1) * sums_stride + rows], edge, apart[2]);
            let call = Call {
                weights: packed.as_ptr(),
                panels,
                steps,
                activations: activations.as_ptr(),
                sums: sums.as_mut_ptr(),
                sums_stride,
                from_memory,
            };
            // SAFETY: the family's tier is available, and the operands have the sizes that `Call` states.
            unsafe { kernel(&call) };
            assert!(packed.is_clean() && activations.is_clean() && sums.is_clean(), "{} wrote around", family.tier);
            for (i, &found) in sums.iter().enumerate() {
                let (column, row) = (i / sums_stride, i % sums_stride);
                let expected = if row < rows { weights.sum(row, depth, &x[column * depth..][..depth]) } else { CANARY };
                assert_eq!(
                    found, expected,
                    "{} {:?}, {columns} columns, {panels} panels, {steps} steps, {edge:?}, gap {gap}, from memory \
                 {from_memory}: row {row}, column {column}",
                    family.tier, family.format
                );
            }
        }
    }
}

/// The step counts to test for a format. Kernels with groups take two steps at a time.
fn steps_of(format: WeightFormat) -> impl Iterator<Item = usize> {
    let steps = if cfg!(miri) { 0..=2usize } else { 0..=9 };
    steps.filter(move |steps| (steps * STEP).is_multiple_of(depth_multiple(format)))
}

#[test]
fn every_kernel_stays_inside_its_operands_and_is_exact() {
    let mut random = Random::new(1);
    for family in families() {
        for columns in batches() {
            for panels in if cfg!(miri) { 2..=2 } else { 1..=5 } {
                for steps in steps_of(family.format) {
                    let (rows, depth) = (panels * family.layout.panel_rows, steps * STEP);
                    let weights = Weights::random(family.format, rows, depth, &mut random);
                    let x = random.bytes(columns * depth);
                    for (kernel, extreme) in kernels(family, columns) {
                        let weights = if extreme { weights.clone() } else { weights.without_extremes() };
                        check(family, kernel, columns, panels, &weights, &x);
                    }
                }
            }
        }
    }
}

/// Tests operands at every alignment that their elements allow, each with a forbidden page before and behind it.
#[test]
fn every_kernel_takes_operands_of_any_alignment() {
    let mut random = Random::new(2);
    for family in families() {
        for columns in batches() {
            let (panels, steps) = if cfg!(miri) { (1, 2) } else { (2, 4) };
            let (rows, depth) = (panels * family.layout.panel_rows, steps * STEP);
            let weights = Weights::random(family.format, rows, depth, &mut random).without_extremes();
            let x = random.bytes(columns * depth);
            for (kernel, _) in kernels(family, columns) {
                // One odd place is enough for Miri, which reports any load that needs more alignment. The processor may
                // let it pass.
                for at in (0..64).filter(|&at| !cfg!(miri) || at == 1) {
                    // Each of the three takes all its alignments, in varied combinations.
                    let apart = [at, (at * 5 + 2) % 64, at * 4 % 64];
                    check_apart(family, kernel, columns, panels, &weights, &x, apart);
                }
            }
        }
    }
}

/// Tests sums of one sign with magnitudes up to the largest possible. They reveal intermediate types that are too
/// narrow.
#[test]
fn every_kernel_is_exact_at_the_ends_of_the_range() {
    for family in families() {
        let [(low, high), (least, greatest)] = ranges(family.format);
        for columns in batches() {
            // Up to more steps than any kernel adds in a narrower type.
            for &steps in if cfg!(miri) { &[2][..] } else { &[2, 6, 64] } {
                let (rows, depth) = (2 * family.layout.panel_rows, steps * STEP);
                let operands = [(low, -128i8), (low, 127), (high, -128), (high, 127), (low + 1, -127)];
                for ((w, x), m) in operands.into_iter().flat_map(|pair| [(pair, greatest), (pair, least)]) {
                    let group = group(family.format);
                    let multipliers = vec![m; rows * depth.div_ceil(group)];
                    let weights = Weights { values: vec![w; rows * depth], multipliers, group };
                    let x = vec![x; columns * depth];
                    for (kernel, extreme) in kernels(family, columns) {
                        if extreme || family.extreme.is_none() || w != i8::MIN {
                            check(family, kernel, columns, 2, &weights, &x);
                        }
                    }
                }
            }
        }
    }
}

/// The calling convention lets a caller keep values in the low halves of `v8`..`v15`. Assembly that overwrites one
/// without declaring it would change them.
#[cfg(all(kernel_aarch64, not(miri)))]
#[test]
fn every_kernel_preserves_the_callee_saved_vector_registers() {
    use core::arch::naked_asm;

    /// Sets `d8`..`d15` to `before`, calls the kernel with `call`, and stores the new values of `d8`..`d15` in `after`.
    /// It keeps its own caller's registers.
    #[unsafe(naked)]
    unsafe extern "C" fn call_kernel(
        _kernel: *const (),
        _call: *const Call,
        _before: &[u64; 8],
        _after: &mut [u64; 8],
    ) {
        naked_asm!(
            "stp x29, x30, [sp, #-96]!",
            "mov x29, sp",
            "str x19, [sp, #16]",
            "stp d8, d9, [sp, #32]",
            "stp d10, d11, [sp, #48]",
            "stp d12, d13, [sp, #64]",
            "stp d14, d15, [sp, #80]",
            "mov x19, x3",
            "ldp d8, d9, [x2]",
            "ldp d10, d11, [x2, #16]",
            "ldp d12, d13, [x2, #32]",
            "ldp d14, d15, [x2, #48]",
            "mov x9, x0",
            "mov x0, x1",
            "blr x9",
            "stp d8, d9, [x19]",
            "stp d10, d11, [x19, #16]",
            "stp d12, d13, [x19, #32]",
            "stp d14, d15, [x19, #48]",
            "ldp d8, d9, [sp, #32]",
            "ldp d10, d11, [sp, #48]",
            "ldp d12, d13, [sp, #64]",
            "ldp d14, d15, [sp, #80]",
            "ldr x19, [sp, #16]",
            "ldp x29, x30, [sp], #96",
            "ret",
        )
    }

    let before: [u64; 8] = core::array::from_fn(|i| 0x0123_4567_89ab_cdef * (i as u64 + 1));
    for family in families() {
        for columns in batches() {
            for (kernel, _) in kernels(family, columns) {
                for (steps, from_memory) in steps_of(family.format).flat_map(|steps| [(steps, false), (steps, true)]) {
                    let panels = 3;
                    let weights = vec![1u8; panels * family.layout.panel_bytes(family.format, steps)];
                    let activations = vec![1i8; columns * steps * STEP];
                    let rows = panels * family.layout.panel_rows;
                    let mut sums = vec![0; columns * rows];
                    let call = Call {
                        weights: weights.as_ptr(),
                        panels,
                        steps,
                        activations: activations.as_ptr(),
                        sums: sums.as_mut_ptr(),
                        sums_stride: rows,
                        from_memory,
                    };
                    let mut after = [0; 8];
                    // SAFETY: the family's tier is available, and the operands have the sizes that `Call` states. A
                    // function with one pointer argument has the same convention in Rust's and in C's ABI: the argument
                    // is in `x0`, and the function keeps `d8`..`d15`.
                    unsafe { call_kernel(kernel as *const (), &call, &before, &mut after) };
                    assert_eq!(after, before, "{} {:?}, {columns} columns, {steps} steps", family.tier, family.format);
                }
            }
        }
    }
}
