//! The bytes of a container's output as text.

/// Turns bytes into text although their pieces may end within a character.
pub(super) struct Text {
    rest: Vec<u8>,
    terminal: bool,
}

impl Text {
    pub(super) fn new(terminal: bool) -> Self {
        Self {
            rest: Vec::new(),
            terminal,
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            // Only an incomplete character at the very end waits for more.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.rest.len(),
        };
        // A terminal ends lines with two characters, which may be cut apart too.
        let whole = if self.terminal && whole == self.rest.len() && self.rest.ends_with(b"\r") {
            whole - 1
        } else {
            whole
        };
        let piece: Vec<u8> = self.rest.drain(..whole).collect();
        let text = String::from_utf8_lossy(&piece);
        if self.terminal {
            text.replace("\r\n", "\n")
        } else {
            text.into_owned()
        }
    }

    pub(super) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_being_cut_anywhere() {
        let text = "가나다\r\n→ end\r\n";
        for cut in 0..text.len() {
            let mut decoder = Text::new(true);
            let mut decoded = decoder.take(&text.as_bytes()[..cut]);
            decoded += &decoder.take(&text.as_bytes()[cut..]);
            decoded += &decoder.rest();
            assert_eq!(decoded, "가나다\n→ end\n", "cut at {cut}");
        }
        let mut decoder = Text::new(false);
        assert_eq!(decoder.take(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
    }
}
