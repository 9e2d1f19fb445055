//! 2-bit kernels of the dotprod tier.
//!
//! A vector holds runs of 4 bytes of 4 byte rows: all 16 rows of the panel at 4 depths. As in the NEON tier
//! ([`neon_i2`](super::neon_i2)), `sshr` by 2, 4 and 6 takes off the lower rows of each byte, so with the bytes as they
//! are, four vectors are multiplied. Their sums start at `-42 X`, `-10 X`, `-2 X` and 0, where `X` is the sum of the
//! activations of the group. Then each sum less four times the next is the sum of four rows.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::super::layout::{Line, STEP, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod::LAYOUT;
use super::instructions::{prefetch, sdot, sdot_lane};
use super::slice_i2::Slice;
use super::tile::hints;
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Dotprod,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_16x4),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;
const STEP_BYTES: usize = ROWS / 4 * STEP;
const VECTORS: usize = ROWS / 4;

/// The most starts of sums that one pass over the panels takes.
const MOST_STARTS: usize = 320;

/// How many bytes ahead a group hints at its four lines.
const HINT: usize = 768;

/// Where the sums of a group and column start: `-42 X`, `-10 X`, `-2 X` and 0 in one vector. A single column has a vector
/// of each instead, but for the last, which takes fewer instructions and more bytes.
type Starts = int32x4_t;

/// The vectors of a group and column.
const fn vectors(columns: usize) -> usize {
    if columns == 1 { VECTORS - 1 } else { 1 }
}

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s2gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s2gs8s32_16x4`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s2gs8s32_16x4`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    let mut starts = [const { MaybeUninit::<Starts>::uninit() }; MOST_STARTS];
    // One pass, unless there are very many groups. Later passes add to the sums of earlier ones.
    let mut first = 0;
    loop {
        let steps = (call.steps - first).min(MOST_STARTS / vectors(COLUMNS) / COLUMNS * GROUP_STEPS);
        // SAFETY: the pass reads steps that the contract lets it read: `steps` of each panel and of the columns, and the
        // multipliers of their groups. It writes the rows of each panel.
        unsafe {
            let x = call.activations.add(first * STEP * COLUMNS);
            for group in 0..steps.div_ceil(GROUP_STEPS) {
                for column in 0..COLUMNS {
                    let taken = group * GROUP_STEPS;
                    let x = x.add((taken * COLUMNS + column) * STEP);
                    let start = start_sums::<COLUMNS>(x, GROUP_STEPS.min(steps - taken));
                    let places = &mut starts[(group * COLUMNS + column) * vectors(COLUMNS)..][..vectors(COLUMNS)];
                    if COLUMNS == 1 {
                        places[0].write(vdupq_laneq_s32::<0>(start));
                        places[1].write(vdupq_laneq_s32::<1>(start));
                        places[2].write(vdupq_laneq_s32::<2>(start));
                    } else {
                        places[0].write(start);
                    }
                }
            }
            for panel in 0..call.panels {
                let slice = Slice { panel: call.weights.add(panel * panel_bytes), all_steps: call.steps, first, steps };
                let mut sums = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
                if steps >= GROUP_STEPS {
                    whole_groups(&mut sums, slice, x, starts.as_ptr().cast(), HINTS);
                }
                if !steps.is_multiple_of(GROUP_STEPS) {
                    let starts = starts.as_ptr().cast::<Starts>().add(steps / GROUP_STEPS * COLUMNS * vectors(COLUMNS));
                    short_group(&mut sums, slice, x, starts);
                }
                for (column, sums) in sums.into_iter().enumerate() {
                    for (v, sums) in sums.into_iter().enumerate() {
                        let out = call.sums.add(column * call.sums_stride + panel * ROWS + 4 * v);
                        vst1q_s32(out, if first > 0 { vaddq_s32(sums, vld1q_s32(out)) } else { sums });
                    }
                }
                if HINTS {
                    // Groups have hinted as far ahead as there are weights. The multipliers' lines are left.
                    let (_, multipliers) = slice.operands(&LAYOUT);
                    for at in (0..ROWS * steps.div_ceil(GROUP_STEPS)).step_by(Line::BYTES) {
                        prefetch(multipliers.wrapping_add(HINT + at));
                    }
                }
            }
        }
        first += steps;
        if first >= call.steps {
            return;
        }
    }
}

