//! Calls of functions of the same module: their bodies are expanded in place, parameters in local memory.

use super::super::statement::{Operand, Statement};
use super::scope::{Scope, Symbol};
use super::{Lowering, PtxError};

impl Lowering<'_> {
    /// Expands a call, if it is one.
    pub(super) fn call(&mut self, statement: &Statement) -> Result<bool, PtxError> {
        if statement.name != "call" {
            return Ok(false);
        }
        let (results, name, arguments) = match statement.operands.as_slice() {
            [Operand::Name(name, 0)] => (&[][..], name, &[][..]),
            [Operand::Name(name, 0), Operand::List(arguments)] => (&[][..], name, arguments.as_slice()),
            [Operand::List(results), Operand::Name(name, 0)] => (results.as_slice(), name, &[][..]),
            [Operand::List(results), Operand::Name(name, 0), Operand::List(arguments)] => {
                (results.as_slice(), name, arguments.as_slice())
            }
            _ => return self.error("only direct calls are supported"),
        };
        let Some(&function) = self.module.functions.get(name) else {
            return self.error(format!("call of unknown function {name}"));
        };
        let Some(body) = &function.body else { return self.error(format!("call of {name}, which has no body in this module")) };
        if self.calls.iter().any(|(caller, _)| caller == name) {
            return self.error(format!("{name} calls itself, which is not supported"));
        }
        // Formal parameters are other names for the actual ones' places.
        let mut formals = Scope::default();
        let returned = function.return_param.iter();
        let actuals = results.iter().chain(arguments);
        let params: Vec<_> = returned.chain(&function.params).collect();
        if params.len() != actuals.clone().count() {
            return self.error(format!("{name} takes {} parameters", params.len()));
        }
        for (param, actual) in params.into_iter().zip(actuals) {
            let (formal, _, _) = self.parameter(param)?;
            let place = match actual {
                Operand::Name(actual, 0) => self.symbol(actual),
                _ => None,
            };
            match place {
                Some(place @ Symbol::CallParam(_)) => formals.declare(&formal, place),
                _ => return self.error(format!("an argument of {name} that is no .param variable")),
            }
        }
        let after = self.new_label();
        // Lanes that the guard excludes go around the body; the body sees no names of its caller.
        let line = self.line;
        if self.guard.0 != crate::isa::TRUE {
            self.guard.1 = !self.guard.1;
            self.branch(after)?;
        }
        let outer = std::mem::replace(&mut self.scopes, vec![formals]);
        self.calls.push((name.clone(), after));
        self.block(&body.statements)?;
        self.calls.pop();
        self.scopes = outer;
        self.line = line;
        self.place(after);
        Ok(true)
    }

    fn branch(&mut self, target: u32) -> Result<(), PtxError> {
        use crate::count::Pipe;
        use crate::isa::{Action, NOWHERE, Operands};
        self.emit(Action::Branch { target, meet: NOWHERE }, Operands::default(), Pipe::Control)
    }
}
