//! PTX text to decoded kernels: `ptx-syntax` parses, and refuses what is no PTX; then names are resolved, functions expanded where
//! they are called, operands become slots of a register file, and branches learn where their lanes meet again.

mod error;
mod graph;
mod lower;
mod normalise;
mod program;
mod statement;
mod text;
mod variables;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ptx_syntax::r#type::{DataLinkage, ModuleDirective, ModuleVariableDirective, VariableDirective};

pub use error::PtxError;
pub use program::{Kernel, LoadedGlobals, Param, Space, Variable};
use text::Text;

/// A module: kernels, and variables of its scope.
#[derive(Debug)]
pub struct Module {
    kernels: BTreeMap<String, Arc<Kernel>>,
    variables: Vec<Variable>,
}

impl Module {
    /// Decodes PTX text. Whatever is not understood to the last modifier is an error that names its line.
    pub fn parse(text: &str) -> Result<Self, PtxError> {
        // Drivers take text that ends in a zero byte.
        let text = text.trim_end_matches('\0');
        let lines = Text::new(text);
        let tree = ptx_syntax::parse_ptx(&normalise::normalise(text)).map_err(|error| {
            let line = lines.line(error.span.start);
            PtxError::new(line, format!("{} in `{}`", error.kind, lines.line_text(line)))
        })?;
        let mut variables: Vec<Variable> = Vec::new();
        let mut surroundings =
            lower::Surroundings { text: &lines, functions: HashMap::new(), variables: HashSet::new(), shared: HashMap::new() };
        for directive in &tree.directives {
            match directive {
                ModuleDirective::FuncFunction { directive, .. } => {
                    let known = surroundings.functions.get(&directive.name.val).is_some_and(|known| known.body.is_some());
                    if !known {
                        surroundings.functions.insert(directive.name.val.clone(), directive);
                    }
                }
                ModuleDirective::ModuleVariable { linkage, directive, span } => {
                    let external = matches!(linkage, Some(DataLinkage::Extern { .. }));
                    let (line, source) = (lines.line(span.start), lines.slice(span.start, span.end));
                    match directive {
                        ModuleVariableDirective::Shared { directive, .. } => {
                            surroundings.shared.insert(directive.name.val.clone(), (directive, external));
                        }
                        ModuleVariableDirective::Global { directive, .. } => {
                            variables.push(module_variable(directive, external, Space::Global, source, line)?);
                        }
                        ModuleVariableDirective::Const { directive, .. } => {
                            variables.push(module_variable(directive, external, Space::Const, source, line)?);
                        }
                        ModuleVariableDirective::Tex { .. } => return Err(PtxError::new(line, "textures are not supported")),
                    }
                }
                ModuleDirective::AliasFunction { span, .. } => {
                    return Err(PtxError::new(lines.line(span.start), ".alias is not supported"));
                }
                _ => {}
            }
        }
        surroundings.variables = variables.iter().map(|variable| variable.name.clone()).collect();
        for variable in &variables {
            if let Some((_, name)) = variable.relocations.iter().find(|(_, name)| !surroundings.variables.contains(name)) {
                return Err(PtxError::new(0, format!("variable {} holds the address of {name}, which is none", variable.name)));
            }
        }
        let mut kernels = BTreeMap::new();
        for directive in &tree.directives {
            if let ModuleDirective::EntryFunction { directive, .. } = directive {
                let kernel = lower::lower(&surroundings, directive)?;
                kernels.insert(kernel.name.clone(), Arc::new(kernel));
            }
        }
        Ok(Self { kernels, variables })
    }

    /// The kernel (`.entry`) of this name.
    pub fn kernel(&self, name: &str) -> Option<&Arc<Kernel>> {
        self.kernels.get(name)
    }

    /// All kernels, by name.
    pub fn kernels(&self) -> impl Iterator<Item = &Arc<Kernel>> {
        self.kernels.values()
    }

    /// Variables of module scope in `.global` and `.const`.
    pub fn globals(&self) -> &[Variable] {
        &self.variables
    }
}

fn module_variable(
    directive: &VariableDirective,
    external: bool,
    space: Space,
    source: &str,
    line: u32,
) -> Result<Variable, PtxError> {
    if external {
        return Err(PtxError::new(line, format!("variable {} is in no module", directive.name.val)));
    }
    variables::variable(directive, space, source, line)
}
