//! Kernels of the dotprod tier for 4-bit weights in groups of 32.
//!
//! The bytes are those of [`dotprod_i4`](super::dotprod_i4). Two kinds of sums are kept for each column: of the bytes,
//! `16 * high + low`, and of the high weights alone, which `srshr #4` unpacks. The low sums follow from the two.
//!
//! Sums are not taken for each group apart: they run on from group to group. With `S_g` the sums up to group `g` and
//! `m_g` its multipliers, `sum_g m_g (S_g - S_{g-1}) = sum_g (m_g - m_{g+1}) S_g`, where `m` behind the last group is
//! 0. So a group costs one `mla` for a vector of sums, and nothing has to be set to zero or narrowed. All this holds
//! modulo `2^32`, and the result fits.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod::{LAYOUT, dots, store};
use super::dotprod_i4::{lane_16x1, store_half};
use super::instructions::prefetch;
use super::tile::{Hints, hints};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Dotprod,
    format: WeightFormat::I4Group32,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4gs8s32_16x4),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;
const BYTE_ROWS: usize = ROWS / 2;
/// The number of sum vectors of a column.
const VECTORS: usize = ROWS / 4;
/// Bytes of the weights of a group, in a panel.
const GROUP_BYTES: usize = 2 * BYTE_ROWS * STEP;
/// How far ahead [`Hints::All`] asks for lines.
const HINT: usize = 1024;

/// The sums of `groups >= 1` groups of two steps, for 16 rows x 1 column. `m` points to the multipliers.
///
/// The registers are the same as in `tile_16x1` of the weights without groups, but the sums of a group are in 4..7. They
/// are split as [`split`](super::ops::split) does, then multiplied. A group's operands are loaded at its start: there are
/// enough loads that nothing waits for one.
///
/// # Safety
/// The steps of the panel and of the column, and the groups of multipliers, must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn grouped_tile_16x1(
    w: *const u8,
    x: *const i8,
    m: *const u8,
    groups: usize,
    hints: bool,
) -> [int32x4_t; VECTORS] {
    let (a0, a1, a2, a3): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        macro_rules! tile {
            ($hints:expr) => {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
            "b 2f",
            ".p2align 9",
            "2:",
            "ldur q16, [{w}]", "ldur q17, [{w}, #16]", "ldur q8, [{x}]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]",
            "ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]", "ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]",
            "ldur q9, [{x}, #16]", "ldur q10, [{m}]",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "add {w}, {w}, #256", "add {x}, {x}, #32", "add {m}, {m}, #16",
            lane_16x1!(next, 0, 8, [16, 17], [4, 5, 6, 7], ["ldur q16, [{w}, #-128]", "ldur q17, [{w}, #-112]"]),
            lane_16x1!(next, 1, 8, [18, 19], [4, 5, 6, 7], ["ldur q18, [{w}, #-96]", "ldur q19, [{w}, #-80]"]),
            lane_16x1!(next, 2, 8, [20, 21], [4, 5, 6, 7], ["ldur q20, [{w}, #-64]", "ldur q21, [{w}, #-48]"]),
            lane_16x1!(next, 3, 8, [22, 23], [4, 5, 6, 7], ["ldur q22, [{w}, #-32]", "ldur q23, [{w}, #-16]"]),
            "sshll v11.8h, v10.8b, #0", "sshll2 v10.8h, v10.16b, #0",
            lane_16x1!(last, 0, 9, [16, 17], [4, 5, 6, 7], ["", ""]),
            lane_16x1!(last, 1, 9, [18, 19], [4, 5, 6, 7], ["", ""]),
            lane_16x1!(last, 2, 9, [20, 21], [4, 5, 6, 7], ["", ""]),
            lane_16x1!(last, 3, 9, [22, 23], [4, 5, 6, 7], ["", ""]),
            $hints,
            "subs {groups}, {groups}, #1",
            "shrn v4.4h, v4.4s, #4", "shrn v5.4h, v5.4s, #4",
            "ssubw v6.4s, v6.4s, v4.4h", "ssubw v7.4s, v7.4s, v5.4h",
            "smlal v0.4s, v4.4h, v11.4h", "smlal v1.4s, v5.4h, v10.4h",
            "shrn2 v4.8h, v6.4s, #4", "shrn2 v5.8h, v7.4s, #4",
            "smlal2 v2.4s, v4.8h, v11.8h", "smlal2 v3.4s, v5.8h, v10.8h",
            "b.ne 2b",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
            out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _,
            options(readonly, nostack)
        )
            };
        }
        // The pointer is a group further.
        if hints { tile!(hints!(768 832 896 960)) } else { tile!("") }
    }
    [a0, a1, a2, a3]
}

