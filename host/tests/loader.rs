//! The loader: everything that it hands out is what the archive holds, and whatever goes wrong ends in an error.

#![allow(missing_docs)]

mod support;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use support::*;
use wcodec::{Archive, Device, DeviceChoice, Dtype, ErrorKind, Gpu, IoChoice, Load, Loaded, Loader, Shard, Split, VecMemory};

/// A small model's tensors: names as Llama's, several dtypes, one tensor of several units.
fn tensors() -> Vec<Owned> {
    let mut tensors = vec![
        Owned::new("model.embed_tokens.weight", Dtype::BF16, &[2048, 576], Fill::Gaussian, 1),
        Owned::new("model.norm.weight", Dtype::F32, &[576], Fill::Gaussian, 2),
        Owned::new("empty", Dtype::F32, &[0, 4], Fill::Constant, 3),
        Owned::new("scalar", Dtype::F32, &[], Fill::Random, 4),
    ];
    for layer in [0, 1, 10, 2] {
        let mut add = |name: &str, dtype, shape: &[u64], fill| {
            let seed = tensors.len() as u64;
            tensors.push(Owned::new(&format!("model.layers.{layer}.{name}"), dtype, shape, fill, seed));
        };
        add("self_attn.q_proj.weight", Dtype::BF16, &[576, 576], Fill::Gaussian);
        add("self_attn.q_proj.bias", Dtype::BF16, &[576], Fill::Random);
        add("self_attn.o_proj.weight", Dtype::BF16, &[576, 576], Fill::Outliers);
        add("mlp.down_proj.weight", Dtype::I8, &[576, 1536], Fill::Gaussian);
        add("mlp.up_proj.weight", Dtype::F8_E4M3, &[1536, 576], Fill::Skewed);
        add("mlp.gate_proj.weight", Dtype::F16, &[1536, 576], Fill::Gaussian);
    }
    tensors
}

fn write(directory: &Path, tensors: &[Owned]) -> std::path::PathBuf {
    let path = directory.join("model.wcodec");
    std::fs::write(&path, encode_tensors(tensors)).unwrap();
    path
}

fn bytes(loaded: Loaded) -> Vec<u8> {
    match &loaded.data {
        wcodec::Data::Device(tensor) => tensor.to_vec().unwrap(),
        _ => loaded.bytes().unwrap().to_vec(),
    }
}

/// Checks that a load gives all of `tensors`, whole.
fn check(load: Load, tensors: &[Owned]) {
    let loaded = load.collect_all().unwrap();
    assert_eq!(loaded.len(), tensors.len());
    for l in loaded {
        let t = tensors.iter().find(|t| t.name == l.info.name).unwrap();
        assert_eq!((l.info.dtype, &l.info.shape, l.info.byte_len), (t.dtype, &t.shape, t.data.len() as u64));
        assert!(bytes(l) == t.data, "{t:?}");
    }
}

#[test]
fn every_way_to_read_and_every_budget() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    for io in [IoChoice::Auto, IoChoice::Uring, IoChoice::Threads, IoChoice::Mmap] {
        for (budget, threads) in [(64 << 20, 2), (2 << 20, 1), (700_000, 3)] {
            check(Loader::open(&path).unwrap().io(io).budget(budget).threads(threads).load().unwrap(), &tensors);
        }
    }
}

#[test]
fn progress_comes_to_its_end_and_layers_come_in_order() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    // One buffer: nothing overtakes anything.
    let slot = 700_000;
    let mut load = Loader::open(&path).unwrap().threads(1).budget(slot).load().unwrap();
    let layers: Vec<u32> = load
        .by_ref()
        .map(|t| t.unwrap().info.name)
        .filter_map(|name| name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok())
        .collect();
    assert!(layers.is_sorted(), "{layers:?}");
    let p = load.progress();
    assert_eq!((p.ready, p.decoded), (p.tensors, p.to_decode));
    assert_eq!(p.read, p.to_read);
    assert!(load.next().is_none());
}

#[test]
fn some_tensors_and_none_that_is_not_there() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    let names = ["scalar", "model.layers.2.mlp.up_proj.weight"];
    let wanted: Vec<Owned> = tensors.iter().filter(|t| names.contains(&&*t.name)).cloned().collect();
    check(Loader::open(&path).unwrap().tensors(names).load().unwrap(), &wanted);
    let e = Loader::open(&path).unwrap().tensors(["nothing"]).load().unwrap_err();
    assert_eq!((e.kind(), e.tensor()), (ErrorKind::NotFound, Some("nothing")));
}

