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

/// A run of 4 in depth: unpacks the bytes in `$b`, adds the products of the bytes and of the high weights with lane
/// `$lane` of each column's activations, and does `$load` in between. The activations of the next step are loaded over
/// those of this one where `$x_load` says from where.
macro_rules! block {
    ($lane:literal, $b:ident $h:ident, [$($sb:ident $sh:ident $x:ident $($x_load:literal)?),*], $load:expr) => {
        concat!(
            "srshr {", stringify!($h), ":v}.16b, {", stringify!($b), ":v}.16b, #4\n",
            $("sdot {", stringify!($sb), ":v}.4s, {", stringify!($b), ":v}.16b, {", stringify!($x), ":v}.4b[", $lane, "]\n",)*
            $load,
            $(
                "sdot {", stringify!($sh), ":v}.4s, {", stringify!($h), ":v}.16b, {", stringify!($x), ":v}.4b[", $lane, "]\n",
                $("ldur {", stringify!($x), ":q}, [{x}, #", $x_load, "]\n",)?
            )*
        )
    };
}

/// The load of a register from `$at` bytes behind a pointer.
macro_rules! load {
    ($register:ident, $pointer:literal, $at:literal) => {
        concat!("ldur {", stringify!($register), ":q}, [{", $pointer, "}, #", $at, "]\n")
    };
}

/// Multiplies the sums of each column by the differences of multipliers in `$t0` (low rows, then high rows), eight
/// `i16`: low sums are those of bytes less 16 times the high ones.
macro_rules! scale {
    ($t0:ident $t1:ident $t2:ident, [$($sb:ident $sh:ident $al:ident $ah:ident),*]) => {
        concat!(
            "sshll {", stringify!($t1), ":v}.4s, {", stringify!($t0), ":v}.4h, #0\n",
            "sshll2 {", stringify!($t2), ":v}.4s, {", stringify!($t0), ":v}.8h, #0\n",
            $("mla {", stringify!($al), ":v}.4s, {", stringify!($sb), ":v}.4s, {", stringify!($t1), ":v}.4s\n",)*
            "shl {", stringify!($t1), ":v}.4s, {", stringify!($t1), ":v}.4s, #4\n",
            $("mla {", stringify!($ah), ":v}.4s, {", stringify!($sh), ":v}.4s, {", stringify!($t2), ":v}.4s\n",)*
            $("mls {", stringify!($al), ":v}.4s, {", stringify!($sh), ":v}.4s, {", stringify!($t1), ":v}.4s\n",)*
        )
    };
}

