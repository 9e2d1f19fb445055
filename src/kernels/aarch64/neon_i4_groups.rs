//! Kernels of the NEON tier for 4-bit weights in groups of 32.
//!
//! The bytes are those of [`neon_i4`](super::neon_i4). Both weights of a byte are unpacked: the low one by `shl #4` and
//! `sshr #4`, the high one by `srshr #4`, whose rounding undoes the borrow of negative low weights. They are so small
//! that the products of a group stay in `i16`: their sum is at most `32 * 7 * 128 < 2^15`. So no `sadalp` is needed. Lanes
//! are added up by `addp` over rows and columns, so that one `smlal` applies the multipliers of four rows.
//!
//! In-order cores wait for a shift as long as for several other instructions, so a byte row is unpacked while the one
//! before it is multiplied, and a group's lanes are added up while the next group is under way.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::prefetch;
use super::neon_i4::LAYOUT;
use super::tile::hints;
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Neon,
    format: WeightFormat::I4Group32,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4gs8s32_8x16),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;
const BYTE_ROWS: usize = ROWS / 2;

/// How many bytes ahead a group hints at its two lines.
const HINT: usize = 640;

/// Multiplies panels of 8 rows in runs of 16, with one multiplier per group of two steps.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4gs8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4gs8s32_8x16`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4gs8s32_8x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    let &Call { steps, sums_stride, .. } = call;
    let (x_step, groups, weight_bytes) = (COLUMNS * STEP, steps / 2, BYTE_ROWS * STEP * steps);
    let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(steps);
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let w = call.weights.add(panel * panel_bytes);
            let m = w.add(weight_bytes);
            let x = |column| call.activations.add(column * STEP);
            let out = |column| call.sums.add(column * sums_stride + panel * ROWS);
            let two = |column, hints| {
                let sums = tile_8x2(w, x(column), x_step, m, groups, hints);
                (0..2).for_each(|c| store(out(column + c), sums[c]));
            };
            // Two byte rows at a time: with all four at once, the sums would not fit the registers.
            macro_rules! halves {
                ($tile:ident at $column:expr, $hints:expr) => {
                    for half in 0..2 {
                        let w = w.add(half * 2 * STEP);
                        let sums = $tile(w, x($column), x_step, m, half, groups, $hints && half == 0);
                        for (c, sums) in sums.into_iter().enumerate() {
                            store_half(out($column + c).add(2 * half), sums);
                        }
                    }
                };
            }
            // Only the first tile hints: it takes longer than memory does, and further ones find the panel in L1.
            match COLUMNS {
                _ if steps == 0 => (0..COLUMNS).for_each(|column| store(out(column), [vdupq_n_s32(0); 2])),
                1 => store(out(0), tile_8x1(w, x(0), m, groups, HINTS)),
                2 => two(0, HINTS),
                3 => halves!(tile_4x3 at 0, HINTS),
                4 => halves!(tile_4x4 at 0, HINTS),
                5 => {
                    halves!(tile_4x3 at 0, HINTS);
                    two(3, false);
                }
                6 | 9 => {
                    halves!(tile_4x3 at 0, HINTS);
                    (3..COLUMNS).step_by(3).for_each(|column| halves!(tile_4x3 at column, false));
                }
                _ => {
                    halves!(tile_4x4 at 0, HINTS);
                    match COLUMNS {
                        8 => halves!(tile_4x4 at 4, false),
                        _ => (4..COLUMNS).step_by(3).for_each(|column| halves!(tile_4x3 at column, false)),
                    }
                }
            }
            if HINTS {
                // Groups have hinted as far ahead as there are weights. The rest of the lines are as many as multipliers.
                for at in (0..LAYOUT.multiplier_bytes(steps)).step_by(Line::BYTES) {
                    prefetch(m.wrapping_add(HINT + at));
                }
            }
        }
    }
}

/// Stores the low rows and the high rows of a column.
///
/// # Safety
/// The rows of a panel must be writable at `out`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(out: *mut i32, [low, high]: [int32x4_t; 2]) {
    // SAFETY: by this function's contract.
    unsafe {
        vst1q_s32(out, low);
        vst1q_s32(out.add(BYTE_ROWS), high);
    }
}