/// Computes the sums of the whole groups of a slice.
///
/// # Safety
/// The slice, its columns and the starts of its groups must be readable, and there must be a whole group.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn whole_groups<const COLUMNS: usize>(
    sums: &mut [[int32x4_t; VECTORS]; COLUMNS],
    slice: Slice,
    x: *const i8,
    starts: *const Starts,
    hints: bool,
) {
    let groups = slice.steps / GROUP_STEPS;
    // SAFETY: by this function's contract.
    unsafe {
        let (w, m) = slice.operands(&LAYOUT);
        if COLUMNS == 1 {
            sums[0] = tile_16x1(w, x, m, starts, groups, hints);
            return;
        }
        // Of the tiles that pass over a panel, the first one hints: further ones find it in L1.
        macro_rules! tiles {
            ($($tile:ident at $column:literal),*) => {{
                $(
                    let (column_x, column_starts) = (x.add($column * STEP), starts.add($column));
                    let found = $tile(w, column_x, COLUMNS * STEP, m, column_starts, groups, hints && $column == 0);
                    sums[$column..][..found.len()].copy_from_slice(&found);
                )*
            }};
        }
        match COLUMNS {
            2 => tiles!(tile_16x2 at 0),
            3 => tiles!(tile_16x3 at 0),
            4 => tiles!(tile_16x2 at 0, tile_16x2 at 2),
            5 => tiles!(tile_16x3 at 0, tile_16x2 at 3),
            6 => tiles!(tile_16x3 at 0, tile_16x3 at 3),
            7 => tiles!(tile_16x3 at 0, tile_16x2 at 3, tile_16x2 at 5),
            8 => tiles!(tile_16x3 at 0, tile_16x3 at 3, tile_16x2 at 6),
            9 => tiles!(tile_16x3 at 0, tile_16x3 at 3, tile_16x3 at 6),
            _ => tiles!(tile_16x3 at 0, tile_16x3 at 3, tile_16x2 at 6, tile_16x2 at 8),
        }
    }
}

/// Where the sums of a group start.
///
/// # Safety
/// `steps <= 4` steps of `COLUMNS` columns of activations must be readable at `x`, of which the first column counts.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn start_sums<const COLUMNS: usize>(x: *const i8, steps: usize) -> Starts {
    let mut sums = vdupq_n_s32(0);
    for step in 0..steps {
        // SAFETY: by this function's contract.
        sums = sdot(sums, unsafe { vld1q_s8(x.add(step * COLUMNS * STEP)) }, vdupq_n_s8(1));
    }
    let x = vaddvq_s32(sums);
    // SAFETY: both are 16 bytes.
    unsafe { vld1q_s32([-42 * x, -10 * x, -2 * x, 0].as_ptr()) }
}

/// The bytes in 22..25 without their lowest rows: shifted by 2, 4 and 6.
macro_rules! shifts {
    () => {
        concat!(
            "sshr v26.16b, v22.16b, #2\n",
            "sshr v29.16b, v23.16b, #2\n",
            "sshr v12.16b, v24.16b, #2\n",
            "sshr v17.16b, v25.16b, #2\n",
            "sshr v27.16b, v22.16b, #4\n",
            "sshr v30.16b, v23.16b, #4\n",
            "sshr v13.16b, v24.16b, #4\n",
            "sshr v18.16b, v25.16b, #4\n",
            "sshr v28.16b, v22.16b, #6\n",
            "sshr v31.16b, v23.16b, #6\n",
            "sshr v16.16b, v24.16b, #6\n",
            "sshr v21.16b, v25.16b, #6\n",
        )
    };
}

