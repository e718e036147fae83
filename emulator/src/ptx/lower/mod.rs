//! A kernel's instructions to their decoded form. Functions that it calls are expanded in place.

mod access;
mod call;
mod compute;
mod control;
mod operand;
mod scope;

use std::collections::{HashMap, HashSet};

use ptx_syntax::r#type::{
    EntryFunctionDirective, EntryFunctionHeaderDirective, FuncFunctionDirective, FunctionDim, FunctionStatement,
    ParameterDirective, StatementDirective, VariableDirective, VariableModifier,
};

use self::scope::{Scope, Symbol};
use super::graph::{Flow, post_dominators};
use super::statement::Statement;
use super::text::Text;
use super::variables::{element_ty, size_of};
use super::{Kernel, Param, PtxError};
use crate::count::Pipe;
use crate::isa::{Access, Action, Input, NOWHERE, Op, Operands, RESERVED_PREDICATES, Slot, TRUE, Ty, Width};

/// More than this many instructions come of functions that call each other without end.
const MAX_OPS: usize = 1 << 20;

/// What kernels see of their module.
pub(super) struct Surroundings<'a> {
    pub(super) text: &'a Text<'a>,
    pub(super) functions: HashMap<String, &'a FuncFunctionDirective>,
    /// Variables in device memory.
    pub(super) variables: HashSet<String>,
    /// Variables in shared memory, and whether their size is the launch's to say.
    pub(super) shared: HashMap<String, (&'a VariableDirective, bool)>,
}

/// A kernel in the making.
struct Lowering<'a> {
    module: &'a Surroundings<'a>,
    scopes: Vec<Scope>,
    /// Functions being expanded, outermost first, and the label after each call.
    calls: Vec<(String, u32)>,
    ops: Vec<Op>,
    accesses: Vec<Access>,
    tables: Vec<Vec<u32>>,
    labels: Vec<Option<u32>>,
    inputs: HashMap<Input, Slot>,
    slots: u32,
    predicates: u32,
    shared: HashMap<String, u32>,
    shared_bytes: u32,
    local_bytes: u32,
    /// Bytes of the kernel's parameters.
    param_bytes: u32,
    /// Guard of the statement being decoded, and its line.
    guard: (Slot, u32),
    line: u32,
}

/// Decodes a kernel.
pub(super) fn lower(module: &Surroundings<'_>, entry: &EntryFunctionDirective) -> Result<Kernel, PtxError> {
    let line = module.text.line(entry.span.start);
    let mut lowering = Lowering {
        module,
        scopes: vec![Scope::default()],
        calls: Vec::new(),
        ops: Vec::new(),
        accesses: Vec::new(),
        tables: Vec::new(),
        labels: Vec::new(),
        inputs: HashMap::new(),
        slots: 0,
        predicates: RESERVED_PREDICATES,
        shared: HashMap::new(),
        shared_bytes: 0,
        local_bytes: 0,
        param_bytes: 0,
        guard: (TRUE, 0),
        line,
    };
    let (mut params, mut end) = (Vec::new(), 0u32);
    for param in &entry.params {
        let (name, size, align) = lowering.parameter(param)?;
        let offset = end.next_multiple_of(align);
        lowering.declare(&name, Symbol::Param(offset));
        params.push(Param { offset: offset as usize, size: size as usize });
        end = offset + size;
    }
    lowering.param_bytes = end;
    let body = entry.body.as_ref().ok_or_else(|| PtxError::new(line, "an .entry without a body"))?;
    lowering.block(&body.statements)?;
    // A body may end without saying so.
    lowering.guard = (TRUE, 0);
    lowering.emit(Action::Exit, Operands::default(), Pipe::Control)?;
    let (max_threads, required_block) = limits(entry);
    let mut kernel = lowering.finish(entry.name.val.clone(), params, end as usize)?;
    (kernel.max_threads, kernel.required_block) = (max_threads, required_block);
    Ok(kernel)
}

