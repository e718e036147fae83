//! Pointers from C callers. Null is checked for; that anything else is valid for its type is the caller's promise, as with
//! every C interface, and the `SAFETY` comments here all rest on it.

use std::ffi::{CStr, c_char};

use crate::driver::status::{Checked, Status};

/// Where the caller wants a result.
#[repr(transparent)]
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Stores a result; null is `CUDA_ERROR_INVALID_VALUE`.
    pub(super) fn put(self, value: T) -> Checked {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        self.put_if(value);
        Ok(())
    }

    /// Stores a result the caller may not want: null is fine.
    pub(super) fn put_if(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, so valid for a `T`.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// The same place for an interface whose result has another type in this case.
    pub(super) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    pub(super) fn check(&self) -> Checked {
        if self.0.is_null() { Err(Status::INVALID_VALUE) } else { Ok(()) }
    }
}

/// Elements of the caller's, as many as the interface says.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Array<T>(*mut T);

impl<T: Copy> Array<T> {
    /// Elements at an address that the caller gave as a number.
    pub(super) fn at(address: usize) -> Self {
        Array(address as *mut T)
    }

    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(super) fn get(self, index: usize) -> Checked<T> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: not null, so valid for as many elements as the interface says.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }

    pub(super) fn set(self, index: usize, value: T) -> Checked {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: as in `get`.
        unsafe { self.0.add(index).write_unaligned(value) }
        Ok(())
    }
}

/// A NUL-terminated string of the caller's.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Text(*const c_char);

impl From<&CStr> for Text {
    /// The result must not outlive `text`.
    fn from(text: &CStr) -> Text {
        Text(text.as_ptr())
    }
}

impl Text {
    /// The string; null or not UTF-8 is `CUDA_ERROR_INVALID_VALUE`.
    pub(super) fn get(&self) -> Checked<&str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Status::INVALID_VALUE)
    }

    /// The bytes before the NUL.
    pub(super) fn bytes(&self) -> Checked<&[u8]> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: not null, so a string that lives as long as the call.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }
}

/// A copy of `len` bytes at host address `address`, which is not null.
pub(super) fn copy_bytes(address: usize, len: usize) -> Vec<u8> {
    // SAFETY: the caller of the entry point has `len` bytes there.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }.to_vec()
}

/// Writes `text` and a NUL into a buffer of `capacity` bytes, cut to fit; returns the bytes written, the NUL included.
pub(super) fn put_text(buffer: usize, capacity: usize, text: &str) -> usize {
    if buffer == 0 || capacity == 0 {
        return 0;
    }
    let len = (0..capacity.min(text.len() + 1)).rev().find(|&len| text.is_char_boundary(len)).unwrap_or(0);
    // SAFETY: the caller's buffer has `capacity` bytes, more than `len`.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer as *mut u8, len + 1) };
    buffer[..len].copy_from_slice(&text.as_bytes()[..len]);
    buffer[len] = 0;
    len + 1
}
