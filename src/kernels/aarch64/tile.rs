//! The loop that hand-scheduled tiles share, and the hints that bring weights from memory before they are needed.

/// The cache lines of weights that a tile asks for ahead of their use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hints {
    /// None: the panel is in a cache.
    None,
    /// Each line, a constant distance ahead. Behind the last line of a panel comes the next panel.
    All,
    /// Half the lines of the next panel, for each of two tiles that pass over a panel. The first tile alone would wait
    /// for memory, which would be idle during the second.
    ///
    /// A step hints at lines so many bytes behind the step after it.
    Half(usize),
}

/// The longest panel, in bytes, that stays in L1 together with the next one.
const LONGEST_OF_TWO: usize = 16 * 1024;

impl Hints {
    /// The hints of a batch that passes over a panel once.
    #[inline]
    pub(super) fn of(from_memory: bool) -> Self {
        if from_memory { Hints::All } else { Hints::None }
    }

    /// The hints of two tiles that pass over a panel of `panel_bytes` bytes one after the other, `step_bytes` a step.
    #[inline]
    pub(super) fn of_two(from_memory: bool, panel_bytes: usize, step_bytes: usize) -> [Self; 2] {
        match (step_bytes..=LONGEST_OF_TWO).contains(&panel_bytes) {
            true if from_memory => {
                let ahead = panel_bytes - step_bytes;
                [Hints::Half(ahead), Hints::Half(ahead + step_bytes / 2)]
            }
            _ => [Self::of(from_memory), Hints::None],
        }
    }
}

/// Prefetches of the lines that lie so many bytes behind the pointer `{w}`. A number may be in a register.
macro_rules! hints {
    ($($place:expr)*) => { concat!($("prfm pldl1keep, [{w}, ", $place, "]\n",)*) };
}

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
///
/// `$first`, `$next` and `$last` are the prefetches of such steps; a `single` step has those of `next`. They come behind
/// the step, where in-order cores issue them beside the end of the loop. They may name operands, whose values are
/// `$value`. A prefetch of a line beyond the weights, or of no memory at all, has no effect.
macro_rules! tile_loop {
    ($step:ident, $w:expr, $x:expr, $x_step:expr, $steps:expr, w_step: $w_step:literal, align: $align:literal,
     hints: [$first:expr, $next:expr, $last:expr] [$($operand:ident = $value:expr),*],
     sums: $kind:ident [$([$($sum:ident = $register:tt),*]),*], scratch: [$($scratch:tt),*]) => {
        asm!(
            "subs {steps}, {steps}, #1",
            "b.ne 1f",
            $step!(load),
            $($(tile_loop!(@$kind $register),)*)*
            concat!("add {w}, {w}, #", $w_step),
            $step!(single),
            $next,
            "b 4f",
            "1:",
            $step!(load),
            $($(tile_loop!(@$kind $register),)*)*
            concat!("add {w}, {w}, #", $w_step),
            "add {x}, {x}, {x_step}",
            $step!(first),
            $first,
            "subs {steps}, {steps}, #1",
            "b.eq 3f",
            "b 2f",
            // The loop does not cross a page. The padding that aligns it is jumped over.
            concat!(".p2align ", $align),
            "2:",
            concat!("add {w}, {w}, #", $w_step),
            "add {x}, {x}, {x_step}",
            $step!(next),
            $next,
            "subs {steps}, {steps}, #1",
            "b.ne 2b",
            "3:",
            concat!("add {w}, {w}, #", $w_step),
            $step!(last),
            $last,
            "4:",
            w = inout(reg) $w => _,
            x = inout(reg) $x => _,
            x_step = in(reg) $x_step,
            steps = inout(reg) $steps => _,
            $($operand = in(reg) $value,)*
            $($(out($register) $sum,)*)*
            $(out($scratch) _,)*
            options(readonly, nostack)
        )
    };
    (@zeroed $register:tt) => { concat!("movi ", $register, ".2d, #0") };
    (@assigned $register:tt) => { "" };
}

/// Defines a function that runs a tile over `steps >= 1` steps of one panel at `w` and `$columns` columns at `x`. The
/// steps of `x` are `x_step` bytes apart. The function returns four vectors of sums per column.
///
/// `all` are the distances of a step's prefetches for [`Hints::All`], and `first` and `last` those of a panel's first and
/// last step. Without `first`, the first step has none, as it loads twice as much as others, and `last` includes those of
/// the next panel's first step. `half` are the registers of [`Hints::Half`], which hold its distance and so much more; a tile without them has no
/// such hints.
macro_rules! tile {
    ($features:literal, $name:ident, $columns:literal, $step:ident, w_step: $w_step:literal, align: $align:literal,
     all: [$($all:literal)*], $(first: [$($first:literal)*],)? last: [$($last:literal)*],
     $(half: [$($half:literal)*] [$($operand:ident = $offset:expr),*],)? sums: $kind:ident $sums:tt, scratch: $scratch:tt) => {
        /// Runs the tile.
        ///
        /// # Safety
        /// The steps of the panel and of the columns must be readable, and there must be at least one.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name(
            w: *const u8,
            x: *const i8,
            x_step: usize,
            steps: usize,
            hints: Hints,
        ) -> [[int32x4_t; 4]; $columns] {
            tile!(@let $sums);
            // SAFETY: reads only steps that the contract lets it read, and writes the registers named.
            unsafe {
                match hints {
                    Hints::All => tile_loop!($step, w, x, x_step, steps, w_step: $w_step, align: $align,
                        hints: [concat!("", $(hints!($($first)*))?), hints!($($all)*), hints!($($last)*)] [], sums: $kind $sums, scratch: $scratch),
                    $(Hints::Half(ahead) => tile_loop!($step, w, x, x_step, steps, w_step: $w_step, align: $align,
                        hints: [hints!($($half)*), hints!($($half)*), hints!($($half)*)]
                        [$($operand = ahead + $offset),*], sums: $kind $sums, scratch: $scratch),)?
                    _ => tile_loop!($step, w, x, x_step, steps, w_step: $w_step, align: $align,
                        hints: ["", "", ""] [], sums: $kind $sums, scratch: $scratch),
                }
            }
            tile!(@return $sums)
        }
    };
    (@let [$([$($sum:ident = $register:tt),*]),*]) => { $($(let $sum: int32x4_t;)*)* };
    (@return [$([$($sum:ident = $register:tt),*]),*]) => { [$([$($sum),*]),*] };
}

pub(super) use {hints, tile, tile_loop};
