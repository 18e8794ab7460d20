//! WASI 0.3: many requests share an instance.
//!
//! A worker is a task that owns a store and its one instance. Each shard has workers of its own; only when the app may
//! have no further instance does a request go to another shard's.
//!
//! An app has a second pool where calls can be cancelled for some of its routes and not for others. Both share the places for
//! instances.

mod beside;
mod head;
mod permit;
mod traps;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use linger_base::permits::Permits;
use linger_config::InstanceLimits;
use linger_exchange::Exchange;

use super::budget::HostBudget;
use super::cancels::CancelProbe;
use super::factory::StoreFactory;
use super::instance_queue::InstanceQueue;
use super::meter::CpuMeter;
use super::state::StoreState;
use super::{BoundaryBody, CallError, ResponseGuard, ShardHandle, not_started};
use beside::SiblingPool;
use permit::{AbandonedCall, GuestRequest, InstancePermit, RequestJob};
use traps::TrapCounter;
use worker::Worker;

/// The instances of an app.
pub(super) struct InstancePool(Arc<PoolState>);

struct PoolState {
    pre: ServicePre<StoreState>,
    factory: StoreFactory,
    /// Requests that an instance is used for.
    max_uses: u64,
    /// For each shard the workers that take requests, the oldest first. One that is to end leaves the list before it
    /// ends, under the lock, so that no request is sent to one that has gone.
    open: Box<[Mutex<Vec<Arc<Worker>>>]>,
    /// Instances that there may be, here and beside.
    places: Arc<Permits>,
    next_number: AtomicU64,
    queue: Arc<InstanceQueue>,
    beside: SiblingPool,
    /// Whether an instance ends for the sake of the pool beside.
    making_room: AtomicBool,
    traps: TrapCounter,
}

/// Whom a request shares its instance with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Others,
    /// It has one to itself.
    Nobody,
}

impl InstancePool {
    /// A pool which shares its places with the other one of its app, if there is one.
    pub(super) fn new(
        pre: ServicePre<StoreState>,
        factory: StoreFactory,
        max_uses: u64,
        shards: usize,
        other: Option<&Self>,
    ) -> Self {
        let limits = &factory.config.instances;
        let queue = Arc::new(InstanceQueue::new(limits));
        let places = other.map_or_else(|| Permits::new(limits.max), |other| other.0.places.clone());
        let shared = Arc::new(PoolState {
            pre,
            factory,
            max_uses,
            open: (0..shards).map(|_| Mutex::default()).collect(),
            places,
            next_number: AtomicU64::new(0),
            queue,
            beside: SiblingPool::default(),
            making_room: AtomicBool::new(false),
            traps: TrapCounter::default(),
        });
        if let Some(Self(other)) = other {
            shared.beside.set(other);
            other.beside.set(&shared);
        }
        Self(shared)
    }

    pub(super) fn component(&self) -> &Component {
        self.0.pre.instance_pre().component()
    }

    /// Runs a request. One whose instance trapped before there was a response runs once more, if it is one that may.
    pub(super) async fn call(
        &self,
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let trial = self.0.trial();
        let apart = trial.is_some() || self.0.traps.are_frequent();
        let isolation = if apart { Isolation::Nobody } else { Isolation::Others };
        let incoming = GuestRequest::of(request);
        // By itself it would trap again.
        let replay = if apart { None } else { incoming.replay() };
        let result = self.attempt(&exchange, incoming, || self.0.permit(shard, isolation)).await;
        match (result, replay) {
            (Err(CallError::Trapped), Some(replay)) if exchange.try_retry() => {
                // By itself, if there may be so many instances.
                let permit = |isolation| self.0.permit(shard, isolation);
                let find = || permit(Isolation::Nobody).or_else(|| permit(Isolation::Others));
                self.attempt(&exchange, replay, find).await
            }
            (result, _) => result,
        }
    }

    /// Runs a request in an instance of its own, or with others if there is no room for one more. Does not wait for room.
    pub(super) async fn call_apart(
        &self,
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let permit = |isolation| self.0.permit(shard, isolation);
        let permit =
            permit(Isolation::Nobody).or_else(|| permit(Isolation::Others)).ok_or(CallError::Busy)?;
        self.run(&exchange, GuestRequest::of(request), permit).await
    }

    /// Instances that there are, here and beside.
    pub(super) fn count(&self) -> usize {
        self.0.places.in_use()
    }

    /// Starts an instance, and drops it.
    pub(super) async fn try_start(&self) -> Result<(), CallError> {
        self.0
            .instantiate(&CpuMeter::default(), &Arc::default(), self.0.factory.budget(|| ()))
            .await
            .map(drop)
            .map_err(|error| not_started(&error))
    }

    async fn attempt(
        &self,
        exchange: &Arc<Exchange>,
        incoming: Box<GuestRequest>,
        find: impl Fn() -> Option<InstancePermit>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let permit = match find() {
            Some(permit) => permit,
            None => self.0.wait(find).await?,
        };
        self.run(exchange, incoming, permit).await
    }

    async fn run(
        &self,
        exchange: &Arc<Exchange>,
        incoming: Box<GuestRequest>,
        permit: InstancePermit,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        exchange.mark_handed_over();
        let (answer, answered) = oneshot::channel();
        permit.worker().send(RequestJob {
            exchange: exchange.clone(),
            incoming,
            answer,
            permit: permit.clone(),
        });
        if let Some(answer) = AbandonedCall::unless_answered(exchange, answered, &permit).await {
            return answer.map(|response| (response, permit.into_guard()));
        }
        // Once the store is gone, so is all that it had of this request.
        permit.worker().wait_gone().await;
        Err(CallError::Trapped)
    }
}