/// Ranks together have everything, each what slices of the archive say, whatever decodes.
fn check_shards(path: &Path, tensors: &[Owned], world: u64, device: &Device) {
    let archive = Archive::open(path).unwrap();
    let mut read = 0;
    for rank in 0..world {
        let shard = Shard::llama(rank, world).unwrap();
        let load = Loader::open(path).unwrap().shard(shard).device(device.clone()).load().unwrap();
        read += load.progress().to_read;
        let loaded = load.collect_all().unwrap();
        assert_eq!(loaded.len(), tensors.len());
        for l in loaded {
            let t = archive.tensor(&l.info.name).unwrap();
            let share = |n: u64| rank * n / world..(rank + 1) * n / world;
            let (rows, columns) = match &l.info.name {
                n if n.contains("q_proj.bias") => (0..t.rows(), share(t.columns())),
                n if n.contains("o_proj") || n.contains("down_proj") => (0..t.rows(), share(t.columns())),
                n if n.contains("_proj") || n.contains("embed") => (share(t.rows()), 0..t.columns()),
                _ => (0..t.rows(), 0..t.columns()),
            };
            let name = l.info.name.clone();
            let expected: u64 = l.info.shape.iter().product::<u64>() * u64::from(l.info.dtype.bits().unwrap()) / 8;
            assert_eq!(expected, l.info.byte_len);
            assert!(bytes(l) == t.decode_slice(rows, columns).unwrap(), "{name}, rank {rank} of {world}");
        }
    }
    assert!(read < world * archive.archive_bytes() * 3 / 4, "a rank reads more than its share");
}

#[test]
fn ranks_load_their_shares() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    for world in [2, 4] {
        check_shards(&path, &tensors, world, &Device::Cpu);
    }
    assert_eq!(Shard::llama(2, 2).err().unwrap().kind(), ErrorKind::InvalidArgument);
    let five = Shard::new(0, 5, [("*", Split::Rows)]).unwrap();
    let e = Loader::open(&path).unwrap().shard(five).load().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    assert!(e.to_string().contains("cannot be divided"), "{e}");
}

#[test]
fn into_memory_of_the_callers_own() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = [Owned::new("w", Dtype::BF16, &[3000, 700], Fill::Gaussian, 5)];
    let path = write(directory.path(), &tensors);
    let loader = Loader::open(&path).unwrap().memory(|info| Ok(VecMemory::<u16>::zeroed(info.byte_len as usize / 2)));
    let loaded = loader.load().unwrap().next().unwrap().unwrap();
    let numbers = loaded.into_host::<VecMemory<u16>>().unwrap().into_vec();
    assert!(bytemuck::cast_slice::<u16, u8>(&numbers) == tensors[0].data);
    let short = Loader::open(&path).unwrap().memory(|_| Ok(VecMemory::<u8>::zeroed(1)));
    assert_eq!(short.load().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn as_a_stream() {
    use std::task::{Context, Poll, Wake};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    let mut load = Loader::open(&path).unwrap().load().unwrap();
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let (mut names, mut context) = (Vec::new(), Context::from_waker(&waker));
    loop {
        match futures_core::Stream::poll_next(std::pin::Pin::new(&mut load), &mut context) {
            Poll::Ready(Some(tensor)) => names.push(tensor.unwrap().info.name),
            Poll::Ready(None) => break,
            // Asks no sooner than it is woken: a stream that forgets its waker would be seen to hang.
            Poll::Pending => {
                let slept = std::time::Instant::now();
                std::thread::park_timeout(std::time::Duration::from_secs(60));
                assert!(slept.elapsed().as_secs() < 60, "nobody woke the task");
            }
        }
    }
    assert_eq!(names.len(), tensors.len());
}

#[test]
fn a_budget_that_is_too_small_says_what_is_needed() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    let e = Loader::open(&path).unwrap().budget(1000).load().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    assert!(e.to_string().contains("needs at least"), "{e}");
    assert_eq!(e.path(), Some(&*path));
}

#[test]
fn cancelled_and_dropped() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    for round in 0..20 {
        let mut load = Loader::open(&path).unwrap().budget(700_000).threads(1).load().unwrap();
        let before = load.by_ref().take(round % 5).filter(|t| t.is_ok()).count();
        load.cancel();
        let rest: Vec<_> = load.by_ref().collect();
        match rest.last() {
            Some(Err(e)) => assert_eq!(e.kind(), ErrorKind::Cancelled),
            // It was over before it was asked to stop.
            _ => assert_eq!(before + rest.len(), tensors.len()),
        }
        let load = Loader::open(&path).unwrap().load().unwrap();
        drop(load);
    }
}

