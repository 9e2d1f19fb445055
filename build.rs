//! Reduces target logic to one cfg name per kernel family. The sources therefore never spell out targets.

use std::env;

/// The properties that decide which kernels a target can have, as Cargo tells them to build scripts.
pub struct Target<'a> {
    /// `CARGO_CFG_TARGET_ARCH`
    pub arch: &'a str,
    /// `CARGO_CFG_TARGET_ENDIAN`
    pub endian: &'a str,
    /// `CARGO_CFG_TARGET_POINTER_WIDTH`
    pub pointer_width: &'a str,
    /// `CARGO_CFG_TARGET_FEATURE`, separated by commas.
    pub features: &'a str,
}

/// The cfg names of all kernel families.
const KERNELS: [&str; 1] = ["kernel_aarch64"];

/// The cfg name of the kernels that a target can have besides the portable ones.
pub fn kernels(target: &Target<'_>) -> Option<&'static str> {
    let has = |feature| target.features.split(',').any(|has| has == feature);
    match target.arch {
        // The kernels load activations and weights in memory order, and assume that it is little-endian. Their assembly
        // expects pointers that fill a register, which the pointers of arm64_32 and ILP32 do not. NEON is part of the
        // AArch64 base, but can be switched off for operating system kernels.
        "aarch64" if target.endian == "little" && target.pointer_width == "64" && has("neon") => Some("kernel_aarch64"),
        _ => None,
    }
}

#[allow(dead_code, reason = "tests/targets.rs includes this file")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in KERNELS {
        println!("cargo::rustc-check-cfg=cfg({name})");
    }
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let (arch, endian, pointer_width, features) =
        (target("ARCH"), target("ENDIAN"), target("POINTER_WIDTH"), target("FEATURE"));
    let target = Target { arch: &arch, endian: &endian, pointer_width: &pointer_width, features: &features };
    if let Some(name) = kernels(&target) {
        println!("cargo::rustc-cfg={name}");
    }
}
