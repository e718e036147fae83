//! A progress bar on stderr, where a person can see it.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::Duration;

const TEMPLATE: &str = "{prefix} [{bar:32}] {decimal_bytes}/{decimal_total_bytes}, \
                        {decimal_bytes_per_sec}, ETA {eta}";

/// A bar that disappears when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar that says `what` is going on; hidden if `quiet`, or where stderr is no terminal.
    pub(crate) fn new(what: impl Into<Cow<'static, str>>, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix(what);
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    /// What the library calls with bytes done and bytes in all. It is also where an interrupted
    /// command stops.
    pub(crate) fn callback(&self) -> impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static {
        let bar = self.0.clone();
        move |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            interrupt::flow()
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
