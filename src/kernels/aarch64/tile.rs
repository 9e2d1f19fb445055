//! The loop that hand-scheduled tiles share.

/// Runs a tile over its steps, of which there is at least one. `$step!` states once what a step multiplies and when
/// each register is loaded. Its argument selects what is written:
///
/// - `load`, only the loads: the operands of step 0;
/// - `first`, the first of several steps: sets the `assigned` sums, adds to the `zeroed` ones, and loads the next
///   step's operands;
/// - `next`: adds to the sums and loads the next step's operands;
/// - `last`: adds to the sums;
/// - `single`, the only step.
///
/// When a step is loaded, the pointers `{w}` and `{x}` point to it. Nothing beyond the last step is read. `2^align` is
/// at least the size of the loop in bytes.
macro_rules! tile_loop {
    ($step:ident, $w:expr, $x:expr, $x_step:expr, $steps:expr, w_step: $w_step:literal, align: $align:literal, prefetch: [$($prefetch:literal),*], sums: $kind:ident [$($sum:ident = $register:tt),*],
     scratch: [$($scratch:tt),*]) => {
        asm!(
            "subs {steps}, {steps}, #1",
            "b.ne 1f",
            $step!(load),
            $(tile_loop!(@$kind $register),)*
            concat!("add {w}, {w}, #", $w_step),
            $step!(single),
            "b 4f",
            "1:",
            $step!(load),
            $(tile_loop!(@$kind $register),)*
            concat!("add {w}, {w}, #", $w_step),
            "add {x}, {x}, {x_step}",
            $step!(first),
            "subs {steps}, {steps}, #1",
            "b.eq 3f",
            "b 2f",
            // The loop does not cross a page. The padding that aligns it is jumped over.
            concat!(".p2align ", $align),
            "2:",
            concat!("add {w}, {w}, #", $w_step),
            "add {x}, {x}, {x_step}",
            $($prefetch,)*
            $step!(next),
            "subs {steps}, {steps}, #1",
            "b.ne 2b",
            "3:",
            concat!("add {w}, {w}, #", $w_step),
            $step!(last),
            "4:",
            w = inout(reg) $w => _,
            x = inout(reg) $x => _,
            x_step = in(reg) $x_step,
            steps = inout(reg) $steps => _,
            $(out($register) $sum,)*
            $(out($scratch) _,)*
            options(readonly, nostack)
        )
    };
    (@zeroed $register:tt) => { concat!("movi ", $register, ".2d, #0") };
    (@assigned $register:tt) => { "" };
}

/// Defines a function that runs a tile over `steps >= 1` steps of one panel at `w` and `$columns` columns at `x`. The
/// steps of `x` are `x_step` bytes apart. The function returns four vectors of sums per column.
macro_rules! tile {
    ($features:literal, $name:ident, $columns:literal, $step:ident, w_step: $w_step:literal, align: $align:literal, prefetch: [$($prefetch:literal),*], sums: $kind:ident [$([$($sum:ident = $register:tt),*]),*],
     scratch: [$($scratch:tt),*]) => {
        /// Runs the tile.
        ///
        /// # Safety
        /// The steps of the panel and of the columns must be readable, and there must be at least one.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name(w: *const u8, x: *const i8, x_step: usize, steps: usize) -> [[int32x4_t; 4]; $columns] {
            // SAFETY: reads only steps that the contract lets it read, and writes the registers named.
            unsafe {
                $($(let $sum: int32x4_t;)*)*
                tile_loop!($step, w, x, x_step, steps, w_step: $w_step, align: $align,
                    prefetch: [$($prefetch),*], sums: $kind [$($($sum = $register),*),*], scratch: [$($scratch),*]);
                [$([$($sum),*]),*]
            }
        }
    };
}

pub(super) use {tile, tile_loop};
