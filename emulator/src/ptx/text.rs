//! The module's text: positions to lines.

/// Text with the start of each line.
pub(super) struct Text<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line, from 1, of a byte position.
    pub(super) fn line(&self, position: usize) -> u32 {
        self.starts.partition_point(|&start| start <= position) as u32
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        &self.text[start..end]
    }

    /// The text of a line, from 1.
    pub(super) fn line_text(&self, line: u32) -> &'a str {
        self.text.lines().nth(line as usize - 1).unwrap_or("").trim()
    }
}
