//! Several GPUs in one process: emulated ones, which reach each other's memory as little as real ones. A process of its own, as how many there are
//! is read from the environment once.

#![allow(missing_docs)]

mod support;

use support::*;
use wcodec::{Archive, Data, Device, Dtype, Gpu, Loader, Shard};

const WORLD: u64 = 3;

#[test]
fn each_rank_loads_its_share_onto_its_own() {
    // SAFETY: no other thread of this process is running but the test harness's, which only waits.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("WCODEC_EMULATOR_DEVICES", WORLD.to_string());
    }
    let tensors = [
        Owned::new("model.embed_tokens.weight", Dtype::BF16, &[384, 96], Fill::Gaussian, 1),
        Owned::new("model.layers.0.self_attn.q_proj.weight", Dtype::BF16, &[192, 576], Fill::Gaussian, 2),
        Owned::new("model.layers.0.self_attn.o_proj.weight", Dtype::BF16, &[576, 192], Fill::Gaussian, 3),
        Owned::new("model.norm.weight", Dtype::F32, &[576], Fill::Gaussian, 4),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    std::fs::write(&path, encode_tensors(&tensors)).unwrap();
    let gpus: Vec<Gpu> = (0..WORLD).map(|n| Gpu::emulated(n as usize).unwrap()).collect();
    let none = Gpu::emulated(WORLD as usize).unwrap_err();
    assert!(none.to_string().contains("device 3"), "{none}");

    // All at once: the loads share nothing but the file.
    let start = |(rank, gpu): (u64, &Gpu)| {
        let shard = Shard::llama(rank, WORLD).unwrap();
        let loader = Loader::open(&path).unwrap().device(Device::Gpu(gpu.clone())).budget(16 << 20).threads(2);
        loader.shard(shard).load().unwrap()
    };
    let loads: Vec<_> = (0..WORLD).zip(&gpus).map(start).collect();
    let archive = Archive::open(&path).unwrap();
    let mut held = Vec::new();
    for (rank, load) in (0..WORLD).zip(loads) {
        for loaded in load {
            let loaded = loaded.unwrap();
            let tensor = archive.tensor(&loaded.info.name).unwrap();
            let (rows, columns) = match &loaded.info.name[..] {
                "model.norm.weight" => (0..tensor.rows(), 0..tensor.columns()),
                name if name.contains("o_proj") => {
                    let share = tensor.columns() / WORLD;
                    (0..tensor.rows(), rank * share..(rank + 1) * share)
                }
                _ => {
                    let share = tensor.rows() / WORLD;
                    (rank * share..(rank + 1) * share, 0..tensor.columns())
                }
            };
            let Data::Device(decoded) = loaded.data else { panic!("{} is not on a GPU", loaded.info.name) };
            assert_eq!(decoded.ordinal(), rank as usize);
            assert_eq!(decoded.to_vec().unwrap(), tensor.decode_slice(rows, columns).unwrap(), "{}", loaded.info.name);
            held.push(decoded);
        }
    }
    assert_eq!(held.len(), tensors.len() * WORLD as usize);
    // Addresses are unlike on all devices, so that a tensor of the wrong one would have been found out.
    let mut addresses: Vec<u64> = held.iter().map(|tensor| tensor.address()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), held.len());
}
