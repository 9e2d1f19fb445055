//! rten-gemm: activations u8 on the left, weights i8 on the right, sums i32.

use std::hint::black_box;
use std::mem::MaybeUninit;

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions, PackedBMatrix};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use crate::{Contestant, Failure, Operands, fastest};

pub fn contestant(Operands { w, x }: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    let gemm = GemmExecutor::<u8, i8, i32>::new();
    let (n, k) = w.shape();
    let by_feature = NdTensorView::from_data([n, k], w.as_slice());
    let activations: Vec<u8> = x.as_slice().iter().map(|&x| x as u8).collect();
    let mut rten = Rten {
        packed: gemm.prepack_b(by_feature.transposed()),
        by_depth: by_feature.transposed().to_tensor(),
        by_feature,
        weights: Weights::Packed,
        x: NdTensor::from_data([x.rows(), k], activations),
        out: vec![MaybeUninit::new(0); x.rows() * n],
        gemm,
    };
    // rten has separate kernels for a vector times a matrix, which take weights that are not packed.
    if x.rows() == 1 {
        rten.weights = fastest([Weights::Packed, Weights::ByDepth, Weights::ByFeature], |weights| {
            rten.weights = weights;
            rten.call();
        });
    }
    Ok(Box::new(rten))
}

struct Rten<'a> {
    gemm: GemmExecutor<u8, i8, i32>,
    packed: PackedBMatrix<i8>,
    /// `k x n`
    by_depth: NdTensor<i8, 2>,
    /// `n x k`
    by_feature: NdTensorView<'a, i8, 2>,
    weights: Weights,
    x: NdTensor<u8, 2>,
    out: Vec<MaybeUninit<i32>>,
}

#[derive(Clone, Copy)]
enum Weights {
    Packed,
    ByDepth,
    ByFeature,
}

impl Contestant for Rten<'_> {
    fn kernel(&self) -> String {
        let weights = match self.weights {
            Weights::Packed => "packed",
            Weights::ByDepth => "k x n",
            Weights::ByFeature => "n x k",
        };
        format!("{} ({weights})", self.gemm.kernel_name())
    }

    fn call(&mut self) {
        let weights = match self.weights {
            Weights::Packed => GemmInputB::Packed(&self.packed),
            Weights::ByDepth => GemmInputB::Unpacked(self.by_depth.view()),
            Weights::ByFeature => GemmInputB::Unpacked(self.by_feature.transposed()),
        };
        let x = GemmInputA::Unpacked(self.x.view());
        let out = self.gemm.gemm_uninit(black_box(&mut self.out), x, black_box(weights), GemmUninitOptions::default());
        out.expect("shapes fit");
    }

    fn agrees_with(&self, sums: &[i32]) -> bool {
        // SAFETY: made with initial values, and integers stay initialized whatever is written to them.
        self.out.iter().map(|sum| unsafe { sum.assume_init() }).eq(sums.iter().copied())
    }
}
