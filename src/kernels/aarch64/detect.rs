//! Detects which instructions the processor has.

use crate::tier::Tier;

/// The best tier of this machine. `std` caches the answer of the operating system. Without `std`, it is the tier
/// that the program was compiled for.
pub(crate) fn best() -> Tier {
    #[cfg(feature = "std")]
    let (dotprod, i8mm) =
        (std::arch::is_aarch64_feature_detected!("dotprod"), std::arch::is_aarch64_feature_detected!("i8mm"));
    #[cfg(not(feature = "std"))]
    let (dotprod, i8mm) = (cfg!(target_feature = "dotprod"), cfg!(target_feature = "i8mm"));
    match (dotprod, i8mm) {
        (true, true) => Tier::I8mm,
        (true, false) => Tier::Dotprod,
        (false, _) => Tier::Neon,
    }
}
