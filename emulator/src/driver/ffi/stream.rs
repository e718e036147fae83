//! Streams and host callbacks.

use std::ffi::{c_int, c_uint, c_void};

use super::entries;
use super::pointer::Out;
use crate::driver::handle::Handle;
use crate::driver::state;
use crate::driver::status::{Checked, Status};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;

type HostFunction = extern "C" fn(*mut c_void);
type StreamCallback = extern "C" fn(Handle, u32, *mut c_void);

/// The user's pointer, handed back on another thread.
struct UserData(*mut c_void);
// SAFETY: the interface says that the callback runs on a thread of the driver's.
unsafe impl Send for UserData {}

impl UserData {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

fn create(stream: Out<Handle>, flags: c_uint) -> Checked {
    let context = state::current()?;
    stream.check()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(Status::INVALID_VALUE);
    }
    let started = context.start_stream(flags & NON_BLOCKING == 0)?;
    state::state()?.streams.insert(started.handle, started.clone());
    stream.put(started.handle)
}

entries! {
    fn cuStreamCreate(stream: Out<Handle>, flags: c_uint) {
        create(stream, flags)
    }

    fn cuStreamCreateWithPriority(stream: Out<Handle>, flags: c_uint, _priority: c_int) {
        create(stream, flags)
    }

    fn cuStreamDestroy_v2(stream: Handle) {
        let context = state::current_any()?;
        let state = state::state_any()?;
        let stream = state.streams.get(stream).and_then(|stream| state.stream(&context, stream.handle))?;
        state.streams.remove(stream.handle)?;
        stream.close();
        context.check()
    }

    fn cuStreamSynchronize(stream: Handle) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        context.synchronize(&context.frontier(&stream))
    }

    fn cuStreamQuery(stream: Handle) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        // Every ticket is asked, so that lazy streams all go on.
        let pending = context.frontier(&stream).iter().filter(|ticket| !ticket.poll()).count();
        context.check()?;
        if pending == 0 { Ok(()) } else { Err(Status::NOT_READY) }
    }

    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        if let Some(ticket) = state::state()?.events.get(event)?.ticket() {
            context.order(&stream, vec![ticket], vec![], || ());
        }
        Ok(())
    }

    fn cuStreamGetFlags(stream: Handle, flags: Out<c_uint>) {
        let context = state::current()?;
        let blocking = state::state()?.stream(&context, stream)?.blocking;
        flags.put(if blocking { 0 } else { NON_BLOCKING })
    }

    fn cuStreamGetPriority(stream: Handle, priority: Out<c_int>) {
        let context = state::current()?;
        state::state()?.stream(&context, stream)?;
        priority.put(0)
    }

    fn cuStreamGetCtx(stream: Handle, handle: Out<Handle>) {
        let context = state::current()?;
        handle.put(state::state()?.stream(&context, stream)?.context)
    }

    fn cuStreamGetId(stream: Handle, id: Out<u64>) {
        let context = state::current()?;
        id.put(state::state()?.stream(&context, stream)?.handle as u64)
    }

    fn cuStreamIsCapturing(stream: Handle, status: Out<c_uint>) {
        let context = state::current()?;
        state::state()?.stream(&context, stream)?;
        status.put(0)
    }

    fn cuLaunchHostFunc(stream: Handle, function: Option<HostFunction>, data: *mut c_void) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        let (function, data) = (function.ok_or(Status::INVALID_VALUE)?, UserData(data));
        let failed = context.clone();
        let ticket = context.order(&stream, vec![], vec![], move || {
            if failed.check().is_ok() {
                state::callback(|| function(data.get()));
            }
        });
        // Somebody may wait for what the callback does, by means the driver does not see.
        ticket.poll();
        Ok(())
    }

    fn cuStreamAddCallback(stream: Handle, function: Option<StreamCallback>, data: *mut c_void, flags: c_uint) {
        let context = state::current()?;
        let handle = stream;
        let stream = state::state()?.stream(&context, stream)?;
        let (function, data) = (function.ok_or(Status::INVALID_VALUE)?, UserData(data));
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let failed = context.clone();
        let ticket = context.order(&stream, vec![], vec![], move || {
            let status = failed.check().err().unwrap_or(Status::SUCCESS);
            state::callback(|| function(handle, status.0, data.get()));
        });
        ticket.poll();
        Ok(())
    }
}
