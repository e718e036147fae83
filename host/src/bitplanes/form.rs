//! Which types' numbers fall into categories, signs and bits of refinement.

use crate::dtype::Dtype;
pub(crate) use wcodec_device::bitplanes::Form;

/// The form of a type's numbers; `None` for types that are not split.
///
/// E4M3FNUZ and E5M2FNUZ are not: what would be their coarse −0 is a NaN. Nor is U8, in which other types are packed as often as not.
pub(crate) fn form_of(dtype: Dtype) -> Option<Form> {
    let float = |bits, mantissa| Some(Form::Float { bits, mantissa });
    match dtype {
        Dtype::BF16 => float(16, 7),
        Dtype::F16 => float(16, 10),
        Dtype::F32 => float(32, 23),
        Dtype::F8_E4M3 => float(8, 3),
        Dtype::F8_E5M2 => float(8, 2),
        Dtype::I8 => Some(Form::Integer { bits: 8 }),
        Dtype::I16 => Some(Form::Integer { bits: 16 }),
        _ => None,
    }
}
