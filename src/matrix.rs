//! Row-major matrices whose shape is checked at construction.
//!
//! A batch of vectors is a matrix with one vector per row; a weight is a matrix with one output feature per row.

use alloc::vec::Vec;

use crate::error::{Error, Result};

/// `rows * cols`, or an error if that many elements of `T` do not fit the address space.
#[inline]
fn elements<T>(what: &'static str, rows: usize, cols: usize) -> Result<usize> {
    let fits = |len: &usize| len.checked_mul(size_of::<T>().max(1)).is_some_and(|bytes| bytes <= isize::MAX as usize);
    let Some(len) = rows.checked_mul(cols).filter(fits) else { return Err(Error::TooLarge { what, rows, cols }) };
    Ok(len)
}

#[inline]
fn check_length<T>(rows: usize, cols: usize, found: usize) -> Result<()> {
    let expected = elements::<T>("matrix", rows, cols)?;
    if expected == found { Ok(()) } else { Err(Error::Length { what: "matrix data", expected, found }) }
}

/// Makes `data` at least `len` elements long. It never shrinks, so a reused buffer soon stops allocating.
#[inline]
pub(crate) fn grow<T: Clone + Default>(data: &mut Vec<T>, len: usize) -> Result<()> {
    if data.len() < len { grow_to(data, len) } else { Ok(()) }
}

#[cold]
fn grow_to<T: Clone + Default>(data: &mut Vec<T>, len: usize) -> Result<()> {
    let bytes = len.saturating_mul(size_of::<T>());
    data.try_reserve_exact(len - data.len()).map_err(|_| Error::Allocation { bytes })?;
    data.resize(len, T::default());
    Ok(())
}

/// A `rows x cols` matrix that owns its elements.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Mat<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T> Mat<T> {
    /// Wraps `data`, row by row.
    ///
    /// # Errors
    /// [`Error::Length`] unless `data` holds `rows * cols` elements, [`Error::TooLarge`] if that product overflows.
    pub fn from_vec(data: Vec<T>, rows: usize, cols: usize) -> Result<Self> {
        check_length::<T>(rows, cols, data.len())?;
        Ok(Self { data, rows, cols })
    }

    /// A matrix of default values: zeros, for numbers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Allocation`] if the elements do not fit the memory.
    pub fn zeros(rows: usize, cols: usize) -> Result<Self>
    where
        T: Clone + Default,
    {
        let len = elements::<T>("matrix", rows, cols)?;
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| Error::Allocation { bytes: len * size_of::<T>() })?;
        data.resize(len, T::default());
        Ok(Self { data, rows, cols })
    }

    /// A read-only view of all elements.
    #[inline]
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef { data: &self.data, rows: self.rows, cols: self.cols }
    }

    /// A writable view of all elements.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut { data: &mut self.data, rows: self.rows, cols: self.cols }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The elements, row by row.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The elements, row by row.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements, row by row.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }
}

/// A borrowed `rows x cols` matrix.
#[derive(Debug, PartialEq)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
}

impl<T> Clone for MatRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MatRef<'_, T> {}

impl<'a, T> MatRef<'a, T> {
    /// Views `data`, row by row.
    ///
    /// # Errors
    /// [`Error::Length`] unless `data` holds `rows * cols` elements, [`Error::TooLarge`] if that product overflows.
    #[inline]
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        check_length::<T>(rows, cols, data.len())?;
        Ok(Self { data, rows, cols })
    }

    /// Views data whose length the caller has made `rows * cols`.
    #[inline]
    pub(crate) fn from_checked(data: &'a [T], rows: usize, cols: usize) -> Self {
        debug_assert_eq!(rows.checked_mul(cols), Some(data.len()));
        Self { data, rows, cols }
    }

    /// The rows in the range `rows`, which must exist.
    pub(crate) fn rows_range(&self, rows: core::ops::Range<usize>) -> Self {
        Self::from_checked(&self.data[rows.start * self.cols..rows.end * self.cols], rows.len(), self.cols)
    }

    /// Views one vector as a matrix of one row: a batch of one.
    #[inline]
    pub fn row_vector(data: &'a [T]) -> Self {
        Self { data, rows: 1, cols: data.len() }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns.
    #[inline]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The elements, row by row.
    #[inline]
    pub fn as_slice(&self) -> &'a [T] {
        self.data
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows), as indexing a slice does.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "row {i} of a matrix of {} rows", self.rows);
        &self.data[i * self.cols..][..self.cols]
    }

    /// Fails with [`Error::Shape`] unless the matrix is `rows x cols`.
    #[inline]
    pub(crate) fn expect_shape(&self, what: &'static str, rows: usize, cols: usize) -> Result<()> {
        expect_shape(what, (rows, cols), self.shape())
    }
}

