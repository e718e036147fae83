//! Contexts.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::Ordering;

use super::entries;
use super::pointer::Out;
use crate::driver::handle::Handle;
use crate::driver::state;
use crate::driver::status::{Checked, Status};
use crate::driver::sync::lock;

/// `CUctx_flags` that a caller may set.
const CONTEXT_FLAGS: c_uint = 0xff;
/// What `cuCtxGetLimit` returns for limits nobody set: stack, printf buffer, heap, then device runtime and cache limits.
const LIMITS: [usize; 7] = [1024, 1 << 20, 8 << 20, 2, 2048, 128, 0];

/// Creates a context and makes it current.
fn create(context: Out<Handle>, flags: c_uint, device: c_int) -> Checked {
    state::device(device)?;
    context.check()?;
    if flags & !CONTEXT_FLAGS != 0 {
        return Err(Status::INVALID_VALUE);
    }
    let handle = state::state()?.create_context(device, false, flags)?.handle;
    state::push_current(handle)?;
    context.put(handle)
}

entries! {
    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) {
        state::device(device)?;
        context.check()?;
        context.put(state::state()?.retain_primary(device)?)
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        let state = state::state_any()?;
        state::ordinal(device)?;
        state.release_primary(device)?;
        state::device(device)
    }

    fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        let state = state::state_any()?;
        state::ordinal(device)?;
        state.reset_primary(device)?;
        state::device(device)
    }

    fn cuDevicePrimaryCtxGetState(device: c_int, flags: Out<c_uint>, active: Out<c_int>) {
        state::device(device)?;
        let (set, exists) = state::state()?.primary_state(device);
        flags.put(set)?;
        active.put(exists.into())
    }

    fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) {
        state::device(device)?;
        if flags & !CONTEXT_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        state::state()?.set_primary_flags(device, flags);
        Ok(())
    }

    fn cuCtxCreate_v2(context: Out<Handle>, flags: c_uint, device: c_int) {
        create(context, flags, device)
    }

    fn cuCtxCreate_v3(context: Out<Handle>, _affinity: usize, affinities: c_int, flags: c_uint, device: c_int) {
        if affinities != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        create(context, flags, device)
    }

    fn cuCtxCreate_v4(context: Out<Handle>, params: usize, flags: c_uint, device: c_int) {
        if params != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        create(context, flags, device)
    }

    fn cuCtxDestroy_v2(context: Handle) {
        let state = state::state_any()?;
        let context = state.contexts.get(context)?;
        if context.primary {
            return Err(Status::INVALID_CONTEXT);
        }
        state.destroy_context(&context)?;
        if state::top() == Some(context.handle) {
            state::pop_current()?;
        }
        Ok(())
    }

    fn cuCtxGetCurrent(context: Out<Handle>) {
        state::state()?;
        context.put(state::top().unwrap_or(0))
    }

    fn cuCtxSetCurrent(context: Handle) {
        state::set_current(context)
    }

    fn cuCtxPushCurrent_v2(context: Handle) {
        state::push_current(context)
    }

    fn cuCtxPopCurrent_v2(context: Out<Handle>) {
        context.put_if(state::pop_current()?);
        Ok(())
    }

    fn cuCtxGetDevice(device: Out<c_int>) {
        device.put(state::current_any()?.device)
    }

    fn cuCtxGetId(context: Handle, id: Out<u64>) {
        let context = if context == 0 { state::current()? } else { state::state()?.contexts.get(context)? };
        id.put(context.handle as u64)
    }

    fn cuCtxGetApiVersion(context: Handle, version: Out<c_uint>) {
        if context == 0 { state::current()? } else { state::state()?.contexts.get(context)? };
        version.put(3020)
    }

    fn cuCtxGetFlags(flags: Out<c_uint>) {
        flags.put(state::current()?.flags.load(Ordering::Relaxed))
    }

    fn cuCtxSetFlags(flags: c_uint) {
        if flags & !CONTEXT_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        state::current()?.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }

    fn cuCtxGetLimit(value: Out<usize>, limit: c_uint) {
        let default = LIMITS.get(limit as usize).copied().ok_or(Status::UNSUPPORTED_LIMIT)?;
        let set = lock(&state::current()?.limits).get(&limit).copied();
        value.put(set.unwrap_or(default))
    }

    fn cuCtxSetLimit(limit: c_uint, value: usize) {
        let context = state::current()?;
        if limit as usize >= LIMITS.len() {
            return Err(Status::UNSUPPORTED_LIMIT);
        }
        lock(&context.limits).insert(limit, value);
        Ok(())
    }

    fn cuCtxGetCacheConfig(config: Out<c_uint>) {
        config.put(state::current()?.cache_config.load(Ordering::Relaxed))
    }

    fn cuCtxSetCacheConfig(config: c_uint) {
        let context = state::current()?;
        if config > 3 {
            return Err(Status::INVALID_VALUE);
        }
        context.cache_config.store(config, Ordering::Relaxed);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        state::current()?;
        least.put_if(0);
        greatest.put_if(0);
        Ok(())
    }

    fn cuCtxSynchronize() {
        state::current()?.synchronize_all()
    }
}
