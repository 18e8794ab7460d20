//! WASI 0.3: many requests share an instance.
//!
//! A worker is a task that owns a store and its one instance. Inside of `run_concurrent` it accepts jobs
//! and runs their calls; outside of it, where a guest that never yields cannot keep it from being polled,
//! it watches that no guest runs on after its request has ended.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use super::app::Factory;
use super::p2::overdue;
use super::state::State;
use super::{Body, BodyError, CallError, not_started};
use crate::exchange::Exchange;

/// How long an instance without requests is kept, if it is not the only one.
const IDLE: Duration = Duration::from_secs(10);

/// How long a request waits for a place when all instances are full: one may just have ended.
pub(super) const WAIT_FOR_PLACE: Duration = Duration::from_secs(1);

/// The instances of an app.
pub(super) struct Pool {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    pre: ServicePre<State>,
    factory: Factory,
    /// Those that take requests, the oldest first. An instance that is to end leaves the list before it
    /// ends, under the lock, so that no request is sent to one that has gone.
    open: Mutex<Vec<Worker>>,
    instances: AtomicUsize,
    next_number: AtomicU64,
    /// Notified when a place or an instance becomes free.
    freed: Notify,
}

/// The way to a worker.
struct Worker {
    number: u64,
    /// Requests that are in it, until they have ended and their guest call has returned.
    load: Arc<AtomicUsize>,
    jobs: mpsc::UnboundedSender<Job>,
    watches: mpsc::UnboundedSender<Watch>,
}

/// A request on its way into an instance.
struct Job {
    exchange: Arc<Exchange>,
    request: http::Request<Body>,
    answer: oneshot::Sender<Result<http::Response<Body>, CallError>>,
    /// Dropped when the guest call has returned.
    returned: oneshot::Sender<()>,
}

/// The same request, as it is watched from outside of the instance.
struct Watch {
    exchange: Arc<Exchange>,
    returned: oneshot::Receiver<()>,
    _place: Place,
}

/// A place in an instance, and the way there. The instance does not end while somebody has it.
struct Seat {
    jobs: mpsc::UnboundedSender<Job>,
    watches: mpsc::UnboundedSender<Watch>,
    place: Place,
}

/// A place in an instance, given back when dropped.
struct Place {
    load: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.shared.freed.notify_waiters();
    }
}

impl Pool {
    pub(super) fn new(pre: ServicePre<State>, factory: Factory, tasks: TaskTracker) -> Self {
        let shared = Shared {
            pre,
            factory,
            open: Mutex::default(),
            instances: AtomicUsize::new(0),
            next_number: AtomicU64::new(0),
            freed: Notify::new(),
        };
        Self { shared: Arc::new(shared), tasks }
    }

    pub(super) async fn call(
        &self,
        exchange: Arc<Exchange>,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, CallError> {
        let Seat { jobs, watches, place } = self.wait_for_seat().await?;
        let (answer, answered) = oneshot::channel();
        let (returned, has_returned) = oneshot::channel();
        // If the instance trapped meanwhile these fail, and what is told to `answered` is that.
        drop(watches.send(Watch { exchange: exchange.clone(), returned: has_returned, _place: place }));
        drop(jobs.send(Job { exchange, request, answer, returned }));
        // They keep the instance open.
        drop((jobs, watches));
        answered.await.unwrap_or(Err(CallError::Trapped))
    }

    async fn wait_for_seat(&self) -> Result<Seat, CallError> {
        let until = Instant::now() + WAIT_FOR_PLACE;
        loop {
            let freed = self.shared.freed.notified();
            if let Some(seat) = self.seat() {
                return Ok(seat);
            }
            tokio::time::timeout_at(until, freed).await.map_err(|_| CallError::Busy)?;
        }
    }

    /// Packs: the oldest instance with room takes the request, so that the others can empty.
    fn seat(&self) -> Option<Seat> {
        let limits = &self.shared.factory.config.instances;
        let mut open = self.shared.open();
        let has_room = |worker: &Worker| worker.load.load(Ordering::Relaxed) < limits.max_requests;
        let index = match open.iter().position(has_room) {
            Some(index) => index,
            None if self.shared.instances.load(Ordering::Relaxed) >= limits.max => return None,
            None => {
                open.push(self.start_worker());
                open.len() - 1
            }
        };
        let worker = &open[index];
        worker.load.fetch_add(1, Ordering::Relaxed);
        let place = Place { load: worker.load.clone(), shared: self.shared.clone() };
        Some(Seat { jobs: worker.jobs.clone(), watches: worker.watches.clone(), place })
    }

    fn start_worker(&self) -> Worker {
        let (jobs, job_queue) = mpsc::unbounded_channel();
        let (watches, watch_queue) = mpsc::unbounded_channel();
        let number = self.shared.next_number.fetch_add(1, Ordering::Relaxed);
        self.shared.instances.fetch_add(1, Ordering::Relaxed);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let count = InstanceCount(shared.clone());
            run_worker(&shared, number, job_queue, watch_queue).await;
            drop(count);
        });
        Worker { number, load: Arc::default(), jobs, watches }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Their channels close, and the workers end when their requests have.
        self.shared.open().clear();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, number: u64) {
        self.open().retain(|worker| worker.number != number);
    }

    /// Closes an instance without requests, if others are open.
    fn close_idle(&self, number: u64) {
        let mut open = self.open();
        let others = open.len() > 1;
        open.retain(|worker| worker.number != number || !others || worker.load.load(Ordering::Relaxed) > 0);
    }
}

