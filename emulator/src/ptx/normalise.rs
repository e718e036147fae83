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
            code if code.contains("setp.") && code.contains("f16") => out.push_str(&compares(line)),
            _ => out.push_str(line),
        }
    }
    out
}

fn is_variable(code: &str) -> bool {
    code.contains('=') && [".global", ".const", ".visible", ".weak", ".extern"].iter().any(|start| code.starts_with(start))
}

/// Initialisers have no `generic(x)`, no displacements and no negative numbers there.
fn initialiser(line: &str) -> String {
    let (head, values) = line.split_once('=').expect("checked by the caller");
    let mut values = values.replace("generic(", "        ").replace('-', " ");
    if line.contains("generic(") {
        values = values.replace(')', " ");
    }
    // A displacement ends where the value does.
    let mut displaced = false;
    let values: String = values
        .chars()
        .map(|c| {
            displaced = c == '+' || displaced && !",};\n".contains(c);
            if displaced { ' ' } else { c }
        })
        .collect();
    format!("{head}={values}")
}

/// Compares of 16-bit floats are not there; those of 32 bits have the same operands.
fn compares(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_inclusive(char::is_whitespace) {
        let (mnemonic, space) = word.split_at(word.trim_end().len());
        let wider = match (mnemonic.strip_suffix(".bf16"), mnemonic.strip_suffix(".f16")) {
            (Some(start), _) if mnemonic.starts_with("setp.") => format!("{start}.f32 "),
            (_, Some(start)) if mnemonic.starts_with("setp.") => format!("{start}.f32"),
            _ => mnemonic.to_owned(),
        };
        words.push(wider + space);
    }
    words.concat()
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
        let text = ".global .align 8 .u64 t[2] = {generic(foo)+4, -5};\n\t@%p1 red.relaxed.gpu.global.add.u32 [%rd1], 1;\n// red.global.add\n\
            setp.lt.and.bf16 \t%p1, %h1, %h2, %p3; @%p1 setp.eq.f16 %p2, %h1, %h2;\n";
        let normal = normalise(text);
        assert_eq!(normal.len(), text.len());
        assert_eq!(
            normal,
            ".global .align 8 .u64 t[2] = {        foo   ,  5};\n\t@%p1 red.add.global.relaxed.gpu.u32 [%rd1], 1;\n// red.global.add\n\
             setp.lt.and.f32  \t%p1, %h1, %h2, %p3; @%p1 setp.eq.f32 %p2, %h1, %h2;\n"
        );
    }
}
