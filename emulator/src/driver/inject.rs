//! Fault injection: which driver call is to fail, written as `point`, `point:N`, `point:N+` or `point>BYTES`, comma-separated.

use std::sync::{LazyLock, Mutex};

use super::status::{Checked, Status};
use super::sync::lock;

/// A place where a failure can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// `cuInit` finds no device.
    Init,
    /// The driver reports a version too old for anything.
    DriverOld,
    /// Device allocation runs out of memory.
    Alloc,
    /// Pinned host allocation or registration runs out of memory.
    HostAlloc,
    /// A module's PTX does not compile.
    Module,
    /// A kernel fails while it runs.
    Launch,
    /// A launch is refused for lack of resources.
    Submit,
    /// A copy fails while it runs.
    Copy,
    /// The device is gone after a launch.
    DeviceLost,
}

const POINTS: [(&str, Point); 9] = [
    ("init", Point::Init),
    ("driver-old", Point::DriverOld),
    ("alloc", Point::Alloc),
    ("host-alloc", Point::HostAlloc),
    ("module", Point::Module),
    ("launch", Point::Launch),
    ("submit", Point::Submit),
    ("copy", Point::Copy),
    ("device-lost", Point::DeviceLost),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// The call of this number, counted from 1.
    Only(u64),
    From(u64),
    /// Requests of more bytes than this.
    Above(u64),
}

/// The rules in force and how often each point was passed.
#[derive(Debug, Default)]
pub(crate) struct Injector {
    rules: Vec<(Point, When)>,
    passed: [u64; POINTS.len()],
    lost: bool,
}

impl Injector {
    /// Parses a list of rules; an empty text plants nothing.
    pub(crate) fn parse(text: &str) -> Result<Injector, String> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty()).map(rule).collect::<Result<_, _>>()?;
        Ok(Injector { rules, ..Injector::default() })
    }

    /// Passes `point` once with a request of `bytes`; true if it is to fail.
    pub(crate) fn pass(&mut self, point: Point, bytes: u64) -> bool {
        let passed = &mut self.passed[point as usize];
        *passed += 1;
        let number = *passed;
        self.rules.iter().any(|&(at, when)| {
            at == point
                && match when {
                    When::Always => true,
                    When::Only(n) => number == n,
                    When::From(n) => number >= n,
                    When::Above(limit) => bytes > limit,
                }
        })
    }
}

fn rule(text: &str) -> Result<(Point, When), String> {
    let at = text.find([':', '>']).unwrap_or(text.len());
    let (name, when) = text.split_at(at);
    let known = || POINTS.map(|(name, _)| name).join(", ");
    let point = POINTS.iter().find(|(known, _)| *known == name).map(|&(_, point)| point);
    let point = point.ok_or_else(|| format!("no fault to inject is called {name:?}; there are {}", known()))?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| format!("{text:?}: {digits:?} is not a whole number"));
    let when = match when.split_at_checked(1) {
        None => When::Always,
        Some((">", bytes)) => When::Above(number(bytes)?),
        Some((_, count)) => match count.strip_suffix('+') {
            Some(first) => When::From(number(first)?),
            None => When::Only(number(count)?),
        },
    };
    Ok((point, when))
}

/// The rules in force, and what was wrong with the environment's.
static INJECTOR: LazyLock<Mutex<(Injector, Option<String>)>> = LazyLock::new(|| {
    let text = std::env::var("WCODEC_EMULATOR_FAIL").unwrap_or_default();
    Mutex::new(match Injector::parse(&text) {
        Ok(injector) => (injector, None),
        Err(problem) => (Injector::default(), Some(format!("environment: WCODEC_EMULATOR_FAIL: {problem}"))),
    })
});

/// What was wrong with the environment's rules, if anything.
pub(crate) fn environment_problem() -> Option<String> {
    lock(&INJECTOR).1.clone()
}

/// Replaces the rules and starts counting anew; a lost device is back.
pub(crate) fn configure(text: &str) -> Result<(), String> {
    lock(&INJECTOR).0 = Injector::parse(text)?;
    Ok(())
}

/// Passes `point` in this process; true if the call is to fail.
pub(crate) fn pass(point: Point, bytes: u64) -> bool {
    lock(&INJECTOR).0.pass(point, bytes)
}

/// Counts a launch towards `device-lost`; once that rule has struck, the device stays lost.
pub(crate) fn launched() {
    let injector = &mut lock(&INJECTOR).0;
    injector.lost |= injector.pass(Point::DeviceLost, 0);
}

/// An error if the device is gone.
pub(crate) fn check_device() -> Checked {
    if lock(&INJECTOR).0.lost { Err(Status::DEVICE_UNAVAILABLE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_strike_where_they_say() {
        let mut injector = Injector::parse("alloc:3, alloc>1000,launch:2+ ,init").unwrap();
        let allocations: Vec<bool> = [1, 1001, 1000, 4].map(|bytes| injector.pass(Point::Alloc, bytes)).to_vec();
        assert_eq!(allocations, [false, true, true, false]);
        assert_eq!([0; 3].map(|_| injector.pass(Point::Launch, 0)), [false, true, true]);
        assert!(injector.pass(Point::Init, 0) && !injector.pass(Point::Copy, 0));
        assert!(!Injector::parse("").unwrap().pass(Point::Alloc, u64::MAX));
    }

    #[test]
    fn points_index_their_own_counter() {
        for (index, (_, point)) in POINTS.iter().enumerate() {
            assert_eq!(*point as usize, index);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["alloc:", "alloc:x", "alloc>", "alloc:-1", "malloc:1", ":1", "alloc:1++"] {
            assert!(Injector::parse(text).is_err(), "{text}");
        }
    }
}