/// Defines a function that computes half a panel, four byte rows, and `$columns` columns over `groups >= 1` groups. It
/// returns two vectors per column, the low rows and the high rows.
///
/// `blocks` are the registers of a run of bytes and of its high weights for each of the eight runs of a group, each with
/// the load that it leaves time for. `early` and `late` are the loads for the first run of a group, before and after
/// the multipliers of the group before. Sums, activations and `scratch` are all the registers in use.
macro_rules! half_tile {
    ($name:ident, $columns:literal, scratch: [$($scratch:ident),*], temporaries: $t0:ident $t1:ident $t2:ident,
     columns: [$($sb:ident $sh:ident $al:ident $ah:ident $x:ident $x_at:literal),*], early: [$($early:expr),*], late: [$($late:expr),*],
     blocks: [$($b:ident $h:ident $load:expr),*]) => {
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
                    Hints::All => half_tile!(@asm hints!(1024 1088 1152 1216), [] [$($scratch),*; $t0 $t1 $t2; $($sb $sh $al $ah $x $x_at),*; $($early),*; $($late),*; $($b $h $load),*; zero w x x_step m groups]),
                    Hints::Half(ahead) => half_tile!(@asm hints!("{ahead}" "{ahead_next}"), [ahead = ahead, ahead_next = ahead + 64] [$($scratch),*; $t0 $t1 $t2; $($sb $sh $al $ah $x $x_at),*; $($early),*; $($late),*; $($b $h $load),*; zero w x x_step m groups]),
                    Hints::None => half_tile!(@asm "", [] [$($scratch),*; $t0 $t1 $t2; $($sb $sh $al $ah $x $x_at),*; $($early),*; $($late),*; $($b $h $load),*; zero w x x_step m groups]),
                }
            }
            [$([$al, $ah]),*]
        }
    };
    (@asm $hints:expr, [$($operand:ident = $value:expr),*] [$($scratch:ident),*; $t0:ident $t1:ident $t2:ident;
     $($sb:ident $sh:ident $al:ident $ah:ident $x:ident $x_at:literal),*; $($early:expr),*; $($late:expr),*;
     $($b:ident $h:ident $load:expr),*; $zero:ident $w:ident $xs:ident $x_step:ident $m:ident $groups:ident]) => {
                asm!(
                    $($early,)*
                    $($late,)*
                    "b 3f",
                    ".p2align 6",
                    "2:",
                    concat!("ldur {", stringify!($t0), ":d}, [{m}]"),
                    concat!("ldur {", stringify!($t1), ":d}, [{m}, #16]"),
                    "add {w}, {w}, #256",
                    "add {x}, {x}, {x_step}",
                    "add {m}, {m}, #16",
                    $($early,)*
                    concat!("ssubl {", stringify!($t0), ":v}.8h, {", stringify!($t0), ":v}.8b, {", stringify!($t1), ":v}.8b"),
                    scale!($t0 $t1 $t2, [$($sb $sh $al $ah),*]),
                    $($late,)*
                    "3:",
                    half_tile!(@group [$($sb $sh $x $x_at),*] $($b $h $load),*),
                    $hints,
                    "subs {groups}, {groups}, #1",
                    "b.ne 2b",
                    concat!("ldur {", stringify!($t0), ":d}, [{m}]"),
                    concat!("sshll {", stringify!($t0), ":v}.8h, {", stringify!($t0), ":v}.8b, #0"),
                    scale!($t0 $t1 $t2, [$($sb $sh $al $ah),*]),
                    w = inout(reg) $w => _, x = inout(reg) $xs => _, m = inout(reg) $m => _, groups = inout(reg) $groups => _,
                    x_step = in(reg) $x_step, $($operand = in(reg) $value,)*
                    $($sb = inout(vreg) $zero => _, $sh = inout(vreg) $zero => _,)*
                    $($al = inout(vreg) $zero => $al, $ah = inout(vreg) $zero => $ah, $x = out(vreg) _,)*
                    $($scratch = out(vreg) _,)*
                    options(readonly, nostack)
                )
    };
    (@group $columns:tt $b0:ident $h0:ident $l0:expr, $b1:ident $h1:ident $l1:expr, $b2:ident $h2:ident $l2:expr,
     $b3:ident $h3:ident $l3:expr, $b4:ident $h4:ident $l4:expr, $b5:ident $h5:ident $l5:expr, $b6:ident $h6:ident $l6:expr,
     $b7:ident $h7:ident $l7:expr) => {
        concat!(
            half_tile!(@block 0, $b0 $h0, $columns, $l0),
            half_tile!(@block 1, $b1 $h1, $columns, $l1),
            half_tile!(@block 2, $b2 $h2, $columns, $l2),
            "add {x}, {x}, {x_step}\n",
            half_tile!(@last_block 3, $b3 $h3, $columns, $l3),
            half_tile!(@block 0, $b4 $h4, $columns, $l4),
            half_tile!(@block 1, $b5 $h5, $columns, $l5),
            half_tile!(@block 2, $b6 $h6, $columns, $l6),
            half_tile!(@block 3, $b7 $h7, $columns, $l7),
        )
    };
    (@block $lane:literal, $b:ident $h:ident, [$($sb:ident $sh:ident $x:ident $x_at:literal),*], $load:expr) => {
        block!($lane, $b $h, [$($sb $sh $x),*], $load)
    };
    (@last_block $lane:literal, $b:ident $h:ident, [$($sb:ident $sh:ident $x:ident $x_at:literal),*], $load:expr) => {
        block!($lane, $b $h, [$($sb $sh $x $x_at),*], $load)
    };
    // Two sets of registers for bytes, loaded two runs ahead.
    (two_sets $name:ident, $columns:literal, columns: [$($sb:ident $sh:ident $al:ident $ah:ident $x:ident $x_at:literal),*]) => {
        half_tile! { $name, $columns, scratch: [b0, h0, b1, h1, t], temporaries: h0 h1 t,
            columns: [$($sb $sh $al $ah $x $x_at),*],
            early: [load!(b0, "w", 0), load!(b1, "w", 32)], late: [$(load!($x, "x", $x_at)),*],
            blocks: [
                b0 h0 load!(b0, "w", 64), b1 h1 load!(b1, "w", 96), b0 h0 load!(b0, "w", 128), b1 h1 load!(b1, "w", 160),
                b0 h0 load!(b0, "w", 192), b1 h1 load!(b1, "w", 224), b0 h0 "", b1 h1 ""
            ]
        }
    };
}

