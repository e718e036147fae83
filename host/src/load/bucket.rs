//! Archives in a bucket: the index by a few large range requests, the rest as any load reads it.

use super::Loader;
use super::run::OpenReads;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::io::{Buffer, Completion, Reads, Request, object};
use crate::source::ReadAt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a request for the index and the tile directories, which lie next to each other at the end: a request costs tens of milliseconds.
const BLOCK: u64 = 1 << 20;

/// Requests at once.
const DEPTH: usize = 4;

impl Loader {
    /// Opens an archive that is an object of a bucket (or of any other store of the `object_store` crate). The loads of the loader read it by range
    /// requests; an object that is replaced meanwhile is an error.
    pub fn open_object(store: Arc<dyn ObjectStore>, path: impl Into<Path>) -> Result<Self> {
        let path = path.into();
        let name = PathBuf::from(path.to_string());
        let data = Blocks::open(store.clone(), path.clone()).map_err(|e| Error::io("opening", e).with_path(&name))?;
        let archive = Archive::from_reader(Box::new(data)).map_err(|e| e.with_path(&name))?;
        let open: OpenReads = Arc::new(move |depth, on_done| object::open(store.clone(), path.clone(), depth, on_done));
        Ok(Self::of(Arc::new(archive.named(name.clone())), name, Some(open)))
    }
}

type Waiting = Arc<Mutex<HashMap<u64, SyncSender<Completion>>>>;

/// Blocks that are kept at once: more than an index has, and than the planes of a progressive archive that are read side by side touch.
const KEPT: usize = 64;

/// An object read in blocks, which are kept: what is read this way is the index, which whoever loads keeps anyway, and the planes of progressive
/// archives, whose blocks are soon done with.
struct Blocks {
    reads: Arc<dyn Reads>,
    waiting: Waiting,
    next: AtomicU64,
    blocks: Mutex<HashMap<u64, Arc<Vec<u8>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps, which a panic leaves as they were.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Blocks {
    fn open(store: Arc<dyn ObjectStore>, path: Path) -> io::Result<Self> {
        let waiting = Waiting::default();
        let senders = waiting.clone();
        let on_done = move |completion: Completion| {
            if let Some(sender) = lock(&senders).remove(&completion.id) {
                // Nobody waits any more only if the waiter panicked.
                let _ = sender.send(completion);
            }
        };
        let reads = object::open(store, path, DEPTH, Box::new(on_done))?;
        Ok(Self { reads, waiting, next: AtomicU64::new(0), blocks: Mutex::default() })
    }

    fn block(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        if let Some(block) = lock(&self.blocks).get(&number) {
            return Ok(block.clone());
        }
        let offset = number * BLOCK;
        let len = BLOCK.min(self.reads.size() - offset) as usize;
        let (sender, receiver) = sync_channel(1);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(id, sender);
        self.reads.submit(Request { id, offset, len, buffer: Buffer::new(len)? });
        let done = receiver.recv().map_err(|_| io::Error::other("the store's thread is gone"))?;
        done.result?;
        let block = Arc::new(done.buffer[..len].to_vec());
        let mut blocks = lock(&self.blocks);
        if blocks.len() >= KEPT {
            blocks.clear();
        }
        blocks.insert(number, block.clone());
        drop(blocks);
        Ok(block)
    }
}

impl ReadAt for Blocks {
    fn size(&self) -> u64 {
        self.reads.size()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size()) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end"));
        }
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let block = self.block(at / BLOCK)?;
            let from = (at % BLOCK) as usize;
            let (now, after) = rest.split_at_mut((block.len() - from).min(rest.len()));
            now.copy_from_slice(&block[from..from + now.len()]);
            at += now.len() as u64;
            rest = after;
        }
        Ok(())
    }
}
