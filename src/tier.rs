//! The names of the kernel tiers. `kernels/tier.rs` finds out which of them a machine has.

use core::fmt;

/// A family of kernels, named by the instructions it needs. Every variant exists on every target; only availability
/// differs. A machine that has a tier has all tiers before it.
///
/// With the feature `std`, the operating system is asked which tiers are available. On Windows the standard library of
/// Rust 1.95 does not detect `FEAT_I8MM`, so the best tier there is [`Dotprod`](Tier::Dotprod). Without `std`, the tier
/// is the one that the program was compiled for (`-C target-feature=+dotprod,+i8mm`).
///
/// Only the portable tier is available on targets with 32-bit pointers (`arm64_32`, ILP32), on big-endian targets and
/// under Miri.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Plain Rust, any target: the reference that the others must equal.
    Portable,
    /// AArch64 Advanced SIMD: `smull`, `smlal2`, `sadalp`. Cortex-A53, A72 and every other AArch64 core.
    Neon,
    /// `FEAT_DotProd`: `sdot`. Cortex-A55, A75, A76 and later.
    Dotprod,
    /// `FEAT_I8MM` (and `FEAT_DotProd`): `smmla`. Neoverse V1 and N2, Cortex-A510 and A710, and later.
    I8mm,
}

impl Tier {
    /// All tiers, from the simplest to the fastest.
    pub const ALL: [Tier; 4] = [Tier::Portable, Tier::Neon, Tier::Dotprod, Tier::I8mm];

    /// The name that `SKINNY_TIER` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Neon => "neon",
            Tier::Dotprod => "dotprod",
            Tier::I8mm => "i8mm",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
