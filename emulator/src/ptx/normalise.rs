//! Spellings that `ptxas` accepts and compilers emit, but the grammar of `ptx-syntax` does not: rewritten, at the same length so that
//! positions stay, for the grammar's eyes only. What is executed is read from the original text.

/// `text` as the grammar wants it.
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.trim_start() {
            code if code.starts_with("//") => out.push_str(line),
            code if is_variable(code) => out.push_str(&initialiser(line)),
            code if code.contains("red.") => out.push_str(&reductions(line)),
            _ => out.push_str(line),
        }
    }
    out
}

fn is_variable(code: &str) -> bool {
    code.contains('=') && [".global", ".const", ".visible", ".weak", ".extern"].iter().any(|start| code.starts_with(start))
}

/// Initialisers have no `generic(x)` and no negative numbers there.
fn initialiser(line: &str) -> String {
    let (head, values) = line.split_once('=').expect("checked by the caller");
    let mut values = values.replace("generic(", "        ").replace('-', " ");
    if line.contains("generic(") {
        values = values.replace(')', " ");
    }
    format!("{head}={values}")
}

/// `red.sem.scope.space.op` is `red.op.space.sem.scope` there.
fn reductions(line: &str) -> String {
    const SPACES: [&str; 4] = ["global", "shared", "shared::cta", "shared::cluster"];
    const ORDER: [&[&str]; 2] = [&["relaxed", "release"], &["cta", "cluster", "gpu", "sys"]];
    let rank = |part: &str| match part {
        part if SPACES.contains(&part) => 1,
        part if ORDER[0].contains(&part) => 2,
        part if ORDER[1].contains(&part) => 3,
        "and" | "or" | "xor" | "add" | "inc" | "dec" | "min" | "max" => 0,
        _ => 4,
    };
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("red.") {
        let starts_word = rest[..at].chars().next_back().is_none_or(|before| before.is_whitespace() || "{;".contains(before));
        let (before, tail) = rest.split_at(at);
        let end = tail.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(tail.len());
        let (mnemonic, after) = tail.split_at(end);
        out.push_str(before);
        if starts_word {
            let mut parts: Vec<&str> = mnemonic.split('.').collect();
            parts[1..].sort_by_key(|part| rank(part));
            out.push_str(&parts.join("."));
        } else {
            out.push_str(mnemonic);
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay() {
        let text = ".global .align 8 .u64 t[2] = {generic(foo)+4, -5};\n\t@%p1 red.relaxed.gpu.global.add.u32 [%rd1], 1;\n// red.global.add\n";
        let normal = normalise(text);
        assert_eq!(normal.len(), text.len());
        assert_eq!(
            normal,
            ".global .align 8 .u64 t[2] = {        foo +4,  5};\n\t@%p1 red.add.global.relaxed.gpu.u32 [%rd1], 1;\n// red.global.add\n"
        );
    }
}
