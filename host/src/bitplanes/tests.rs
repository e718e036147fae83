use super::*;
use crate::dtype::Dtype;
use proptest::prelude::*;

const SPLIT: [Dtype; 7] = [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::F8_E4M3, Dtype::F8_E5M2, Dtype::I8, Dtype::I16];

/// The elements from `planes` planes.
fn coarse(form: Form, parts: &Parts, planes: usize, len: usize) -> Vec<u8> {
    let mut numbers = Numbers::default();
    numbers.begin(form, &parts[0]).unwrap();
    for plane in 0..=planes {
        assert_eq!(numbers.plane_bytes(form, plane), parts[1 + plane].len());
        numbers.add(form, plane, Bits::Packed(&parts[1 + plane]));
    }
    let mut out = vec![0; len];
    numbers.finish(form, planes, out.chunks_mut(len.max(1)));
    out
}

fn refined(form: Form, parts: &Parts, from: usize, to: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut numbers = Numbers::default();
    numbers.resume(form, from, std::iter::once(&bytes[..]));
    for plane in from + 1..=to {
        assert_eq!(numbers.plane_bytes(form, plane), parts[1 + plane].len());
        numbers.add(form, plane, Bits::Packed(&parts[1 + plane]));
    }
    numbers.finish(form, to, std::iter::once(&mut bytes[..]));
    bytes
}

/// Every element of the 16-bit and 8-bit types, at every level.
#[test]
fn every_element() {
    for dtype in SPLIT {
        let form = form_of(dtype).unwrap();
        let all: Vec<u8> = match form.bytes() {
            1 => (0..=255).collect(),
            2 => (0..=65535u16).flat_map(u16::to_le_bytes).collect(),
            _ => (0..=65535u32).flat_map(|i| (i.wrapping_mul(65537) ^ i << 7).to_le_bytes()).collect(),
        };
        check(form, &all);
    }
}

fn check(form: Form, all: &[u8]) {
    let mut parts = Parts::new();
    pack(form, all, &mut parts);
    let levels: Vec<_> = (0..=form.planes()).map(|k| coarse(form, &parts, k, all.len())).collect();
    assert!(levels[form.planes()] == all, "{form:?}: not exact at the end");
    for from in 0..form.planes() {
        for to in from..=form.planes() {
            assert!(refined(form, &parts, from, to, levels[from].clone()) == levels[to], "{form:?}: {from} to {to}");
        }
    }
}

proptest! {
    #[test]
    fn any_elements(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for dtype in SPLIT {
            let form = form_of(dtype).unwrap();
            let whole = bytes.len() / form.bytes() * form.bytes();
            check(form, &bytes[..whole]);
        }
    }
}

/// The error of a value halves with every plane, and what is special stays what it is.
#[test]
fn coarse_values() {
    let form = form_of(Dtype::BF16).unwrap();
    let values = [1.0f32, -1.75, 0.0, -0.0, 3.0e-3, -77.0, f32::INFINITY, f32::NEG_INFINITY];
    let bytes: Vec<u8> = values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect();
    let mut parts = Parts::new();
    pack(form, &bytes, &mut parts);
    for planes in 0..=7 {
        let out = coarse(form, &parts, planes, bytes.len());
        for (value, two) in values.iter().zip(out.as_chunks::<2>().0) {
            let exact = f32::from_bits(value.to_bits() & 0xffff_0000);
            let near = f32::from_bits((u16::from_le_bytes(*two) as u32) << 16);
            if exact == 0.0 || exact.is_infinite() {
                assert_eq!(near.to_bits(), exact.to_bits());
            } else {
                assert!((near - exact).abs() <= exact.abs() * 0.5f32.powi(planes as i32 + 1), "{exact} {near} {planes}");
            }
        }
    }
    let form = form_of(Dtype::I8).unwrap();
    let all: Vec<u8> = (0..=255).collect();
    pack(form, &all, &mut parts);
    let out = coarse(form, &parts, 0, 256);
    assert_eq!([0, 1, 2, 3, 64, 127].map(|i: usize| out[i] as i8), [0, 1, 3, 3, 96, 96]);
    assert_eq!([128, 129, 255].map(|i: usize| out[i] as i8), [-128, -96, -1]);
}

#[test]
fn categories_that_there_are_not() {
    let form = form_of(Dtype::I8).unwrap();
    assert!(Numbers::default().begin(form, &[8, 9]).is_err());
    assert!(Numbers::default().begin(form, &[8, 0]).is_ok());
    assert!(Numbers::default().begin(form_of(Dtype::F16).unwrap(), &[32]).is_err());
}
