//! Objects of a bucket, read by range requests: `depth` at once, on a runtime of their own.
//!
//! A thread drives the runtime: the library's callers need not be in one, and if they are, theirs is not held up.

use super::{OnDone, Reads, Request, closed, join, lock, past_end};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tokio::runtime::{Builder, Handle};

/// Opens an object for at most `depth` requests at once (at least one). Waits for the store to say how long it is.
pub(crate) fn open(store: Arc<dyn ObjectStore>, path: Path, depth: usize, on_done: OnDone) -> io::Result<Arc<dyn Reads>> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("wcodec-io-object".into()).spawn(move || {
        // The receiver waits for exactly one answer.
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(e) => return drop(sender.send(Err(e))),
        };
        runtime.block_on(async move {
            match store.head(&path).await {
                Err(e) => drop(sender.send(Err(error(e)))),
                Ok(meta) => {
                    let handle = Handle::current();
                    let shared =
                        Arc::new(Shared { store, path, meta, depth: depth.max(1), on_done, handle, state: Mutex::default() });
                    drop(sender.send(Ok(shared.clone())));
                    poll_fn(|context| shared.poll_closed(context)).await;
                }
            }
        });
    })?;
    match receiver.recv() {
        Ok(Ok(shared)) => Ok(Arc::new(Object { shared, thread: Some(thread) })),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(panicked()),
    }
}

struct Object {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn ObjectStore>,
    path: Path,
    meta: ObjectMeta,
    depth: usize,
    on_done: OnDone,
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Tasks that serve requests: while there are fewer than `depth`, nothing waits.
    tasks: usize,
    closing: bool,
    /// Of the thread, which waits for the close and the last task.
    waker: Option<Waker>,
}

impl Shared {
    fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.closing && state.tasks == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// A task: one request after the other, until there are none.
    async fn work(self: Arc<Self>) {
        while let Some((mut request, closing)) = self.take() {
            let began = Instant::now();
            let result = if closing { Err(closed()) } else { self.fetch(&mut request).await };
            request.complete(&self.on_done, began, result);
        }
    }

    fn take(&self) -> Option<(Request, bool)> {
        let mut state = lock(&self.state);
        if let Some(request) = state.waiting.pop_front() {
            return Some((request, state.closing));
        }
        // Under the lock that saw the queue empty: whoever submits next starts another task.
        state.tasks -= 1;
        state.waker.take().into_iter().for_each(Waker::wake);
        None
    }

    async fn fetch(&self, request: &mut Request) -> io::Result<()> {
        let required = request.check(self.meta.size, 1)?;
        if required == 0 {
            return Ok(());
        }
        let mut fetch = pin!(self.fetch_into(request.offset, &mut request.buffer[..required]));
        // A store that panics must not take the request along.
        poll_fn(|context| {
            let poll = catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(context)));
            poll.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
        })
        .await
    }

    async fn fetch_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = offset..offset + buffer.len() as u64;
        let options = GetOptions { range: Some(range.clone().into()), if_match: self.tag(), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path, options).await.map_err(error)?;
        if found.range != range {
            return Err(if found.range.end < range.end { past_end() } else { unasked() });
        }
        if let GetResultPayload::File(..) = found.payload {
            // As a stream a local file comes in pieces of 8 KiB, each by way of another thread.
            let bytes = found.bytes().await.map_err(error)?;
            return match bytes.len() == buffer.len() {
                true => {
                    buffer.copy_from_slice(&bytes);
                    Ok(())
                }
                false => Err(past_end()),
            };
        }
        let mut stream = found.into_stream();
        let mut filled = 0;
        while let Some(piece) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let piece = piece.map_err(error)?;
            buffer.get_mut(filled..filled + piece.len()).ok_or_else(unasked)?.copy_from_slice(&piece);
            filled += piece.len();
        }
        if filled == buffer.len() { Ok(()) } else { Err(past_end()) }
    }

    /// What tells this version of the object from a later one. Weak tags never match (RFC 9110, 13.1.1).
    fn tag(&self) -> Option<String> {
        self.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"))
    }
}

