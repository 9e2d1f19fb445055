//! 2-bit kernels of the NEON tier.
//!
//! A vector holds a run of 16 bytes of a byte row, which is four rows of weights, two rows apart. `sshr` by 2, 4 and 6
//! takes off the lower rows, so with the bytes as they are, four vectors are multiplied:
//!
//! ```text
//! bytes:    64 d + 16 c' + 4 b' + a'      of sums:  H = 4 G + A'
//! sshr #2:         16 d  + 4 c' + b'                G = 4 E + B'
//! sshr #4:                 4 d  + c'                E = 4 D + C'
//! sshr #6:                        d                 D
//! ```
//!
//! `d` is a weight; `a'`, `b'` and `c'` are digits 0..=3, which are weights plus 2, so the row's sum is `A' - 2 X` where
//! `X` is the sum of the activations. All this is computed modulo `2^16`. What the larger sums lose does not matter: the
//! row's sum of a group is at most `64 * 2 * 128`, which fits an `i16`. So products are added in `i16`, without the
//! `sadalp` that 8-bit weights need.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::super::layout::{Layout, Line, MAX_COLUMNS, STEP, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::prefetch;
use super::slice_i2::Slice;
use super::tile::hints;
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels. Two steps of a panel fill a cache line.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: STEP, activation_run: STEP };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Neon,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_8x16),
    extreme: None,
}];

const ROWS: usize = 8;
const BYTE_ROWS: usize = ROWS / 4;
const STEP_BYTES: usize = BYTE_ROWS * STEP;

/// The most groups of which one pass over the panels takes the sums of activations.
const MOST_GROUPS: usize = 64;

/// How many bytes ahead a group hints at its two lines.
const HINT: usize = 640;

/// What is added to the sums of groups, columns of a group one after the other. For a single column, which takes all rows
/// of a panel at once, there are two vectors in each; for several columns, a first group is empty.
struct Corrections<const COLUMNS: usize>([MaybeUninit<int16x4_t>; (MOST_GROUPS + 1) * MAX_COLUMNS]);

impl<const COLUMNS: usize> Corrections<COLUMNS> {
    /// The vectors of a group.
    const GROUP: usize = if COLUMNS == 1 { 2 } else { COLUMNS };

    /// Takes those of whole groups.
    ///
    /// # Safety
    /// That many groups of activations must be readable at `x`, at most [`MOST_GROUPS`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn take(&mut self, x: *const i8, groups: usize) {
        if COLUMNS > 1 {
            self.0[..COLUMNS].fill(MaybeUninit::new(vdup_n_s16(0)));
        }
        for (group, place) in self.0.chunks_mut(Self::GROUP).skip(usize::from(COLUMNS > 1)).take(groups).enumerate() {
            for column in 0..COLUMNS {
                // SAFETY: by this function's contract.
                let twice =
                    unsafe { correct::<COLUMNS>(x.add((group * GROUP_STEPS * COLUMNS + column) * STEP), GROUP_STEPS) };
                if COLUMNS == 1 {
                    place[0].write(vget_low_s16(twice));
                    place[1].write(vget_high_s16(twice));
                } else {
                    place[column].write(vext_s16::<3>(vget_low_s16(twice), vget_high_s16(twice)));
                }
            }
        }
    }

    fn as_ptr(&self) -> *const i16 {
        self.0.as_ptr().cast()
    }
}

