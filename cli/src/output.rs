//! Standard output, and numbers as people read them.

use crate::failure::{Exit, Failure, Result};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// Writes to stdout. A reader that has gone away (`wcodec inspect … | head`) has seen what it
/// wanted: that is no failure.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(Exit::Io, format!("writing to standard output: {e}"))),
        _ => Ok(()),
    }
}

/// Says on stderr what a person should know; nobody need be there to read it.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "note: {text}");
}

/// Writes `value` to stdout as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(Exit::Io, format!("writing JSON: {e}")))?;
    text.push('\n');
    print(text)
}

/// `269.1 MB`, in powers of ten.
pub(crate) fn bytes(n: u64) -> String {
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        // What would be shown as 1000.0 is shown as 1.0 of the next unit.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `66.5 %`.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

/// `840 ms`, `1.2 s`, `3 min 20 s`.
pub(crate) fn time(d: Duration) -> String {
    let s = d.as_secs_f64();
    if s < 0.9995 {
        format!("{:.0} ms", 1e3 * s)
    } else if s < 99.95 {
        format!("{s:.1} s")
    } else {
        let whole = s.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// `1 tensor`, `7 tensors`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Text from a file, safe for a terminal: control characters are escaped.
pub(crate) fn plain(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() { c.escape_default().collect() } else { c.to_string() }
    };
    text.chars().map(escape).collect()
}

/// Rows with their columns side by side, the first `left` of them flush left, the others flush right.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], left: usize) -> String {
    let width = |s: &str| s.chars().count();
    let widths: [usize; N] = std::array::from_fn(|i| rows.iter().map(|r| width(&r[i])).max().unwrap_or(0));
    let mut out = String::new();
    for row in rows {
        for (i, (cell, &wide)) in row.iter().zip(&widths).enumerate() {
            out += if i == 0 { "" } else { "  " };
            out += &if i < left { format!("{cell:<wide$}") } else { format!("{cell:>wide$}") };
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_950), "1.0 MB");
        assert_eq!(bytes(269_060_552), "269.1 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(percent(0.6649), "66.5 %");
        assert_eq!(time(Duration::from_millis(840)), "840 ms");
        assert_eq!(time(Duration::from_micros(999_900)), "1.0 s");
        assert_eq!(time(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(plain("a\u{1b}[31m\n'b'"), "a\\u{1b}[31m\\n'b'");
    }
}
