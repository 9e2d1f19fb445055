//! 4-bit kernels of the NEON tier.
//!
//! A vector holds a run of 16 bytes of a byte row. A byte row is two rows of weights, four rows apart; [`split`]
//! separates them. Loops are scheduled as in [`neon`](super::neon).

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Layout, Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::prefetch;
use super::neon::products;
use super::ops::split;
use super::tile::{Hints, hints, tile, tile_loop};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels. A step of a panel fills a cache line, as in the 4-row panels of the 8-bit kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: STEP, activation_run: STEP };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 2] = [
    Family {
        tier: Tier::Neon,
        format: WeightFormat::I4,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s4s8s32_8x16),
        extreme: None,
    },
    Family {
        tier: Tier::Neon,
        format: WeightFormat::I4Group32,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s4gs8s32_8x16),
        extreme: None,
    },
];

const ROWS: usize = 8;
const BYTE_ROWS: usize = ROWS / 2;

/// How many bytes ahead a step of the tiles of several columns hints. A step fills a cache line, of which each half of a
/// panel loads half; the first half of the first tile hints.
const HINT: usize = 640;

/// A step of 8 rows x 1 column.
///
/// Registers: sums of 16 times the low weights in 0..3, sums of bytes in 4..7, activations in 8, bytes in 24..27, 16
/// times the low weights in 28..31.
///
/// No pair of products overflows an `i16`: a pair is at most `2 * 119 * 128 < 2^15`.
macro_rules! step_8x1 {
    ($mode:ident) => {
        concat!(
            products!(@work $mode "shl v28.16b, v24.16b, #4\n"),
            products!(@work $mode "shl v29.16b, v25.16b, #4\n"),
            products!(@work $mode "shl v30.16b, v26.16b, #4\n"),
            products!(@work $mode "shl v31.16b, v27.16b, #4\n"),
            products! { $mode:
                4 += 24 * 8 => 16, "ldr q24, [{w}]";
                5 += 25 * 8 => 17, "ldr q25, [{w}, #16]";
                6 += 26 * 8 => 18, "ldr q26, [{w}, #32]";
                7 += 27 * 8 => 19, "ldr q27, [{w}, #48]";
                0 += 28 * 8 => 20, "ldr q8, [{x}]";
                1 += 29 * 8 => 21;
                2 += 30 * 8 => 22;
                3 += 31 * 8 => 23;
            }
        )
    };
}

tile! { "neon", tile_8x1, 2, step_8x1, w_step: 64, align: 8,
    all: [640], last: [640 704],
    sums: assigned [[a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]],
    scratch: [
        "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

/// The sums of four vectors, each over its lanes, in one vector.
#[inline]
#[target_feature(enable = "neon")]
fn across([s0, s1, s2, s3]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3))
}

/// Runs `$tiles` over all columns of a panel, two to four at a time. Only the first pass hints: it takes longer than memory
/// does, and further ones find the panel in L1.
macro_rules! in_tiles {
    (@ $tiles:ident, $call:ident, $panel:ident, $first:literal $(, $more:literal at $column:literal)*) => {{
        $tiles::<$first, HINTS>($call, $panel, COLUMNS, 0);
        $($tiles::<$more, false>($call, $panel, COLUMNS, $column);)*
    }};
    ($tiles:ident, $call:ident, $panel:ident) => {
        match COLUMNS {
            1 => in_tiles!(@ $tiles, $call, $panel, 1),
            2 => in_tiles!(@ $tiles, $call, $panel, 2),
            3 => in_tiles!(@ $tiles, $call, $panel, 3),
            4 => in_tiles!(@ $tiles, $call, $panel, 4),
            5 => in_tiles!(@ $tiles, $call, $panel, 3, 2 at 3),
            6 => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3),
            7 => in_tiles!(@ $tiles, $call, $panel, 4, 3 at 4),
            8 => in_tiles!(@ $tiles, $call, $panel, 4, 4 at 4),
            9 => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3, 3 at 6),
            _ => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3, 4 at 6),
        }
    };
}

