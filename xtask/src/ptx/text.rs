//! From the compiler's assembly to the PTX that is committed: launch bounds put in, dead code and what differs between builds taken out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use super::kernels::{BLOCK_THREADS, Kernel};

/// The first line, for whoever opens the file.
const BANNER: &str = "// Written by `cargo xtask ptx` from device/src; see MANIFEST.toml.\n";

/// What a top-level statement of PTX is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `.version`, `.target`, `.address_size`.
    Module,
    /// A kernel.
    Entry,
    /// A function, or a declaration of one.
    Function,
    /// A variable.
    Variable,
}

/// A top-level statement.
#[derive(Debug)]
struct Item<'a> {
    kind: Kind,
    external: bool,
    /// Empty for [`Kind::Module`].
    name: &'a str,
    text: String,
}

/// What a name may be made of in PTX.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
}

/// The words of a piece of PTX.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_name(c)).filter(|word| !word.is_empty())
}

/// The name that a head declares: what stands before its parameters, its dimensions or its end.
fn declared(kind: Kind, head: &str) -> Option<&str> {
    let after = match kind {
        Kind::Module => return Some(""),
        Kind::Entry => head.split_once(".entry")?.1,
        Kind::Function => {
            let after = head.split_once(".func")?.1.trim_start();
            if after.starts_with('(') { after.split_once(')')?.1 } else { after }
        }
        Kind::Variable => head.split(['[', '=', ';']).next()?.rsplit_once(char::is_whitespace)?.1,
    };
    words(after).next()
}

/// Takes LLVM's output apart: a statement ends with its body's closing brace or, where it has no body, with a semicolon.
fn items(assembly: &str) -> Result<Vec<Item<'_>>> {
    let mut found = Vec::new();
    let mut lines = assembly.lines().filter(|line| !line.trim_start().starts_with("//") && !line.trim().is_empty());
    while let Some(head) = lines.next() {
        let directives: Vec<_> = head.split(|c: char| c.is_whitespace() || c == '(').collect();
        let has = |directive| directives.contains(&directive);
        let kind = if [".version", ".target", ".address_size"].contains(&directives[0]) {
            Kind::Module
        } else if has(".entry") {
            Kind::Entry
        } else if has(".func") {
            Kind::Function
        } else if [".global", ".const", ".shared"].into_iter().any(has) {
            Kind::Variable
        } else {
            bail!("cannot tell what this line of the compiler's output is: {head}")
        };
        let mut text = format!("{head}\n");
        let code = matches!(kind, Kind::Entry | Kind::Function);
        let mut last = head;
        while kind != Kind::Module && last != "}" && !(last.ends_with(';') && (!code || !text.contains("\n{\n"))) {
            last = lines.next().with_context(|| format!("the compiler's output ends within: {head}"))?;
            text.push_str(last);
            text.push('\n');
        }
        let name = declared(kind, head).with_context(|| format!("no name in: {head}"))?;
        found.push(Item { kind, external: has(".extern"), name, text });
    }
    Ok(found)
}

/// Keeps what the kernels use.
fn prune(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let by_name: BTreeMap<_, _> = items.iter().enumerate().map(|(i, item)| (item.name, i)).collect();
    let roots = items.iter().enumerate().filter(|(_, item)| matches!(item.kind, Kind::Module | Kind::Entry));
    let mut reached: BTreeSet<_> = roots.map(|(i, _)| i).collect();
    let mut unread: Vec<_> = reached.iter().copied().collect();
    while let Some(i) = unread.pop() {
        unread.extend(words(&items[i].text).filter_map(|word| by_name.get(word)).filter(|&&used| reached.insert(used)));
    }
    items.into_iter().enumerate().filter(|(i, _)| reached.contains(i)).map(|(_, item)| item).collect()
}

/// Without the crates' hashes in a mangled name (`Cs…_` before a crate's name), which depend on how the crates were found.
fn without_hashes(name: &str) -> String {
    let mut short = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("Cs") {
        short.push_str(before);
        short.push('C');
        let hash = after.chars().take_while(char::is_ascii_alphanumeric).count();
        rest = after[hash..].strip_prefix('_').unwrap_or(&after[hash..]);
    }
    short + rest
}

