//! The knobs: read from `WCODEC_EMULATOR_*` once, changeable at run time by the same names in lower case.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use super::device::MAX_DEVICES;
use super::sync::lock;

/// Environment variables are this prefix and a knob's name in upper case.
const PREFIX: &str = "WCODEC_EMULATOR_";
const KNOBS: [&str; 10] =
    ["sanitize", "threads", "count", "counters", "lazy", "delay_us", "devices", "memory", "capability", "instruction_limit"];

/// Every knob; see the module's documentation for what each does.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub sanitize: bool,
    pub threads: usize,
    pub count: bool,
    pub counters: Option<PathBuf>,
    pub lazy: bool,
    pub delay: Duration,
    /// Devices that there are.
    pub devices: i32,
    /// Bytes of device memory of a context made from now on.
    pub memory: u64,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    pub instruction_limit: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sanitize: true,
            threads: std::thread::available_parallelism().map_or(1, |count| count.get()),
            count: false,
            counters: None,
            lazy: false,
            delay: Duration::from_micros(100),
            devices: 1,
            memory: 16 << 30,
            capability: (12, 0),
            instruction_limit: Some(1 << 32),
        }
    }
}

impl Settings {
    /// Sets the knob `name` (lower case, without the prefix); the error says what is wrong with `value`.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("{name}={value:?}: expected {what}"));
        let flag = match value {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        match (name, flag, value.parse::<u64>().ok()) {
            ("sanitize", Some(on), _) => self.sanitize = on,
            ("count", Some(on), _) => self.count = on,
            ("lazy", Some(on), _) => self.lazy = on,
            ("sanitize" | "count" | "lazy", None, _) => return refuse("0 or 1"),
            ("threads", _, Some(threads @ 1..=1024)) => self.threads = threads as usize,
            ("threads", ..) => return refuse("1 to 1024"),
            ("devices", _, Some(devices)) if (1..=MAX_DEVICES as u64).contains(&devices) => self.devices = devices as i32,
            ("devices", ..) => return refuse("1 to 16"),
            ("delay_us", _, Some(microseconds)) => self.delay = Duration::from_micros(microseconds),
            ("memory", _, Some(bytes)) => self.memory = bytes,
            ("instruction_limit", _, Some(limit)) => self.instruction_limit = (limit > 0).then_some(limit),
            ("delay_us" | "memory" | "instruction_limit", ..) => return refuse("a whole number"),
            ("counters", ..) => self.counters = (!value.is_empty()).then(|| PathBuf::from(value)),
            ("capability", ..) => match value.split_once('.').map(|(major, minor)| (major.parse(), minor.parse())) {
                Some((Ok(major @ 1..=99), Ok(minor @ 0..=9))) => self.capability = (major, minor),
                _ => return refuse("MAJOR.MINOR"),
            },
            _ => return Err(format!("no such knob: {name}; there are {}", KNOBS.join(", "))),
        }
        Ok(())
    }

    /// Whether launches count events.
    pub(crate) fn counting(&self) -> bool {
        self.count || self.counters.is_some()
    }
}

type Loaded = (Settings, Option<String>);

/// The present settings, and what was wrong with the environment.
static SETTINGS: LazyLock<Mutex<Loaded>> = LazyLock::new(|| {
    let mut settings = Settings::default();
    let problems: Vec<String> = KNOBS
        .iter()
        .filter_map(|knob| Some((knob, std::env::var(format!("{PREFIX}{}", knob.to_uppercase())).ok()?)))
        .filter_map(|(knob, value)| settings.set(knob, &value).err())
        .map(|problem| format!("environment, {PREFIX}…: {problem}"))
        .collect();
    Mutex::new((settings, (!problems.is_empty()).then(|| problems.join("; "))))
});

/// A copy of the present settings.
pub(crate) fn settings() -> Settings {
    lock(&SETTINGS).0.clone()
}

/// What was wrong with the environment when it was read, if anything.
pub(crate) fn environment_problem() -> Option<String> {
    lock(&SETTINGS).1.clone()
}

/// Changes one knob for everything that happens from now on.
pub(crate) fn change(name: &str, value: &str) -> Result<(), String> {
    lock(&SETTINGS).0.set(name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_set_and_bad_values_refused() {
        let mut settings = Settings::default();
        for (name, value) in [("sanitize", "0"), ("lazy", "1"), ("memory", "1048576"), ("capability", "8.6"), ("delay_us", "7")] {
            settings.set(name, value).unwrap();
        }
        assert!(!settings.sanitize && settings.lazy && !settings.counting());
        assert_eq!((settings.memory, settings.capability, settings.delay.as_micros()), (1 << 20, (8, 6), 7));
        settings.set("counters", "/dev/null").unwrap();
        assert!(settings.counting());
        for (name, value) in [("sanitize", "yes"), ("threads", "0"), ("memory", "16G"), ("capability", "8"), ("speed", "1")] {
            assert!(settings.set(name, value).is_err(), "{name}={value}");
        }
        for knob in KNOBS {
            assert!(!settings.set(knob, "").is_err_and(|problem| problem.contains("no such knob")), "{knob}");
        }
    }
}