/// The most threads a block may have, and the block that is required.
fn limits(entry: &EntryFunctionDirective) -> (u32, Option<[u32; 3]>) {
    let block = |dim: &FunctionDim| match *dim {
        FunctionDim::X { x, .. } => [x, 1, 1],
        FunctionDim::XY { x, y, .. } => [x, y, 1],
        FunctionDim::XYZ { x, y, z, .. } => [x, y, z],
    };
    let (mut most, mut required) = (1024, None);
    for directive in &entry.directives {
        match directive {
            EntryFunctionHeaderDirective::MaxNTid { dim, .. } => most = block(dim).iter().product(),
            EntryFunctionHeaderDirective::ReqNTid { dim, .. } => {
                (most, required) = (block(dim).iter().product(), Some(block(dim)));
            }
            _ => {}
        }
    }
    (most.min(1024), required)
}

impl<'a> Lowering<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, PtxError> {
        Err(PtxError::new(self.line, message))
    }

    fn declare(&mut self, name: &str, symbol: Symbol) {
        self.scopes.last_mut().expect("there is an outermost scope").declare(name, symbol);
    }

    /// Name, size and alignment of a parameter.
    fn parameter(&self, param: &ParameterDirective) -> Result<(String, u32, u32), PtxError> {
        match param {
            ParameterDirective::Parameter { align, ty, name, array, ptr, .. } => {
                let Some(ty) = element_ty(ty) else {
                    return self.error(format!("parameter {} of an unsupported type", name.val));
                };
                let count: u64 = array.iter().map(|dim| dim.unwrap_or(0)).product();
                // After `.ptr`, the alignment is that of what is pointed to.
                let align = align.filter(|_| !ptr).unwrap_or(ty.bytes()).max(ty.bytes());
                Ok((name.val.clone(), ty.bytes() * count as u32, align))
            }
            ParameterDirective::Register { ty, name, .. } => {
                let Some(ty) = element_ty(ty) else {
                    return self.error(format!("parameter {} of an unsupported type", name.val));
                };
                Ok((name.val.clone(), ty.bytes(), ty.bytes().max(1)))
            }
        }
    }

    /// Decodes the statements between a pair of braces.
    fn block(&mut self, statements: &[FunctionStatement]) -> Result<(), PtxError> {
        self.scopes.push(Scope::default());
        for statement in statements {
            // Labels are known before they are reached.
            if let FunctionStatement::Label { label, .. } = statement {
                let id = self.new_label();
                self.declare(&label.val, Symbol::Label(id));
            }
        }
        let mut last_label = "";
        for statement in statements {
            match statement {
                FunctionStatement::Label { label, .. } => {
                    last_label = &label.val;
                    let Some(Symbol::Label(id)) = self.symbol(&label.val) else { unreachable!("declared above") };
                    self.place(id);
                }
                FunctionStatement::Directive { directive, span } => {
                    self.line = self.module.text.line(span.start);
                    self.directive(directive, last_label, self.module.text.slice(span.start, span.end))?;
                }
                FunctionStatement::Instruction { span, .. } => {
                    self.line = self.module.text.line(span.start);
                    let statement = Statement::parse(self.module.text.slice(span.start, span.end), self.line)?;
                    self.instruction(&statement)?;
                }
                FunctionStatement::Block { statements, .. } => self.block(statements)?,
            }
        }
        self.scopes.pop();
        Ok(())
    }

    fn directive(&mut self, directive: &StatementDirective, label: &str, text: &str) -> Result<(), PtxError> {
        match directive {
            StatementDirective::Reg { directive, .. } => {
                let Some(ty) = element_ty(&directive.ty).filter(|ty| *ty != Ty::B128 && directive.vector.is_none()) else {
                    return self.error(format!("registers of an unsupported type: `{}`", text.trim()));
                };
                for register in &directive.registers {
                    let scope = self.scopes.last_mut().expect("a block is open");
                    scope.declare_register(&register.name.val, register.range, ty);
                }
            }
            StatementDirective::Local { directive, .. } => {
                let offset = self.local(directive)?;
                self.declare(&directive.name.val, Symbol::Local(offset));
            }
            StatementDirective::Param { directive, .. } => {
                let offset = self.local(directive)?;
                self.declare(&directive.name.val, Symbol::CallParam(offset));
            }
            StatementDirective::Shared { directive, .. } => {
                let offset = self.shared(directive)?;
                self.declare(&directive.name.val, Symbol::Shared(offset));
            }
            StatementDirective::BranchTargets { directive, .. } => {
                // `name: .branchtargets a, b;`: the name is the label before it.
                let labels = directive.labels.iter().map(|label| label.val.clone()).collect();
                self.declare(label, Symbol::Targets(labels));
            }
            _ => {}
        }
        Ok(())
    }

    /// Places a variable in local memory.
    fn local(&mut self, variable: &VariableDirective) -> Result<u32, PtxError> {
        let (size, align) = self.extent(variable)?;
        let offset = self.local_bytes.next_multiple_of(align);
        self.local_bytes = offset + size;
        Ok(offset)
    }

    /// Places a variable in shared memory.
    fn shared(&mut self, variable: &VariableDirective) -> Result<u32, PtxError> {
        let (size, align) = self.extent(variable)?;
        let offset = self.shared_bytes.next_multiple_of(align);
        self.shared_bytes = offset + size;
        Ok(offset)
    }

    fn extent(&self, variable: &VariableDirective) -> Result<(u32, u32), PtxError> {
        let size = size_of(variable).and_then(|size| u32::try_from(size).ok());
        let Some(size) = size else {
            return self.error(format!("variable {} of an unsupported type or size", variable.name.val));
        };
        let natural = element_ty(&variable.ty).map_or(1, Ty::bytes);
        let said = variable.modifiers.iter().find_map(|modifier| match modifier {
            VariableModifier::Alignment { value, .. } => Some(*value),
            _ => None,
        });
        Ok((size, said.unwrap_or(natural).max(1)))
    }

    fn instruction(&mut self, statement: &Statement) -> Result<(), PtxError> {
        self.guard = match &statement.guard {
            None => (TRUE, 0),
            Some((name, negated)) => (self.predicate(name)?, if *negated { u32::MAX } else { 0 }),
        };
        let modifiers: Vec<&str> = statement.modifiers.iter().map(String::as_str).collect();
        let done = self.control(statement, &modifiers)?
            || self.access(statement, &modifiers)?
            || self.call(statement)?
            || self.compute(statement, &modifiers)?;
        if !done {
            return self.error(format!("instruction not supported: {}", statement.mnemonic()));
        }
        Ok(())
    }

    fn emit(&mut self, action: Action, operands: Operands, pipe: Pipe) -> Result<(), PtxError> {
        if self.ops.len() == MAX_OPS {
            return self.error("too many instructions");
        }
        let (guard, unless) = self.guard;
        self.ops.push(Op { action, guard, unless, operands, line: self.line, pipe });
        Ok(())
    }

    fn new_slot(&mut self, width: Width) -> Slot {
        let (counter, size) = match width {
            Width::Pred => (&mut self.predicates, 1),
            Width::W32 => (&mut self.slots, 1),
            Width::W64 => (&mut self.slots, 2),
        };
        *counter += size;
        *counter - size
    }

    fn new_label(&mut self) -> u32 {
        self.labels.push(None);
        self.labels.len() as u32 - 1
    }

    fn place(&mut self, label: u32) {
        self.labels[label as usize] = Some(self.ops.len() as u32);
    }

    /// Resolves labels, and finds where lanes that part meet again.
    fn finish(mut self, name: String, params: Vec<Param>, param_bytes: usize) -> Result<Kernel, PtxError> {
        let labels: Vec<u32> = self.labels.iter().map(|at| at.expect("every label is placed in its block")).collect();
        for target in self.tables.iter_mut().flatten() {
            *target = labels[*target as usize];
        }
        for op in &mut self.ops {
            if let Action::Branch { target, .. } = &mut op.action {
                *target = labels[*target as usize];
            }
        }
        let flows: Vec<Flow> = self.ops.iter().map(|op| control::flow(op, &self.tables)).collect();
        let meets = post_dominators(&flows);
        for (op, met) in self.ops.iter_mut().zip(meets) {
            if let Action::Branch { meet, .. } | Action::BranchTable { meet, .. } = &mut op.action {
                *meet = met.unwrap_or(NOWHERE);
            }
        }
        Ok(Kernel {
            name,
            params,
            param_bytes,
            static_shared: self.shared_bytes,
            max_threads: 1024,
            required_block: None,
            ops: self.ops,
            accesses: self.accesses,
            tables: self.tables,
            inputs: self.inputs.into_iter().map(|(input, slot)| (slot, input)).collect(),
            slots: self.slots,
            predicates: self.predicates,
            local_bytes: self.local_bytes.next_multiple_of(16),
        })
    }
}
