//! How a value shows itself when it ends a cell.

use crate::{Error, Trial};

/// Shows itself when it ends a cell.
///
/// evcxr calls the method by its name on whatever ends a cell, and writes the value as `{:?}` where there
/// is none. The kernel brings the trait into scope of all cells, so that a `Result` shows what is in it
/// as well.
#[doc(hidden)]
pub trait Shown {
    /// Shows it.
    #[doc(hidden)]
    fn evcxr_display(&self);
}

/// What succeeded shows itself; an error ends the cell, as with `?`.
impl<T: Shown> Shown for Result<T, Error> {
    fn evcxr_display(&self) {
        match self {
            Ok(value) => value.evcxr_display(),
            Err(error) => error.evcxr_display(),
        }
    }
}

impl<T: Shown> Shown for Option<T> {
    fn evcxr_display(&self) {
        match self {
            Some(value) => value.evcxr_display(),
            None => plain("None"),
        }
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn evcxr_display(&self) {
        (**self).evcxr_display();
    }
}

/// As many trials as one has in a slice.
impl Shown for [Trial] {
    fn evcxr_display(&self) {
        crate::trials::table_of_trials(self).evcxr_display();
    }
}

impl Shown for Vec<Trial> {
    fn evcxr_display(&self) {
        self.as_slice().evcxr_display();
    }
}

/// Not for `()` itself, which evcxr shows as the notebook's settings have it.
impl Shown for Result<(), Error> {
    fn evcxr_display(&self) {
        match self {
            Ok(()) => plain("()"),
            Err(error) => error.evcxr_display(),
        }
    }
}

impl Shown for Result<String, Error> {
    fn evcxr_display(&self) {
        match self {
            Ok(text) => plain(&format!("{text:?}")),
            Err(error) => error.evcxr_display(),
        }
    }
}

/// Text in the place of the cell's result.
pub(crate) fn plain(text: &str) {
    println!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
}
