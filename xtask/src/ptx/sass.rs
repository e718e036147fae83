//! The steady loop in a kernel's machine code.

use std::collections::BTreeMap;

/// Least steps of every lane in one turn of a decoder's steady loop; each has a ballot.
const STEPS: u32 = 4;

/// A loop's machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) instructions: u32,
    /// Steps of every lane in one turn, and symbols that each decodes.
    pub(super) steps: u32,
}

/// Each kernel's steady loop, in the text that `nvdisasm -c` writes; a kernel that has none is not named.
///
/// The steady loop is the innermost one with the fewest instructions a step that has a ballot for each step and stores to global memory.
pub(super) fn steady_loops(disassembly: &str) -> BTreeMap<String, Loop> {
    let mut found = BTreeMap::new();
    for section in disassembly.split("\n.text.").skip(1) {
        let Some((name, body)) = section.split_once(':') else { continue };
        if let Some(length) = steady_loop(body) {
            found.insert(name.to_owned(), length);
        }
    }
    found
}

/// The instruction on a line: what stands between its address and its semicolon.
fn instruction(line: &str) -> Option<&str> {
    let (_, after) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    Some(after.split_once(';')?.0.trim())
}

/// The label on a line.
fn label(line: &str) -> Option<&str> {
    line.trim().strip_suffix(':').filter(|label| label.starts_with(".L"))
}

/// What an instruction does, without its predicate.
fn opcode(instruction: &str) -> &str {
    let mut words = instruction.split_whitespace().skip_while(|word| word.starts_with('@'));
    words.next().unwrap_or_default()
}

/// Where a branch goes.
fn target(instruction: &str) -> Option<&str> {
    let branch = opcode(instruction).starts_with("BRA");
    branch.then(|| Some(instruction.split_once("`(")?.1.split_once(')')?.0)).flatten()
}

/// A function's steady loop.
fn steady_loop(body: &str) -> Option<Loop> {
    let mut instructions = Vec::new();
    let mut labels = BTreeMap::new();
    for line in body.lines() {
        if let Some(label) = label(line) {
            labels.insert(label, instructions.len());
        } else if let Some(instruction) = instruction(line) {
            instructions.push(instruction);
        }
    }
    let backward: Vec<_> = instructions
        .iter()
        .enumerate()
        .filter_map(|(end, branch)| Some((*labels.get(target(branch)?)?, end)).filter(|(start, end)| start <= end))
        .collect();
    // Innermost ones: what `ptxas` moved out of a loop comes back by a branch that looks like a loop around all that is between.
    let innermost = backward.iter().filter(|(start, end)| !backward.iter().any(|(_, other)| (start..end).contains(&other)));
    let bodies = innermost.filter_map(|&(start, end)| instructions.get(start..=end));
    let steady = bodies.filter_map(|body| {
        let steps = body.iter().filter(|i| opcode(i).starts_with("VOTE")).count() as u32;
        let stores = body.iter().any(|i| opcode(i).starts_with("STG") || opcode(i).starts_with("ST.E"));
        (steps >= STEPS && stores).then_some(Loop { instructions: body.len() as u32, steps })
    });
    steady.min_by(|a, b| (a.instructions * b.steps).cmp(&(b.instructions * a.steps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step as `ptxas` has it, more or less.
    const STEP: &str = "
        /*0100*/                   LDS R4, [R4] ;
        /*0110*/                   VOTE.ANY R5, PT, !P0 ;
        /*0120*/              @!P0 IMAD R3, R3, 0x10000, R6 ;";

    fn function(name: &str, steps: usize, store: &str) -> String {
        let step = STEP.repeat(steps);
        format!(
            "
//--------------------- .text.{name} --------------------------
\t.section\t.text.{name},\"ax\",@progbits
.text.{name}:
        /*0000*/                   LDC R1, c[0x0][0x37c] ;
.L_x_0:
        /*0010*/                   ISETP.NE.AND P0, PT, R2, RZ, PT ;
.L_x_1:
        /*0020*/                   LDG.E.64 R8, desc[UR4][R6.64] ;{step}
        /*0200*/                   {store} desc[UR4][R10.64], R12 ;
        /*0210*/              @P1  BRA `(.L_x_1) ;
        /*0220*/               @P2 BRA `(.L_x_0) ;
.L_x_2:
        /*0230*/                   BRA `(.L_x_3);
.L_x_3:
        /*0240*/                   EXIT ;
        /*0250*/                   NOP;
"
        )
    }

    #[test]
    fn the_innermost_loop_is_counted() {
        let text = function("decode", 4, "STG.E.128") + &function("two", 5, "ST.E.64");
        // A load, the steps, the store, the branch.
        assert_eq!(
            steady_loops(&text),
            BTreeMap::from([
                ("decode".to_owned(), Loop { instructions: 15, steps: 4 }),
                ("two".to_owned(), Loop { instructions: 18, steps: 5 }),
            ])
        );
    }

    #[test]
    fn a_loop_of_another_kind_is_none() {
        assert!(steady_loops(&function("short", 3, "STG.E")).is_empty());
        assert!(steady_loops(&function("local", 4, "STL.64")).is_empty());
        assert!(steady_loops(&function("straight", 4, "STG.E").replace("BRA", "NOP")).is_empty());
        assert!(steady_loops("").is_empty());
    }
}
