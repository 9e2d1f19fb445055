//! Embeddings: a row of a table for each index.

use super::expect_finite;
use crate::error::{Error, Result};
use crate::matrix::{Mat, MatMut, MatRef};
use crate::quant::QuantizedMat;

/// A table of vectors, of which each frame names one by its index. Frames are `f32`, so an index is a whole number in
/// `f32`, which holds all up to 2^24.
///
/// # Example
/// ```
/// use skinny::factored::Embedding;
/// use skinny::{Mat, MatMut, MatRef};
///
/// let layer = Embedding::new(Mat::from_vec(vec![0.5, 1.0, -1.0, 0.0, 2.0, 3.0], 3, 2)?)?;
/// let mut out = [0.0; 4];
/// layer.forward(MatRef::new(&[2.0, 0.0], 2, 1)?, MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [2.0, 3.0, 0.5, 1.0]);
/// assert!(layer.forward(MatRef::row_vector(&[3.0]), MatMut::row_vector(&mut out[..2])).is_err());
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    table: Table,
}

/// The rows of an [`Embedding`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Table {
    /// In `f32`.
    F32(Mat<f32>),
    /// In 8 bits, with one scale for each row.
    I8(QuantizedMat),
}

/// The most rows whose indices `f32` tells apart.
const MOST_ROWS: usize = 1 << 24;

impl Embedding {
    /// Makes a layer from a table with one row for each index.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Parameter`] for more than 2^24 rows.
    pub fn new(table: Mat<f32>) -> Result<Self> {
        Self::from_table(Table::F32(table))
    }

    /// Makes a layer from a table in either form.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_table(table: Table) -> Result<Self> {
        if let Table::F32(table) = &table {
            expect_finite("embedding", table.as_slice())?;
        }
        let layer = Self { table };
        if layer.rows() > MOST_ROWS {
            let (value, expected) = (layer.rows() as f64, "at most 2^24");
            return Err(Error::Parameter { what: "rows of an embedding", value, expected });
        }
        Ok(layer)
    }

    /// The same layer with its rows in 8 bits. A vector is then off by at most half a step of its row's scale.
    ///
    /// # Errors
    /// [`Error::Stored`] unless it is in `f32`, [`Error::Allocation`].
    pub fn quantize(&self) -> Result<Self> {
        match &self.table {
            Table::F32(table) => Ok(Self { table: Table::I8(QuantizedMat::quantize(table.view())?) }),
            Table::I8(_) => Err(Error::Stored { operation: "quantize", expected: "f32", found: "int8" }),
        }
    }

    /// The same layer with its rows in `f32`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn dequantize(&self) -> Result<Self> {
        match &self.table {
            Table::F32(_) => Ok(self.clone()),
            Table::I8(table) => Ok(Self { table: Table::F32(table.dequantize()?) }),
        }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Number of rows: indices are below it.
    pub fn rows(&self) -> usize {
        match &self.table {
            Table::F32(table) => table.rows(),
            Table::I8(table) => table.values().rows(),
        }
    }

    /// Features of a vector.
    pub fn output_size(&self) -> usize {
        match &self.table {
            Table::F32(table) => table.cols(),
            Table::I8(table) => table.values().cols(),
        }
    }

    /// Elements of the table.
    pub fn parameters(&self) -> usize {
        self.rows() * self.output_size()
    }

    /// Bytes of the table, scales included.
    pub fn bytes(&self) -> usize {
        match &self.table {
            Table::F32(table) => size_of_val(table.as_slice()),
            Table::I8(table) => table.values().as_slice().len() + size_of_val(table.scales()),
        }
    }

    /// Writes the vector of each index of `x` (`time x 1`) to `out` (`time x output`).
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit, [`Error::Parameter`] for an index that is no whole number or not
    /// below the number of rows. `out` is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>) -> Result<()> {
        x.expect_shape("input", x.rows(), 1)?;
        out.expect_shape("output", x.rows(), self.output_size())?;
        // A conversion to an integer takes NaN for 0.
        let is_index = |x: f32| x as usize as f32 == x && (x as usize) < self.rows();
        if let Some(&value) = x.as_slice().iter().find(|&&x| !is_index(x)) {
            let expected = "a whole number below the number of rows";
            return Err(Error::Parameter { what: "index into an embedding", value: value.into(), expected });
        }
        for (row, &index) in x.as_slice().iter().enumerate() {
            let (index, out) = (index as usize, out.row_mut(row));
            match &self.table {
                Table::F32(table) => out.copy_from_slice(table.view().row(index)),
                Table::I8(table) => {
                    let scale = table.scales()[index];
                    for (y, &value) in out.iter_mut().zip(table.values().row(index)) {
                        *y = scale * f32::from(value);
                    }
                }
            }
        }
        Ok(())
    }
}
