//! Reports of progress, and the way to stop.

use crate::error::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

/// What a progress callback answers: go on, or stop with [`ErrorKind::Cancelled`].
///
/// A callback that returns nothing goes on; one that returns [`ControlFlow`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(ControlFlow<()>);

impl From<()> for Flow {
    fn from((): ()) -> Self {
        Self(ControlFlow::Continue(()))
    }
}

impl From<ControlFlow<()>> for Flow {
    fn from(flow: ControlFlow<()>) -> Self {
        Self(flow)
    }
}

impl Flow {
    pub(crate) fn check(self) -> Result<()> {
        match self.0 {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::new(ErrorKind::Cancelled, "cancelled; nothing was written")),
        }
    }
}