/// Multiplies panels of 8 rows in runs of 16.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4s8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4s8s32_8x16`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4s8s32_8x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let w = call.weights.add(panel * BYTE_ROWS * STEP * call.steps);
                    let [sixteen_low, bytes] = tile_8x1(w, call.activations, STEP, call.steps, Hints::of(HINTS));
                    let [low, high] = split(across(sixteen_low), across(bytes));
                    let out = call.sums.add(panel * ROWS);
                    vst1q_s32(out, low);
                    vst1q_s32(out.add(BYTE_ROWS), high);
                }
                _ => in_tiles!(tiles, call, panel),
            }
        }
    }
}

/// Computes both halves of a panel, two byte rows at a time. With all four at once, the sums would not fit the
/// registers.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tiles<const COLUMNS: usize, const HINTS: bool>(call: &Call, panel: usize, columns: usize, column: usize) {
    for first in (0..BYTE_ROWS).step_by(2) {
        // SAFETY: by this function's contract.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; COLUMNS];
            let mut w = call.weights.add((panel * call.steps * BYTE_ROWS + first) * STEP).cast::<i8>();
            let mut x = call.activations.add(column * STEP);
            for _ in 0..call.steps {
                if HINTS && first == 0 {
                    prefetch(w.wrapping_add(HINT));
                }
                let columns_x: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add(c * STEP)));
                for row in 0..2 {
                    let bytes = vld1q_s8(w.add(row * STEP));
                    for (i, w) in [vshlq_n_s8::<4>(bytes), bytes].into_iter().enumerate() {
                        for c in 0..COLUMNS {
                            let pairs = vmull_s8(vget_low_s8(w), vget_low_s8(columns_x[c]));
                            let sum = &mut sums[c][2 * i + row];
                            *sum = vpadalq_s16(*sum, vmlal_high_s8(pairs, w, columns_x[c]));
                        }
                    }
                }
                w = w.wrapping_add(BYTE_ROWS * STEP);
                x = x.wrapping_add(columns * STEP);
            }
            for (c, sums) in sums.into_iter().enumerate() {
                // The sums of 16 times the low weights of two byte rows, then the sums of their bytes.
                let sums = across(sums);
                let [low, high] = split(sums, vextq_s32::<2>(sums, sums));
                let out = call.sums.add((column + c) * call.sums_stride + panel * ROWS + first);
                vst1_s32(out, vget_low_s32(low));
                vst1_s32(out.add(BYTE_ROWS), vget_low_s32(high));
            }
        }
    }
}

