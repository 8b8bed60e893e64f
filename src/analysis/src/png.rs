//! The picture of a chart: the one form that every viewer shows, a notebook on a code host included.

use std::sync::{Arc, LazyLock};

use resvg::{tiny_skia, usvg};

/// Why a drawing did not become a picture.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The text is not SVG.
    #[error("the chart is not a readable drawing: {0}")]
    Drawing(#[from] usvg::Error),
    /// The picture is empty, too large, or could not be written.
    #[error("the chart's picture of {width} by {height} pixels could not be made")]
    Picture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// The system's fonts plus one of our own, since a fresh machine has none and text would vanish unsaid.
static FONTS: LazyLock<Arc<usvg::fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(include_bytes!("../font/DejaVuSans-subset.ttf").to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

/// A PNG and the size at which it is meant to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file's bytes; it has twice as many pixels each way, so that it stays sharp on dense screens.
    pub png: Vec<u8>,
    /// Width to be shown at, in CSS pixels.
    pub width: u32,
    /// Height to be shown at, in CSS pixels.
    pub height: u32,
}

/// Draws an SVG text as a PNG.
///
/// # Errors
/// [`PngError`]: the text is no SVG, or the picture has no size.
pub fn from_svg(svg: &str) -> Result<Picture, PngError> {
    const SCALE: f32 = 2.0;
    let options = usvg::Options {
        fontdb: FONTS.clone(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size();
    let (width, height) = (size.width() * SCALE as u32, size.height() * SCALE as u32);
    let failed = || PngError::Picture { width, height };
    let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or_else(failed)?;
    resvg::render(
        &tree,
        tiny_skia::Transform::from_scale(SCALE, SCALE),
        &mut pixels.as_mut(),
    );
    Ok(Picture {
        png: pixels.encode_png().map_err(|_| failed())?,
        width: size.width(),
        height: size.height(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_leave_ink() {
        let blank = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"30\"></svg>";
        let words = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"30\">\
                     <text x=\"5\" y=\"20\" font-family=\"sans-serif\">accuracy</text></svg>";
        let ink = |svg: &str| {
            let picture = from_svg(svg).unwrap();
            assert_eq!((picture.width, picture.height), (90, 30));
            let pixels = tiny_skia::Pixmap::decode_png(&picture.png).unwrap();
            assert_eq!((pixels.width(), pixels.height()), (180, 60));
            pixels
                .pixels()
                .iter()
                .filter(|pixel| pixel.alpha() > 128)
                .count()
        };
        assert_eq!(ink(blank), 0);
        assert!(ink(words) > 100, "only {} pixels", ink(words));
    }
}
