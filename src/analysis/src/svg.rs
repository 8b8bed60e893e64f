//! The few drawing steps that the charts need, written as SVG.

use std::fmt::Write as _;

/// Ink and paper of every drawing: readable on light and dark pages, since the paper is painted too.
pub(crate) const INK: &str = "#333333";
pub(crate) const PAPER: &str = "#ffffff";
pub(crate) const FAINT: &str = "#d9d9d9";
/// Dark blue for what matters: the best trial, the best so far.
pub(crate) const STRONG: &str = "#1f4e9c";
pub(crate) const PALE: &str = "#8fa8c8";

/// From pale to dark blue; in greyscale the same order of lightness.
pub(crate) const RAMP: [&str; 2] = ["#cedaeb", "#143c82"];

/// A colour of the ramp, from 0 (pale) to 1 (dark).
pub(crate) fn shade(position: f64) -> String {
    let mix =
        |pale: f64, dark: f64| (pale + (dark - pale) * position.clamp(0.0, 1.0)).round() as u8;
    format!(
        "#{:02x}{:02x}{:02x}",
        mix(206.0, 20.0),
        mix(218.0, 60.0),
        mix(235.0, 130.0)
    )
}

/// A text that fits, its middle left out where it is long: names of trials differ at their ends.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= most {
        return text.to_owned();
    }
    let head = most / 2;
    let tail = most.saturating_sub(head + 1);
    let start: String = characters[..head].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    format!("{start}…{end}")
}

#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing under construction; coordinates are pixels from the top left.
pub(crate) struct Drawing {
    text: String,
}

impl Drawing {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, sans-serif\" font-size=\"12\">"
        );
        let _ = write!(
            text,
            "<rect width=\"{width}\" height=\"{height}\" fill=\"{PAPER}\"/>"
        );
        Self { text }
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, dashed: bool) {
        let dash = if dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        let _ = write!(
            self.text,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"{dash}/>",
            from.0, from.1, to.0, to.1
        );
    }

    pub(crate) fn path(&mut self, points: &[(f64, f64)], colour: &str, width: f64, title: &str) {
        let mut steps = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(steps, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        }
        let _ = write!(
            self.text,
            "<path d=\"{steps}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"><title>{}</title></path>",
            escape(title)
        );
    }

    pub(crate) fn dot(&mut self, at: (f64, f64), radius: f64, colour: &str, title: &str) {
        let _ = write!(
            self.text,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\"><title>{}</title></circle>",
            at.0,
            at.1,
            escape(title)
        );
    }

    pub(crate) fn area(&mut self, corner: (f64, f64), size: (f64, f64), colour: &str, title: &str) {
        let _ = write!(
            self.text,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"><title>{}</title></rect>",
            corner.0,
            corner.1,
            size.0.max(0.5),
            size.1.max(0.5),
            escape(title)
        );
    }

    pub(crate) fn polygon(&mut self, points: &[(f64, f64)], colour: &str) {
        let corners: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = write!(
            self.text,
            "<polygon points=\"{}\" fill=\"{colour}\"/>",
            corners.join(" ")
        );
    }

    pub(crate) fn small(&mut self, at: (f64, f64), anchor: Anchor, colour: &str, words: &str) {
        let looks = format!("fill=\"{colour}\" font-size=\"10\"");
        self.text(at, anchor, &looks, words);
    }

    pub(crate) fn words(&mut self, at: (f64, f64), anchor: Anchor, words: &str) {
        self.text(at, anchor, &format!("fill=\"{INK}\""), words);
    }

    /// Words with paper around each letter, where lines may run below them.
    pub(crate) fn words_on_lines(&mut self, at: (f64, f64), anchor: Anchor, words: &str) {
        let looks = format!(
            "fill=\"{INK}\" stroke=\"{PAPER}\" stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\""
        );
        self.text(at, anchor, &looks, words);
    }

    fn text(&mut self, at: (f64, f64), anchor: Anchor, looks: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" {looks}>{}</text>",
            at.0,
            at.1,
            escape(words)
        );
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write these at all.
            control if control < ' ' && !matches!(control, '\t' | '\n') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