/// A run of 4 in depth: bytes in `$b` and shifted bytes in `$s2`, `$s4` and `$s6`, times lane `$lane` of `$x`. `$load`
/// loads the bytes that are to follow in `$b`; the rest is other work to do meanwhile.
macro_rules! lane {
    ($lane:literal, $x:literal, $b:literal, [$s2:literal, $s4:literal, $s6:literal], $load:literal $(, $work:literal)*) => {
        concat!(
            "sdot v0.4s, v", $b, ".16b, v", $x, ".4b[", $lane, "]\n", $load, "\n",
            "sdot v1.4s, v", $s2, ".16b, v", $x, ".4b[", $lane, "]\n",
            "sdot v2.4s, v", $s4, ".16b, v", $x, ".4b[", $lane, "]\n",
            $($work, "\n",)*
            "sdot v3.4s, v", $s6, ".16b, v", $x, ".4b[", $lane, "]\n",
        )
    };
}

/// A step: the bytes in 22..25 and those shifted, times `$x`. `$loads` load the bytes of the next step.
macro_rules! step_16x1 {
    ($x:literal, [$l0:literal, $l1:literal, $l2:literal, $l3:literal],
     [$($w0:literal),*], [$($w1:literal),*], [$($w2:literal),*], [$($w3:literal),*]) => {
        concat!(
            lane!(0, $x, 22, [26, 27, 28], $l0 $(, $w0)*),
            lane!(1, $x, 23, [29, 30, 31], $l1 $(, $w1)*),
            lane!(2, $x, 24, [12, 13, 16], $l2 $(, $w2)*),
            lane!(3, $x, 25, [17, 18, 21], $l3 $(, $w3)*),
        )
    };
}

/// The sums of `groups >= 1` whole groups of 16 rows x 1 column. `m` points to the multipliers and `starts` to what
/// [`start_sums`] makes of each group.
///
/// Registers: sums of a group in 0..3, of the panel in 4..7, activations in 19 and 20. The sums of a group become those
/// of its rows in 9..11 and are multiplied, by 14 and 15, while the next group is on. In-order cores wait between a
/// `sdot` and an instruction that takes less time, so all shifts of a step come before its `sdot`s.
///
/// # Safety
/// The groups of the panel, of the column, of multipliers and of starts must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile_16x1(
    w: *const u8,
    x: *const i8,
    m: *const i8,
    starts: *const Starts,
    groups: usize,
    hints: bool,
) -> [int32x4_t; VECTORS] {
    let (s0, s1, s2, s3): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($h0:literal, $h1:literal, $h2:literal, $h3:literal) => {
        asm!(
            // The first time, multipliers of 0 leave nothing of what the sums hold.
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "movi v14.2d, #0", "movi v15.2d, #0",
            "b 2f",
            ".p2align 10",
            "2:",
            "ldur q22, [{w}]", "ldur q23, [{w}, #16]", "ldur q24, [{w}, #32]", "ldur q25, [{w}, #48]", "ldur q19, [{x}]",
            "shl v9.4s, v1.4s, #2", "shl v10.4s, v2.4s, #2", "shl v11.4s, v3.4s, #2",
            "sub v9.4s, v0.4s, v9.4s", "sub v10.4s, v1.4s, v10.4s", "sub v11.4s, v2.4s, v11.4s",
            shifts!(),
            // The sums fit 16 bits: rows 0..7 and rows 8..15.
            "uzp1 v9.8h, v9.8h, v10.8h", "uzp1 v11.8h, v11.8h, v3.8h",
            "ldur q0, [{s}]", "ldur q1, [{s}, #16]", "ldur q2, [{s}, #32]", "movi v3.2d, #0",
            step_16x1!(19,
                ["ldur q22, [{w}, #64]", "ldur q23, [{w}, #80]", "ldur q24, [{w}, #96]", "ldur q25, [{w}, #112]"],
                ["smlal v4.4s, v9.4h, v14.4h", "smlal2 v5.4s, v9.8h, v14.8h"],
                ["smlal v6.4s, v11.4h, v15.4h", "smlal2 v7.4s, v11.8h, v15.8h"],
                ["ldur q15, [{m}]", "ldur q20, [{x}, #16]"], [$h0]),
            shifts!(),
            step_16x1!(20,
                ["ldur q22, [{w}, #128]", "ldur q23, [{w}, #144]", "ldur q24, [{w}, #160]", "ldur q25, [{w}, #176]"],
                ["ldur q19, [{x}, #32]"], [$h1], [], []),
            shifts!(),
            "sshll v14.8h, v15.8b, #0", "sshll2 v15.8h, v15.16b, #0",
            step_16x1!(19,
                ["ldur q22, [{w}, #192]", "ldur q23, [{w}, #208]", "ldur q24, [{w}, #224]", "ldur q25, [{w}, #240]"],
                ["ldur q20, [{x}, #48]"], [$h2], [$h3], []),
            shifts!(),
            step_16x1!(20, ["", "", "", ""], ["add {w}, {w}, #256"], ["add {x}, {x}, #64"], ["add {m}, {m}, #16"],
                ["add {s}, {s}, #48"]),
            "subs {groups}, {groups}, #1",
            "b.ne 2b",
            "shl v9.4s, v1.4s, #2", "shl v10.4s, v2.4s, #2", "shl v11.4s, v3.4s, #2",
            "sub v9.4s, v0.4s, v9.4s", "sub v10.4s, v1.4s, v10.4s", "sub v11.4s, v2.4s, v11.4s",
            "uzp1 v9.8h, v9.8h, v10.8h", "uzp1 v11.8h, v11.8h, v3.8h",
            "smlal v4.4s, v9.4h, v14.4h", "smlal2 v5.4s, v9.8h, v14.8h",
            "smlal v6.4s, v11.4h, v15.4h", "smlal2 v7.4s, v11.8h, v15.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, s = inout(reg) starts => _,
            groups = inout(reg) groups => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") s0, out("v5") s1, out("v6") s2, out("v7") s3,
            out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(readonly, nostack)
        )
            };
        }
        match hints {
            true => tile!(
                "prfm pldl1keep, [{w}, #768]",
                "prfm pldl1keep, [{w}, #832]",
                "prfm pldl1keep, [{w}, #896]",
                "prfm pldl1keep, [{w}, #960]"
            ),
            false => tile!("", "", "", ""),
        }
    }
    [s0, s1, s2, s3]
}

