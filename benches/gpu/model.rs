//! The model behind `cargo bench --bench gpu_model`: events that the emulator counts on real tiles, and the throughput that follows.
//!
//! A test holds the kernels to the figures that are promised of them (`host/tests/gpu_events.rs`), so this is apart from the bench.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use wcodec::{Archive, Dtype, Encoder, Gpu, Profile, TensorInput};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Name, checkpoint, the type whose tensors are decoded, its weights in a byte, how they are encoded.
pub(crate) type Case = (&'static str, &'static str, Dtype, f64, Profile);

/// What is decoded.
pub(crate) const CASES: [Case; 8] = [
    ("BF16", "minilm-bf16.safetensors", Dtype::BF16, 0.5, Profile::Default),
    ("FP16", "minilm-fp16.safetensors", Dtype::F16, 0.5, Profile::Default),
    ("FP32", "minilm/model.safetensors", Dtype::F32, 0.25, Profile::Default),
    ("FP8 E4M3", "minilm-fp8.safetensors", Dtype::F8_E4M3, 1.0, Profile::Default),
    ("INT8 per channel", "minilm-int8-channel.safetensors", Dtype::I8, 1.0, Profile::Default),
    ("INT8 per tensor", "minilm-int8-tensor.safetensors", Dtype::I8, 1.0, Profile::Default),
    ("INT4 g128", "minilm-int4-g128.safetensors", Dtype::U8, 2.0, Profile::Default),
    ("BF16 max", "minilm-bf16.safetensors", Dtype::BF16, 0.5, Profile::Max),
];

/// The emulator, counting, and what is known of real GPUs.
pub(crate) struct Model {
    gpu: Gpu,
    counters: Counters,
    devices: Devices,
    manifest: toml::Table,
}

impl Model {
    pub(crate) fn new() -> Result<Self> {
        let devices = toml::from_str(include_str!("devices.toml"))?;
        let manifest = toml::from_str(include_str!("../../shaders-ptx/MANIFEST.toml"))?;
        let gpu = Gpu::emulator()?;
        let counters = Counters::open()?;
        counters.set("count", "1")?;
        counters.set("sanitize", "0")?;
        Ok(Self { gpu, counters, devices, manifest })
    }

    /// Decodes the case's tensors, as many as `most` bytes hold; `None` where the models are not there.
    pub(crate) fn measure(&self, case: &Case, models: &Path, most: u64) -> Result<Option<Row>> {
        let (weights, file, dtype, per_byte, profile) = *case;
        let path = models.join(file);
        if !path.exists() {
            return Ok(None);
        }
        let (archive, bytes) = largest(&std::fs::read(path)?, dtype, most, profile)?;
        self.counters.reset();
        let tensors: Vec<_> = archive.tensors().collect();
        self.gpu.decode(&tensors)?;
        row(weights, &self.counters.read()?, &archive, bytes, per_byte, &self.devices, &self.manifest).map(Some)
    }

    /// Warp instructions of PTX, by kernel, that `decode` takes.
    #[allow(dead_code, reason = "the test of promised figures does not ask")]
    pub(crate) fn counted(&self, decode: impl FnOnce(&Gpu) -> Result<()>) -> Result<BTreeMap<String, u64>> {
        self.counters.reset();
        decode(&self.gpu)?;
        Ok(self.counters.read()?.kernels.into_iter().map(|(name, kernel)| (name, kernel.total.instructions())).collect())
    }
}

#[derive(Deserialize)]
struct Devices {
    device: Vec<Device>,
    dram: Dram,
}

#[derive(Deserialize)]
struct Dram {
    efficiency: f64,
}

/// A GPU's rates; see `gpu/devices.toml`.
#[derive(Deserialize)]
struct Device {
    name: String,
    architecture: String,
    sms: f64,
    clock_ghz: f64,
    dram_gb_s: f64,
    issue: f64,
    int32: f64,
    xu: f64,
    shared_wavefronts: f64,
}

/// What the emulator counted of one kernel.
#[derive(Deserialize)]
struct Kernel {
    read_sectors: u64,
    total: Events,
    lines: BTreeMap<u32, Events>,
}

#[derive(Deserialize)]
struct Counted {
    kernels: BTreeMap<String, Kernel>,
}

#[derive(Deserialize, Clone)]
struct Events {
    warp_instructions: BTreeMap<String, u64>,
    lane_instructions: u64,
    global_loads: Traffic,
    global_stores: Traffic,
    shared_wavefronts: u64,
}

#[derive(Deserialize, Clone)]
struct Traffic {
    sectors: u64,
    full_sectors: u64,
}

