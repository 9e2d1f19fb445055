//! Which kernels a target is built with, decided by `build.rs`.

#[path = "../build.rs"]
mod build;

use build::{Target, kernels};

/// Targets as `rustc --print cfg --target NAME` describes them: name, architecture, endianness, width of pointers,
/// features, kernels.
const TARGETS: [(&str, &str, &str, &str, &str, Option<&str>); 9] = [
    ("aarch64-unknown-linux-gnu", "aarch64", "little", "64", "neon", Some("kernel_aarch64")),
    ("aarch64-apple-darwin", "aarch64", "little", "64", "aes,crc,dit,dotprod,dpb,fp16,neon", Some("kernel_aarch64")),
    ("aarch64-pc-windows-msvc", "aarch64", "little", "64", "neon", Some("kernel_aarch64")),
    ("arm64_32-apple-watchos", "aarch64", "little", "32", "neon", None),
    ("aarch64-unknown-linux-gnu_ilp32", "aarch64", "little", "32", "neon", None),
    ("aarch64_be-unknown-linux-gnu", "aarch64", "big", "64", "neon", None),
    ("aarch64-unknown-none-softfloat", "aarch64", "little", "64", "", None),
    ("arm64ec-pc-windows-msvc", "arm64ec", "little", "64", "neon", None),
    ("x86_64-unknown-linux-gnu", "x86_64", "little", "64", "fxsr,sse,sse2", None),
];

#[test]
fn kernels_are_for_targets_that_they_were_written_for() {
    for (name, arch, endian, pointer_width, features, expected) in TARGETS {
        assert_eq!(kernels(&Target { arch, endian, pointer_width, features }), expected, "{name}");
    }
}

/// A feature is not one whose name it begins or ends with.
#[test]
fn features_are_compared_whole() {
    let target = Target { arch: "aarch64", endian: "little", pointer_width: "64", features: "neon-fp16,aneon" };
    assert_eq!(kernels(&target), None);
}