/// A run of 4 in depth times several columns: bytes in `$b`, and those shifted in 28 to 30, times lane `$lane` of the
/// activations. `$load` loads the bytes of the next run, `$work` comes between products, as shifts and loads do.
///
/// Of each column there are four sums, of the bytes and of those shifted by 2, 4 and 6, and the activations.
macro_rules! run {
    ($lane:literal $b:literal, [$([$s0:literal $s1:literal $s2:literal $s3:literal $x:literal $at:literal])*], $load:expr $(, $work:expr)*) => {
        concat!(
            $load, "\n",
            "sshr v28.16b, v", $b, ".16b, #2\n", "sshr v29.16b, v", $b, ".16b, #4\n", "sshr v30.16b, v", $b, ".16b, #6\n",
            $($work, "\n",)*
            $("sdot v", $s0, ".4s, v", $b, ".16b, v", $x, ".4b[", $lane, "]\n",)*
            $("sdot v", $s1, ".4s, v28.16b, v", $x, ".4b[", $lane, "]\n",)*
            $("sdot v", $s2, ".4s, v29.16b, v", $x, ".4b[", $lane, "]\n",)*
            $("sdot v", $s3, ".4s, v30.16b, v", $x, ".4b[", $lane, "]\n",)*
        )
    };
}

/// A step: four runs. Their bytes are in 27 and 31 by turns; `$l0` to `$l3` load those of the next run. The step loads its
/// own activations.
macro_rules! step_16 {
    ([$([$s0:literal $s1:literal $s2:literal $s3:literal $x:literal $at:literal])*] $columns:tt, $l0:literal, $l1:literal, $l2:literal, $l3:literal) => {
        concat!(
            run!(0 27, $columns, concat!($("ldur q", $x, ", [{x}, #", $at, "]\n",)* $l0)),
            run!(1 31, $columns, $l1),
            run!(2 27, $columns, $l2, "add {x}, {x}, {x_step}"),
            run!(3 31, $columns, $l3),
        )
    };
}

