//! Work without the interpreter's lock: on which threads, and what Python has to say meanwhile.

use crate::errors::{WcodecError, raise};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wcodec::Error;

/// By process, and number of threads.
type Pools = HashMap<(u32, usize), Arc<ThreadPool>>;

/// So many threads (0: one for each core), made once. Those of a process are not there in its fork, which so has its own.
fn pool(threads: usize) -> PyResult<Arc<ThreadPool>> {
    static POOLS: Mutex<Option<Pools>> = Mutex::new(None);
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pools = pools.get_or_insert_default();
    let key = (std::process::id(), threads);
    if let Some(pool) = pools.get(&key) {
        return Ok(pool.clone());
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|n| format!("wcodec-{n}")).build();
    let pool = Arc::new(pool.map_err(|e| WcodecError::new_err(e.to_string()))?);
    pools.insert(key, pool.clone());
    Ok(pool)
}

/// Runs `f` on so many threads, to its end.
pub(crate) fn run<T: Send>(py: Python<'_>, threads: usize, f: impl FnOnce() -> Result<T, Error> + Send) -> PyResult<T> {
    let pool = pool(threads)?;
    py.detach(|| pool.install(f)).map_err(raise)
}

/// What may stop long work: a callback that raises, and signals that Python has handlers for.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    progress: Option<Py<PyAny>>,
    stop: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

/// How often the thread that waits looks for signals.
const SIGNALS: Duration = Duration::from_millis(50);

impl Watch {
    pub(crate) fn new(progress: Option<Py<PyAny>>) -> Self {
        Self(Arc::new(Inner { progress, stop: AtomicBool::new(false), raised: Mutex::new(None) }))
    }

    fn stop(&self, e: PyErr) {
        self.0.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// What the library is answered that tells of progress.
    pub(crate) fn tell(&self, done: u64, total: u64) -> ControlFlow<()> {
        if self.0.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let Some(progress) = &self.0.progress else { return ControlFlow::Continue(()) };
        match Python::attach(|py| progress.call1(py, (done, total)).map(drop)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.stop(e);
                ControlFlow::Break(())
            }
        }
    }

    /// The same for what does not tell.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let stopped = self.0.stop.load(Ordering::Relaxed);
        if stopped { Err(Error::new(wcodec::ErrorKind::Cancelled, "interrupted")) } else { Ok(()) }
    }

    /// Runs `f`, which is to ask [`tell`](Self::tell) or [`check`](Self::check) from time to time, on so many threads. What stopped it is what is raised.
    pub(crate) fn run<T: Send>(
        &self,
        py: Python<'_>,
        threads: usize,
        f: impl FnOnce() -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let pool = pool(threads)?;
        let done = py.detach(|| {
            std::thread::scope(|scope| {
                let (sender, receiver) = channel();
                // Beside this thread, which is the one that signals come to if it is Python's first.
                scope.spawn(move || sender.send(pool.install(f)));
                loop {
                    match receiver.recv_timeout(SIGNALS) {
                        Ok(done) => return Some(done),
                        // It has panicked, and so does the scope.
                        Err(RecvTimeoutError::Disconnected) => return None,
                        Err(RecvTimeoutError::Timeout) => {
                            if let Err(e) = Python::attach(|py| py.check_signals()) {
                                self.stop(e);
                            }
                        }
                    }
                }
            })
        });
        if let Some(e) = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(e);
        }
        done.ok_or_else(|| WcodecError::new_err("a thread panicked: this is a bug"))?.map_err(raise)
    }
}
