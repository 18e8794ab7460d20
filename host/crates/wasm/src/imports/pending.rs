//! A wait of a WASI 0.2 guest, behind a pollable.

use std::task::{Context, Poll, Waker, ready};

use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;

use super::wit::types::EventError;

/// The operation that is waited for. Must not be polled again after it has resolved.
#[expect(unreachable_pub, reason = "a part of what generated code re-exports")]
pub trait GuestWait: Send + 'static {
    /// What it gives.
    type Output: Send;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Output, EventError>>;
}

/// A wait, and its result until the guest fetches it.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub enum PendingResult<W: GuestWait> {
    Waiting(W),
    Arrived(Result<W::Output, EventError>),
    Fetched,
}

impl<W: GuestWait> PendingResult<W> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Waiting(wait) = self {
            *self = Self::Arrived(ready!(wait.poll(cx)));
        }
        Poll::Ready(())
    }

    /// What has arrived, once; then `settled`. None while it has not.
    pub(super) fn fetch(&mut self) -> Option<Result<W::Output, EventError>> {
        if self.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return None;
        }
        match std::mem::replace(self, Self::Fetched) {
            Self::Arrived(arrived) => Some(arrived),
            Self::Waiting(_) | Self::Fetched => Some(Err(EventError::Settled)),
        }
    }
}

#[async_trait]
impl<W: GuestWait> Pollable for PendingResult<W> {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}
