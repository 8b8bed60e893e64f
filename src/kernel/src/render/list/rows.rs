//! What a list is made of.

use std::borrow::Cow;

use crate::render::table::{Cell, Column, Table};

/// Rows whose cells are made when they are looked at: of ten thousand trials a list shows two hundred,
/// and sorts and filters by two or three columns.
pub trait Rows {
    /// The columns.
    fn columns(&self) -> &[Column];

    /// How many rows there are.
    fn count(&self) -> usize;

    /// The cell of a row in a column.
    fn cell(&self, row: usize, column: usize) -> Cow<'_, Cell>;

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

    fn cell(&self, row: usize, column: usize) -> Cow<'_, Cell> {
        Cow::Borrowed(&self.rows[row].cells[column])
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