#[test]
fn two_loads_of_one_file_at_once() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    let path = write(directory.path(), &tensors);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| check(Loader::open(&path).unwrap().load().unwrap(), &tensors));
        }
    });
}

/// A file that changes under the loader: an error that says where, and none of the tensors that are handed out is wrong.
#[test]
fn a_file_that_changes() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), tensors());
    for io in [IoChoice::Uring, IoChoice::Threads] {
        for cut in [false, true] {
            let path = write(directory.path(), &tensors);
            let loader = Loader::open(&path).unwrap().io(io);
            let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let len = file.metadata().unwrap().len();
            if cut {
                file.set_len(len / 3).unwrap();
            } else {
                file.seek(SeekFrom::Start(len / 2)).unwrap();
                file.write_all(&[0xa5; 3]).unwrap();
            }
            let results: Vec<_> = match loader.load() {
                Ok(load) => load.collect(),
                Err(e) => vec![Err(e)],
            };
            let (last, before) = results.split_last().unwrap();
            let e = last.as_ref().unwrap_err();
            assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{e}");
            assert_eq!(e.path(), Some(&*path), "{e}");
            assert!(cut && before.is_empty() || e.tensor().is_some() && e.offset().is_some(), "{e}");
            for l in before.iter().map(|r| r.as_ref().unwrap()) {
                let t = tensors.iter().find(|t| t.name == l.info.name).unwrap();
                assert!(l.bytes().unwrap() == t.data, "a wrong tensor was handed out");
            }
        }
    }
}

/// Memory of a device may be released by a thread that never used the device.
#[test]
fn device_memory_is_released_by_any_thread() {
    let gpu = Gpu::emulator().unwrap_or_else(|e| panic!("{e}: `cargo build --release` builds the emulator"));
    let data = vec![7; 1000];
    let input = wcodec::TensorInput { name: "w", dtype: wcodec::Dtype::U8, shape: &[1000], data: &data };
    let mut out = std::io::Cursor::new(Vec::new());
    wcodec::Encoder::new().encode_tensors(&[input], &mut out).unwrap();
    let archive = wcodec::Archive::from_bytes(out.into_inner()).unwrap();
    let tensor = archive.tensor("w").unwrap();
    for _ in 0..3 {
        let decoded = gpu.decode(&[tensor]).unwrap().remove(0);
        std::thread::spawn(move || drop(decoded)).join().unwrap();
        // An error of the release would come out here.
        assert_eq!(gpu.decode(&[tensor]).unwrap()[0].to_vec().unwrap(), data);
    }
}

/// The same on the emulator, with its sanitizer: copies and kernels of several streams.
#[test]
fn on_the_emulator() {
    let device = match Device::open(DeviceChoice::Emulator) {
        Ok(device) => device,
        Err(e) => panic!("{e}: `cargo build --release` builds the emulator"),
    };
    let (directory, mut tensors) = (tempfile::tempdir().unwrap(), tensors());
    tensors.truncate(12);
    let path = write(directory.path(), &tensors);
    for budget in [64 << 20, 3 << 20] {
        check(Loader::open(&path).unwrap().device(device.clone()).budget(budget).threads(2).load().unwrap(), &tensors);
    }
    check_shards(&path, &tensors, 2, &device);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let e = Loader::open(&path).unwrap().device(device).load().and_then(Load::collect_all).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.tensor().is_some() && e.tile().is_some(), "{e}");
}

/// Archives of the profile for size, on the CPU and on the emulator: whole tensors of several units, and shards that cut tiles.
#[test]
fn with_contexts() {
    let gpu = Device::open(DeviceChoice::Emulator).unwrap_or_else(|e| panic!("{e}: `cargo build --release` builds the emulator"));
    let dtypes = [Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::I8, Dtype::F8_E4M3, Dtype::BF16];
    let shapes = [(2100, 600), (300, 576), (576, 300), (200, 771), (771, 200), (64, 4096)];
    let tensors: Vec<_> = dtypes
        .iter()
        .zip(shapes)
        .zip(["self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", "mlp.gate_proj"])
        .map(|((&dtype, (rows, columns)), name)| {
            Owned::scaled(&format!("model.layers.0.{name}.weight"), dtype, [rows, columns], rows)
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    std::fs::write(&path, encode_max(&tensors)).unwrap();
    for tensor in Archive::open(&path).unwrap().report().unwrap() {
        assert!(tensor.planes.iter().any(|p| p.contexts > 0), "{} has no contexts", tensor.name);
    }
    for device in [Device::Cpu, gpu] {
        check(Loader::open(&path).unwrap().device(device.clone()).budget(16 << 20).threads(2).load().unwrap(), &tensors);
        check_shards(&path, &tensors, 2, &device);
    }
}
