//! One module per command, with its options, their help, and its work.

pub mod bench;
pub mod completions;
pub mod compress;
pub mod convert;
pub mod gather;
pub mod gemm;
pub mod inspect;
pub mod results;
pub mod run;
#[cfg(feature = "train")]
pub mod study;
#[cfg(feature = "train")]
pub mod train;
