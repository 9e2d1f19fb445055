//! Calls tract-linalg's f32 kernels, each between two marks that scripts/speed-model/count finds in a log of executed blocks:
//!
//!     tract-counter MxKxN ...
//!
//! For each kernel and shape it prints a line and makes two calls; the second one is marked. A call multiplies packed operands
//! and stores the result row by row, as tract's `cost-model gather` does when it takes its times.

use std::arch::asm;
use std::error::Error;
use std::hint::black_box;

use tract_data::prelude::{Datum, Tensor};
use tract_linalg::mmm::{AsInputValue, FusedSpec, MatMatMul};

/// A block of its own, with a word that no compiler writes: a hint that no core knows and all ignore.
#[inline(never)]
fn mark() {
    // SAFETY: hints that are not allocated do nothing.
    unsafe { asm!("hint #100", options(nostack, preserves_flags)) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ops = tract_linalg::ops();
    for shape in std::env::args().skip(1) {
        let dims: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let &[m, k, n] = dims.as_slice() else { return Err(format!("{shape} is no MxKxN").into()) };
        for kernel in ops.mmm_impls().iter().filter(|kernel| kernel.name().starts_with("arm64simd_mmm_f32")) {
            count(&**kernel, m, k, n)?;
        }
    }
    mark();
    Ok(())
}

fn count(kernel: &dyn MatMatMul, m: usize, k: usize, n: usize) -> Result<(), Box<dyn Error>> {
    let float = Some(f32::datum_type());
    let packings = kernel.packings();
    let packing = packings
        .iter()
        .position(|(a, b)| a.precursor().as_dt() == float && b.precursor().as_dt() == float)
        .ok_or_else(|| format!("{} has no packing of f32", kernel.name()))?;
    let (a, b) = (Tensor::zero::<f32>(&[m, k])?, Tensor::zero::<f32>(&[k, n])?);
    let mut c = Tensor::zero::<f32>(&[m, n])?;
    let a = packings[packing].0.prepare_one(&a, 1, 0)?;
    let b = packings[packing].1.prepare_one(&b, 0, 1)?;
    println!("{} {m} {k} {n}", kernel.name());
    // SAFETY: the operands are in the packing that is named, m x k and k x n, and the view is of m x n elements of f32, which the
    // kernel stores.
    unsafe {
        let c = kernel.c_view(Some(0), Some(1)).wrap(&c.view_mut());
        let mut scratch = kernel.allocate_scratch_space();
        let product = [
            FusedSpec::AddMatMul { a: AsInputValue::Borrowed(&*a), b: AsInputValue::Borrowed(&*b), packing },
            FusedSpec::Store(c),
        ];
        kernel.run_with_scratch_space(m, n, &mut *scratch, black_box(&product))?;
        mark();
        kernel.run_with_scratch_space(m, n, &mut *scratch, black_box(&product))?;
        mark();
    }
    Ok(())
}
