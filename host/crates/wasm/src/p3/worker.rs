//! A worker: a task that owns a store and its one instance, and runs many requests in it.
//!
//! Inside of `run_concurrent` it accepts jobs and runs their calls; outside of it, where a guest that never yields
//! cannot keep it from being polled, it watches for guests that run on after their request was given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, SetOnce, mpsc};
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::bindings::Service;

use linger_base::permits::Permit;
use linger_exchange::{Exchange, GuestCall};

use super::PoolState;
use super::permit::{AbandonedCall, GuestRequest, RequestJob};
use crate::budget::HostBudget;
use crate::cancels::CancelSupport;
use crate::meter::{CpuMeter, end};
use crate::state::StoreState;
use crate::{CallError, ShardHandle, not_started};

/// How long an instance without requests is kept, if it is not the only one of its shard.
const IDLE: Duration = Duration::from_secs(10);

/// The way to a worker.
pub(super) struct Worker {
    number: u64,
    shard: usize,
    shared: Arc<PoolState>,
    /// Requests that have a permit.
    load: Arc<AtomicUsize>,
    /// What it makes the host hold.
    budget: HostBudget,
    uses: AtomicU64,
    retired: AtomicBool,
    /// Whether it ends for the sake of the pool beside.
    makes_room: AtomicBool,
    /// Notified when the last permit of a retired worker is free.
    empty: Notify,
    meter: CpuMeter,
    /// Whether the guest wants no more requests for now.
    backpressure: AtomicBool,
    jobs: mpsc::UnboundedSender<RequestJob>,
    abandoned: mpsc::UnboundedSender<AbandonedCall>,
    /// Notified when the guest should come to its end.
    ending: Notify,
    /// The longest that one of its requests has, in milliseconds.
    grace: AtomicU64,
    gone: SetOnce<()>,
}