/// Stores the rows of two byte rows of a column: two low rows, then two high rows.
///
/// # Safety
/// The rows must be writable at `out`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_half(out: *mut i32, sums: int32x4_t) {
    // SAFETY: by this function's contract.
    unsafe {
        vst1_s32(out, vget_low_s32(sums));
        vst1_s32(out.add(BYTE_ROWS), vget_high_s32(sums));
    }
}

/// A step of a group of 8 rows x 1 column.
///
/// Registers: bytes in `$b0` to `$b3`, which become low weights, high weights in 8..11, activations in `$x`, products
/// of low rows in 16..19 and of high rows in 20..23. `$smull` sets the products or adds to them. `$early` and `$late`
/// are other work to do meanwhile.
macro_rules! step_8x1 {
    ($smull:literal, $x:literal, [$b0:literal, $b1:literal, $b2:literal, $b3:literal], early: [$($early:literal),*],
     late: [$($late:literal),*]) => {
        concat!(
            // Rounding undoes the borrow of negative low weights.
            "srshr v8.16b, v", $b0, ".16b, #4\n", "srshr v9.16b, v", $b1, ".16b, #4\n",
            "srshr v10.16b, v", $b2, ".16b, #4\n", "srshr v11.16b, v", $b3, ".16b, #4\n",
            "shl v", $b0, ".16b, v", $b0, ".16b, #4\n", "shl v", $b1, ".16b, v", $b1, ".16b, #4\n",
            "shl v", $b2, ".16b, v", $b2, ".16b, #4\n", "shl v", $b3, ".16b, v", $b3, ".16b, #4\n",
            $($early, "\n",)*
            $smull, " v20.8h, v8.8b, v", $x, ".8b\n", $smull, " v21.8h, v9.8b, v", $x, ".8b\n",
            $smull, " v22.8h, v10.8b, v", $x, ".8b\n", $smull, " v23.8h, v11.8b, v", $x, ".8b\n",
            "sshr v", $b0, ".16b, v", $b0, ".16b, #4\n", "sshr v", $b1, ".16b, v", $b1, ".16b, #4\n",
            "sshr v", $b2, ".16b, v", $b2, ".16b, #4\n", "sshr v", $b3, ".16b, v", $b3, ".16b, #4\n",
            $($late, "\n",)*
            $smull, " v16.8h, v", $b0, ".8b, v", $x, ".8b\n", $smull, " v17.8h, v", $b1, ".8b, v", $x, ".8b\n",
            $smull, " v18.8h, v", $b2, ".8b, v", $x, ".8b\n", $smull, " v19.8h, v", $b3, ".8b, v", $x, ".8b\n",
            "smlal2 v20.8h, v8.16b, v", $x, ".16b\n", "smlal2 v21.8h, v9.16b, v", $x, ".16b\n",
            "smlal2 v22.8h, v10.16b, v", $x, ".16b\n", "smlal2 v23.8h, v11.16b, v", $x, ".16b\n",
            "smlal2 v16.8h, v", $b0, ".16b, v", $x, ".16b\n", "smlal2 v17.8h, v", $b1, ".16b, v", $x, ".16b\n",
            "smlal2 v18.8h, v", $b2, ".16b, v", $x, ".16b\n", "smlal2 v19.8h, v", $b3, ".16b, v", $x, ".16b\n",
        )
    };
}