/// Defines a function that computes 16 rows and some columns over `groups >= 1` whole groups. It returns four vectors for
/// each column.
///
/// Each column has four sums of a group, four of the panel and its activations. Multipliers are in 27 and 31 at the end of
/// a group, when the sums become those of rows.
macro_rules! tile_16 {
    ($name:ident, $columns:literal, $list:tt [$([$s0:literal $s1:literal $s2:literal $s3:literal $x:literal $at:literal])*]
     totals: [$([$t0:ident = $r0:tt, $t1:ident = $r1:tt, $t2:ident = $r2:tt, $t3:ident = $r3:tt])*]) => {
        /// Runs the tile. `starts` has those of the tile's columns; those of the next group are `x_step` bytes behind.
        ///
        /// # Safety
        /// The groups of the panel, of the columns, of multipliers and of starts must be readable.
        #[inline]
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn $name(
            w: *const u8, x: *const i8, x_step: usize, m: *const i8, starts: *const Starts, groups: usize, hints: bool,
        ) -> [[int32x4_t; VECTORS]; $columns] {
            $(let ($t0, $t1, $t2, $t3): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);)*
            // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
            unsafe {
                macro_rules! tile {
                    ($hints:expr) => {
                        asm!(
                            $(
                                concat!("movi ", $r0, ".2d, #0"), concat!("movi ", $r1, ".2d, #0"), concat!("movi ", $r2, ".2d, #0"),
                                concat!("movi ", $r3, ".2d, #0"),
                            )*
                            ".p2align 6",
                            "2:",
                            $(concat!("ldur q", $s3, ", [{s}, #", $at, "]"),)*
                            "ldur q27, [{w}]",
                            $hints,
                            $(
                                concat!("dup v", $s0, ".4s, v", $s3, ".s[0]"), concat!("dup v", $s1, ".4s, v", $s3, ".s[1]"),
                                concat!("dup v", $s2, ".4s, v", $s3, ".s[2]"),
                            )*
                            $(concat!("movi v", $s3, ".2d, #0"),)*
                            step_16!($list $list, "ldur q31, [{w}, #16]", "ldur q27, [{w}, #32]", "ldur q31, [{w}, #48]", "ldur q27, [{w}, #64]"),
                            step_16!($list $list, "ldur q31, [{w}, #80]", "ldur q27, [{w}, #96]", "ldur q31, [{w}, #112]", "ldur q27, [{w}, #128]"),
                            step_16!($list $list, "ldur q31, [{w}, #144]", "ldur q27, [{w}, #160]", "ldur q31, [{w}, #176]", "ldur q27, [{w}, #192]"),
                            step_16!($list $list, "ldur q31, [{w}, #208]", "ldur q27, [{w}, #224]", "ldur q31, [{w}, #240]", "ldur q27, [{m}]"),
                            "add {w}, {w}, #256", "add {s}, {s}, {x_step}", "add {m}, {m}, #16",
                            "subs {groups}, {groups}, #1",
                            "sshll2 v31.8h, v27.16b, #0", "sshll v27.8h, v27.8b, #0",
                            $(
                                concat!("shl v28.4s, v", $s1, ".4s, #2"), concat!("shl v29.4s, v", $s2, ".4s, #2"),
                                concat!("shl v30.4s, v", $s3, ".4s, #2"),
                                concat!("sub v", $s0, ".4s, v", $s0, ".4s, v28.4s"), concat!("sub v", $s1, ".4s, v", $s1, ".4s, v29.4s"),
                                concat!("sub v", $s2, ".4s, v", $s2, ".4s, v30.4s"),
                            )*
                            // The sums fit 16 bits: rows 0..7 and rows 8..15.
                            $(
                                concat!("uzp1 v", $s0, ".8h, v", $s0, ".8h, v", $s1, ".8h"),
                                concat!("uzp1 v", $s2, ".8h, v", $s2, ".8h, v", $s3, ".8h"),
                            )*
                            $(
                                concat!("smlal ", $r0, ".4s, v", $s0, ".4h, v27.4h"), concat!("smlal2 ", $r1, ".4s, v", $s0, ".8h, v27.8h"),
                                concat!("smlal ", $r2, ".4s, v", $s2, ".4h, v31.4h"), concat!("smlal2 ", $r3, ".4s, v", $s2, ".8h, v31.8h"),
                            )*
                            "b.ne 2b",
                            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, s = inout(reg) starts => _,
                            groups = inout(reg) groups => _, x_step = in(reg) x_step,
                            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                            $(out($r0) $t0, out($r1) $t1, out($r2) $t2, out($r3) $t3,)*
                            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                            options(readonly, nostack)
                        )
                    };
                }
                if hints { tile!(hints!(768 832 896 960)) } else { tile!("") }
            }
            [$([$t0, $t1, $t2, $t3]),*]
        }
    };
    ($name:ident, $columns:literal, $list:tt, totals: $totals:tt) => { tile_16! { $name, $columns, $list $list totals: $totals } };
}

