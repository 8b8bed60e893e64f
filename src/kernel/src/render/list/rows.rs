//! What a list is made of.

use crate::render::table::{Column, Key, Table};

/// Rows whose cells are made when they are shown: of ten thousand trials a list sorts and filters all, by
/// two or three columns, and shows two hundred.
pub trait Rows {
    /// The columns.
    fn columns(&self) -> &[Column];

    /// How many rows there are.
    fn count(&self) -> usize;

    /// What a row is sorted and filtered by in a column.
    fn key(&self, row: usize, column: usize) -> Key<'_>;

    /// Whether a row stands out.
    fn is_marked(&self, row: usize) -> bool;

    /// The table of these rows, in this order, each of them once; with `objects`, those that are behind
    /// them.
    fn into_table(self, rows: &[usize], objects: bool) -> Table;
}

impl Rows for Table {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn count(&self) -> usize {
        self.rows.len()
    }

    fn key(&self, row: usize, column: usize) -> Key<'_> {
        self.rows[row].cells[column].key()
    }

    fn is_marked(&self, row: usize) -> bool {
        self.rows[row].marked
    }

    fn into_table(mut self, rows: &[usize], _: bool) -> Table {
        let mut all = std::mem::take(&mut self.rows);
        let chosen = rows.iter().map(|row| std::mem::take(&mut all[*row]));
        self.rows = chosen.collect();
        self
    }
}