impl Events {
    fn instructions(&self) -> u64 {
        self.warp_instructions.values().sum()
    }

    fn pipe(&self, name: &str) -> f64 {
        self.warp_instructions.get(name).copied().unwrap_or(0) as f64
    }
}

/// One checkpoint's tensors of one type, decoded.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) weights: &'static str,
    pub(crate) kernel: String,
    pub(crate) compressed_bytes: u64,
    pub(crate) bytes: u64,
    /// Everything below is for 32 weights.
    pub(crate) ptx_instructions: f64,
    pub(crate) lanes_active: f64,
    pub(crate) popc: f64,
    pub(crate) shared_wavefronts: f64,
    pub(crate) bytes_read: f64,
    /// Bytes of distinct sectors that launches read, over compressed bytes.
    pub(crate) read_ratio: f64,
    /// Share of the stores' sectors that were written whole.
    pub(crate) full_stores: f64,
    pub(crate) modelled: Vec<Modelled>,
}

#[derive(Serialize)]
pub(crate) struct Modelled {
    pub(crate) device: String,
    pub(crate) machine_instructions: f64,
    pub(crate) gb_s: f64,
    pub(crate) bound_by: &'static str,
    /// Of the throughput that DRAM alone would allow.
    pub(crate) of_roof: f64,
}

const SECTOR: f64 = 32.0;

/// An archive of the largest tensors of a type, as many as `most` bytes hold (at least one), and their bytes.
fn largest(source: &[u8], dtype: Dtype, most: u64, profile: Profile) -> Result<(Archive, u64)> {
    let all = safetensors::SafeTensors::deserialize(source)?;
    let mut views: Vec<_> = all.iter().filter(|(_, v)| Some(format!("{:?}", v.dtype()).as_str()) == dtype.name()).collect();
    views.sort_by(|(a, v), (b, w)| w.data().len().cmp(&v.data().len()).then(a.cmp(b)));
    let mut bytes = 0;
    // The very largest is an embedding: weights of layers are what there is most of.
    let chosen: Vec<_> = views
        .iter()
        .skip(usize::from(views.len() > 1))
        .take_while(|(_, v)| {
            let fits = bytes == 0 || bytes + v.data().len() as u64 <= most;
            bytes += if fits { v.data().len() as u64 } else { 0 };
            fits
        })
        .collect();
    let shapes: Vec<Vec<u64>> = chosen.iter().map(|(_, v)| v.shape().iter().map(|&d| d as u64).collect()).collect();
    let inputs: Vec<_> =
        chosen.iter().zip(&shapes).map(|((name, v), shape)| TensorInput { name, dtype, shape, data: v.data() }).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().profile(profile).encode_tensors(&inputs, &mut out)?;
    Ok((Archive::from_bytes(out.into_inner())?, bytes))
}

fn row(
    weights: &'static str,
    counted: &Counted,
    archive: &Archive,
    bytes: u64,
    per_byte: f64,
    devices: &Devices,
    manifest: &toml::Table,
) -> Result<Row> {
    let groups = bytes as f64 * per_byte / 32.0;
    let sum = |f: &dyn Fn(&Events) -> f64| counted.kernels.values().map(|k| f(&k.total)).sum::<f64>();
    let (name, main) = counted.kernels.iter().max_by_key(|(_, k)| k.total.instructions()).ok_or("nothing was counted")?;
    // The steady loops (there is one for each way in which rows end): lines that are executed often.
    let most = main.lines.values().map(Events::instructions).max().unwrap_or(1);
    let steady: u64 = main.lines.values().map(Events::instructions).filter(|&n| n * 10 >= most).sum();
    let all = sum(&|e| e.instructions() as f64);
    let compressed = archive.archive_bytes();
    let read = sum(&|e| e.global_loads.sectors as f64) * SECTOR;
    let stored = sum(&|e| e.global_stores.sectors as f64);
    // A stream's words are fetched a few at a time, so each sector is asked for several times, one shortly after the other: from the
    // first-level cache. DRAM gives each sector once a launch.
    let fresh = counted.kernels.values().map(|k| k.read_sectors as f64).sum::<f64>() * SECTOR;
    let dram = fresh + stored * SECTOR;
    let integer = sum(&|e| e.pipe("alu") + e.pipe("fma"));
    let xu = sum(&|e| e.pipe("xu"));
    let wavefronts = sum(&|e| e.shared_wavefronts as f64);
    let mut modelled = Vec::new();
    for d in &devices.device {
        let per_32 = steady_loop(manifest, name, &d.architecture)?;
        // For groups of 32 weights as this kernel's elements have them: INT4 has two to a byte.
        let per_group = per_32 / if per_byte > 1.0 { per_byte } else { 1.0 };
        let machine = per_group * all / steady as f64;
        let clocks = d.sms * d.clock_ghz * 1e9;
        let roof = dram / (d.dram_gb_s * 1e9 * devices.dram.efficiency);
        let times = [
            ("DRAM", roof),
            ("issue", machine * groups / (d.issue * clocks)),
            ("integer lanes", integer / all * machine * groups / (d.int32 * clocks)),
            ("popc", xu / (d.xu * clocks)),
            ("shared memory", wavefronts / (d.shared_wavefronts * clocks)),
        ];
        let (bound_by, time) = times.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("DRAM", roof));
        modelled.push(Modelled {
            device: d.name.clone(),
            machine_instructions: machine,
            gb_s: bytes as f64 / time / 1e9,
            bound_by,
            of_roof: roof / time,
        });
    }
    Ok(Row {
        weights,
        kernel: name.clone(),
        compressed_bytes: compressed,
        bytes,
        ptx_instructions: all / groups,
        lanes_active: sum(&|e| e.lane_instructions as f64) / all / 32.0,
        popc: xu / groups,
        shared_wavefronts: wavefronts / groups,
        bytes_read: read / groups,
        read_ratio: fresh / compressed as f64,
        full_stores: sum(&|e| e.global_stores.full_sectors as f64) / stored,
        modelled,
    })
}

