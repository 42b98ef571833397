//! Something of any length, as a message shows it.
//!
//! Owns where it is cut: a key may have megabytes.

use std::fmt::{self, Write};

/// So many characters are shown.
const SHOWN: usize = 60;

/// The beginning of what `Debug` shows of something.
pub(super) struct Shortened<'a, T>(pub(super) &'a T);

impl<T: fmt::Debug> fmt::Display for Shortened<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cut = Cut { f, left: SHOWN };
        match write!(cut, "{:?}", self.0) {
            Err(fmt::Error) if cut.left == 0 => f.write_str("…"),
            ended => ended,
        }
    }
}

/// Takes characters until there are enough, and then refuses to.
struct Cut<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Cut<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.char_indices().nth(self.left).map_or(text.len(), |(end, _)| end);
        self.f.write_str(&text[..end])?;
        if end < text.len() {
            self.left = 0;
            return Err(fmt::Error);
        }
        self.left -= text.chars().count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_two_characters() {
        let shown = |text: &str| Shortened(&text).to_string();
        assert_eq!(shown("short"), "\"short\"");
        let just = "é".repeat(SHOWN - 2);
        assert_eq!(shown(&just), format!("\"{just}\""));
        let beginning = "é".repeat(SHOWN - 1);
        assert_eq!(shown(&format!("{beginning}é")), format!("\"{beginning}…"));
        assert_eq!(Shortened(&(7, "x".repeat(1 << 20))).to_string().len(), SHOWN + "…".len());
    }
}