/// The sums of `groups >= 1` groups of 8 rows x 1 column: the low rows, then the high rows. `m` points to the
/// multipliers.
///
/// Multipliers are in register 25. A group's products are added up while the next group is unpacked, so nothing waits for
/// them.
///
/// # Safety
/// The steps of the panel and of the column, and the groups of multipliers, must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_8x1(w: *const u8, x: *const i8, m: *const u8, groups: usize, hints: bool) -> [int32x4_t; 2] {
    let (low, high): (int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($hints:expr) => {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0",
            "movi v16.2d, #0", "movi v17.2d, #0", "movi v18.2d, #0", "movi v19.2d, #0",
            "movi v20.2d, #0", "movi v21.2d, #0", "movi v22.2d, #0", "movi v23.2d, #0", "movi v25.2d, #0",
            "b 2f",
            ".p2align 9",
            "2:",
            "ldr q4, [{w}]", "ldr q5, [{w}, #16]", "ldr q6, [{w}, #32]", "ldr q7, [{w}, #48]",
            "ldr q2, [{x}]", "ldr q3, [{x}, #16]",
            $hints,
            "addp v26.8h, v16.8h, v17.8h", "addp v27.8h, v18.8h, v19.8h",
            "addp v28.8h, v20.8h, v21.8h", "addp v29.8h, v22.8h, v23.8h",
            step_8x1!("smull", 2, [4, 5, 6, 7],
                early: ["addp v26.8h, v26.8h, v27.8h", "addp v27.8h, v28.8h, v29.8h"],
                late: [
                    "ldr q12, [{w}, #64]", "ldr q13, [{w}, #80]", "ldr q14, [{w}, #96]", "ldr q15, [{w}, #112]",
                    "add {w}, {w}, #128", "add {x}, {x}, #32", "addp v26.8h, v26.8h, v27.8h", "ldr d24, [{m}]",
                    "add {m}, {m}, #8"
                ]),
            step_8x1!("smlal", 3, [12, 13, 14, 15],
                early: ["smlal v0.4s, v26.4h, v25.4h", "smlal2 v1.4s, v26.8h, v25.8h"],
                late: ["sshll v25.8h, v24.8b, #0"]),
            "subs {groups}, {groups}, #1",
            "b.ne 2b",
            "addp v26.8h, v16.8h, v17.8h", "addp v27.8h, v18.8h, v19.8h",
            "addp v28.8h, v20.8h, v21.8h", "addp v29.8h, v22.8h, v23.8h",
            "addp v26.8h, v26.8h, v27.8h", "addp v27.8h, v28.8h, v29.8h", "addp v26.8h, v26.8h, v27.8h",
            "smlal v0.4s, v26.4h, v25.4h", "smlal2 v1.4s, v26.8h, v25.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
            out("v0") low, out("v1") high, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
            out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
            out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
            out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _,
            options(readonly, nostack)
        )
            };
        }
        if hints { tile!(hints!(640 704)) } else { tile!("") }
    }
    [low, high]
}

/// The products of a byte row and several columns: its high weights are in `$h`, the low ones in `$b`. Meanwhile the next
/// byte row, in 28, is unpacked to `$nb` and `$nh`, and `$load` loads the one after it.
///
/// Of each column there are the sums of the low row and of the high row, and the activations, which are loaded again
/// where `$x_load` says from where. `$smull` sets the sums or adds to them. `$work` is done between products.
macro_rules! row {
    ($smull:literal, $b:literal $h:literal, $nb:literal $nh:literal, [$($l:literal $u:literal $x:literal $($x_load:literal)?),*], $load:literal $(, $work:literal)*) => {
        concat!(
            $($smull, " v", $u, ".8h, v", $h, ".8b, v", $x, ".8b\n",)*
            "shl v", $nb, ".16b, v28.16b, #4\n",
            "srshr v", $nh, ".16b, v28.16b, #4\n",
            $($smull, " v", $l, ".8h, v", $b, ".8b, v", $x, ".8b\n",)*
            $load, "\n",
            $($work, "\n",)*
            $("smlal2 v", $u, ".8h, v", $h, ".16b, v", $x, ".16b\n",)*
            "sshr v", $nb, ".16b, v", $nb, ".16b, #4\n",
            $("smlal2 v", $l, ".8h, v", $b, ".16b, v", $x, ".16b\n", $("ldr q", $x, ", [{x}, #", $x_load, "]\n",)?)*
        )
    };
}