tile_16! { tile_16x2, 2, [[0 1 2 3 24 "0"] [4 5 6 7 25 "16"]], totals: [
    [a0 = "v12", a1 = "v13", a2 = "v14", a3 = "v15"] [b0 = "v16", b1 = "v17", b2 = "v18", b3 = "v19"]
]}
tile_16! { tile_16x3, 3, [[0 1 2 3 24 "0"] [4 5 6 7 25 "16"] [8 9 10 11 26 "32"]], totals: [
    [a0 = "v12", a1 = "v13", a2 = "v14", a3 = "v15"] [b0 = "v16", b1 = "v17", b2 = "v18", b3 = "v19"]
    [c0 = "v20", c1 = "v21", c2 = "v22", c3 = "v23"]
]}

/// Adds the sums of the last group of a slice, which has fewer steps than others.
///
/// # Safety
/// The slice, its columns and the group's starts must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn short_group<const COLUMNS: usize>(
    totals: &mut [[int32x4_t; VECTORS]; COLUMNS],
    slice: Slice,
    x: *const i8,
    starts: *const Starts,
) {
    let taken = slice.steps / GROUP_STEPS * GROUP_STEPS;
    // SAFETY: by this function's contract.
    unsafe {
        let (w, multipliers) = slice.operands(&LAYOUT);
        let (w, x) = (w.add(taken * STEP_BYTES).cast::<i8>(), x.add(taken * STEP * COLUMNS));
        let m = vld1q_s8(multipliers.add(taken / GROUP_STEPS * ROWS));
        for (column, totals) in totals.iter_mut().enumerate() {
            let x = x.add(column * STEP);
            let [s0, s1, s2] = if COLUMNS == 1 {
                [*starts, *starts.add(1), *starts.add(2)]
            } else {
                let start = *starts.add(column);
                [vdupq_laneq_s32::<0>(start), vdupq_laneq_s32::<1>(start), vdupq_laneq_s32::<2>(start)]
            };
            let mut sums = [s0, s1, s2, vdupq_n_s32(0)];
            for step in 0..slice.steps - taken {
                let (w, x) = (w.add(step * STEP_BYTES), vld1q_s8(x.add(step * COLUMNS * STEP)));
                macro_rules! lane {
                    ($lane:literal) => {
                        let bytes = vld1q_s8(w.add($lane * 16));
                        let shifted = [bytes, vshrq_n_s8::<2>(bytes), vshrq_n_s8::<4>(bytes), vshrq_n_s8::<6>(bytes)];
                        for (sum, bytes) in sums.iter_mut().zip(shifted) {
                            *sum = sdot_lane::<$lane>(*sum, bytes, x);
                        }
                    };
                }
                lane!(0);
                lane!(1);
                lane!(2);
                lane!(3);
            }
            let [s0, s1, s2, s3] = sums;
            let less = |sum, above| vsubq_s32(sum, vshlq_n_s32::<2>(above));
            let narrow = |low, high| vmovn_high_s32(vmovn_s32(low), high);
            let (ab, cd) = (narrow(less(s0, s1), less(s1, s2)), narrow(less(s2, s3), s3));
            let (m_ab, m_cd) = (vmovl_s8(vget_low_s8(m)), vmovl_high_s8(m));
            totals[0] = vmlal_s16(totals[0], vget_low_s16(ab), vget_low_s16(m_ab));
            totals[1] = vmlal_high_s16(totals[1], ab, m_ab);
            totals[2] = vmlal_s16(totals[2], vget_low_s16(cd), vget_low_s16(m_cd));
            totals[3] = vmlal_high_s16(totals[3], cd, m_cd);
        }
    }
}
