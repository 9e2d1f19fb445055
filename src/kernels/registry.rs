//! The table of kernels. To add one, write the function and enter it here; driver, tests and benches iterate this.

use super::micro::{Family, MAX_COLUMNS, MicroKernel};
use super::pack::WeightFormat;
use super::portable;
use super::tier::{Supported, Tier};

#[cfg(kernel_aarch64)]
use super::aarch64::{dotprod, dotprod_i4, i8mm, i8mm_i4, neon, neon_i4};

/// One instance of a kernel that is generic over the batch size, for each batch size there is.
macro_rules! for_each_batch {
    ($kernel:path) => {{
        use $kernel as kernel;
        const KERNELS: [MicroKernel; MAX_COLUMNS] = [
            kernel::<1>,
            kernel::<2>,
            kernel::<3>,
            kernel::<4>,
            kernel::<5>,
            kernel::<6>,
            kernel::<7>,
            kernel::<8>,
            kernel::<9>,
            kernel::<10>,
        ];
        KERNELS
    }};
}

/// Every family that this target can be built with.
pub(crate) static FAMILIES: &[Family] = &[
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I8,
        layout: portable::LAYOUT,
        kernels: for_each_batch!(portable::gemm_s8s8s32_4x16),
        extreme: None,
    },
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I4,
        layout: portable::LAYOUT,
        kernels: for_each_batch!(portable::gemm_s4s8s32_4x16),
        extreme: None,
    },
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I4Group32,
        layout: portable::LAYOUT,
        kernels: for_each_batch!(portable::gemm_s4gs8s32_4x16),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Neon,
        format: WeightFormat::I8,
        layout: neon::LAYOUT,
        kernels: for_each_batch!(neon::gemm_s8s8s32_4x16),
        extreme: Some(for_each_batch!(neon::gemm_s8s8s32_4x16_extreme)),
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Neon,
        format: WeightFormat::I4,
        layout: neon_i4::LAYOUT,
        kernels: for_each_batch!(neon_i4::gemm_s4s8s32_8x16),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Neon,
        format: WeightFormat::I4Group32,
        layout: neon_i4::LAYOUT,
        kernels: for_each_batch!(neon_i4::gemm_s4gs8s32_8x16),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Dotprod,
        format: WeightFormat::I8,
        layout: dotprod::LAYOUT,
        kernels: for_each_batch!(dotprod::gemm_s8s8s32_16x4),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Dotprod,
        format: WeightFormat::I4,
        layout: dotprod::LAYOUT,
        kernels: for_each_batch!(dotprod_i4::gemm_s4s8s32_16x4),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::Dotprod,
        format: WeightFormat::I4Group32,
        layout: dotprod::LAYOUT,
        kernels: for_each_batch!(dotprod_i4::gemm_s4gs8s32_16x4),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::I8mm,
        format: WeightFormat::I8,
        layout: i8mm::LAYOUT,
        kernels: for_each_batch!(i8mm::gemm_s8s8s32_8x8),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::I8mm,
        format: WeightFormat::I4,
        layout: i8mm_i4::LAYOUT,
        kernels: for_each_batch!(i8mm_i4::gemm_s4s8s32_16x4),
        extreme: None,
    },
    #[cfg(kernel_aarch64)]
    Family {
        tier: Tier::I8mm,
        format: WeightFormat::I4Group32,
        layout: i8mm_i4::LAYOUT,
        kernels: for_each_batch!(i8mm_i4::gemm_s4gs8s32_16x4),
        extreme: None,
    },
];

/// The family of a tier and weight format. Each tier has every format.
pub(crate) fn select(tier: Supported, format: WeightFormat) -> &'static Family {
    FAMILIES
        .iter()
        .find(|family| family.tier == tier.tier() && family.format == format)
        .expect("the table has an entry for each tier of the target and each format (tested)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_unambiguous() {
        for &tier in Tier::available() {
            for format in WeightFormat::ALL {
                let found = FAMILIES.iter().filter(|family| family.tier == tier && family.format == format);
                assert_eq!(found.count(), 1, "{tier} {format:?}");
            }
        }
    }
}