/// A mutably borrowed `rows x cols` matrix.
#[derive(Debug, PartialEq)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// Views `data`, row by row.
    ///
    /// # Errors
    /// [`Error::Length`] unless `data` holds `rows * cols` elements, [`Error::TooLarge`] if that product overflows.
    #[inline]
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self> {
        check_length::<T>(rows, cols, data.len())?;
        Ok(Self { data, rows, cols })
    }

    /// Views data whose length the caller has made `rows * cols`.
    #[inline]
    pub(crate) fn from_checked(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        debug_assert_eq!(rows.checked_mul(cols), Some(data.len()));
        Self { data, rows, cols }
    }

    /// Views one vector as a matrix of one row: a batch of one.
    #[inline]
    pub fn row_vector(data: &'a mut [T]) -> Self {
        let cols = data.len();
        Self { data, rows: 1, cols }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns.
    #[inline]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The elements, row by row.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        self.data
    }

    /// The elements, row by row.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.data
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows), as indexing a slice does.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of a matrix of {} rows", self.rows);
        &mut self.data[i * self.cols..][..self.cols]
    }

    /// The same view for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { data: self.data, rows: self.rows, cols: self.cols }
    }

    /// A read-only view of the same elements.
    #[inline]
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef { data: self.data, rows: self.rows, cols: self.cols }
    }

    /// Fails with [`Error::Shape`] unless the matrix is `rows x cols`.
    #[inline]
    pub(crate) fn expect_shape(&self, what: &'static str, rows: usize, cols: usize) -> Result<()> {
        expect_shape(what, (rows, cols), self.shape())
    }
}

#[inline]
fn expect_shape(what: &'static str, expected: (usize, usize), found: (usize, usize)) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_does_not_fit_its_data_is_refused() {
        assert_eq!(MatRef::new(&[1, 2, 3], 2, 2), Err(Error::Length { what: "matrix data", expected: 4, found: 3 }));
        assert!(MatMut::new(&mut [1, 2, 3, 4], 2, 2).is_ok());
        assert!(Mat::from_vec(alloc::vec![0u8; 6], 3, 2).is_ok());
    }

    #[test]
    fn dimensions_that_overflow_are_refused_before_any_allocation() {
        let huge = usize::MAX / 2;
        assert_eq!(Mat::<f32>::zeros(huge, 3), Err(Error::TooLarge { what: "matrix", rows: huge, cols: 3 }));
        assert_eq!(MatRef::<u8>::new(&[], huge, 4), Err(Error::TooLarge { what: "matrix", rows: huge, cols: 4 }));
        assert_eq!(
            Mat::<u64>::zeros(1 << (usize::BITS / 2), 1 << (usize::BITS / 2 - 3)).map(|_| ()),
            Err(Error::TooLarge { what: "matrix", rows: 1 << (usize::BITS / 2), cols: 1 << (usize::BITS / 2 - 3) })
        );
    }

    #[test]
    fn empty_matrices_have_rows_too() {
        let empty = MatRef::<i8>::new(&[], 3, 0).unwrap();
        assert!(empty.row(2).is_empty());
    }
}
