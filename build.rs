//! Reduces target logic to one cfg name per kernel family, so that the sources never spell out targets.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(kernel_aarch64)");

    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    // The kernels load activations and weights in memory order, which they take to be little-endian; NEON is part
    // of the AArch64 base but can be switched off for kernels of operating systems.
    let neon = target("FEATURE").split(',').any(|feature| feature == "neon");
    if target("ARCH") == "aarch64" && target("ENDIAN") == "little" && neon {
        println!("cargo::rustc-cfg=kernel_aarch64");
    }
}
