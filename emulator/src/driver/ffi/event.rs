//! Events.

use std::ffi::c_uint;
use std::sync::Arc;

use super::entries;
use super::pointer::Out;
use crate::driver::event::Event;
use crate::driver::handle::{self, Handle};
use crate::driver::state;
use crate::driver::status::{Checked, Status};

/// `CU_EVENT_BLOCKING_SYNC` and `CU_EVENT_DISABLE_TIMING`.
const BLOCKING_SYNC: c_uint = 1;
const DISABLE_TIMING: c_uint = 2;

fn record(event: Handle, stream: Handle) -> Checked {
    let context = state::current()?;
    let event = state::state()?.event(&context, event)?;
    event.record(&context, &state::state()?.stream(&context, stream)?);
    Ok(())
}

fn elapsed(milliseconds: Out<f32>, start: Handle, end: Handle) -> Checked {
    let context = state::current()?;
    let (start, end) = (state::state()?.event(&context, start)?, state::state()?.event(&context, end)?);
    milliseconds.put(start.elapsed_ms(&end)?)
}

entries! {
    fn cuEventCreate(event: Out<Handle>, flags: c_uint) {
        let context = state::current()?;
        event.check()?;
        if flags & !(BLOCKING_SYNC | DISABLE_TIMING) != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let handle = handle::fresh();
        state::state()?.events.insert(handle, Arc::new(Event::new(context.handle, flags & DISABLE_TIMING == 0)));
        event.put(handle)
    }

    fn cuEventDestroy_v2(event: Handle) {
        let context = state::current_any()?;
        let state = state::state_any()?;
        state.event(&context, event)?;
        state.events.remove(event)?;
        context.check()
    }

    fn cuEventRecord(event: Handle, stream: Handle) {
        record(event, stream)
    }

    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: c_uint) {
        if flags != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        record(event, stream)
    }

    fn cuEventQuery(event: Handle) {
        let context = state::current()?;
        let done = state::state()?.event(&context, event)?.ticket().is_none_or(|ticket| ticket.poll());
        context.check()?;
        if done { Ok(()) } else { Err(Status::NOT_READY) }
    }

    fn cuEventSynchronize(event: Handle) {
        let context = state::current()?;
        let ticket = state::state()?.event(&context, event)?.ticket();
        context.synchronize(ticket.as_slice())
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) {
        elapsed(milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) {
        elapsed(milliseconds, start, end)
    }
}
