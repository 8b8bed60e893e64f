//! How things stand: one glyph, one colour, one word each, so that a state reads without colour too.

use super::html::{self, Html};

/// How a thing stands, whatever the thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done, and well.
    Ok,
    /// Under way.
    Running,
    /// Waiting to begin.
    Waiting,
    /// Went on, but not as hoped.
    Warn,
    /// Failed.
    Failed,
    /// Ended before its time, on purpose.
    Stopped,
    /// Nothing to judge.
    Neutral,
}

impl Status {
    /// The status behind a word of Docker, Kubernetes or Katib.
    pub fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "succeeded"
            | "complete"
            | "completed"
            | "ready"
            | "bound"
            | "active"
            | "ok"
            | "true"
            | "pushed"
            | "pulled"
            | "goalreached"
            | "maxtrialsreached"
            | "layer already exists" => Self::Ok,
            "running" | "pushing" | "pulling" | "building" | "restarting" | "extracting"
            | "downloading" => Self::Running,
            "created" | "pending" | "waiting" | "containercreating" | "podinitializing"
            | "suspended" | "unknown" | "normal" | "preparing" | "terminating" => Self::Waiting,
            "metricsunavailable"
            | "warning"
            | "notready"
            | "imagepullbackoff"
            | "errimagepull"
            | "crashloopbackoff"
            | "backoff"
            | "createcontainerconfigerror"
            | "invalidimagename" => Self::Warn,
            "failed"
            | "error"
            | "oomkilled"
            | "false"
            | "evicted"
            | "deadlineexceeded"
            | "contextdeadlineexceeded"
            | "dead" => Self::Failed,
            "killed" | "earlystopped" | "stopped" | "exited" | "cancelled" => Self::Stopped,
            _ => Self::Neutral,
        }
    }

    /// A sign of one column.
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Ok => "✓",
            Self::Running => "●",
            Self::Waiting => "○",
            Self::Warn => "!",
            Self::Failed => "✗",
            Self::Stopped => "■",
            Self::Neutral => "·",
        }
    }

    /// The class of HTML elements.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ok => "katlab-ok",
            Self::Running => "katlab-running",
            Self::Waiting => "katlab-waiting",
            Self::Warn => "katlab-warn",
            Self::Failed => "katlab-failed",
            Self::Stopped => "katlab-stopped",
            Self::Neutral => "katlab-neutral",
        }
    }

    /// A colour with a contrast of at least 3:1 on white and on near-black.
    pub fn colour(self) -> &'static str {
        match self {
            Self::Ok => "#2a8a4a",
            Self::Running => "#2f7fd6",
            Self::Waiting | Self::Stopped | Self::Neutral => "#808080",
            Self::Warn => "#b7791f",
            Self::Failed => "#d64541",
        }
    }

    /// The glyph in its colour.
    pub fn glyph_html(self) -> Html {
        self.coloured(self.glyph())
    }

    /// A word behind the glyph, in text.
    pub fn label(self, word: &str) -> String {
        format!("{} {word}", self.glyph())
    }

    /// A word behind the glyph, in colour. In a narrow column the two stay on one line.
    pub fn label_html(self, word: &str) -> Html {
        self.coloured(&format!("{}\u{a0}{word}", self.glyph()))
    }

    fn coloured(self, text: &str) -> Html {
        let style = format!("color:{}", self.colour());
        html::text_element("span", &[("class", self.class()), ("style", &style)], text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 7] = [
        Status::Ok,
        Status::Running,
        Status::Waiting,
        Status::Warn,
        Status::Failed,
        Status::Stopped,
        Status::Neutral,
    ];

    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let part = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.03928 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn colours_can_be_read_on_white_and_on_the_dark_theme() {
        for status in ALL {
            let light = luminance(status.colour());
            assert!(1.05 / (light + 0.05) >= 3.0, "{status:?} on white");
            assert!(
                (light + 0.05) / (luminance("#111111") + 0.05) >= 3.0,
                "{status:?} on #111111"
            );
        }
    }

    #[test]
    fn states_read_without_colour() {
        assert_eq!(Status::of("Succeeded").label("Succeeded"), "✓ Succeeded");
        assert_eq!(Status::of("EarlyStopped"), Status::Stopped);
        assert_eq!(Status::of("whatever"), Status::Neutral);
    }
}
