//! What the whole process shares: the tables of handles, the primary context, and each thread's stack of current contexts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use super::context::Context;
use super::device::MAX_DEVICES;
use super::event::Event;
use super::handle::{Handle, Registry};
use super::inject::{self, Point};
use super::module::{Function, LoadedModule};
use super::status::{Checked, Status};
use super::stream::Stream;
use super::sync::lock;
use super::{fault, settings};

/// Stream handles that need no creation.
const LEGACY_STREAMS: [Handle; 2] = [0, 1];
const PER_THREAD_STREAM: Handle = 2;

pub(crate) struct State {
    ready: AtomicBool,
    /// Of each device.
    primary: Mutex<[Primary; MAX_DEVICES]>,
    pub contexts: Registry<Context>,
    pub streams: Registry<Stream>,
    pub events: Registry<Event>,
    pub modules: Registry<LoadedModule>,
    pub functions: Registry<Function>,
}

/// A device's primary context and how often it is retained.
#[derive(Default)]
struct Primary {
    context: Option<Arc<Context>>,
    retained: usize,
    /// For the next primary context.
    flags: u32,
}

static STATE: LazyLock<State> = LazyLock::new(|| State {
    ready: AtomicBool::new(false),
    primary: Mutex::default(),
    contexts: Registry::new(Status::INVALID_CONTEXT),
    streams: Registry::new(Status::INVALID_HANDLE),
    events: Registry::new(Status::INVALID_HANDLE),
    modules: Registry::new(Status::INVALID_HANDLE),
    functions: Registry::new(Status::INVALID_HANDLE),
});

thread_local! {
    static CURRENT: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    static PER_THREAD: RefCell<HashMap<Handle, Handle>> = RefCell::default();
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// `cuInit`.
pub(crate) fn initialize() -> Checked {
    if inject::pass(Point::Init, 0) {
        return Err(Status::NO_DEVICE);
    }
    if let Some(problem) = settings::environment_problem().or_else(inject::environment_problem) {
        fault::report(&problem);
        return Err(Status::INVALID_VALUE);
    }
    STATE.ready.store(true, Ordering::Release);
    Ok(())
}

/// The shared state, for a call that is allowed now: the driver is initialised, the device there, and this no callback.
pub(crate) fn state() -> Checked<&'static State> {
    let state = state_any()?;
    inject::check_device()?;
    Ok(state)
}

/// The shared state, for a call that gives something back, which must work without a device too.
pub(crate) fn state_any() -> Checked<&'static State> {
    if !STATE.ready.load(Ordering::Acquire) {
        return Err(Status::NOT_INITIALIZED);
    }
    if IN_CALLBACK.get() { Err(Status::NOT_PERMITTED) } else { Ok(&STATE) }
}

/// Checks a device handle, and that the device is there.
pub(crate) fn device(device: i32) -> Checked {
    state()?;
    ordinal(device)
}

/// Checks a device handle.
pub(crate) fn ordinal(device: i32) -> Checked {
    if (0..settings::settings().devices).contains(&device) { Ok(()) } else { Err(Status::INVALID_DEVICE) }
}

/// Runs a host callback, during which driver calls are refused.
pub(crate) fn callback(call: impl FnOnce()) {
    IN_CALLBACK.set(true);
    call();
    IN_CALLBACK.set(false);
}

/// The calling thread's current context whatever state it is in.
pub(crate) fn current_any() -> Checked<Arc<Context>> {
    let contexts = &state_any()?.contexts;
    contexts.get(top().ok_or(Status::INVALID_CONTEXT)?).map_err(|_| Status::CONTEXT_IS_DESTROYED)
}

/// The calling thread's current context, which must not have failed.
pub(crate) fn current() -> Checked<Arc<Context>> {
    let context = current_any()?;
    context.check()?;
    Ok(context)
}

/// The handle on top of the calling thread's stack.
pub(crate) fn top() -> Option<Handle> {
    CURRENT.with_borrow(|stack| stack.last().copied())
}

/// Replaces the top of the stack; 0 pops it.
pub(crate) fn set_current(handle: Handle) -> Checked {
    if handle != 0 {
        state()?.contexts.get(handle)?;
    }
    CURRENT.with_borrow_mut(|stack| {
        stack.pop();
        stack.extend((handle != 0).then_some(handle));
    });
    Ok(())
}