/// The sums of `groups >= 1` groups of 8 rows x 2 columns: for each column the low rows, then the high rows. `m` points
/// to the multipliers.
///
/// Registers: products of the first column in 0..7, of the second in 8..15, sums in 16..19, activations in 20..23.
///
/// # Safety
/// The steps of the panel and of the columns, and the groups of multipliers, must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_8x2(
    w: *const u8,
    x: *const i8,
    x_step: usize,
    m: *const u8,
    groups: usize,
    hints: bool,
) -> [[int32x4_t; 2]; 2] {
    let (l0, h0, l1, h1): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($hints:expr) => {
                asm!(
                    "movi v16.2d, #0", "movi v17.2d, #0", "movi v18.2d, #0", "movi v19.2d, #0", "movi v29.2d, #0",
                    ".p2align 6",
                    "2:",
                    "ldr q24, [{w}]", "ldr q28, [{w}, #16]", "ldr q20, [{x}]", "ldr q21, [{x}, #16]",
                    // What is left to do for the group before; the first time, multipliers of 0 leave nothing of it.
                    "addp v4.8h, v4.8h, v6.8h", "addp v12.8h, v12.8h, v14.8h",
                    "add {x}, {x}, {x_step}",
                    "srshr v26.16b, v24.16b, #4", "shl v24.16b, v24.16b, #4",
                    "ldr q22, [{x}]", "ldr q23, [{x}, #16]",
                    "addp v0.8h, v0.8h, v4.8h", "addp v8.8h, v8.8h, v12.8h",
                    "add {x}, {x}, {x_step}",
                    "sshr v24.16b, v24.16b, #4",
                    $hints,
                    "ldr d30, [{m}]",
                    "add {m}, {m}, #8",
                    "smlal v16.4s, v0.4h, v29.4h", "smlal v18.4s, v8.4h, v29.4h",
                    "smlal2 v17.4s, v0.8h, v29.8h", "smlal2 v19.4s, v8.8h, v29.8h",
                    "sshll v29.8h, v30.8b, #0",
                    row!("smull", "24" "26", "25" "27", ["0" "4" "20", "8" "12" "21"], "ldr q28, [{w}, #32]"),
                    row!("smull", "25" "27", "24" "26", ["1" "5" "20", "9" "13" "21"], "ldr q28, [{w}, #48]"),
                    row!("smull", "24" "26", "25" "27", ["2" "6" "20", "10" "14" "21"], "ldr q28, [{w}, #64]"),
                    row!("smull", "25" "27", "24" "26", ["3" "7" "20", "11" "15" "21"], "ldr q28, [{w}, #80]"),
                    row!("smlal", "24" "26", "25" "27", ["0" "4" "22", "8" "12" "23"], "ldr q28, [{w}, #96]"),
                    row!("smlal", "25" "27", "24" "26", ["1" "5" "22", "9" "13" "23"], "ldr q28, [{w}, #112]"),
                    row!("smlal", "24" "26", "25" "27", ["2" "6" "22", "10" "14" "23"], "add {w}, {w}, #128"),
                    // There is no row after the last; what is unpacked of old bytes is not used.
                    row!("smlal", "25" "27", "24" "26", ["3" "7" "22", "11" "15" "23"], "subs {groups}, {groups}, #1"),
                    "addp v0.8h, v0.8h, v1.8h", "addp v8.8h, v8.8h, v9.8h",
                    "addp v4.8h, v4.8h, v5.8h", "addp v12.8h, v12.8h, v13.8h",
                    "addp v6.8h, v6.8h, v7.8h", "addp v14.8h, v14.8h, v15.8h",
                    "addp v2.8h, v2.8h, v3.8h", "addp v10.8h, v10.8h, v11.8h",
                    "addp v0.8h, v0.8h, v2.8h", "addp v8.8h, v8.8h, v10.8h",
                    "b.ne 2b",
                    "addp v4.8h, v4.8h, v6.8h", "addp v12.8h, v12.8h, v14.8h",
                    "addp v0.8h, v0.8h, v4.8h", "addp v8.8h, v8.8h, v12.8h",
                    "smlal v16.4s, v0.4h, v29.4h", "smlal2 v17.4s, v0.8h, v29.8h",
                    "smlal v18.4s, v8.4h, v29.4h", "smlal2 v19.4s, v8.8h, v29.8h",
                    w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
                    x_step = in(reg) x_step,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
                    out("v15") _, out("v16") l0, out("v17") h0, out("v18") l1, out("v19") h1, out("v20") _, out("v21") _,
                    out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
                    out("v29") _, out("v30") _,
                    options(readonly, nostack)
                )
            };
        }
        if hints { tile!(hints!(640 704)) } else { tile!("") }
    }
    [[l0, h0], [l1, h1]]
}