/// Machine instructions for 32 weights in a kernel's steady loop.
fn steady_loop(manifest: &toml::Table, kernel: &str, architecture: &str) -> Result<f64> {
    let at = || manifest.get("kernels")?.get(kernel)?.get(architecture)?.get("per_32_weights")?.as_float();
    at().ok_or_else(|| format!("MANIFEST.toml has no steady loop of {kernel} for {architecture}").into())
}

impl Row {
    /// What is printed of it; every line says that it is modelled.
    pub(crate) fn lines(&self) -> Vec<String> {
        let r = self;
        let mut lines = vec![format!(
            "{} ({}): {:.1} % | modelled per 32 weights: {:.1} PTX instructions, {:.1} % of lanes active, {:.2} popc, {:.2} shared wavefronts, {:.1} \
         bytes requested from L1, {:.3} x the compressed bytes from DRAM; {:.1} % of store sectors full",
            r.weights,
            r.kernel,
            100.0 * r.compressed_bytes as f64 / r.bytes as f64,
            r.ptx_instructions,
            100.0 * r.lanes_active,
            r.popc,
            r.shared_wavefronts,
            r.bytes_read,
            r.read_ratio,
            100.0 * r.full_stores,
        )];
        for m in &r.modelled {
            lines.push(format!(
                "    modelled {:14} {:6.0} GB/s, bound by {} ({:.0} % of the DRAM roof), {:.1} machine instructions",
                m.device,
                m.gb_s,
                m.bound_by,
                100.0 * m.of_roof,
                m.machine_instructions
            ));
        }
        lines
    }
}

/// The emulator's counters, by the functions that its library exports.
struct Counters(libloading::Library);

#[allow(unsafe_code)]
impl Counters {
    fn open() -> Result<Self> {
        let path = wcodec::emulator_path().ok_or("the emulator's library is not beside this program")?;
        // SAFETY: the library is loaded already.
        Ok(Self(unsafe { libloading::Library::new(path) }?))
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        type Set = unsafe extern "C" fn(*const std::ffi::c_char, *const std::ffi::c_char) -> u32;
        let (name, value) = (std::ffi::CString::new(name)?, std::ffi::CString::new(value)?);
        // SAFETY: the function's type is that; the strings are terminated.
        let code = unsafe { self.0.get::<Set>(b"wcodec_emulator_set\0")?(name.as_ptr(), value.as_ptr()) };
        if code == 0 { Ok(()) } else { Err(format!("the emulator refuses {name:?}").into()) }
    }

    fn reset(&self) {
        // SAFETY: as above.
        if let Ok(f) = unsafe { self.0.get::<unsafe extern "C" fn() -> u32>(b"wcodec_emulator_counters_reset\0") } {
            // SAFETY: as above.
            unsafe { f() };
        }
    }

    fn read(&self) -> Result<Counted> {
        type Read = unsafe extern "C" fn(*mut u8, usize) -> usize;
        // SAFETY: as above; the buffer is as long as is said.
        unsafe {
            let read = self.0.get::<Read>(b"wcodec_emulator_counters\0")?;
            let mut text = vec![0; read(std::ptr::null_mut(), 0) + 1];
            let len = read(text.as_mut_ptr(), text.len());
            Ok(serde_json::from_slice(&text[..len.min(text.len())])?)
        }
    }
}
