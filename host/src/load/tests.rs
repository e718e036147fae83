//! Loads from a disk that fails by plan, is slow and answers out of order.

use super::run::OpenReads;
use super::*;
use crate::error::ErrorKind;
use crate::io::Reads;
use crate::io::faulty::{Faulty, Plan};
use crate::{Encoder, TensorInput};
use std::collections::HashMap;
use std::io::Cursor;
use std::time::Duration;

/// An archive of several units, and its tensors' bytes.
fn archive() -> (Arc<[u8]>, HashMap<String, Vec<u8>>) {
    let mut x = 7u32;
    let mut byte = |spread: u32| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((x >> 24) % spread + (x >> 16 & 0xff) % spread) as u8
    };
    let tensors: Vec<(String, Vec<u8>)> =
        (0..12).map(|t| (format!("model.layers.{t}.w"), (0..200_000).map(|_| byte(20 + t)).collect())).collect();
    let inputs: Vec<_> =
        tensors.iter().map(|(name, data)| TensorInput { name, dtype: Dtype::U8, shape: &[1000, 200], data }).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().encode_tensors(&inputs, &mut out).unwrap();
    (out.into_inner().into(), tensors.into_iter().collect())
}

fn loader(bytes: &Arc<[u8]>, plan: Plan) -> Loader {
    let archive = Arc::new(Archive::from_bytes(bytes.clone()).unwrap());
    let bytes = bytes.clone();
    let open: OpenReads = Arc::new(move |_, on_done| {
        let reads: Arc<dyn Reads> = Faulty::new(bytes.clone(), plan, on_done);
        Ok(reads)
    });
    Loader::of(archive, "memory".into(), Some(open))
}

fn check(results: &[Result<Loaded>], tensors: &HashMap<String, Vec<u8>>) {
    for loaded in results.iter().flatten() {
        assert!(loaded.bytes().unwrap() == tensors[&loaded.info.name], "{} is wrong", loaded.info.name);
    }
}

#[test]
fn a_disk_that_is_slow_and_out_of_order() {
    let (bytes, tensors) = archive();
    for seed in 0..5 {
        let plan = Plan { seed, delay: Duration::from_millis(2), reorder: 8, ..Plan::default() };
        let results: Vec<_> = loader(&bytes, plan).budget(900_000).threads(2).load().unwrap().collect();
        check(&results, &tensors);
        assert!(results.len() == tensors.len() && results.iter().all(Result::is_ok));
    }
}

#[test]
fn a_disk_that_fails_in_the_middle() {
    let (bytes, tensors) = archive();
    let mut failed = 0;
    for seed in 0..60 {
        let (errors, short) = if seed % 2 == 0 { (0.15, 0.0) } else { (0.0, 0.15) };
        let plan = Plan { seed, errors, short, reorder: 4, delay: Duration::from_micros(200) };
        let results: Vec<_> = loader(&bytes, plan).budget(900_000).threads(2).load().unwrap().collect();
        check(&results, &tensors);
        match results.last().unwrap() {
            Ok(_) => assert_eq!(results.len(), tensors.len()),
            Err(e) => {
                failed += 1;
                assert_eq!(e.kind(), ErrorKind::Io, "{e}");
                assert!(e.tensor().is_some() && e.offset().is_some(), "{e}");
                assert!(results[..results.len() - 1].iter().all(Result::is_ok), "more than one error");
            }
        }
    }
    assert!(failed > 10);
}

#[test]
fn cancelled_while_the_disk_hangs() {
    let (bytes, _) = archive();
    for micros in [0, 300, 3000] {
        let plan = Plan { delay: Duration::from_millis(5), ..Plan::default() };
        let load = loader(&bytes, plan).budget(900_000).load().unwrap();
        std::thread::sleep(Duration::from_micros(micros));
        load.cancel();
        let results: Vec<_> = load.collect();
        assert_eq!(results.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

/// Buffers are what the budget says at most, whatever is in flight.
#[test]
fn buffers_stay_within_the_budget() {
    let (bytes, tensors) = archive();
    for budget in [300_000, 900_000, 5_000_000] {
        let peak = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let archive = Arc::new(Archive::from_bytes(bytes.clone()).unwrap());
        let (bytes, seen) = (bytes.clone(), peak.clone());
        let open: OpenReads = Arc::new(move |_, on_done| {
            let inner: Arc<dyn Reads> = Faulty::new(bytes.clone(), Plan::default(), on_done);
            Ok(Arc::new(Counting { inner, buffers: Default::default(), peak: seen.clone() }) as Arc<dyn Reads>)
        });
        let load = Loader::of(archive, "memory".into(), Some(open)).budget(budget).threads(2).load().unwrap();
        assert_eq!(load.collect_all().unwrap().len(), tensors.len());
        let peak = peak.load(std::sync::atomic::Ordering::Relaxed);
        assert!(peak > 0 && peak <= budget, "{peak} of {budget}");
    }
}

/// Adds up the buffers that it sees, each once.
struct Counting {
    inner: Arc<dyn Reads>,
    buffers: std::sync::Mutex<HashMap<usize, u64>>,
    peak: Arc<std::sync::atomic::AtomicU64>,
}

impl Reads for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn submit(&self, request: crate::io::Request) {
        let mut buffers = self.buffers.lock().unwrap();
        buffers.insert(request.buffer.as_ptr() as usize, request.buffer.len() as u64);
        self.peak.fetch_max(buffers.values().sum(), std::sync::atomic::Ordering::Relaxed);
        self.inner.submit(request);
    }
}
