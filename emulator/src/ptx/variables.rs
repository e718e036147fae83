//! Variables of module scope: their size, and what they hold at first.

use ptx_syntax::r#type::{DataType, VariableDirective, VariableModifier};

use super::statement::{Operand, parse_operand};
use super::{PtxError, Space, Variable};
use crate::isa::Ty;

/// The type of a declaration; none if it is not supported.
pub(super) fn element_ty(ty: &DataType) -> Option<Ty> {
    Some(match ty {
        DataType::U8 { .. } => Ty::U8,
        DataType::U16 { .. } => Ty::U16,
        DataType::U32 { .. } => Ty::U32,
        DataType::U64 { .. } => Ty::U64,
        DataType::S8 { .. } => Ty::S8,
        DataType::S16 { .. } => Ty::S16,
        DataType::S32 { .. } => Ty::S32,
        DataType::S64 { .. } => Ty::S64,
        DataType::F16 { .. } => Ty::F16,
        DataType::F16x2 { .. } => Ty::F16x2,
        DataType::F32 { .. } => Ty::F32,
        DataType::F64 { .. } => Ty::F64,
        DataType::B8 { .. } => Ty::B8,
        DataType::B16 { .. } => Ty::B16,
        DataType::B32 { .. } => Ty::B32,
        DataType::B64 { .. } => Ty::B64,
        DataType::B128 { .. } => Ty::B128,
        DataType::Pred { .. } => Ty::Pred,
        _ => return None,
    })
}

/// Size of a variable in bytes; an open dimension counts as nothing.
pub(super) fn size_of(variable: &VariableDirective) -> Option<u64> {
    let vector = variable.modifiers.iter().find_map(|modifier| match modifier {
        VariableModifier::Vector { value, .. } => Some(u64::from(*value)),
        _ => None,
    });
    let element = u64::from(element_ty(&variable.ty)?.bytes()) * vector.unwrap_or(1);
    variable.array_dims.iter().try_fold(element, |size, dim| size.checked_mul(dim.unwrap_or(0)))
}

/// Reads a variable from its declaration and the text of it.
pub(super) fn variable(directive: &VariableDirective, space: Space, text: &str, line: u32) -> Result<Variable, PtxError> {
    let name = directive.name.val.clone();
    let error = |message: &str| PtxError::new(line, format!("variable {name}: {message}"));
    let ty = element_ty(&directive.ty).ok_or_else(|| error("unsupported type"))?;
    let values = match text.split_once('=') {
        Some((_, values)) => elements(values.trim().trim_end_matches(';')),
        None => Vec::new(),
    };
    let width = ty.bytes() as usize;
    let mut size = size_of(directive).ok_or_else(|| error("unsupported size"))?;
    if directive.array_dims.iter().any(Option::is_none) {
        // The first dimension may be left to the values.
        size = (values.len() * width) as u64;
    }
    let align = directive.modifiers.iter().find_map(|modifier| match modifier {
        VariableModifier::Alignment { value, .. } => Some(u64::from(*value)),
        _ => None,
    });
    let mut initial = vec![0; usize::try_from(size).map_err(|_| error("too large"))?];
    let mut relocations = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let place = initial.get_mut(index * width..(index + 1) * width).ok_or_else(|| error("more values than elements"))?;
        let inner = value.strip_prefix("generic(").map(|rest| rest.replacen(')', "", 1));
        let operand =
            parse_operand(inner.as_deref().unwrap_or(value)).ok_or_else(|| error(&format!("unreadable value {value}")))?;
        match operand {
            Operand::Integer(value) => place.copy_from_slice(&value.to_le_bytes()[..width]),
            Operand::Float(_, Some(bits)) if width == 4 => place.copy_from_slice(&bits.to_le_bytes()),
            Operand::Float(value, None) if width == 4 => place.copy_from_slice(&(value as f32).to_le_bytes()),
            Operand::Float(value, _) if width == 8 => place.copy_from_slice(&value.to_le_bytes()),
            Operand::Name(name, addend) if width == 8 => {
                place.copy_from_slice(&addend.to_le_bytes());
                relocations.push((index * width, name));
            }
            _ => return Err(error(&format!("unsupported value {value}"))),
        }
    }
    Ok(Variable { name, space, size, align: align.unwrap_or(width as u64), initial, relocations })
}

/// The values of an initialiser, braces of inner dimensions taken away.
fn elements(text: &str) -> Vec<&str> {
    text.split([',', '{', '}']).map(str::trim).filter(|value| !value.is_empty()).collect()
}