impl Drop for InstancePool {
    fn drop(&mut self) {
        // The workers end when their requests have.
        for open in &self.0.open {
            for worker in std::mem::take(&mut *open.lock()) {
                worker.retire();
            }
        }
    }
}

impl PoolState {
    fn limits(&self) -> &InstanceLimits {
        &self.factory.config.instances
    }

    /// Whether a request should run apart, to find out whether calls can be cancelled. One that does leaves room for an
    /// instance for the others, in each pool.
    fn trial(&self) -> Option<CancelProbe> {
        let cancels = self.factory.cancels.as_ref()?;
        let pools = if self.beside.is_there() { 2 } else { 1 };
        (self.places.most().saturating_sub(self.places.in_use()) > pools).then(|| cancels.trial())?
    }

    /// Waits for a permit, for one who has found none.
    async fn wait(&self, find: impl Fn() -> Option<InstancePermit>) -> Result<InstancePermit, CallError> {
        let find_or_ask = || {
            let found = find();
            if found.is_none() {
                self.beside.ask_for_place();
            }
            found
        };
        self.queue.wait(find_or_ask).await
    }

    /// An instance has gone, and if that was for the pool beside, another one may have to.
    fn place_freed(&self, made_room: bool) {
        if made_room {
            self.making_room.store(false, Ordering::SeqCst);
        }
        self.queue.notify_freed();
        self.beside.place_freed();
    }

    async fn instantiate(
        &self,
        meter: &CpuMeter,
        load: &Arc<AtomicUsize>,
        budget: HostBudget,
    ) -> wasmtime::Result<(Store<StoreState>, Service)> {
        let started = async {
            let mut store = self.factory.store(meter, load, budget)?;
            let service = self.pre.instantiate_async(&mut store).await?;
            Ok((store, service))
        };
        let started: wasmtime::Result<_> = meter.watch(started).await;
        started.inspect(|_| {
            self.factory.metrics.started.inc();
        })
    }

    /// Packs: the oldest instance with room takes the request, so that the others can empty.
    fn permit(self: &Arc<Self>, shard: &ShardHandle, isolation: Isolation) -> Option<InstancePermit> {
        if isolation == Isolation::Nobody {
            let permit = InstancePermit::take(&self.start_worker(shard)?);
            permit.worker().retire();
            return Some(permit);
        }
        // One of no shard has those of the first.
        let own = self.open.get(shard.index).or_else(|| self.open.first())?;
        let others = || self.open.iter().filter(|open| !std::ptr::eq(*open, own));
        let idle = |worker: &Worker| !worker.is_busy();
        let any = |_: &Worker| true;
        self.permit_in(own, idle)
            .or_else(|| {
                let worker = self.start_worker(shard)?;
                let permit = InstancePermit::take(&worker);
                own.lock().push(worker);
                Some(permit)
            })
            .or_else(|| others().find_map(|open| self.permit_in(open, idle)))
            .or_else(|| self.permit_in(own, any))
            .or_else(|| others().find_map(|open| self.permit_in(open, any)))
    }

    fn permit_in(
        &self,
        open: &Mutex<Vec<Arc<Worker>>>,
        suits: impl Fn(&Worker) -> bool,
    ) -> Option<InstancePermit> {
        let limits = self.limits();
        let mut open = open.lock();
        let has_room = |worker: &Arc<Worker>| {
            worker.load() < limits.max_requests && !worker.holds_much() && suits(worker)
        };
        let index = open.iter().position(has_room)?;
        let permit = InstancePermit::take(&open[index]);
        if permit.worker().uses() >= self.max_uses {
            open.remove(index).retire();
        }
        Some(permit)
    }

    fn start_worker(self: &Arc<Self>, shard: &ShardHandle) -> Option<Arc<Worker>> {
        let place = self.places.try_take()?;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        Some(Worker::start(number, self.clone(), shard, place))
    }

    /// Takes a worker out of the list, so that it gets no more requests.
    fn close(&self, shard: usize, number: u64) {
        if let Some(open) = self.open.get(shard) {
            open.lock().retain(|worker| worker.number() != number);
        }
    }

    /// The same for one without requests, if the shard has others.
    fn close_idle(&self, shard: usize, number: u64) {
        let Some(open) = self.open.get(shard) else { return };
        let mut open = open.lock();
        let idle = |worker: &Arc<Worker>| worker.number() == number && worker.load() == 0;
        if open.len() > 1
            && let Some(index) = open.iter().position(idle)
        {
            open.remove(index).retire();
        }
    }

    /// The same for any one, also if it is the last: one at a time, for who waits beside asks again when it has gone.
    fn make_room(&self) {
        if self.making_room.swap(true, Ordering::SeqCst) {
            return;
        }
        let idle = self.open.iter().find_map(|open| {
            let mut open = open.lock();
            let index = open.iter().position(|worker| worker.load() == 0)?;
            Some(open.remove(index))
        });
        match idle {
            Some(worker) => worker.make_room(),
            None => self.making_room.store(false, Ordering::SeqCst),
        }
    }
}
