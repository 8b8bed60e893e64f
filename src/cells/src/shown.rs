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

    /// Shows it as what is in a variant of this name.
    #[doc(hidden)]
    fn within(&self, variant: &str) {
        let _ = variant;
        self.evcxr_display();
    }
}

/// Where any trait has a method of this name, rustc wants to know which of the number types a number
/// without a suffix is; where it is one of them all, it is as without the crate.
macro_rules! numbers_as_they_are {
    ($($number:ty)*) => {$(
        impl Shown for $number {
            fn evcxr_display(&self) {
                plain(&format!("{self:?}"));
            }

            fn within(&self, variant: &str) {
                enclosed(variant, &format!("{self:?}"));
            }
        }
    )*};
}

numbers_as_they_are! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 }

/// What succeeded shows itself; an error ends the cell, as with `?`.
impl<T: Shown> Shown for Result<T, Error> {
    fn evcxr_display(&self) {
        match self {
            Ok(value) => value.within("Ok"),
            Err(error) => error.evcxr_display(),
        }
    }
}

impl<T: Shown> Shown for Option<T> {
    fn evcxr_display(&self) {
        match self {
            Some(value) => value.within("Some"),
            None => plain("None"),
        }
    }

    fn within(&self, variant: &str) {
        match self {
            Some(value) => value.within(&format!("{variant}(Some")),
            None => enclosed(variant, "None"),
        }
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn evcxr_display(&self) {
        (**self).evcxr_display();
    }

    fn within(&self, variant: &str) {
        (**self).within(variant);
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

/// The text of a value in a variant, `Some`, which may stand in others: `Ok(Some`.
fn enclosed(variant: &str, value: &str) {
    let ends = ")".repeat(1 + variant.matches('(').count());
    plain(&format!("{variant}({value}{ends}"));
}

/// Text in the place of the cell's result.
pub(crate) fn plain(text: &str) {
    println!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
}