fn error(e: Error) -> io::Error {
    let kind = match &e {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::Precondition { .. } => return io::Error::other(format!("the object has changed since it was opened: {e}")),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}

fn unasked() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the store sent other bytes than were asked for")
}

fn panicked() -> io::Error {
    io::Error::other("the object store panicked")
}

impl Reads for Object {
    fn name(&self) -> &'static str {
        "object store"
    }

    fn size(&self) -> u64 {
        self.shared.meta.size
    }

    fn submit(&self, request: Request) {
        let mut state = lock(&self.shared.state);
        state.waiting.push_back(request);
        let start = state.tasks < self.shared.depth;
        state.tasks += usize::from(start);
        drop(state);
        if start {
            self.shared.handle.spawn(self.shared.clone().work());
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closing = true;
        state.waker.take().into_iter().for_each(Waker::wake);
        drop(state);
        self.thread.take().into_iter().for_each(join);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Done;
    use super::super::tests::{SIZE, boxed_done, file, next, one, request};
    use super::*;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use std::time::Duration;

    fn put(store: &dyn ObjectStore, bytes: Vec<u8>) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.put(&Path::from("model"), bytes.into())).unwrap();
    }

    fn stored(bytes: Vec<u8>) -> Arc<InMemory> {
        let store = Arc::new(InMemory::new());
        put(&*store, bytes);
        store
    }

    pub(in super::super) fn in_memory(path: &std::path::Path, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
        open(stored(std::fs::read(path)?), Path::from("model"), depth, Box::new(move |c| done(c)))
    }

    pub(in super::super) fn on_disk(path: &std::path::Path, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
        let object = Path::from_absolute_path(path).map_err(io::Error::other)?;
        open(Arc::new(LocalFileSystem::new()), object, depth, Box::new(move |c| done(c)))
    }

    #[test]
    fn a_missing_object() {
        for store in [Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, Arc::new(LocalFileSystem::new())] {
            let error = open(store, Path::from("no/such/model"), 4, boxed_done().0).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn an_object_that_changes() {
        let store = stored(vec![1; SIZE]);
        let (done, receiver) = boxed_done();
        let reads = open(store.clone(), Path::from("model"), 4, done).unwrap();
        one(&*reads, &receiver, 0, 4096).1.unwrap();
        put(&*store, vec![2; SIZE]);
        let error = one(&*reads, &receiver, 0, 4096).1.unwrap_err();
        assert!(error.to_string().starts_with("the object has changed since it was opened"), "{error}");
    }

    /// As many requests at once as asked for, not more; and from within somebody else's runtime.
    #[test]
    fn depth_is_kept() {
        let (_, bytes) = file(SIZE);
        let slow = ThrottleConfig { wait_get_per_call: Duration::from_millis(10), ..ThrottleConfig::default() };
        let store = Arc::new(InMemory::new());
        put(&*store, bytes.clone());
        let store = Arc::new(ThrottledStore::new(store, slow));
        let (done, receiver) = boxed_done();
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut times = Vec::new();
        runtime.block_on(async {
            let reads = open(store, Path::from("model"), 4, done).unwrap();
            for id in 0..16 {
                reads.submit(request(id, id * 100_000, 100_000));
            }
            for _ in 0..16 {
                let completion = next(&receiver);
                completion.result.unwrap();
                let start = completion.id as usize * 100_000;
                assert!(completion.buffer[..] == bytes[start..start + 100_000]);
                times.push((completion.began, completion.ended));
            }
        });
        let at_once = |t: Instant| times.iter().filter(|(began, ended)| *began <= t && t < *ended).count();
        assert_eq!(times.iter().map(|(began, _)| at_once(*began)).max(), Some(4));
    }
}