half_tile! { two_sets tile_8x2, 2, columns: [b00 h00 l0 u0 x0 0, b01 h01 l1 u1 x1 16] }
half_tile! { two_sets tile_8x3, 3, columns: [b00 h00 l0 u0 x0 0, b01 h01 l1 u1 x1 16, b02 h02 l2 u2 x2 32] }
half_tile! { two_sets tile_8x4, 4,
    columns: [b00 h00 l0 u0 x0 0, b01 h01 l1 u1 x1 16, b02 h02 l2 u2 x2 32, b03 h03 l3 u3 x3 48]
}
half_tile! { two_sets tile_8x5, 5, columns: [
        b00 h00 l0 u0 x0 0, b01 h01 l1 u1 x1 16, b02 h02 l2 u2 x2 32, b03 h03 l3 u3 x3 48, b04 h04 l4 u4 x4 64
    ]
}
// With six columns there are registers for the bytes of one run. Two temporaries lie where activations do later.
half_tile! { tile_8x6, 6, scratch: [b, h], temporaries: h x4 x5,
    columns: [
        b00 h00 l0 u0 x0 0, b01 h01 l1 u1 x1 16, b02 h02 l2 u2 x2 32, b03 h03 l3 u3 x3 48, b04 h04 l4 u4 x4 64,
        b05 h05 l5 u5 x5 80
    ],
    early: [load!(b, "w", 0)],
    late: [
        load!(x0, "x", 0), load!(x1, "x", 16), load!(x2, "x", 32), load!(x3, "x", 48), load!(x4, "x", 64),
        load!(x5, "x", 80)
    ],
    blocks: [
        b h load!(b, "w", 32), b h load!(b, "w", 64), b h load!(b, "w", 96), b h load!(b, "w", 128), b h load!(b, "w", 160),
        b h load!(b, "w", 192), b h load!(b, "w", 224), b h ""
    ]
}

/// Multiplies panels of 16 rows in runs of 4, with one multiplier per group of two steps.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s4gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    let &Call { steps, from_memory, .. } = call;
    let (x_step, groups, weight_bytes) = (COLUMNS * STEP, steps / 2, BYTE_ROWS * STEP * steps);
    let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(steps);
    // Each half of a panel asks for half the lines of the next panel. Of several tiles, the first one does.
    let [first, second] = Hints::of_two(from_memory, panel_bytes, GROUP_BYTES);
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
                store(call, panel, 0, [grouped_tile_16x1(weights, x(0), multipliers, groups, from_memory)]);
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
                    6 => tiles!(tile_8x6 at 0),
                    7 => tiles!(tile_8x4 at 0, tile_8x3 at 4),
                    8 => tiles!(tile_8x4 at 0, tile_8x4 at 4),
                    9 => tiles!(tile_8x5 at 0, tile_8x4 at 5),
                    _ => tiles!(tile_8x5 at 0, tile_8x5 at 5),
                }
            }
            if from_memory {
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
