//! The kernels that `build.rs` selects for a target.

#[path = "../build.rs"]
mod build;

use build::{Target, kernels};

/// Targets with kernels and targets without, as `rustc --print cfg --target NAME` describes them: name, architecture,
/// endianness, width of pointers, features.
const WITH_KERNELS: [[&str; 5]; 3] = [
    ["aarch64-unknown-linux-gnu", "aarch64", "little", "64", "neon"],
    ["aarch64-apple-darwin", "aarch64", "little", "64", "aes,crc,dit,dotprod,dpb,fp16,neon"],
    ["aarch64-pc-windows-msvc", "aarch64", "little", "64", "neon"],
];
const WITHOUT: [[&str; 5]; 6] = [
    ["arm64_32-apple-watchos", "aarch64", "little", "32", "aes,crc,fp16,neon"],
    ["aarch64-unknown-linux-gnu_ilp32", "aarch64", "little", "32", "neon"],
    ["aarch64_be-unknown-linux-gnu", "aarch64", "big", "64", "neon"],
    ["aarch64-unknown-none-softfloat", "aarch64", "little", "64", ""],
    ["arm64ec-pc-windows-msvc", "arm64ec", "little", "64", "neon"],
    ["x86_64-unknown-linux-gnu", "x86_64", "little", "64", "fxsr,sse,sse2"],
];

#[test]
fn kernels_are_for_targets_that_they_were_written_for() {
    let found = |[_, arch, endian, pointer_width, features]: [&'static str; 5]| {
        kernels(&Target { arch, endian, pointer_width, features })
    };
    for target in WITH_KERNELS {
        assert_eq!(found(target), Some("kernel_aarch64"), "{target:?}");
    }
    for target in WITHOUT {
        assert_eq!(found(target), None, "{target:?}");
    }
}

/// A feature's name must match as a whole, not only its beginning or end.
#[test]
fn features_are_compared_whole() {
    let target = Target { arch: "aarch64", endian: "little", pointer_width: "64", features: "neon-fp16,aneon" };
    assert_eq!(kernels(&target), None);
}
