//! tract-linalg, in i8 and in f32: the kernel its dispatch picks for the shape, with the weights in that kernel's
//! packing.

use std::hint::black_box;

use skinny::MatRef;
use tract_data::prelude::{Datum, DatumType, Tensor};
use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{AsInputValue, FusedSpec, MMMInputValue, MatMatMul, Query, ScratchSpace};

use crate::{Contestant, Failure, Operands};

pub fn i8_contestant(operands: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    Ok(Box::new(Tract::new::<i8>(operands, i32::datum_type())?))
}

pub fn f32_contestant(operands: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    Ok(Box::new(Tract::new::<f32>(operands, f32::datum_type())?))
}

struct Tract {
    kernel: Box<dyn MatMatMul>,
    packing: usize,
    weights: Box<dyn MMMInputValue>,
    scratch: Box<dyn ScratchSpace>,
    /// `m x k`
    x: Tensor,
    /// `m x n`
    out: Tensor,
}

impl Tract {
    fn new<T: Datum + Copy + From<i8>>(Operands { w, x }: Operands<'_>, sums: DatumType) -> Result<Self, Failure> {
        let (m, n) = (x.rows(), w.rows());
        // The weights are its left-hand side: our n, k and m are its m, k and n.
        let query =
            Query { allow_extractor: false, store: Some(sums), ..Query::plain(sums, Some(n), Some(w.cols()), Some(m)) };
        let (kernel, packing, _) = MmmDispatch::native().pick(&query).ok_or("tract-linalg has no such kernel")?;
        let weights = kernel.packings()[packing].0.prepare_one(&tensor::<T>(w)?, 1, 0)?;
        // SAFETY: whatever this kernel says it needs, for this kernel.
        let scratch = unsafe { kernel.allocate_scratch_space() };
        Ok(Self { packing, weights, scratch, x: tensor::<T>(x)?, out: Tensor::zero_dt(sums, &[m, n])?, kernel })
    }
}

fn tensor<T: Datum + Copy + From<i8>>(values: MatRef<'_, i8>) -> Result<Tensor, Failure> {
    let (rows, cols) = values.shape();
    let values: Vec<T> = values.as_slice().iter().map(|&value| value.into()).collect();
    Ok(Tensor::from_shape(&[rows, cols], &values)?)
}

impl Contestant for Tract {
    fn kernel(&self) -> String {
        self.kernel.name().to_string()
    }

    fn call(&mut self) {
        let (m, n) = (self.out.shape()[0], self.out.shape()[1]);
        let x = self.kernel.packings()[self.packing]
            .1
            .prepare_one(black_box(&self.x), 1, 0)
            .expect("a packing of its type");
        let product = FusedSpec::AddMatMul {
            a: AsInputValue::Borrowed(&*self.weights),
            b: AsInputValue::Borrowed(&*x),
            packing: self.packing,
        };
        // SAFETY: both operands are in the packing that is named, n x k and m x k, and the view is of m x n elements of
        // the type that the query asked the kernel to store.
        unsafe {
            let out = self.kernel.c_view(Some(1), Some(0)).wrap(&self.out.view_mut());
            self.kernel
                .run_with_scratch_space(n, m, &mut *self.scratch, &[product, FusedSpec::Store(out)])
                .expect("shapes fit");
        }
        black_box(&mut self.out);
    }

    fn agrees_with(&self, sums: &[i32]) -> bool {
        let out = self.out.cast_to::<i32>().expect("numbers");
        // SAFETY: it has just been made of that type.
        unsafe { out.as_slice_unchecked::<i32>() == sums }
    }
}
