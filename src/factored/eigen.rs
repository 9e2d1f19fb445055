//! Eigenvalues and eigenvectors of symmetric matrices that are positive semidefinite up to rounding.

use alloc::vec::Vec;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Par, Spec};

use super::jacobi::orthogonalize;
use crate::linalg::{gram, product};

/// Largest accepted errors of a decomposition. `ORTHOGONALITY` bounds the norm of `V^T V - I`, which is 1e-12 at 2048
/// columns. `RESIDUAL` bounds the norm of `G V - V S` relative to the norm of `G`, which is 1e-14.
const ORTHOGONALITY: f64 = 1e-10;
const RESIDUAL: f64 = 1e-12;

/// The eigendecomposition `G = V S V^T`, in no order.
#[derive(Clone, Debug)]
pub(crate) struct Eigen {
    pub values: Vec<f64>,
    /// `d x d`, one eigenvector per column.
    pub vectors: faer::Mat<f64>,
}

/// A method of decomposing a symmetric matrix; it may fail, and its result may be wrong.
type Method = fn(&faer::Mat<f64>) -> Option<Eigen>;

impl Eigen {
    /// Decomposes `g` (`d x d`), whose elements must be small enough to be squared.
    ///
    /// Divide and conquer is tried first. If it fails, or its result does not pass the check, the implicit QR algorithm
    /// is next, which takes several times as long. Jacobi's method is last: it takes longer still and always converges.
    pub fn new(g: &faer::Mat<f64>) -> Self {
        Self::by(&[divide_and_conquer, implicit_qr], g)
    }

    fn by(methods: &[Method], g: &faer::Mat<f64>) -> Self {
        let checked = |method: &Method| method(g).filter(|eigen| eigen.is_of(g));
        methods.iter().find_map(checked).unwrap_or_else(|| jacobi(g))
    }

    /// Whether this is a decomposition of `g`. Orthogonal vectors with a small residual are proof of it: each
    /// eigenvalue of `g` is then within the residual of one of these.
    fn is_of(&self, g: &faer::Mat<f64>) -> bool {
        let mut products = gram(self.vectors.as_ref());
        let mut residual = product(g.as_ref(), self.vectors.as_ref());
        for (i, &value) in self.values.iter().enumerate() {
            products[(i, i)] -= 1.0;
            residual.col_mut(i).iter_mut().zip(self.vectors.col(i).iter()).for_each(|(r, v)| *r -= v * value);
        }
        // False for NaN.
        products.norm_l2() <= ORTHOGONALITY && residual.norm_l2() <= RESIDUAL * g.norm_l2()
    }
}

fn divide_and_conquer(g: &faer::Mat<f64>) -> Option<Eigen> {
    by_faer(g, Spec::default())
}

fn implicit_qr(g: &faer::Mat<f64>) -> Option<Eigen> {
    let mut parameters = Spec::<SelfAdjointEvdParams, f64>::default();
    parameters.config.recursion_threshold = usize::MAX;
    by_faer(g, parameters)
}

fn by_faer(g: &faer::Mat<f64>, parameters: Spec<SelfAdjointEvdParams, f64>) -> Option<Eigen> {
    let d = g.nrows();
    let (mut values, mut vectors) = (Diag::zeros(d), faer::Mat::zeros(d, d));
    let scratch = self_adjoint_evd_scratch::<f64>(d, ComputeEigenvectors::Yes, Par::Seq, parameters);
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(g.as_ref(), values.as_mut(), Some(vectors.as_mut()), Par::Seq, stack, parameters).ok()?;
    Some(Eigen { values: values.column_vector().iter().copied().collect(), vectors })
}

/// Decomposes by Jacobi's method: once the columns of `G V` are orthogonal, their lengths are the eigenvalues.
fn jacobi(g: &faer::Mat<f64>) -> Eigen {
    let d = g.nrows();
    let columns = |g: &faer::Mat<f64>| -> Vec<Vec<f64>> {
        (0..d).map(|column| g.col(column).iter().copied().collect()).collect()
    };
    let (mut products, mut vectors) = (columns(g), columns(&faer::Mat::identity(d, d)));
    orthogonalize(&mut products, &mut vectors);
    let length = |column: &Vec<f64>| column.iter().map(|x| x * x).sum::<f64>().sqrt();
    Eigen {
        values: products.iter().map(length).collect(),
        vectors: faer::Mat::from_fn(d, d, |row, column| vectors[column][row]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factored::matrices::matrix;

    fn gram_of(family: &str, rows: usize, d: usize, seed: u32) -> faer::Mat<f64> {
        let w = matrix(family, rows, d, seed, 0);
        gram(faer::Mat::from_fn(rows, d, |row, column| f64::from(w[row * d + column])).as_ref())
    }

    fn sorted(eigen: &Eigen) -> Vec<f64> {
        let mut values = eigen.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn every_method_finds_the_same() {
        // From 128 columns on, divide and conquer really divides.
        for (family, d) in
            [("gaussian", 150), ("rows", 131), ("ternary", 9), ("blocks", 128), ("zeros", 5), ("ones", 1)]
        {
            let g = gram_of(family, d + 20, d, 5);
            let found = [divide_and_conquer(&g), implicit_qr(&g), Some(jacobi(&g))].map(Option::unwrap);
            for eigen in &found {
                assert!(eigen.is_of(&g), "{family}");
                let pairs = sorted(eigen).into_iter().zip(sorted(&found[2]));
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-13 * g.norm_l2()), "{family}");
            }
        }
    }

    #[test]
    fn a_wrong_decomposition_is_not_taken() {
        fn nothing(_: &faer::Mat<f64>) -> Option<Eigen> {
            None
        }
        fn a_value_off(g: &faer::Mat<f64>) -> Option<Eigen> {
            let mut eigen = implicit_qr(g)?;
            eigen.values[3] += 1e-9 * g.norm_l2();
            Some(eigen)
        }
        fn a_vector_twice(g: &faer::Mat<f64>) -> Option<Eigen> {
            let mut eigen = implicit_qr(g)?;
            eigen.values[1] = eigen.values[0];
            let twice = eigen.vectors.col(0).to_owned();
            eigen.vectors.col_mut(1).copy_from(twice);
            Some(eigen)
        }
        fn not_a_number(g: &faer::Mat<f64>) -> Option<Eigen> {
            let mut eigen = implicit_qr(g)?;
            eigen.vectors[(2, 1)] = f64::NAN;
            Some(eigen)
        }
        let g = gram_of("gaussian", 30, 20, 1);
        let right = sorted(&Eigen::new(&g));
        let near = |eigen: &Eigen| sorted(eigen).iter().zip(&right).all(|(a, b)| (a - b).abs() <= 1e-12 * g.norm_l2());
        for wrong in [nothing as Method, a_value_off, a_vector_twice, not_a_number] {
            assert!(wrong(&g).is_none_or(|eigen| !eigen.is_of(&g)));
            // The next method is taken, or Jacobi's if there is none.
            assert!(near(&Eigen::by(&[wrong, implicit_qr], &g)) && near(&Eigen::by(&[wrong], &g)));
        }
    }
}