pub(crate) fn push_current(handle: Handle) -> Checked {
    state()?.contexts.get(handle)?;
    CURRENT.with_borrow_mut(|stack| stack.push(handle));
    Ok(())
}

pub(crate) fn pop_current() -> Checked<Handle> {
    state()?;
    CURRENT.with_borrow_mut(Vec::pop).ok_or(Status::INVALID_CONTEXT)
}

impl State {
    /// Makes a context and its handle.
    pub(crate) fn create_context(&self, device: i32, primary: bool, flags: u32) -> Checked<Arc<Context>> {
        let context = Context::new(device, primary, flags)?;
        self.contexts.insert(context.handle, context.clone());
        Ok(context)
    }

    /// Destroys a context and everything that belongs to it.
    pub(crate) fn destroy_context(&self, context: &Context) -> Checked {
        self.contexts.remove(context.handle)?;
        context.destroy();
        self.streams.retain(|stream| stream.context != context.handle);
        self.events.retain(|event| event.context != context.handle);
        self.functions.retain(|function| function.module.context != context.handle);
        self.modules.retain(|module| module.context != context.handle);
        Ok(())
    }

    /// `cuDevicePrimaryCtxRetain`.
    pub(crate) fn retain_primary(&self, device: i32) -> Checked<Handle> {
        let primary = &mut lock(&self.primary)[device as usize];
        let context = match &primary.context {
            Some(context) => context.clone(),
            None => self.create_context(device, true, primary.flags)?,
        };
        primary.retained += 1;
        let handle = context.handle;
        primary.context = Some(context);
        Ok(handle)
    }

    /// `cuDevicePrimaryCtxRelease`: the last one destroys it.
    pub(crate) fn release_primary(&self, device: i32) -> Checked {
        let primary = &mut lock(&self.primary)[device as usize];
        primary.retained = primary.retained.checked_sub(1).ok_or(Status::INVALID_CONTEXT)?;
        match (primary.retained, &primary.context) {
            (0, Some(_)) => primary.context.take().map_or(Ok(()), |context| self.destroy_context(&context)),
            _ => Ok(()),
        }
    }

    /// `cuDevicePrimaryCtxReset`: destroys it whoever retains it.
    pub(crate) fn reset_primary(&self, device: i32) -> Checked {
        let primary = &mut lock(&self.primary)[device as usize];
        primary.retained = 0;
        primary.context.take().map_or(Ok(()), |context| self.destroy_context(&context))
    }

    /// Flags of the primary context and whether there is one.
    pub(crate) fn primary_state(&self, device: i32) -> (u32, bool) {
        let primary = &lock(&self.primary)[device as usize];
        let flags = primary.context.as_ref().map_or(primary.flags, |context| context.flags.load(Ordering::Relaxed));
        (flags, primary.context.is_some())
    }

    pub(crate) fn set_primary_flags(&self, device: i32, flags: u32) {
        let primary = &mut lock(&self.primary)[device as usize];
        primary.flags = flags;
        if let Some(context) = &primary.context {
            context.flags.store(flags, Ordering::Relaxed);
        }
    }

    /// The stream behind `handle`, which must belong to `context`.
    pub(crate) fn stream(&self, context: &Context, handle: Handle) -> Checked<Arc<Stream>> {
        if LEGACY_STREAMS.contains(&handle) {
            return Ok(context.legacy.clone());
        }
        if handle == PER_THREAD_STREAM {
            return self.per_thread_stream(context);
        }
        let stream = self.streams.get(handle)?;
        if stream.context == context.handle { Ok(stream) } else { Err(Status::INVALID_HANDLE) }
    }

    fn per_thread_stream(&self, context: &Context) -> Checked<Arc<Stream>> {
        if let Some(handle) = PER_THREAD.with_borrow(|streams| streams.get(&context.handle).copied()) {
            return self.streams.get(handle);
        }
        let stream = context.start_stream(true)?;
        self.streams.insert(stream.handle, stream.clone());
        PER_THREAD.with_borrow_mut(|streams| streams.insert(context.handle, stream.handle));
        Ok(stream)
    }

    /// The event behind `handle`, which must belong to `context`.
    pub(crate) fn event(&self, context: &Context, handle: Handle) -> Checked<Arc<Event>> {
        let event = self.events.get(handle)?;
        if event.context == context.handle { Ok(event) } else { Err(Status::INVALID_HANDLE) }
    }
}
