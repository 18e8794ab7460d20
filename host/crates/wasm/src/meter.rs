//! CPU time of guests, counted in ticks of the epoch.
//!
//! A tick falls to the request whose code runs when the epoch changes. So what is counted is a sample, with the length
//! of a tick for its grain: right for what runs for long, and free for what does not.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::{AsContextMut as _, Store, UpdateDeadline};

use linger_config::InstanceLimits;

use super::state::{StoreState, current};

/// How long guest code runs before others on its thread get a turn.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The guest ran for longer than it may. Ends its instance.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum CpuOverrun {
    #[error("it ran for {0:?} without a pause, the limit of instances.max_turn")]
    Turn(Duration),
    #[error("a request used {0:?} of CPU time, the limit of instances.max_cpu")]
    Request(Duration),
}

/// How a guest came to its end, for the log: it trapped, or was stopped.
pub(super) fn end(error: &wasmtime::Error) -> String {
    if let Some(overrun) = error.downcast_ref::<CpuOverrun>() {
        format!("stopped: {overrun}")
    } else {
        format!("trapped: {error:#}")
    }
}

/// Counts the ticks of one instance.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuMeter(Arc<TickCounts>);

#[derive(Debug, Default)]
struct TickCounts {
    /// Since the guest last paused.
    turn: AtomicU32,
    /// In all. It wraps, and is only compared.
    total: AtomicU32,
}

impl CpuMeter {
    /// Whether the guest is in the middle of a long turn.
    pub(super) fn is_busy(&self) -> bool {
        self.0.turn.load(Ordering::Relaxed) > 0
    }

    /// Counts a tick, and returns how many there were without a pause.
    fn tick(&self) -> u32 {
        self.0.total.fetch_add(1, Ordering::Relaxed);
        self.0.turn.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Runs what runs the guest. A poll without a tick means that the guest has paused.
    pub(super) async fn watch<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| self.poll(future.as_mut(), cx)).await
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let before = self.0.total.load(Ordering::Relaxed);
        let polled = future.poll(cx);
        if self.0.total.load(Ordering::Relaxed) == before {
            self.0.turn.store(0, Ordering::Relaxed);
        }
        polled
    }
}

/// Ends the turns of a store's guest code, and the instance when a turn or a request takes too much.
pub(super) fn meter(store: &mut Store<StoreState>, meter: CpuMeter, limits: &InstanceLimits) {
    let (max_turn, max_cpu) = (limits.max_turn, limits.max_cpu);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut store| {
        let exchange = current(store.as_context_mut())?;
        let turn = meter.tick();
        let used = exchange.as_ref().map_or(0, |exchange| exchange.count_tick());
        let overrun = if turn > ticks(max_turn) {
            CpuOverrun::Turn(max_turn)
        } else if used > ticks(max_cpu) {
            CpuOverrun::Request(max_cpu)
        } else {
            // Tokio's own: it also looks for what clients have sent before the guest goes on.
            return Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())));
        };
        if let Some(exchange) = exchange {
            exchange.forbid_retry();
        }
        Err(overrun.into())
    });
}

/// A time in ticks, at least one.
fn ticks(time: Duration) -> u32 {
    let ticks = time.as_millis().div_ceil(TICK.as_millis()).max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_ticks() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(11)), 2);
        assert_eq!(ticks(Duration::MAX), u32::MAX);
    }

    #[tokio::test]
    async fn pause_ends_a_turn() {
        let meter = CpuMeter::default();
        let (ticking, mut polls) = (meter.clone(), 0);
        let guest = std::future::poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            match polls {
                1 | 2 => {
                    assert_eq!(ticking.tick(), polls);
                    Poll::Pending
                }
                3 => {
                    assert!(ticking.is_busy());
                    Poll::Pending
                }
                _ => {
                    assert!(!ticking.is_busy());
                    Poll::Ready(())
                }
            }
        });
        meter.watch(guest).await;
    }
}
