//! The commands, one a module: its options with their help, and what it does.

pub mod bench;
pub mod completions;
pub mod compress;
pub mod gemm;
pub mod inspect;
pub mod run;
#[cfg(feature = "train")]
pub mod study;
#[cfg(feature = "train")]
pub mod train;