/// The PTX to commit. An error where a function is missing, or where the entry points are not `kernels`.
pub(super) fn finish(assembly: &str, kernels: &[Kernel]) -> Result<String> {
    let mut items = prune(items(assembly)?);
    if let Some(missing) = items.iter().find(|item| item.external && item.kind == Kind::Function) {
        bail!("the kernels call {}, which is not in the PTX: inline it, or do without", missing.name);
    }
    let entries: BTreeSet<_> = items.iter().filter(|item| item.kind == Kind::Entry).map(|item| item.name).collect();
    let listed: BTreeSet<_> = kernels.iter().map(|kernel| kernel.name).collect();
    ensure!(entries == listed, "the device crate has the kernels {entries:?}, xtask/src/ptx/kernels.rs lists {listed:?}");

    let order = |kind| [Kind::Module, Kind::Variable, Kind::Function, Kind::Entry].iter().position(|&k| k == kind);
    items.sort_by_key(|item| (order(item.kind), if item.kind == Kind::Module { "" } else { item.name }));
    let renamed: Vec<_> =
        items.iter().filter(|item| item.name.starts_with("_R")).map(|item| (item.name, without_hashes(item.name))).collect();
    let mut text = BANNER.to_owned();
    for item in &items {
        text.push_str(if item.kind == Kind::Module { "" } else { "\n" });
        match kernels.iter().find(|kernel| item.kind == Kind::Entry && kernel.name == item.name) {
            Some(kernel) => {
                let (head, body) = item.text.split_once("\n{\n").with_context(|| format!("{} has no body", item.name))?;
                let bounds = format!(".maxntid {BLOCK_THREADS}, 1, 1\n.minnctapersm {}", kernel.min_blocks);
                text.push_str(&format!("{head}\n{bounds}\n{{\n{body}"));
            }
            None => text.push_str(&item.text),
        }
    }
    for (name, short) in renamed {
        text = text.replace(name, &short);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::kernels::KERNELS;

    const ASSEMBLY: &str = "\
//
// Generated by LLVM NVPTX Back-End
//
.version 7.0
.target sm_80
.address_size 64

.extern .shared .align 16 .b8 dyn_smem[];
.extern .func gone
(
\t.param .b64 gone_param_0
)
;
\t// .globl\t_RNvCsfgHY_7unused
.global .align 4 .b8 table[12] = {2, 0, 0, 0, 1};
.visible .func _RNvCsfgHY_7unused(
\t.param .b64 p
)
{
\tcall.uni gone, (p);
}
.visible .func  (.param .b64 func_retval0) _RNvNtCshyfZ_13wcodec_device4used(
\t.param .b64 p
)
{
\tret;
}
.visible .entry join_planes(
\t.param .u64 .ptr .align 1 join_planes_param_0
)
{
\t// begin inline asm
\tmov.u32 \t%r1, dyn_smem;
\t// end inline asm
\tcall.uni (retval0), _RNvNtCshyfZ_13wcodec_device4used, (param0);
\tret;
}
";

    fn join() -> Vec<Kernel> {
        KERNELS.into_iter().filter(|kernel| kernel.name == "join_planes").collect()
    }

    #[test]
    fn what_the_kernels_use_is_kept_and_bounded() {
        let text = finish(ASSEMBLY, &join()).expect("finishes");
        assert!(text.contains("\n)\n.maxntid 256, 1, 1\n.minnctapersm 5\n{\n\tmov.u32"), "{text}");
        assert!(text.contains("dyn_smem[]") && text.contains("call.uni (retval0), _RNvNtC13wcodec_device4used,"), "{text}");
        for word in ["gone", "unused", "table", "Cshyf"] {
            assert!(!text.contains(word), "{word} is left in {text}");
        }
        assert_eq!(finish(&text, &[]).unwrap_err().to_string().split(' ').next(), Some("the"));
    }

    #[test]
    fn hashes_do_not_show() {
        let other = ASSEMBLY.replace("CsfgHY_", "Cs1_").replace("CshyfZ_", "CsZZtop1234_");
        assert_eq!(finish(ASSEMBLY, &join()).expect("finishes"), finish(&other, &join()).expect("finishes"));
    }

    #[test]
    fn a_call_that_leads_nowhere_is_an_error() {
        let calls = ASSEMBLY.replace("call.uni (retval0)", "call.uni gone; call.uni (retval0)");
        assert!(finish(&calls, &join()).unwrap_err().to_string().contains("the kernels call gone"));
    }

    #[test]
    fn kernels_and_list_must_agree() {
        assert!(finish(ASSEMBLY, &KERNELS).unwrap_err().to_string().contains("decode_bytes"));
        assert!(finish(&ASSEMBLY.replace("join_planes", "new"), &join()).unwrap_err().to_string().contains("new"));
        assert!(finish(&ASSEMBLY[..ASSEMBLY.len() - 3], &join()).is_err());
    }
}