/// Multiplies panels of 8 rows in runs of 16.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s2gs8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s2gs8s32_8x16`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s2gs8s32_8x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    let mut corrections = Corrections::<COLUMNS>([const { MaybeUninit::uninit() }; (MOST_GROUPS + 1) * MAX_COLUMNS]);
    // One pass, unless there are very many groups. Later passes add to the sums of earlier ones.
    let mut first = 0;
    loop {
        let steps = (call.steps - first).min(MOST_GROUPS * GROUP_STEPS);
        // SAFETY: the pass reads steps that the contract lets it read: `steps` of each panel and of the columns, and the
        // multipliers of their groups. It writes the rows of each panel.
        unsafe {
            let x = call.activations.add(first * STEP * COLUMNS);
            corrections.take(x, steps / GROUP_STEPS);
            for panel in 0..call.panels {
                let slice = Slice { panel: call.weights.add(panel * panel_bytes), all_steps: call.steps, first, steps };
                let mut sums = [[vdupq_n_s32(0); 2]; COLUMNS];
                if steps >= GROUP_STEPS {
                    whole_groups(&mut sums, slice, x, &corrections, HINTS);
                }
                if !steps.is_multiple_of(GROUP_STEPS) {
                    short_group(&mut sums, slice, x);
                }
                for (column, sums) in sums.into_iter().enumerate() {
                    for (half, sums) in sums.into_iter().enumerate() {
                        let out = call.sums.add(column * call.sums_stride + panel * ROWS + 4 * half);
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
/// The slice and its columns must be readable, and there must be a whole group.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn whole_groups<const COLUMNS: usize>(
    sums: &mut [[int32x4_t; 2]; COLUMNS],
    slice: Slice,
    x: *const i8,
    corrections: &Corrections<COLUMNS>,
    hints: bool,
) {
    let groups = slice.steps / GROUP_STEPS;
    // SAFETY: by this function's contract.
    unsafe {
        let (w, m) = slice.operands(&LAYOUT);
        if COLUMNS == 1 {
            sums[0] = tile_8x1(w, x, m, corrections.as_ptr().cast(), groups, hints);
            return;
        }
        // Of the tiles that pass over a panel, the first one hints: further ones find it in L1.
        macro_rules! tiles {
            ($($tile:ident at $column:literal),*) => {{
                $(
                    let operands = |half: usize| Operands {
                        w: w.add(half * STEP),
                        x: x.add($column * STEP),
                        x_step: COLUMNS * STEP,
                        m,
                        half,
                        corrections: corrections.as_ptr().add(4 * $column),
                        groups,
                    };
                    let (even, odd) = ($tile(operands(0), hints && $column == 0), $tile(operands(1), false));
                    for (c, (even, odd)) in even.into_iter().zip(odd).enumerate() {
                        sums[$column + c] = [vzip1q_s32(even, odd), vzip2q_s32(even, odd)];
                    }
                )*
            }};
        }
        match COLUMNS {
            2 => tiles!(tile_4x2 at 0),
            3 => tiles!(tile_4x3 at 0),
            4 => tiles!(tile_4x4 at 0),
            5 => tiles!(tile_4x3 at 0, tile_4x2 at 3),
            6 => tiles!(tile_4x3 at 0, tile_4x3 at 3),
            7 => tiles!(tile_4x4 at 0, tile_4x3 at 4),
            8 => tiles!(tile_4x4 at 0, tile_4x4 at 4),
            9 => tiles!(tile_4x3 at 0, tile_4x3 at 3, tile_4x3 at 6),
            _ => tiles!(tile_4x4 at 0, tile_4x3 at 4, tile_4x3 at 7),
        }
    }
}

/// What is added to the sums of a group: `-2 X` for the rows whose digits are weights plus 2, six times and then two zeros.
///
/// # Safety
/// `steps <= 4` steps of `COLUMNS` columns of activations must be readable at `x`, of which the first column counts.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn correct<const COLUMNS: usize>(x: *const i8, steps: usize) -> int16x8_t {
    let mut sums = vdupq_n_s16(0);
    for step in 0..steps {
        // SAFETY: by this function's contract.
        sums = vpadalq_s8(sums, unsafe { vld1q_s8(x.add(step * COLUMNS * STEP)) });
    }
    let twice = vdupq_n_s16(-2 * vaddvq_s16(sums));
    vextq_s16::<2>(twice, vdupq_n_s16(0))
}

/// A step of a group of 8 rows x 1 column.
///
/// Registers: bytes in `$b0` and `$b1`, activations in `$x`, shifted bytes in 26..31, sums of the two byte rows in 0 and
/// 1 (of the bytes), 2 and 3 (of those shifted by 2), 4 and 5, 6 and 7. `$smull` sets the sums or adds to them. `$early`,
/// `$middle` and `$late` are other work to do meanwhile.
macro_rules! step_8x1 {
    ($smull:literal, $x:literal, [$b0:literal, $b1:literal], early: [$($early:literal),*], middle: [$($middle:literal),*],
     late: [$($late:literal),*]) => {
        concat!(
            "sshr v26.16b, v", $b0, ".16b, #2\n", "sshr v27.16b, v", $b1, ".16b, #2\n",
            "sshr v28.16b, v", $b0, ".16b, #4\n", "sshr v29.16b, v", $b1, ".16b, #4\n",
            "sshr v30.16b, v", $b0, ".16b, #6\n", "sshr v31.16b, v", $b1, ".16b, #6\n",
            $($early, "\n",)*
            $smull, " v0.8h, v", $b0, ".8b, v", $x, ".8b\n", $smull, " v1.8h, v", $b1, ".8b, v", $x, ".8b\n",
            $smull, " v2.8h, v26.8b, v", $x, ".8b\n", $smull, " v3.8h, v27.8b, v", $x, ".8b\n",
            $smull, " v4.8h, v28.8b, v", $x, ".8b\n", $smull, " v5.8h, v29.8b, v", $x, ".8b\n",
            $smull, " v6.8h, v30.8b, v", $x, ".8b\n", $smull, " v7.8h, v31.8b, v", $x, ".8b\n",
            $($middle, "\n",)*
            "smlal2 v0.8h, v", $b0, ".16b, v", $x, ".16b\n", "smlal2 v1.8h, v", $b1, ".16b, v", $x, ".16b\n",
            "smlal2 v2.8h, v26.16b, v", $x, ".16b\n", "smlal2 v3.8h, v27.16b, v", $x, ".16b\n",
            "smlal2 v4.8h, v28.16b, v", $x, ".16b\n", "smlal2 v5.8h, v29.16b, v", $x, ".16b\n",
            "smlal2 v6.8h, v30.16b, v", $x, ".16b\n", "smlal2 v7.8h, v31.16b, v", $x, ".16b\n",
            $($late, "\n",)*
        )
    };
}

/// The sums of `groups >= 1` whole groups of 8 rows x 1 column. `m` points to the multipliers and `corrections` to
/// what [`correct`] makes of each group.
///
/// The arithmetic is the same as in [`short_group`]. The sums of a group are added up while the next group is
/// multiplied, so nothing waits for them: by `addp` into register 8, then as in the table above. Multipliers are in
/// register 12, corrections in 19, zeros in 18.
///
/// # Safety
/// The groups of the panel, of the column, of multipliers and of corrections must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_8x1(
    w: *const u8,
    x: *const i8,
    m: *const i8,
    corrections: *const int16x8_t,
    groups: usize,
    hints: bool,
) -> [int32x4_t; 2] {
    let (low, high): (int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($hints:expr) => {
        asm!(
            // The first time, multipliers of 0 leave nothing of what the sums hold.
            "movi v16.2d, #0", "movi v17.2d, #0", "movi v18.2d, #0", "movi v12.2d, #0",
            "b 2f",
            ".p2align 9",
            "2:",
            "ldr q22, [{w}]", "ldr q23, [{w}, #16]", "ldr q20, [{x}]",
            $hints,
            "addp v8.8h, v0.8h, v1.8h", "addp v9.8h, v2.8h, v3.8h",
            "addp v10.8h, v4.8h, v5.8h", "addp v11.8h, v6.8h, v7.8h",
            step_8x1!("smull", 20, [22, 23],
                early: ["addp v8.8h, v8.8h, v9.8h", "addp v10.8h, v10.8h, v11.8h", "ldr q24, [{w}, #32]"],
                middle: ["addp v8.8h, v8.8h, v10.8h", "ldr q25, [{w}, #48]", "ldr q21, [{x}, #16]"],
                late: ["ext v9.16b, v8.16b, v18.16b, #4", "add v8.8h, v8.8h, v19.8h"]),
            step_8x1!("smlal", 21, [24, 25],
                early: ["shl v9.8h, v9.8h, #2", "ldr q22, [{w}, #64]", "ldr q23, [{w}, #80]"],
                middle: ["sub v8.8h, v8.8h, v9.8h", "ldr q20, [{x}, #32]", "ldr d13, [{m}]"],
                late: ["smlal v16.4s, v8.4h, v12.4h", "smlal2 v17.4s, v8.8h, v12.8h", "ldr q19, [{c}]"]),
            step_8x1!("smlal", 20, [22, 23],
                early: ["ldr q24, [{w}, #96]", "ldr q25, [{w}, #112]", "ldr q21, [{x}, #48]"],
                middle: ["sshll v12.8h, v13.8b, #0", "add {w}, {w}, #128", "add {x}, {x}, #64"],
                late: ["add {m}, {m}, #8", "add {c}, {c}, #16"]),
            step_8x1!("smlal", 21, [24, 25], early: [], middle: ["subs {groups}, {groups}, #1"], late: []),
            "b.ne 2b",
            "addp v8.8h, v0.8h, v1.8h", "addp v9.8h, v2.8h, v3.8h",
            "addp v10.8h, v4.8h, v5.8h", "addp v11.8h, v6.8h, v7.8h",
            "addp v8.8h, v8.8h, v9.8h", "addp v10.8h, v10.8h, v11.8h",
            "addp v8.8h, v8.8h, v10.8h",
            "ext v9.16b, v8.16b, v18.16b, #4", "add v8.8h, v8.8h, v19.8h",
            "shl v9.8h, v9.8h, #2",
            "sub v8.8h, v8.8h, v9.8h",
            "smlal v16.4s, v8.4h, v12.4h", "smlal2 v17.4s, v8.8h, v12.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, c = inout(reg) corrections => _,
            groups = inout(reg) groups => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
            out("v16") low, out("v17") high, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(readonly, nostack)
        )
            };
        }
        if hints { tile!(hints!(640 704)) } else { tile!("") }
    }
    [low, high]
}

/// The products of a byte row and several columns in one step: the bytes are in 24, those shifted by 2 in 25.
///
/// Of each column there are four sums (of the bytes, and of those shifted by 2, 4 and 6) and the activations, which are
/// loaded for the next step. `$smull` sets the sums or adds to them. Shifts and loads come while other sums are under way.
/// `$w0` to `$w2` are further work, `$next` and `$load` bring the pointers and the bytes of the next step.
macro_rules! step_4 {
    ($smull:literal, [$([$p0:literal $p1:literal $p2:literal $p3:literal $x:literal $at:literal])*], [$($next:literal),*] $load:literal,
     $w0:expr, $w1:expr, $w2:expr) => {
        concat!(
            $($smull, " v", $p0, ".8h, v24.8b, v", $x, ".8b\n",)*
            $($smull, " v", $p1, ".8h, v25.8b, v", $x, ".8b\n",)*
            "sshr v26.16b, v24.16b, #4\n", "sshr v27.16b, v24.16b, #6\n",
            $w0, "\n",
            $("smlal2 v", $p0, ".8h, v24.16b, v", $x, ".16b\n",)*
            $("smlal2 v", $p1, ".8h, v25.16b, v", $x, ".16b\n",)*
            $($next, "\n",)* $load, "\n",
            $w1, "\n",
            $($smull, " v", $p2, ".8h, v26.8b, v", $x, ".8b\n",)*
            $($smull, " v", $p3, ".8h, v27.8b, v", $x, ".8b\n",)*
            "sshr v25.16b, v24.16b, #2\n",
            $w2, "\n",
            $(
                "smlal2 v", $p2, ".8h, v26.16b, v", $x, ".16b\n", "smlal2 v", $p3, ".8h, v27.16b, v", $x, ".16b\n",
                "ldr q", $x, ", [{x}, #", $at, "]\n",
            )*
        )
    };
}

/// The operands of a tile of one byte row and several columns.
#[derive(Clone, Copy)]
struct Operands {
    w: *const u8,
    x: *const i8,
    /// Bytes from one step of the columns to the next.
    x_step: usize,
    m: *const i8,
    /// Which of the two byte rows it is.
    half: usize,
    /// Those of the tile's columns, one group ahead. Groups are `x_step / 2` bytes apart.
    corrections: *const i16,
    groups: usize,
}

/// Defines a function that computes one byte row, 4 rows, and some columns over `groups >= 1` whole groups. It returns a
/// vector for each column.
///
/// Lanes are added up at the end of a group, down to two columns a vector, in 28 and 30. What follows takes a vector in six
/// pieces of work, while the next group is multiplied: by the table above each row's sum is its part's, less four times
/// that of the next part, which lies beside it. Multipliers are in 29.
macro_rules! tile_4 {
    ($name:ident, $columns:literal, $list:tt [$([$p0:literal $p1:literal $p2:literal $p3:literal $x:literal $at:literal])*]
     sums: [$($sum:ident = $register:tt),*], pairs: [$($pair:literal),*], scale: $scale:literal,
     second: [$s0:literal, $s1:literal, $s2:literal, $s3:literal, $s4:literal, $s5:literal]) => {
        /// Runs the tile.
        ///
        /// # Safety
        /// The groups of the panel, of the columns, of multipliers and of corrections must be readable.
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn $name(Operands { w, x, x_step, m, half, corrections, groups }: Operands, hints: bool) -> [int32x4_t; $columns] {
            $(let $sum: int32x4_t;)*
            // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
            unsafe {
                macro_rules! tile {
                    ($hints:expr) => {
                        asm!(
                            "ldr q24, [{w}]",
                            $(concat!("ldr q", $x, ", [{x}, #", $at, "]"),)*
                            $(concat!("movi ", $register, ".2d, #0"),)*
                            // The first time, multipliers of 0 leave nothing of what 28 and 30 hold.
                            "movi v29.2d, #0",
                            "sshr v25.16b, v24.16b, #2",
                            ".p2align 6",
                            "2:",
                            $hints,
                            step_4!("smull", $list, ["add {x}, {x}, {x_step}"] "ldr q24, [{w}, #32]",
                                "ushr v31.2d, v28.2d, #16", "shl v31.8h, v31.8h, #2", "sub v28.8h, v28.8h, v31.8h"),
                            step_4!("smlal", $list, ["add {x}, {x}, {x_step}"] "ldr q24, [{w}, #64]",
                                "ldr q31, [{c}]", "add v28.8h, v28.8h, v31.8h", $scale),
                            step_4!("smlal", $list, ["add {x}, {x}, {x_step}"] "ldr q24, [{w}, #96]", $s0, $s1, $s2),
                            // Behind the last group, its own last step is loaded again.
                            step_4!("smlal", $list,
                                ["add {next}, {x}, {x_step}", "add {w}, {w}, #128", "sub {row}, {w}, #32", "subs {groups}, {groups}, #1",
                                 "csel {x}, {x}, {next}, eq", "csel {row}, {row}, {w}, eq"] "ldr q24, [{row}]", $s3, $s4, $s5),
                            $(concat!("addp v", $p0, ".8h, v", $p0, ".8h, v", $p1, ".8h"),)*
                            "ldr {next}, [{m}]",
                            $(concat!("addp v", $p2, ".8h, v", $p2, ".8h, v", $p3, ".8h"),)*
                            "add {m}, {m}, #8", "add {c}, {c}, {x_step}, lsr #1", "lsr {next}, {next}, {shift}",
                            $(concat!("addp v", $p0, ".8h, v", $p0, ".8h, v", $p2, ".8h"),)*
                            "fmov d29, {next}",
                            $($pair,)*
                            "sshll v29.8h, v29.8b, #0",
                            "uzp1 v29.8h, v29.8h, v29.8h",
                            "b.ne 2b",
                            "ushr v31.2d, v28.2d, #16", "shl v31.8h, v31.8h, #2", "sub v28.8h, v28.8h, v31.8h",
                            "ldr q31, [{c}]", "add v28.8h, v28.8h, v31.8h", $scale,
                            $s0, $s1, $s2, $s3, $s4, $s5,
                            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, c = inout(reg) corrections => _,
                            groups = inout(reg) groups => _, x_step = in(reg) x_step, shift = in(reg) 8 * half,
                            next = out(reg) _, row = out(reg) _,
                            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
                            out("v15") _, $(out($register) $sum,)* out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                            options(readonly, nostack)
                        )
                    };
                }
                if hints { tile!(hints!(640 704)) } else { tile!("") }
            }
            [$($sum),*]
        }
    };
    ($name:ident, $columns:literal, $list:tt, $($rest:tt)*) => { tile_4! { $name, $columns, $list $list $($rest)* } };
}

tile_4! { tile_4x2, 2, [[0 4 8 12 20 "0"] [1 5 9 13 21 "16"]],
    sums: [a = "v16", b = "v17"], pairs: ["addp v28.8h, v0.8h, v1.8h"],
    scale: "smlal v16.4s, v28.4h, v29.4h\nsmlal2 v17.4s, v28.8h, v29.8h",
    second: ["", "", "", "", "", ""]
}
tile_4! { tile_4x3, 3, [[0 4 8 12 20 "0"] [1 5 9 13 21 "16"] [2 6 10 14 22 "32"]],
    sums: [a = "v16", b = "v17", c = "v18"], pairs: ["addp v28.8h, v0.8h, v1.8h", "addp v30.8h, v2.8h, v2.8h"],
    scale: "smlal v16.4s, v28.4h, v29.4h\nsmlal2 v17.4s, v28.8h, v29.8h",
    second: [
        "ushr v31.2d, v30.2d, #16", "shl v31.8h, v31.8h, #2", "sub v30.8h, v30.8h, v31.8h", "ldr d31, [{c}, #16]",
        "add v30.8h, v30.8h, v31.8h", "smlal v18.4s, v30.4h, v29.4h"
    ]
}
tile_4! { tile_4x4, 4, [[0 4 8 12 20 "0"] [1 5 9 13 21 "16"] [2 6 10 14 22 "32"] [3 7 11 15 23 "48"]],
    sums: [a = "v16", b = "v17", c = "v18", d = "v19"], pairs: ["addp v28.8h, v0.8h, v1.8h", "addp v30.8h, v2.8h, v3.8h"],
    scale: "smlal v16.4s, v28.4h, v29.4h\nsmlal2 v17.4s, v28.8h, v29.8h",
    second: [
        "ushr v31.2d, v30.2d, #16", "shl v31.8h, v31.8h, #2", "sub v30.8h, v30.8h, v31.8h", "ldr q31, [{c}, #16]",
        "add v30.8h, v30.8h, v31.8h", "smlal v18.4s, v30.4h, v29.4h\nsmlal2 v19.4s, v30.8h, v29.8h"
    ]
}

/// Adds the sums of the last group of a slice, which has fewer steps than others.
///
/// # Safety
/// The slice and its columns must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn short_group<const COLUMNS: usize>(sums: &mut [[int32x4_t; 2]; COLUMNS], slice: Slice, x: *const i8) {
    let taken = slice.steps / GROUP_STEPS * GROUP_STEPS;
    // SAFETY: by this function's contract.
    unsafe {
        let (w, multipliers) = slice.operands(&LAYOUT);
        let (w, x) = (w.add(taken * STEP_BYTES).cast::<i8>(), x.add(taken * STEP * COLUMNS));
        let m = vmovl_s8(vld1_s8(multipliers.add(taken / GROUP_STEPS * ROWS)));
        for (column, [low, high]) in sums.iter_mut().enumerate() {
            let x = x.add(column * STEP);
            // Of the bytes of both byte rows, of those shifted by 2, by 4, and by 6.
            let mut sums = [vdupq_n_s16(0); 4 * BYTE_ROWS];
            for step in 0..slice.steps - taken {
                let (w, x) = (w.add(step * STEP_BYTES), vld1q_s8(x.add(step * COLUMNS * STEP)));
                for row in 0..BYTE_ROWS {
                    let bytes = vld1q_s8(w.add(row * STEP));
                    let shifted = [bytes, vshrq_n_s8::<2>(bytes), vshrq_n_s8::<4>(bytes), vshrq_n_s8::<6>(bytes)];
                    for (i, w) in shifted.into_iter().enumerate() {
                        let sum = &mut sums[BYTE_ROWS * i + row];
                        *sum = vmlal_high_s8(vmlal_s8(*sum, vget_low_s8(w), vget_low_s8(x)), w, x);
                    }
                }
            }
            let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
            let (s01, s23, s45, s67) = (vpaddq_s16(s0, s1), vpaddq_s16(s2, s3), vpaddq_s16(s4, s5), vpaddq_s16(s6, s7));
            let sums = vpaddq_s16(vpaddq_s16(s01, s23), vpaddq_s16(s45, s67));
            // Each row's sum is the sum of its byte's part and all above it, less four times the sum of what is above it.
            let above = vextq_s16::<2>(sums, vdupq_n_s16(0));
            let corrected = vaddq_s16(sums, correct::<COLUMNS>(x, slice.steps - taken));
            let rows = vsubq_s16(corrected, vshlq_n_s16::<2>(above));
            *low = vmlal_s16(*low, vget_low_s16(rows), vget_low_s16(m));
            *high = vmlal_high_s16(*high, rows, m);
        }
    }
}
