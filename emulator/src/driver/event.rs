//! Events: a point in a stream's work, and the time at which it was reached.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use super::context::Context;
use super::handle::Handle;
use super::status::{Checked, Status};
use super::stream::{Stream, Ticket};
use super::sync::lock;

struct Record {
    ticket: Ticket,
    reached: Arc<OnceLock<Instant>>,
}

pub(crate) struct Event {
    /// The handle of the context it belongs to.
    pub context: Handle,
    pub timed: bool,
    last: Mutex<Option<Record>>,
}

impl Event {
    pub(crate) fn new(context: Handle, timed: bool) -> Event {
        Event { context, timed, last: Mutex::default() }
    }

    /// Moves the event to the end of `stream`'s work so far.
    pub(crate) fn record(&self, context: &Arc<Context>, stream: &Arc<Stream>) {
        let reached = Arc::new(OnceLock::new());
        let stamp = reached.clone();
        // Reached even if the context has failed by then: whoever waits must be let go, to find the failure.
        let ticket = context.order(stream, vec![], vec![], move || {
            let _ = stamp.set(Instant::now());
        });
        *lock(&self.last) = Some(Record { ticket, reached });
    }

    /// The point last recorded; `None` counts as reached.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        lock(&self.last).as_ref().map(|record| record.ticket.clone())
    }

    /// Milliseconds from this event to `end`.
    pub(crate) fn elapsed_ms(&self, end: &Event) -> Checked<f32> {
        let reached = |event: &Event| {
            let last = lock(&event.last);
            let record = last.as_ref().filter(|_| event.timed).ok_or(Status::INVALID_HANDLE)?;
            record.ticket.poll();
            record.reached.get().copied().ok_or(Status::NOT_READY)
        };
        let (from, to) = (reached(self)?, reached(end)?);
        let span = to.saturating_duration_since(from).as_secs_f32() - from.saturating_duration_since(to).as_secs_f32();
        Ok(span * 1e3)
    }
}
