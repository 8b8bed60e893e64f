//! The picture of a chart: the one form that every viewer shows, a notebook on a code host included.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use resvg::usvg::fontdb::Database;
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

/// A font of our own, since a fresh machine has none; with it pictures are the same on every machine.
static FONT: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(include_bytes!("../font/DejaVuSans-subset.ttf").to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

/// The same and the machine's: read only where a name has letters that ours lacks, such as Korean ones.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::clone(&FONT);
    fonts.load_system_fonts();
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
    /// The letters that no font on this machine has; the picture has Latin ones in their place.
    pub missing: String,
}

/// Draws an SVG text as a PNG, on white where it leaves room.
///
/// # Errors
/// [`PngError`]: the text is no SVG, or the picture has no size.
pub fn from_svg(svg: &str) -> Result<Picture, PngError> {
    drawn(svg, &FONTS)
}

fn drawn(svg: &str, fonts: &LazyLock<Arc<Database>>) -> Result<Picture, PngError> {
    const SCALE: f32 = 2.0;
    let (mut tree, all_there) = read(svg, fonts)?;
    let mut missing = String::new();
    if !all_there {
        missing = without_font(svg, fonts)?;
        (tree, _) = read(&romanised(svg, &missing), fonts)?;
    }
    let size = tree.size().to_int_size();
    let (width, height) = (size.width() * SCALE as u32, size.height() * SCALE as u32);
    let failed = || PngError::Picture { width, height };
    let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or_else(failed)?;
    pixels.fill(tiny_skia::Color::WHITE);
    // Two bands at once; always two, so that a picture is the same on every machine.
    let middle = height / 2;
    let (upper, lower) = pixels
        .data_mut()
        .split_at_mut(middle as usize * width as usize * 4);
    let render = |band: &mut [u8], from: u32, to: u32| {
        let mut band = tiny_skia::PixmapMut::from_bytes(band, width, to - from)?;
        let place =
            tiny_skia::Transform::from_scale(SCALE, SCALE).post_translate(0.0, -(from as f32));
        resvg::render(&tree, place, &mut band);
        Some(())
    };
    let bands = rayon::join(
        || render(upper, 0, middle),
        || render(lower, middle, height),
    );
    bands.0.and(bands.1).ok_or_else(failed)?;
    Ok(Picture {
        png: encoded(&pixels).map_err(|_| failed())?,
        width: size.width(),
        height: size.height(),
        missing,
    })
}

/// A PNG of what covers all it has. Charts are lines and plain areas: without a filter they become
/// smaller than with one, and sooner.
fn encoded(pixels: &tiny_skia::Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    let colours: Vec<u8> = pixels
        .pixels()
        .iter()
        .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
        .collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(file)
}

/// Reads a drawing, and says whether there are fonts for all its letters.
fn read(svg: &str, fonts: &LazyLock<Arc<Database>>) -> Result<(usvg::Tree, bool), PngError> {
    let all_there = AtomicBool::new(true);
    let among_all = usvg::FontResolver::default_fallback_selector();
    let options = usvg::Options {
        fontdb: FONT.clone(),
        font_resolver: usvg::FontResolver {
            select_font: usvg::FontResolver::default_font_selector(),
            select_fallback: Box::new(|letter, used, known| {
                // A clone: the fonts of before keep their places in it.
                *known = Arc::clone(fonts);
                let found = among_all(letter, used, known);
                if found.is_none() && !letter.is_control() {
                    all_there.store(false, Ordering::Relaxed);
                }
                found
            }),
        },
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options)?;
    drop(options);
    Ok((tree, all_there.into_inner()))
}

/// The letters of a drawing that no font has. Of a text only the first is asked for, so each is tried alone.
fn without_font(svg: &str, fonts: &LazyLock<Arc<Database>>) -> Result<String, PngError> {
    let letters: BTreeSet<char> = svg.chars().filter(|letter| !letter.is_ascii()).collect();
    let mut missing = String::new();
    for letter in letters {
        let alone = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><text font-family=\"sans-serif\">{letter}</text></svg>"
        );
        if !read(&alone, fonts)?.1 {
            missing.push(letter);
        }
    }
    Ok(missing)
}

/// The drawing with these letters in Latin ones; what has no such form is a question mark.
fn romanised(svg: &str, missing: &str) -> String {
    let mut latin = String::with_capacity(svg.len());
    for letter in svg.chars() {
        if !missing.contains(letter) {
            latin.push(letter);
            continue;
        }
        let form = deunicode::deunicode_char(letter).unwrap_or_default();
        // Nothing that could mean something in SVG.
        let form: String = form.chars().filter(char::is_ascii_alphanumeric).collect();
        latin.push_str(if form.is_empty() { "?" } else { &form });
    }
    latin
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
                .filter(|pixel| pixel.red() < 128)
                .count()
        };
        assert_eq!(ink(blank), 0);
        assert!(ink(words) > 100, "only {} pixels", ink(words));
    }

    #[test]
    fn letters_without_a_font_are_named_and_written_in_latin_ones() {
        static NO_MORE: LazyLock<Arc<Database>> = LazyLock::new(|| FONT.clone());
        let svg = |words: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"30\">\
                 <text x=\"5\" y=\"20\" font-family=\"sans-serif\">{words}</text></svg>"
            )
        };
        let of = |words: &str| drawn(&svg(words), &NO_MORE).unwrap();
        assert_eq!(of("lr ≥ 0.1 …").missing, "");
        let picture = of("최적화 lr, 최소");
        assert_eq!(picture.missing, "소적최화");
        assert_eq!(
            romanised("최적화 <lr>", &picture.missing),
            "coejeoghwa <lr>"
        );
        assert_eq!(picture.png, of("coejeoghwa lr, coeso").png);
        assert_ne!(picture.png, of(" lr, ").png);
        // What has no Latin form leaves a mark all the same.
        let unknown = of("\u{10fffd}");
        assert_eq!(
            (unknown.missing.as_str(), unknown.png),
            ("\u{10fffd}", of("?").png)
        );
    }
}
