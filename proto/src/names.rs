//! Names that others chose, made safe to show.

use crate::limits::NAME_CHARS;

/// `text` without control, format and bidirectional characters, trimmed, white space folded, and at
/// most 64 characters long. A name must not be able to rewrite the line that it stands in.
#[must_use]
pub fn clean(text: &str) -> String {
    let visible: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !hidden(*c)).collect();
    let folded = visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    folded.chars().take(NAME_CHARS).collect()
}

/// Unicode categories Cc and Cf (bidirectional controls and zero-width characters included), line
/// separators, private use and the like.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffc | 0xe000..=0xf8ff | 0x1d173..=0x1d17a | 0xe0000..=0x10ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_rewrite_its_line() {
        assert_eq!(clean("Ada's \u{202e}laptop\u{1b}[2J\n"), "Ada's laptop[2J");
        assert_eq!(clean("  a \t b  "), "a b");
        assert_eq!(clean(&"x".repeat(500)).len(), 64);
        assert_eq!(clean("日本語のノート"), "日本語のノート");
    }
}