/// The products of two runs of 4 in depth, lanes `$l0` and `$l1` of the activations: of the bytes in `$b0` and `$b1`, and
/// of their high weights in `h0` and `h1`.
macro_rules! runs {
    ($l0:literal $b0:literal, $l1:literal $b1:literal, $columns:tt) => {
        concat!(
            runs!(@bytes $l0 $b0, $columns), runs!(@high $l0 "h0", $columns), runs!(@bytes $l1 $b1, $columns), runs!(@high $l1 "h1", $columns),
        )
    };
    (@bytes $lane:literal $w:literal, [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        concat!($(runs!(@dot $lane $w, $sb $x),)*)
    };
    (@high $lane:literal $w:literal, [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        concat!($(runs!(@dot $lane $w, $sh $x),)*)
    };
    (@dot $lane:literal $w:literal, $sum:ident $x:ident) => {
        concat!("sdot {", stringify!($sum), ":v}.4s, {", $w, ":v}.16b, {", stringify!($x), ":v}.4b[", $lane, "]\n")
    };
}

/// `$op` on sums and multipliers, for the totals of each column.
macro_rules! scale {
    (low $op:literal bytes $m:literal, [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        concat!($(scale!(@ $op $al $sb $m),)*)
    };
    (low $op:literal high $m:literal, [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        concat!($(scale!(@ $op $al $sh $m),)*)
    };
    (high $op:literal high $m:literal, [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        concat!($(scale!(@ $op $ah $sh $m),)*)
    };
    (@ $op:literal $total:ident $sum:ident $m:literal) => {
        concat!($op, " {", stringify!($total), ":v}.4s, {", stringify!($sum), ":v}.4s, {", $m, ":v}.4s\n")
    };
}

/// Loads the activations of each column.
macro_rules! activations {
    ($([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*) => {
        concat!($("ldur {", stringify!($x), ":q}, [{x}, #", $at, "]\n",)*)
    };
}

/// Defines a function that computes half a panel, four byte rows, and some columns over `groups >= 1` groups. It returns
/// two vectors per column, the low rows and the high rows.
///
/// A column has the sums of bytes and of high weights, the totals of low and of high rows, its activations and their
/// offset. Bytes are in `b0` to `b3`, high weights in `h0` and `h1`, for two runs at a time. Multipliers come there, too.
///
/// In-order cores start a `sdot` each cycle, and wait for it before they start anything shorter; from then on they start two
/// such instructions a cycle. So loads and shifts come in bunches, between two runs and the next two.
macro_rules! half_tile {
    ($name:ident, $columns:literal, $first:tt $($column:tt)*) => { half_tile! { @ $name, $columns, $first [$($column)*] [$first $($column)*] } };
    (@ $name:ident, $columns:literal, $first:tt [$($column:tt)*] [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]) => {
        /// Runs the tile. The multipliers of a group are `ROWS` bytes behind those of the group before.
        ///
        /// # Safety
        /// The groups of the half panel, of the columns and of the multipliers must be readable, and there must be at
        /// least one.
        #[inline]
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn $name(w: *const u8, x: *const i8, x_step: usize, m: *const u8, groups: usize, hints: Hints) -> [[int32x4_t; 2]; $columns] {
            let zero = vdupq_n_s32(0);
            $(let ($al, $ah): (int32x4_t, int32x4_t);)*
            // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
            unsafe {
                match hints {
                    Hints::All => half_tile!(@asm hints!(1024 1088 1152 1216), [] $first [$($column)*] [$first $($column)*] zero w x x_step m groups),
                    Hints::Half(ahead) => half_tile!(@asm hints!("{ahead}" "{ahead_next}"), [ahead = ahead, ahead_next = ahead + 64] $first [$($column)*] [$first $($column)*] zero w x x_step m groups),
                    Hints::None => half_tile!(@asm "", [] $first [$($column)*] [$first $($column)*] zero w x x_step m groups),
                }
            }
            [$([$al, $ah]),*]
        }
    };
    (@asm $hints:expr, [$($operand:ident = $value:expr),*] $first:tt [$($column:tt)*] [$([$sb:ident $sh:ident $al:ident $ah:ident $x:ident $at:literal])*]
     $zero:ident $w:ident $xs:ident $x_step:ident $m:ident $groups:ident) => {
        asm!(
            activations!($first $($column)*),
            "ldur {b0:q}, [{w}]", "ldur {b1:q}, [{w}, #32]", "ldur {b2:q}, [{w}, #64]",
            "b 3f",
            ".p2align 6",
            "2:",
            "ldur {h0:d}, [{m}]", "ldur {h1:d}, [{m}, #16]",
            "add {m}, {m}, #16",
            "ldur {b0:q}, [{w}]", "ldur {b1:q}, [{w}, #32]",
            "ssubl {h0:v}.8h, {h0:v}.8b, {h1:v}.8b",
            activations!($first $($column)*),
            "sshll {h1:v}.4s, {h0:v}.4h, #0",
            "ldur {b2:q}, [{w}, #64]",
            "sshll2 {b3:v}.4s, {h0:v}.8h, #0",
            "shl {h0:v}.4s, {h1:v}.4s, #4",
            // Low sums are those of bytes less 16 times the high ones.
            scale!(low "mla" bytes "h1", [$first $($column)*]),
            scale!(high "mla" high "b3", [$first $($column)*]),
            scale!(low "mls" high "h0", [$first $($column)*]),
            "3:",
            "srshr {h0:v}.16b, {b0:v}.16b, #4", "ldur {b3:q}, [{w}, #96]", "srshr {h1:v}.16b, {b1:v}.16b, #4",
            runs!(0 "b0", 1 "b1", [$first $($column)*]),
            "ldur {b0:q}, [{w}, #128]", "srshr {h0:v}.16b, {b2:v}.16b, #4",
            "ldur {b1:q}, [{w}, #160]", "srshr {h1:v}.16b, {b3:v}.16b, #4", "add {x}, {x}, {x_step}",
            runs!(2 "b2", 3 "b3", [$first $($column)*]),
            activations!($first), "srshr {h0:v}.16b, {b0:v}.16b, #4",
            activations!($($column)*), "srshr {h1:v}.16b, {b1:v}.16b, #4",
            "ldur {b2:q}, [{w}, #192]", "ldur {b3:q}, [{w}, #224]",
            runs!(0 "b0", 1 "b1", [$first $($column)*]),
            "subs {groups}, {groups}, #1", "srshr {h0:v}.16b, {b2:v}.16b, #4", "add {x}, {x}, {x_step}",
            "srshr {h1:v}.16b, {b3:v}.16b, #4", $hints, "add {w}, {w}, #256",
            runs!(2 "b2", 3 "b3", [$first $($column)*]),
            "b.ne 2b",
            "ldur {h0:d}, [{m}]",
            "sshll {h0:v}.8h, {h0:v}.8b, #0",
            "sshll {h1:v}.4s, {h0:v}.4h, #0", "sshll2 {b3:v}.4s, {h0:v}.8h, #0", "shl {h0:v}.4s, {h1:v}.4s, #4",
            scale!(low "mla" bytes "h1", [$first $($column)*]),
            scale!(high "mla" high "b3", [$first $($column)*]),
            scale!(low "mls" high "h0", [$first $($column)*]),
            w = inout(reg) $w => _, x = inout(reg) $xs => _, m = inout(reg) $m => _, groups = inout(reg) $groups => _,
            x_step = in(reg) $x_step, $($operand = in(reg) $value,)*
            $($sb = inout(vreg) $zero => _, $sh = inout(vreg) $zero => _,)*
            $($al = inout(vreg) $zero => $al, $ah = inout(vreg) $zero => $ah, $x = out(vreg) _,)*
            b0 = out(vreg) _, b1 = out(vreg) _, b2 = out(vreg) _, b3 = out(vreg) _, h0 = out(vreg) _, h1 = out(vreg) _,
            options(readonly, nostack)
        )
    };
}

half_tile! { tile_8x2, 2, [b00 h00 l0 u0 x0 0] [b01 h01 l1 u1 x1 16] }
half_tile! { tile_8x3, 3, [b00 h00 l0 u0 x0 0] [b01 h01 l1 u1 x1 16] [b02 h02 l2 u2 x2 32] }
half_tile! { tile_8x4, 4, [b00 h00 l0 u0 x0 0] [b01 h01 l1 u1 x1 16] [b02 h02 l2 u2 x2 32] [b03 h03 l3 u3 x3 48] }
half_tile! { tile_8x5, 5,
    [b00 h00 l0 u0 x0 0] [b01 h01 l1 u1 x1 16] [b02 h02 l2 u2 x2 32] [b03 h03 l3 u3 x3 48] [b04 h04 l4 u4 x4 64]
}

/// Multiplies panels of 16 rows in runs of 4, with one multiplier per group of two steps.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s4gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4gs8s32_16x4`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4gs8s32_16x4`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn panels<const COLUMNS: usize, const FROM_MEMORY: bool>(call: &Call) {
    let &Call { steps, .. } = call;
    let (x_step, groups, weight_bytes) = (COLUMNS * STEP, steps / 2, BYTE_ROWS * STEP * steps);
    let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(steps);
    // Each half of a panel asks for half the lines of the next panel. Of several tiles, the first one does.
    let [first, second] = Hints::of_two(FROM_MEMORY, panel_bytes, GROUP_BYTES);
    // `Half` counts from the group after.
    let ahead = |hints, half: usize| match hints {
        Hints::Half(ahead) => Hints::Half(ahead + GROUP_BYTES - 16 * half),
        other => other,
    };
    let hints = [ahead(first, 0), ahead(second, 1)];
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let weights = call.weights.add(panel * panel_bytes);
            let multipliers = weights.add(weight_bytes);
            if steps == 0 {
                (0..COLUMNS).for_each(|c| store(call, panel, c, [[vdupq_n_s32(0); VECTORS]]));
                continue;
            }
            let x = |column| call.activations.add(column * STEP);
            if COLUMNS == 1 {
                store(call, panel, 0, [grouped_tile_16x1(weights, x(0), multipliers, groups, FROM_MEMORY)]);
            }
            for half in 0..2 {
                let (w, m) = (weights.add(16 * half), multipliers.add(BYTE_ROWS * half));
                macro_rules! tiles {
                    ($tile:ident at $column:literal $(, $other:ident at $other_column:literal)?) => {{
                        store_half(call, panel, half, $column, &$tile(w, x($column), x_step, m, groups, hints[half]));
                        $(
                            let sums = $other(w, x($other_column), x_step, m, groups, Hints::None);
                            store_half(call, panel, half, $other_column, &sums);
                        )?
                    }};
                }
                match COLUMNS {
                    1 => {}
                    2 => tiles!(tile_8x2 at 0),
                    3 => tiles!(tile_8x3 at 0),
                    4 => tiles!(tile_8x4 at 0),
                    5 => tiles!(tile_8x5 at 0),
                    6 => tiles!(tile_8x3 at 0, tile_8x3 at 3),
                    7 => tiles!(tile_8x4 at 0, tile_8x3 at 4),
                    8 => tiles!(tile_8x4 at 0, tile_8x4 at 4),
                    9 => tiles!(tile_8x5 at 0, tile_8x4 at 5),
                    _ => tiles!(tile_8x5 at 0, tile_8x5 at 5),
                }
            }
            if FROM_MEMORY {
                // Groups have hinted at as many lines as there are weights. The rest are as many as multipliers.
                let distance = match first {
                    Hints::Half(_) if COLUMNS > 1 => panel_bytes,
                    _ => HINT,
                };
                for at in (0..LAYOUT.multiplier_bytes(steps)).step_by(Line::BYTES) {
                    prefetch(multipliers.wrapping_add(distance + at));
                }
            }
        }
    }
}