/// Defines a function that computes two byte rows, 4 rows, and `$columns` columns over `groups >= 1` groups. It returns a
/// vector for each column: two low rows, then two high rows.
///
/// Of each column there are the registers of the products of the first byte row, low and high, of those of the second,
/// of the sums and of the activations, and the offset of the activations. Bytes and high weights are in 24..27, the next
/// bytes in 28. `pairs` add up the lanes of two columns, `scale` adds them to the sums by the multipliers in 29.
macro_rules! tile_4 {
    ($name:ident, $columns:literal, [$($l0:literal $u0:literal $l1:literal $u1:literal $sum:literal $sv:tt $s:ident $x:literal $at:literal),*],
     pairs: [$($pair:literal),*], scale: [$($scale:literal),*]) => {
        /// Runs the tile. `m` points to the multipliers, of which `half` says which half of a panel's rows it takes.
        ///
        /// # Safety
        /// The steps of the byte rows and of the columns, and the groups of multipliers, must be readable, behind them two
        /// more bytes rows, which the multipliers cover.
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn $name(w: *const u8, x: *const i8, x_step: usize, m: *const u8, half: usize, groups: usize, hints: bool) -> [int32x4_t; $columns] {
            $(let $s: int32x4_t;)*
            // Each half of the eight multipliers: a shift by 16 bits brings the second pair in front.
            let shift = vdup_n_s64(-16 * half as i64);
            // SAFETY: reads only what the contract lets it read, and writes the registers named.
            unsafe {
                macro_rules! tile {
                    ($hints:expr) => {
                        asm!(
                            "ldr q24, [{w}]", "ldr q28, [{w}, #16]",
                            $(concat!("ldr q", $x, ", [{x}, #", $at, "]"),)*
                            $(concat!("movi v", $sum, ".2d, #0"),)*
                            "movi v29.2d, #0",
                            "srshr v26.16b, v24.16b, #4", "shl v24.16b, v24.16b, #4", "sshr v24.16b, v24.16b, #4",
                            ".p2align 6",
                            "2:",
                            $hints,
                            $($pair,)*
                            row!("smull", "24" "26", "25" "27", [$($l0 $u0 $x),*], "ldr q28, [{w}, #64]", "ldr d30, [{m}]", "add {x}, {x}, {x_step}"),
                            $($scale,)*
                            "ushl d30, d30, d31",
                            row!("smull", "25" "27", "24" "26", [$($l1 $u1 $x $at),*], "ldr q28, [{w}, #80]", "sshll v30.8h, v30.8b, #0"),
                            // Behind the last group no activations follow: its own are loaded again.
                            row!("smlal", "24" "26", "25" "27", [$($l0 $u0 $x),*], "ldr q28, [{w}, #128]",
                                "add {next}, {x}, {x_step}", "subs {groups}, {groups}, #1", "csel {x}, {x}, {next}, eq",
                                "uzp1 v29.4s, v30.4s, v30.4s"),
                            row!("smlal", "25" "27", "24" "26", [$($l1 $u1 $x $at),*], "ldr q28, [{w}, #144]", "add {w}, {w}, #128", "add {m}, {m}, #8"),
                            $(concat!("addp v", $l1, ".8h, v", $l0, ".8h, v", $l1, ".8h"), concat!("addp v", $u1, ".8h, v", $u0, ".8h, v", $u1, ".8h"),)*
                            $(concat!("addp v", $l1, ".8h, v", $l1, ".8h, v", $u1, ".8h"),)*
                            "b.ne 2b",
                            $($pair,)*
                            $($scale,)*
                            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
                            x_step = in(reg) x_step, next = out(reg) _,
                            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                            $(out($sv) $s,)* out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _,
                            in("v31") shift,
                            options(readonly, nostack)
                        )
                    };
                }
                if hints { tile!(hints!(640 704)) } else { tile!("") }
            }
            [$($s),*]
        }
    };
}

tile_4! { tile_4x3, 3,
    ["0" "8" "4" "12" "16" "v16" s0 "20" "0", "1" "9" "5" "13" "17" "v17" s1 "21" "16", "2" "10" "6" "14" "18" "v18" s2 "22" "32"],
    pairs: ["addp v4.8h, v4.8h, v5.8h", "addp v6.8h, v6.8h, v6.8h"],
    scale: [
        "smlal v16.4s, v4.4h, v29.4h", "smlal2 v17.4s, v4.8h, v29.8h", "smlal v18.4s, v6.4h, v29.4h"
    ]
}
tile_4! { tile_4x4, 4,
    ["0" "8" "4" "12" "16" "v16" s0 "20" "0", "1" "9" "5" "13" "17" "v17" s1 "21" "16", "2" "10" "6" "14" "18" "v18" s2 "22" "32",
     "3" "11" "7" "15" "19" "v19" s3 "23" "48"],
    pairs: ["addp v4.8h, v4.8h, v5.8h", "addp v6.8h, v6.8h, v7.8h"],
    scale: [
        "smlal v16.4s, v4.4h, v29.4h", "smlal2 v17.4s, v4.8h, v29.8h", "smlal v18.4s, v6.4h, v29.4h",
        "smlal2 v19.4s, v6.8h, v29.8h"
    ]
}