impl Worker {
    /// Starts one in a task of the shard.
    pub(super) fn start(number: u64, pool: Arc<PoolState>, shard: &ShardHandle, place: Permit) -> Arc<Self> {
        let (jobs, job_queue) = mpsc::unbounded_channel();
        let (abandoned, abandoned_queue) = mpsc::unbounded_channel();
        let queue = pool.queue.clone();
        let budget = pool.factory.budget(move || queue.notify_freed());
        let worker = Arc::new(Self {
            number,
            shard: shard.index,
            shared: pool,
            budget,
            load: Arc::default(),
            uses: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            makes_room: AtomicBool::new(false),
            empty: Notify::new(),
            meter: CpuMeter::default(),
            backpressure: AtomicBool::new(false),
            jobs,
            abandoned,
            ending: Notify::new(),
            grace: AtomicU64::new(0),
            gone: SetOnce::new(),
        });
        let running = WorkerTask { worker: worker.clone(), place: Some(place) };
        shard.tasks.spawn(async move { running.worker.run(job_queue, abandoned_queue).await });
        worker
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::SeqCst)
    }

    /// How many requests it was given.
    pub(super) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Whether another instance should have the next request: a guest computes in it, or wants no more for now.
    pub(super) fn is_busy(&self) -> bool {
        self.meter.is_busy() || self.backpressure.load(Ordering::Relaxed)
    }

    /// Whether the host holds so much for it that it takes no requests for now.
    pub(super) fn holds_much(&self) -> bool {
        self.budget.is_near()
    }

    pub(super) fn take_permit(&self) {
        self.load.fetch_add(1, Ordering::AcqRel);
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn free_permit(&self) {
        if self.load.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.emptied();
        }
        self.shared.queue.notify_freed();
    }

    /// The last of its requests has gone.
    fn emptied(&self) {
        if self.retired.load(Ordering::SeqCst) {
            self.empty.notify_one();
        } else if self.shared.beside.is_waited_in() {
            self.shared.make_room();
        }
    }

    /// Watches a call that nobody waits for, until it has returned.
    pub(super) fn watch_call(&self, call: AbandonedCall) {
        // If the instance has gone, so has the call.
        drop(self.abandoned.send(call));
    }

    /// A call has returned after its request had ended: if it was cancelled, it did not trap.
    pub(super) fn call_ended_well(&self) {
        if self.load() <= 1 {
            self.cancels().inspect(|cancels| cancels.record_success());
        }
    }

    /// Hands it a request, which has a permit.
    pub(super) fn send(&self, job: RequestJob) {
        let grace = u64::try_from(job.exchange.grace().as_millis()).unwrap_or(u64::MAX);
        self.grace.fetch_max(grace, Ordering::Relaxed);
        // If the instance trapped meanwhile the job is dropped here, and its caller learns of that.
        drop(self.jobs.send(job));
    }

    /// Lets it end when it has no more requests. It has left the list.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        if self.load() == 0 {
            self.empty.notify_one();
        }
    }

    /// The same for the sake of the pool beside.
    pub(super) fn make_room(&self) {
        self.makes_room.store(true, Ordering::SeqCst);
        self.retire();
    }

    /// Waits until its store has gone, and all that was in it.
    pub(super) async fn wait_gone(&self) {
        self.gone.wait().await;
    }

    fn cancels(&self) -> Option<&Arc<CancelSupport>> {
        self.shared.factory.cancels.as_ref()
    }

    /// Takes no more requests, and ends when those it has have.
    fn close(&self) {
        self.shared.close(self.shard, self.number);
        self.retire();
    }

    async fn run(
        &self,
        mut jobs: mpsc::UnboundedReceiver<RequestJob>,
        mut abandoned: mpsc::UnboundedReceiver<AbandonedCall>,
    ) {
        let (mut store, service) =
            match self.shared.instantiate(&self.meter, &self.load, self.budget.clone()).await {
                Ok(started) => started,
                Err(error) => {
                    self.close();
                    jobs.close();
                    while let Some(job) = jobs.recv().await {
                        drop(job.answer.send(Err(not_started(&error))));
                    }
                    return;
                }
            };
        let result = {
            let run = store.run_concurrent(async |accessor| self.accept(accessor, &service, &mut jobs).await);
            tokio::select! {
                result = self.meter.watch(run) => result.flatten(),
                () = self.watch(&mut abandoned) => Ok(()),
            }
        };
        self.close();
        if let Err(error) = result {
            // Before the store goes, and the bodies with it.
            self.log_trap(&error, &store.data().requests.fail_all());
        }
    }

    fn log_trap(&self, error: &wasmtime::Error, aboard: &[Arc<Exchange>]) {
        const NAMED: usize = 10;
        let mut requests: Vec<_> =
            aboard.iter().take(NAMED).map(|exchange| exchange.id.to_string()).collect();
        if aboard.len() > NAMED {
            requests.push(format!("and {} more", aboard.len() - NAMED));
        }
        let (app, requests) = (&*self.shared.factory.app, requests.join(" "));
        self.shared.factory.metrics.traps.inc();
        tracing::error!(app, instance = self.number, requests, "guest {}", end(error));
        if aboard.is_empty() && self.cancels().is_some_and(|cancels| cancels.record_trap()) {
            tracing::warn!(
                app,
                "the component traps when a call is cancelled, so on_disconnect = \"signal\" applies; build it with the feature `inter-task-wakeup` of wit-bindgen"
            );
        }
        if aboard.len() > 1 && self.shared.traps.note() {
            tracing::error!(
                app,
                "guests trap repeatedly; from now on each instance handles one request at a time"
            );
        }
    }

    /// Accepts jobs and runs their calls. An error is a trap, and the end of the instance.
    async fn accept(
        &self,
        accessor: &Accessor<StoreState>,
        service: &Service,
        jobs: &mut mpsc::UnboundedReceiver<RequestJob>,
    ) -> wasmtime::Result<()> {
        let mut calls = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(result) = calls.next() => result?,
                job = self.next_job(accessor, service, jobs) => {
                    // Who has left meanwhile gets no guest.
                    if !job.exchange.has_ended() {
                        calls.push(call(accessor, service, job));
                    }
                }
                () = self.ending.notified() => break,
            }
        }
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    }

    /// The next job, once the guest takes one.
    async fn next_job(
        &self,
        accessor: &Accessor<StoreState>,
        service: &Service,
        jobs: &mut mpsc::UnboundedReceiver<RequestJob>,
    ) -> RequestJob {
        std::future::poll_fn(|cx| {
            let handle = service.wasi_http_handler().func_handle();
            let ready = accessor.poll_ready_for_concurrent_call(*handle.func(), cx);
            self.backpressure.store(ready.is_pending(), Ordering::Relaxed);
            ready!(ready);
            match ready!(jobs.poll_recv(cx)) {
                Some(job) => Poll::Ready(job),
                // Not while this worker is there, which sends them.
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Resolves when the instance is to be dropped: it takes no more requests, all have gone, and those guests that
    /// did not return in time have had their grace.
    async fn watch(&self, abandoned: &mut mpsc::UnboundedReceiver<AbandonedCall>) {
        let mut aboard = FuturesUnordered::new();
        let mut in_time = true;
        let mut uses = self.uses();
        loop {
            tokio::select! {
                biased;
                // Its sender is here.
                Some(request) = abandoned.recv() => aboard.push(request.returned_in_time()),
                Some(returned) = aboard.next() => if !returned {
                    in_time = false;
                    self.close();
                },
                () = self.empty.notified() => break,
                () = tokio::time::sleep(IDLE) => {
                    if self.uses() == uses {
                        self.shared.close_idle(self.shard, self.number);
                    }
                    uses = self.uses();
                }
            }
        }
        self.ending.notify_one();
        if in_time {
            // What guests do after they returned has its time too.
            tokio::time::sleep(Duration::from_millis(self.grace.load(Ordering::Relaxed))).await;
        }
    }
}

/// A worker's task. Dropped, it has ended, in whatever way.
struct WorkerTask {
    worker: Arc<Worker>,
    place: Option<Permit>,
}

impl Drop for WorkerTask {
    fn drop(&mut self) {
        self.worker.close();
        // First the place: who waits for one looks then.
        self.place = None;
        self.worker.shared.place_freed(self.worker.makes_room.load(Ordering::SeqCst));
        // It goes once.
        let _ = self.worker.gone.set(());
    }
}

/// Runs one request. An error is a trap, and the end of the instance.
async fn call(accessor: &Accessor<StoreState>, service: &Service, job: RequestJob) -> wasmtime::Result<()> {
    let RequestJob { exchange, incoming, answer, permit } = job;
    let handler = service.wasi_http_handler().func_handle();
    let _until_it_ends = GuestCall(exchange.clone());
    let alone = permit.worker().load() == 1;
    let (call, body_read) = accessor.with(|mut store| {
        let GuestRequest { head, body } = *incoming;
        let (request, body_read) = head.with(body);
        let request = store.data_mut().table.push(request)?;
        let call = handler.start_call_concurrent(&mut store, (request,))?;
        store.data_mut().requests.insert(call.task(), exchange, alone);
        wasmtime::error::Ok((call, body_read))
    })?;
    let result = handler.finish_call_concurrent(accessor, call).await?.0;
    let (response, near) = accessor.with(|mut store| {
        let response = match result {
            Err(code) => Err(CallError::Refused(format!("{code:?}"))),
            Ok(response) => {
                let response = store.data_mut().table.delete(response)?;
                let response = response.into_http(&mut store, body_read);
                response.map_err(|error| CallError::Invalid(error.to_string()))
            }
        };
        // Those that are in it have the other half.
        wasmtime::error::Ok((response, store.data_mut().limits.are_near(50)))
    })?;
    // A client that left does not read its answer.
    drop(answer.send(response));
    if near {
        permit.worker().close();
    }
    drop(permit);
    Ok(())
}
