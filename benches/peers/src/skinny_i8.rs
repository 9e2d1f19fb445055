//! This library, on the tier it chooses: to the sums, and to bytes.

use std::hint::black_box;

use skinny::kernels::{Activations, Epilogue, PackedMat, RequantizeFloat, Scales, Sums, Workspace, gemm};
use skinny::{MatMut, MatRef, Tier};

use crate::{Contestant, Failure, Operands};

pub fn to_sums(operands: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    Ok(Box::new(ToSums(Product::new(operands)?)))
}

pub fn to_bytes(operands: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    let (n, k) = operands.w.shape();
    let scale = 1.0 / (60.0 * (k.max(1) as f32).sqrt());
    Ok(Box::new(ToBytes { product: Product::new(operands)?, scale, scales: Scales::new(vec![scale; n])? }))
}

struct Product<'a, T> {
    packed: PackedMat,
    x: MatRef<'a, i8>,
    out: Vec<T>,
    workspace: Workspace,
}

impl<'a, T: Clone + Default> Product<'a, T> {
    fn new(Operands { w, x }: Operands<'a>) -> Result<Self, Failure> {
        let out = vec![T::default(); x.rows() * w.rows()];
        Ok(Self { packed: PackedMat::new(w)?, x, out, workspace: Workspace::new() })
    }

    fn call<E: Epilogue<Output = T>>(&mut self, epilogue: &E) {
        let x = Activations::new(black_box(self.x));
        let out = MatMut::new(black_box(&mut self.out), self.x.rows(), self.packed.n());
        gemm(&self.packed, x, epilogue, out.expect("m x n outputs"), &mut self.workspace).expect("shapes fit");
    }
}

struct ToSums<'a>(Product<'a, i32>);

impl Contestant for ToSums<'_> {
    fn kernel(&self) -> String {
        tier()
    }

    fn call(&mut self) {
        self.0.call(&Sums);
    }

    fn agrees_with(&self, sums: &[i32]) -> bool {
        self.0.out == sums
    }
}

struct ToBytes<'a> {
    product: Product<'a, i8>,
    scale: f32,
    scales: Scales,
}

impl Contestant for ToBytes<'_> {
    fn kernel(&self) -> String {
        tier()
    }

    fn call(&mut self) {
        self.product.call(&RequantizeFloat::new(&self.scales, 0i8));
    }

    fn agrees_with(&self, sums: &[i32]) -> bool {
        let byte = |&sum: &i32| (sum as f32 * self.scale).round_ties_even().clamp(-128.0, 127.0) as i8;
        sums.iter().map(byte).eq(self.product.out.iter().copied())
    }
}

fn tier() -> String {
    Tier::select().expect("weights were packed for it").to_string()
}