struct InstanceCount(Arc<Shared>);

impl Drop for InstanceCount {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

async fn run_worker(
    shared: &Shared,
    number: u64,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    mut watches: mpsc::UnboundedReceiver<Watch>,
) {
    let started = async {
        let mut store = shared.factory.store()?;
        let service = shared.pre.instantiate_async(&mut store).await?;
        wasmtime::error::Ok((store, service))
    };
    let (mut store, service) = match started.await {
        Ok(started) => started,
        Err(error) => {
            shared.close(number);
            while let Ok(job) = jobs.try_recv() {
                drop(job.answer.send(Err(not_started(&error))));
            }
            return;
        }
    };
    let result = {
        let run = store.run_concurrent(async |accessor| serve(accessor, &service, &mut jobs).await);
        tokio::select! {
            result = run => result.flatten(),
            () = watch(shared, number, &mut watches) => Ok(()),
        }
    };
    shared.close(number);
    if let Err(error) = result {
        // Before the store goes, and the bodies with it.
        let requests = store.data().requests.fail_all();
        let app = &*shared.factory.app;
        tracing::error!(app, instance = number, requests, "guest trapped: {error:#}");
    }
}

/// Accepts jobs and runs their calls, until no more can come and the guest has nothing left to do.
async fn serve(
    accessor: &Accessor<State>,
    service: &Service,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
) -> wasmtime::Result<()> {
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(result) = calls.next() => result?,
            job = jobs.recv() => match job {
                Some(job) => calls.push(handle(accessor, service, job)),
                None => break,
            },
        }
    }
    while let Some(result) = calls.next().await {
        result?;
    }
    std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
    Ok(())
}

/// How the guest's reading of a request body ended.
type BodyRead = Pin<Box<dyn Future<Output = Result<(), BodyError>> + Send>>;

/// Runs one request. An error is a trap, and the end of the instance.
async fn handle(accessor: &Accessor<State>, service: &Service, job: Job) -> wasmtime::Result<()> {
    let Job { exchange, request, answer, returned } = job;
    let handler = service.wasi_http_handler().func_handle();
    let (call, body_read) = accessor.with(|mut store| {
        let http = store.data_mut().http();
        let (request, body_read) = Request::from_http(http.hooks, request);
        // Boxed, for its type borrows the hooks though its value does not.
        let body_read: BodyRead = Box::pin(body_read);
        let request = http.table.push(request)?;
        let call = handler.start_call_concurrent(&mut store, (request,))?;
        store.data_mut().requests.insert(call.task(), exchange.clone());
        wasmtime::error::Ok((call, body_read))
    })?;
    let result = handler.finish_call_concurrent(accessor, call).await?.0;
    drop(returned);
    let response = match result {
        Err(code) => Err(CallError::Refused(format!("{code:?}"))),
        Ok(response) => accessor.with(|mut store| {
            let response = store.data_mut().http().table.delete(response)?;
            let response = response.into_http(&mut store, body_read);
            wasmtime::error::Ok(response.map_err(|error| CallError::Refused(format!("{error:#}"))))
        })?,
    };
    // A client that left does not read its answer.
    drop(answer.send(response));
    exchange.ended().await;
    accessor.with(|mut store| store.data_mut().requests.ended(exchange.id));
    Ok(())
}

/// Watches the requests of an instance. Resolves when the instance is to be dropped: it takes no more
/// requests, all have ended, and those guests that did not return in time have had their grace.
async fn watch(shared: &Shared, number: u64, watches: &mut mpsc::UnboundedReceiver<Watch>) {
    let mut aboard = FuturesUnordered::new();
    let mut grace = Duration::ZERO;
    let mut overdue = false;
    let mut open = true;
    while open || !aboard.is_empty() {
        tokio::select! {
            watch = watches.recv(), if open => match watch {
                Some(watch) => {
                    grace = grace.max(watch.exchange.grace);
                    aboard.push(watch.returned_in_time());
                }
                None => open = false,
            },
            Some(in_time) = aboard.next() => if !in_time {
                overdue = true;
                shared.close(number);
            },
            () = tokio::time::sleep(IDLE), if open && aboard.is_empty() => shared.close_idle(number),
        }
    }
    if !overdue {
        // What guests do after they returned has its time too.
        tokio::time::sleep(grace).await;
    }
}

impl Watch {
    /// Whether the guest call returned before the grace of its ended request was over.
    async fn returned_in_time(self) -> bool {
        let Self { exchange, returned, _place } = self;
        let returned_and_ended = async {
            // It is never sent to: this resolves when the other end is dropped.
            let _ = returned.await;
            exchange.ended().await;
        };
        tokio::select! {
            biased;
            () = returned_and_ended => true,
            () = overdue(&exchange) => {
                let (app, request) = (&*exchange.app, exchange.id);
                tracing::warn!(app, request = %request, "guest runs on after its request has ended: its instance takes no more requests");
                false
            }
        }
    }
}
