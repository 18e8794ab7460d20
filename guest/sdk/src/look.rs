//! A look at all that a handler waits for, before the host is asked to wait for any of it.
//!
//! To wait is the dearest thing that a guest asks of its host. A handler that waits for the first of several things
//! often finds the one it wants there already, and then needs none of the others. So a future can let the others have
//! their turn first: it wakes itself, and is polled again at once.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Lets all that is polled along with this have its turn.
pub(crate) async fn others_first() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Polls a future a second time where it wakes itself, without the way through the host. Only once: what wakes itself
/// again wants others to have a turn.
pub(crate) async fn twice<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let inner = Arc::new(Inner::default());
    let waker = Waker::from(inner.clone());
    poll_fn(|cx| {
        inner.begin(cx.waker());
        let mut inner_cx = Context::from_waker(&waker);
        let mut polled = future.as_mut().poll(&mut inner_cx);
        if polled.is_pending() && inner.woken.swap(false, Ordering::Relaxed) {
            polled = future.as_mut().poll(&mut inner_cx);
        }
        if inner.end() && polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// Tells a wake-up during a poll from one at another time.
#[derive(Default)]
struct Inner {
    polling: AtomicBool,
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Inner {
    fn begin(&self, outer: &Waker) {
        let mut known = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| !known.will_wake(outer)) {
            *known = Some(outer.clone());
        }
        self.polling.store(true, Ordering::Relaxed);
    }

    /// Returns whether there was a wake-up.
    fn end(&self) -> bool {
        self.polling.store(false, Ordering::Relaxed);
        self.woken.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.polling.load(Ordering::Relaxed) {
            self.woken.store(true, Ordering::Relaxed);
        } else if let Some(outer) = &*self.outer.lock().unwrap_or_else(PoisonError::into_inner) {
            outer.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_there_needs_no_second_poll_from_outside() {
        let (count, waited) = (Arc::new(Count::default()), Cell::new(false));
        let waker = Waker::from(count.clone());
        let mut both = pin!(twice(async {
            let late = async {
                others_first().await;
                waited.set(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = late => unreachable!("it is pending"),
                () = std::future::ready(()) => {}
            }
        }));
        assert!(both.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        assert!(!waited.get(), "the other one was first");
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn others_first_goes_on_within_the_poll() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert!(pin!(twice(others_first())).poll(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_goes_on_waking_itself_yields() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut busy = pin!(twice(poll_fn::<(), _>(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
        assert!(busy.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn wake_up_from_elsewhere_passes() {
        let (count, inside) = (Arc::new(Count::default()), Mutex::new(None));
        let waker = Waker::from(count.clone());
        let mut waits = pin!(twice(poll_fn::<(), _>(|cx| {
            *inside.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        inside.lock().unwrap().take().unwrap().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