/// As [`gemm_s4s8s32_8x16`], with one multiplier per group of two steps.
///
/// # Safety
/// As [`gemm_s4s8s32_8x16`]. `steps` is even.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4gs8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => grouped_panels::<COLUMNS, true>(call),
            false => grouped_panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4gs8s32_8x16`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4gs8s32_8x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let (w, multipliers) = grouped_panel(call, panel);
                    let [low, high] = grouped_tile_8x1(w, call.activations, multipliers, call.steps / 2, HINTS);
                    let out = call.sums.add(panel * ROWS);
                    vst1q_s32(out, low);
                    vst1q_s32(out.add(BYTE_ROWS), high);
                }
                1 => grouped_tiles::<1, HINTS>(call, panel, COLUMNS, 0),
                2 => grouped_pair::<HINTS>(call, panel, COLUMNS, 0),
                3 => grouped_tiles::<3, HINTS>(call, panel, COLUMNS, 0),
                4 => grouped_tiles::<4, HINTS>(call, panel, COLUMNS, 0),
                5 => {
                    grouped_tiles::<3, HINTS>(call, panel, COLUMNS, 0);
                    grouped_pair::<false>(call, panel, COLUMNS, 3);
                }
                6 => {
                    grouped_tiles::<3, HINTS>(call, panel, COLUMNS, 0);
                    grouped_tiles::<3, false>(call, panel, COLUMNS, 3);
                }
                7 => {
                    grouped_tiles::<4, HINTS>(call, panel, COLUMNS, 0);
                    grouped_tiles::<3, false>(call, panel, COLUMNS, 4);
                }
                8 => {
                    grouped_tiles::<4, HINTS>(call, panel, COLUMNS, 0);
                    grouped_tiles::<4, false>(call, panel, COLUMNS, 4);
                }
                9 => {
                    grouped_tiles::<3, HINTS>(call, panel, COLUMNS, 0);
                    (1..3).for_each(|i| grouped_tiles::<3, false>(call, panel, COLUMNS, 3 * i));
                }
                _ => {
                    grouped_tiles::<4, HINTS>(call, panel, COLUMNS, 0);
                    (0..2).for_each(|i| grouped_tiles::<3, false>(call, panel, COLUMNS, 4 + 3 * i));
                }
            }
            if HINTS {
                // Groups have hinted as far ahead as there are weights. The rest of the lines are as many as multipliers.
                let (_, multipliers) = grouped_panel(call, panel);
                for at in (0..LAYOUT.multiplier_bytes(call.steps)).step_by(Line::BYTES) {
                    prefetch(multipliers.wrapping_add(HINT + at));
                }
            }
        }
    }
}

/// The weights and the multipliers of a panel.
///
/// # Safety
/// The contract of `call` must hold for weights with groups, and the panel must lie inside it.
#[inline]
unsafe fn grouped_panel(call: &Call, panel: usize) -> (*const u8, *const u8) {
    let weight_bytes = BYTE_ROWS * STEP * call.steps;
    // SAFETY: by this function's contract.
    unsafe {
        let w = call.weights.add(panel * (weight_bytes + LAYOUT.multiplier_bytes(call.steps)));
        (w, w.add(weight_bytes))
    }
}

/// A step of a group of 8 rows x 1 column.
///
/// Registers: bytes in `$b0` to `$b3`, which become low weights, high weights in 8..11, activations in `$x`, products
/// of low rows in 16..19 and of high rows in 20..23. `$smull` sets the products or adds to them. `$early` and `$late`
/// are other work to do meanwhile.
macro_rules! grouped_step_8x1 {
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
/// The arithmetic is nearly that of [`grouped_tiles`]. Multipliers are in register 25. A group's products are added up
/// while the next group is unpacked, so nothing waits for them.
///
/// # Safety
/// The steps of the panel and of the column, and the groups of multipliers, must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tile_8x1(w: *const u8, x: *const i8, m: *const u8, groups: usize, hints: bool) -> [int32x4_t; 2] {
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
            grouped_step_8x1!("smull", 2, [4, 5, 6, 7],
                early: ["addp v26.8h, v26.8h, v27.8h", "addp v27.8h, v28.8h, v29.8h"],
                late: [
                    "ldr q12, [{w}, #64]", "ldr q13, [{w}, #80]", "ldr q14, [{w}, #96]", "ldr q15, [{w}, #112]",
                    "add {w}, {w}, #128", "add {x}, {x}, #32", "addp v26.8h, v26.8h, v27.8h", "ldr d24, [{m}]",
                    "add {m}, {m}, #8"
                ]),
            grouped_step_8x1!("smlal", 3, [12, 13, 14, 15],
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

/// The products of a byte row and two columns: high weights in `$h`, low ones in `$b`. Meanwhile, the next byte row, in
/// `{r}`, is unpacked to `$nb` and `$nh`, and `$load` loads the one after it.
///
/// An in-order core waits for a shift as long as for five instructions, so that many lie between.
macro_rules! grouped_row_x2 {
    ($smull:literal, $b:literal $h:literal, $nb:literal $nh:literal, [$l0:literal $l1:literal $h0:literal $h1:literal], $x0:literal $x1:literal,
     $load:literal) => {
        concat!(
            $smull,
            " {",
            $h0,
            ":v}.8h, {",
            $h,
            ":v}.8b, {",
            $x0,
            ":v}.8b\n",
            $smull,
            " {",
            $h1,
            ":v}.8h, {",
            $h,
            ":v}.8b, {",
            $x1,
            ":v}.8b\n",
            "shl {",
            $nb,
            ":v}.16b, {r:v}.16b, #4\n",
            "srshr {",
            $nh,
            ":v}.16b, {r:v}.16b, #4\n",
            $smull,
            " {",
            $l0,
            ":v}.8h, {",
            $b,
            ":v}.8b, {",
            $x0,
            ":v}.8b\n",
            $smull,
            " {",
            $l1,
            ":v}.8h, {",
            $b,
            ":v}.8b, {",
            $x1,
            ":v}.8b\n",
            $load,
            "\n",
            "smlal2 {",
            $h0,
            ":v}.8h, {",
            $h,
            ":v}.16b, {",
            $x0,
            ":v}.16b\n",
            "smlal2 {",
            $h1,
            ":v}.8h, {",
            $h,
            ":v}.16b, {",
            $x1,
            ":v}.16b\n",
            "sshr {",
            $nb,
            ":v}.16b, {",
            $nb,
            ":v}.16b, #4\n",
            "smlal2 {",
            $l0,
            ":v}.8h, {",
            $b,
            ":v}.16b, {",
            $x0,
            ":v}.16b\n",
            "smlal2 {",
            $l1,
            ":v}.8h, {",
            $b,
            ":v}.16b, {",
            $x1,
            ":v}.16b\n",
        )
    };
}

/// The sums of `groups >= 1` groups of 8 rows x 2 columns: for each column the low rows, then the high rows. `m` points
/// to the multipliers.
///
/// The arithmetic is that of [`grouped_tiles`], but a whole panel is added up at once.
///
/// # Safety
/// The steps of the panel and of the columns, and the groups of multipliers, must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tile_8x2(
    w: *const u8,
    x: *const i8,
    x_step: usize,
    m: *const u8,
    groups: usize,
    hints: bool,
) -> [[int32x4_t; 2]; 2] {
    let zero = vdupq_n_s32(0);
    let (l0, h0, l1, h1): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($hints:expr) => {
        asm!(
                    ".p2align 6",
                    "2:",
                    "ldr {b0:q}, [{w}]", "ldr {r:q}, [{w}, #16]", "ldr {x0:q}, [{x}]", "ldr {x1:q}, [{x}, #16]",
                    // What is left to do for the group before; nothing but zeros the first time.
                    "addp {p4:v}.8h, {p4:v}.8h, {p6:v}.8h", "addp {q4:v}.8h, {q4:v}.8h, {q6:v}.8h",
                    "add {x}, {x}, {x_step}",
                    "srshr {u0:v}.16b, {b0:v}.16b, #4", "shl {b0:v}.16b, {b0:v}.16b, #4",
                    "ldr {x2:q}, [{x}]", "ldr {x3:q}, [{x}, #16]",
                    "addp {p0:v}.8h, {p0:v}.8h, {p4:v}.8h", "addp {q0:v}.8h, {q0:v}.8h, {q4:v}.8h",
                    "add {x}, {x}, {x_step}",
                    "sshr {b0:v}.16b, {b0:v}.16b, #4",
                    $hints,
                    "ldr {m1:d}, [{m}]",
                    "add {m}, {m}, #8",
                    "smlal {l0:v}.4s, {p0:v}.4h, {m0:v}.4h", "smlal {l1:v}.4s, {q0:v}.4h, {m0:v}.4h",
                    "smlal2 {h0:v}.4s, {p0:v}.8h, {m0:v}.8h", "smlal2 {h1:v}.4s, {q0:v}.8h, {m0:v}.8h",
                    "sshll {m0:v}.8h, {m1:v}.8b, #0",
                    grouped_row_x2!("smull", "b0" "u0", "b1" "u1", ["p0" "q0" "p4" "q4"], "x0" "x1", "ldr {r:q}, [{w}, #32]"),
                    grouped_row_x2!("smull", "b1" "u1", "b0" "u0", ["p1" "q1" "p5" "q5"], "x0" "x1", "ldr {r:q}, [{w}, #48]"),
                    grouped_row_x2!("smull", "b0" "u0", "b1" "u1", ["p2" "q2" "p6" "q6"], "x0" "x1", "ldr {r:q}, [{w}, #64]"),
                    grouped_row_x2!("smull", "b1" "u1", "b0" "u0", ["p3" "q3" "p7" "q7"], "x0" "x1", "ldr {r:q}, [{w}, #80]"),
                    grouped_row_x2!("smlal", "b0" "u0", "b1" "u1", ["p0" "q0" "p4" "q4"], "x2" "x3", "ldr {r:q}, [{w}, #96]"),
                    grouped_row_x2!("smlal", "b1" "u1", "b0" "u0", ["p1" "q1" "p5" "q5"], "x2" "x3", "ldr {r:q}, [{w}, #112]"),
                    grouped_row_x2!("smlal", "b0" "u0", "b1" "u1", ["p2" "q2" "p6" "q6"], "x2" "x3", "add {w}, {w}, #128"),
                    // There is no row after the last; what is unpacked of old bytes is not used.
                    grouped_row_x2!("smlal", "b1" "u1", "b0" "u0", ["p3" "q3" "p7" "q7"], "x2" "x3", "subs {groups}, {groups}, #1"),
                    "addp {p0:v}.8h, {p0:v}.8h, {p1:v}.8h", "addp {q0:v}.8h, {q0:v}.8h, {q1:v}.8h",
                    "addp {p4:v}.8h, {p4:v}.8h, {p5:v}.8h", "addp {q4:v}.8h, {q4:v}.8h, {q5:v}.8h",
                    "addp {p6:v}.8h, {p6:v}.8h, {p7:v}.8h", "addp {q6:v}.8h, {q6:v}.8h, {q7:v}.8h",
                    "addp {p2:v}.8h, {p2:v}.8h, {p3:v}.8h", "addp {q2:v}.8h, {q2:v}.8h, {q3:v}.8h",
                    "addp {p0:v}.8h, {p0:v}.8h, {p2:v}.8h", "addp {q0:v}.8h, {q0:v}.8h, {q2:v}.8h",
                    "b.ne 2b",
                    "addp {p4:v}.8h, {p4:v}.8h, {p6:v}.8h", "addp {q4:v}.8h, {q4:v}.8h, {q6:v}.8h",
                    "addp {p0:v}.8h, {p0:v}.8h, {p4:v}.8h", "addp {q0:v}.8h, {q0:v}.8h, {q4:v}.8h",
                    "smlal {l0:v}.4s, {p0:v}.4h, {m0:v}.4h", "smlal2 {h0:v}.4s, {p0:v}.8h, {m0:v}.8h",
                    "smlal {l1:v}.4s, {q0:v}.4h, {m0:v}.4h", "smlal2 {h1:v}.4s, {q0:v}.8h, {m0:v}.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
            x_step = in(reg) x_step,
            l0 = inout(vreg) zero => l0, h0 = inout(vreg) zero => h0, l1 = inout(vreg) zero => l1,
            h1 = inout(vreg) zero => h1,
            p0 = inout(vreg) zero => _, p1 = out(vreg) _, p2 = out(vreg) _, p3 = out(vreg) _, p4 = inout(vreg) zero => _, p5 = out(vreg) _,
            p6 = inout(vreg) zero => _, p7 = out(vreg) _, q0 = inout(vreg) zero => _, q1 = out(vreg) _, q2 = out(vreg) _, q3 = out(vreg) _,
            q4 = inout(vreg) zero => _, q5 = out(vreg) _, q6 = inout(vreg) zero => _, q7 = out(vreg) _,
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _, x3 = out(vreg) _,
            b0 = out(vreg) _, b1 = out(vreg) _, u0 = out(vreg) _, u1 = out(vreg) _, m0 = inout(vreg) zero => _, m1 = out(vreg) _, r = out(vreg) _,
            options(readonly, nostack)
        )
            };
        }
        if hints { tile!(hints!(640 704)) } else { tile!("") }
    }
    [[l0, h0], [l1, h1]]
}

/// Computes a panel and two columns, starting at `column`.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_pair<const HINTS: bool>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        if call.steps == 0 {
            return grouped_tiles::<2, HINTS>(call, panel, columns, column);
        }
        let (w, multipliers) = grouped_panel(call, panel);
        let x = call.activations.add(column * STEP);
        let sums = grouped_tile_8x2(w, x, columns * STEP, multipliers, call.steps / 2, HINTS);
        for (c, [low, high]) in sums.into_iter().enumerate() {
            let out = call.sums.add((column + c) * call.sums_stride + panel * ROWS);
            vst1q_s32(out, low);
            vst1q_s32(out.add(BYTE_ROWS), high);
        }
    }
}

/// Computes both halves of a panel, two byte rows at a time.
///
/// The products of a group stay in `i16`: their sum is at most `32 * 7 * 128 < 2^15`. Lanes are added up over four rows
/// and two columns, so that one `smlal` applies the multipliers of four rows.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tiles<const COLUMNS: usize, const HINTS: bool>(
    call: &Call,
    panel: usize,
    columns: usize,
    column: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        grouped_tile::<COLUMNS, 0, HINTS>(call, panel, columns, column);
        grouped_tile::<COLUMNS, 2, false>(call, panel, columns, column);
    }
}

/// Computes byte rows `FIRST` and `FIRST + 1`.
///
/// # Safety
/// As [`grouped_tiles`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tile<const COLUMNS: usize, const FIRST: usize, const HINTS: bool>(
    call: &Call,
    panel: usize,
    columns: usize,
    column: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let (weights, multipliers) = grouped_panel(call, panel);
        let mut w = weights.add(FIRST * STEP).cast::<i8>();
        let mut multipliers = multipliers.cast();
        let mut x = call.activations.add(column * STEP);
        // Two low rows, then two high rows.
        let mut sums = [vdupq_n_s32(0); COLUMNS];
        for _ in 0..call.steps / 2 {
            if HINTS {
                prefetch(w.wrapping_add(HINT));
                prefetch(w.wrapping_add(HINT + Line::BYTES));
            }
            let mut products = [[vdupq_n_s16(0); 4]; COLUMNS];
            for step in 0..2 {
                for row in 0..2 {
                    let bytes = vld1q_s8(w.add((step * BYTE_ROWS + row) * STEP));
                    // Rounding undoes the borrow of negative low weights.
                    let (low, high) = (vshrq_n_s8::<4>(vshlq_n_s8::<4>(bytes)), vrshrq_n_s8::<4>(bytes));
                    for c in 0..COLUMNS {
                        let x = vld1q_s8(x.add((step * columns + c) * STEP));
                        for (i, w) in [low, high].into_iter().enumerate() {
                            let sum = &mut products[c][2 * i + row];
                            *sum = vmlal_s8(*sum, vget_low_s8(w), vget_low_s8(x));
                            *sum = vmlal_high_s8(*sum, w, x);
                        }
                    }
                }
            }
            // The tile's two low rows and its two high rows, twice.
            let m = vreinterpretq_s32_s16(vmovl_s8(vld1_s8(multipliers)));
            let m = vreinterpretq_s16_s32(if FIRST == 0 { vuzp1q_s32(m, m) } else { vuzp2q_s32(m, m) });
            // Two sums per row.
            let halves = products.map(|[p0, p1, p2, p3]| vpaddq_s16(vpaddq_s16(p0, p1), vpaddq_s16(p2, p3)));
            for c in (0..COLUMNS).step_by(2) {
                let next = (c + 1).min(COLUMNS - 1);
                let group = vpaddq_s16(halves[c], halves[next]);
                sums[c] = vmlal_s16(sums[c], vget_low_s16(group), vget_low_s16(m));
                if next > c {
                    sums[next] = vmlal_high_s16(sums[next], group, m);
                }
            }
            w = w.wrapping_add(2 * BYTE_ROWS * STEP);
            x = x.wrapping_add(2 * columns * STEP);
            multipliers = multipliers.wrapping_add(ROWS);
        }
        for (c, sums) in sums.into_iter().enumerate() {
            let out = call.sums.add((column + c) * call.sums_stride + panel * ROWS + FIRST);
            vst1_s32(out, vget_low_s32(sums));
            vst1_s32(out.add(BYTE_ROWS), vget_high_s32(sums));
        }
    }
}
