//! The loop that hand-scheduled tiles share.

/// Runs a tile over its steps. `first` loads the operands of step 0; `$step!(next)` multiplies a step and loads the
/// operands of the next, where `{w}` and `{x}` already point; `$step!(last)` loads nothing of a next step, so that nothing
/// beyond the operands is read. `sums` start at zero.
macro_rules! tile_loop {
    ($step:ident, $w:expr, $x:expr, $x_step:expr, $steps:expr, w_step: $w_step:literal, first: [$($first:literal),*],
     prefetch: [$($prefetch:literal),*], sums: [$($sum:ident = $register:tt),*], scratch: [$($scratch:tt),*]) => {
        asm!(
            $($first,)*
            $(concat!("movi ", $register, ".2d, #0"),)*
            "subs {steps}, {steps}, #1",
            "b.eq 3f",
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
            w = inout(reg) $w => _,
            x = inout(reg) $x => _,
            x_step = in(reg) $x_step,
            steps = inout(reg) $steps => _,
            $(out($register) $sum,)*
            $(out($scratch) _,)*
            options(readonly, nostack)
        )
    };
}

/// A function that runs a tile over `steps >= 1` steps of one panel at `w` and `$columns` columns at `x`, the steps of
/// `x` being `x_step` bytes apart. It returns four vectors of sums for each column.
macro_rules! tile {
    ($features:literal, $name:ident, $columns:literal, $step:ident, w_step: $w_step:literal, first: [$($first:literal),*],
     prefetch: [$($prefetch:literal),*], sums: [$([$($sum:ident = $register:tt),*]),*],
     scratch: [$($scratch:tt),*]) => {
        /// # Safety
        /// The steps of the panel and of the columns must be readable, and there must be one at least.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name(w: *const u8, x: *const i8, x_step: usize, steps: usize) -> [[int32x4_t; 4]; $columns] {
            // SAFETY: reads the steps that the contract lets it read, and writes the registers named.
            unsafe {
                $($(let $sum: int32x4_t;)*)*
                tile_loop!($step, w, x, x_step, steps, w_step: $w_step, first: [$($first),*],
                    prefetch: [$($prefetch),*], sums: [$($($sum = $register),*),*], scratch: [$($scratch),*]);
                [$([$($sum),*]),*]
            }
        }
    };
}

pub(super) use {tile, tile_loop};
