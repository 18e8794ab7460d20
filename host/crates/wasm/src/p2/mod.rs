//! WASI 0.2: an instance has one request at a time and, where its app allows it, one after the other.

mod warm;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use linger_base::permits::{Permit, Permits};
use linger_config::OnDisconnect;
use linger_exchange::{Exchange, GuestCall};

use super::engine::one_line;
use super::factory::StoreFactory;
use super::instance_queue::InstanceQueue;
use super::meter::{CpuMeter, end};
use super::replay::RequestReplay;
use super::state::StoreState;
use super::{BoundaryBody, CallError, ResponseGuard, ShardHandle, not_started};
use warm::WarmInstances;

type GuestResult = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The instances of an app.
pub(super) struct SoloInstances(Arc<SoloState>);

struct SoloState {
    pre: ProxyPre<StoreState>,
    factory: StoreFactory,
    /// Requests that an instance is used for.
    max_uses: u64,
    /// Instances that there may be.
    places: Arc<Permits>,
    queue: InstanceQueue,
    /// For each shard, those that have no request.
    warm: Box<[Arc<WarmInstances>]>,
}

/// An instance, once it has started.
struct SoloInstance {
    store: Store<StoreState>,
    proxy: Proxy,
    meter: CpuMeter,
    uses: u64,
    _place: InstanceSlot,
}

/// Room for an instance, or the instance that is there.
enum Checkout {
    New(InstanceSlot),
    Warm(Box<SoloInstance>),
}

/// Room for an instance, until it is dropped.
struct InstanceSlot {
    share: Option<Permit>,
    shared: Arc<SoloState>,
}

impl Drop for InstanceSlot {
    fn drop(&mut self) {
        // First the place: who waits for one looks then.
        self.share = None;
        self.shared.queue.notify_freed();
    }
}

impl SoloInstances {
    pub(super) fn new(
        pre: ProxyPre<StoreState>,
        factory: StoreFactory,
        max_uses: u64,
        shards: usize,
    ) -> Self {
        let limits = &factory.config.instances;
        let queue = InstanceQueue::new(limits);
        let places = Permits::new(limits.max);
        let warm = (0..shards).map(|_| WarmInstances::new(limits.ready)).collect();
        Self(Arc::new(SoloState { pre, factory, max_uses, places, queue, warm }))
    }

    /// Runs a request. If its instance trapped, and had served others before, it runs once more in a fresh one.
    pub(super) async fn call(
        &self,
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let checkout = self.0.wait_for_checkout(shard).await?;
        let replay = match &checkout {
            Checkout::Warm(instance) if instance.uses > 0 => RequestReplay::of(&request),
            Checkout::Warm(_) | Checkout::New(_) => None,
        };
        let result = self.attempt(shard, checkout, &exchange, request).await;
        let response = match (result, replay) {
            (Err(CallError::Trapped), Some(replay)) if exchange.try_retry() => {
                let checkout = self.0.queue.wait(|| self.0.fresh_checkout()).await?;
                self.attempt(shard, checkout, &exchange, replay.request()).await
            }
            (result, _) => result,
        }?;
        Ok((response, ResponseGuard::nothing()))
    }

    pub(super) fn component(&self) -> &Component {
        self.0.pre.instance_pre().component()
    }

    pub(super) fn count(&self) -> usize {
        self.0.places.in_use()
    }

    /// The same once, if there is room for it at once.
    pub(super) async fn call_apart(
        &self,
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let checkout = self.0.checkout(shard).ok_or(CallError::Busy)?;
        let response = self.attempt(shard, checkout, &exchange, request).await?;
        Ok((response, ResponseGuard::nothing()))
    }

    /// Starts an instance, and drops it.
    pub(super) async fn try_start(&self) -> Result<(), CallError> {
        let place = self.0.place().ok_or(CallError::Busy)?;
        self.0.start(place).await.map(drop).map_err(|error| not_started(&error))
    }

    async fn attempt(
        &self,
        shard: &ShardHandle,
        checkout: Checkout,
        exchange: &Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<http::Response<BoundaryBody>, CallError> {
        exchange.mark_handed_over();
        let (sender, answer) = oneshot::channel();
        let task = RequestTask { shared: self.0.clone(), shard: shard.clone(), exchange: exchange.clone() };
        // A task of its own: the guest runs on while its body is sent, and for its grace when the client left.
        let guest = shard.tasks.spawn(task.run(checkout, request, sender));
        self.0.make_ready(shard);
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(CallError::Refused(format!("{error:?}"))),
            Err(_) => Err(why_none(guest).await),
        }
    }
}

/// The guest ended without an answer: its task says how.
async fn why_none(guest: JoinHandle<Result<(), CallError>>) -> CallError {
    match guest.await {
        Ok(Err(error)) => error,
        Ok(Ok(())) => CallError::NoResponse,
        Err(_) => CallError::Trapped,
    }
}

impl Drop for SoloInstances {
    fn drop(&mut self) {
        self.0.warm.iter().for_each(|warm| warm.close());
    }
}

impl SoloState {
    async fn wait_for_checkout(self: &Arc<Self>, shard: &ShardHandle) -> Result<Checkout, CallError> {
        match self.checkout(shard) {
            Some(checkout) => Ok(checkout),
            None => self.queue.wait(|| self.checkout(shard)).await,
        }
    }

    /// A warm instance of the shard, or room for a new one, or a warm one of another shard.
    fn checkout(self: &Arc<Self>, shard: &ShardHandle) -> Option<Checkout> {
        let warm = |warm: &Arc<WarmInstances>| warm.take().map(|instance| Checkout::Warm(Box::new(instance)));
        self.warm
            .get(shard.index)
            .and_then(warm)
            .or_else(|| self.place().map(Checkout::New))
            .or_else(|| self.warm.iter().find_map(warm))
    }

    /// Room for an instance, or one that has served nobody yet. For that, one that waits for its next request has to go.
    fn fresh_checkout(self: &Arc<Self>) -> Option<Checkout> {
        let fresh =
            |warm: &Arc<WarmInstances>| warm.take_fresh().map(|instance| Checkout::Warm(Box::new(instance)));
        self.place().map(Checkout::New).or_else(|| self.warm.iter().find_map(fresh)).or_else(|| {
            drop(self.warm.iter().find_map(|warm| warm.take())?);
            self.place().map(Checkout::New)
        })
    }

    fn place(self: &Arc<Self>) -> Option<InstanceSlot> {
        let share = self.places.try_take()?;
        Some(InstanceSlot { share: Some(share), shared: self.clone() })
    }

    async fn start(&self, place: InstanceSlot) -> wasmtime::Result<SoloInstance> {
        let meter = CpuMeter::default();
        let mut store = self.factory.store(&meter, &Arc::default(), self.factory.budget(|| ()))?;
        let proxy = meter.watch(self.pre.instantiate_async(&mut store)).await?;
        self.factory.metrics.started.inc();
        Ok(SoloInstance { store, proxy, meter, uses: 0, _place: place })
    }

    /// Starts an instance for which nobody waits.
    async fn start_in_time(&self, place: InstanceSlot) -> Result<SoloInstance, String> {
        /// Longer than any runtime of a language takes.
        const LIMIT: Duration = Duration::from_secs(10);
        match tokio::time::timeout(LIMIT, self.start(place)).await {
            Ok(started) => started.map_err(|error| one_line(&error)),
            Err(_) => Err(format!("it took longer than {LIMIT:?}")),
        }
    }

    /// Starts what should be ready for the next requests, after what runs now.
    fn make_ready(self: &Arc<Self>, shard: &ShardHandle) {
        let Some(warm) = self.warm.get(shard.index) else { return };
        let Some(starting) = warm.begin() else { return };
        let (pool, warm, here) = (self.clone(), warm.clone(), shard.clone());
        shard.tasks.spawn(async move {
            let _only = starting;
            // Who waits for a place comes first.
            while warm.lacks()
                && !pool.queue.is_waited_in()
                && let Some(place) = pool.place()
            {
                match pool.start_in_time(place).await {
                    Ok(instance) => warm.put(instance, &here),
                    Err(why) => {
                        let app = &*pool.factory.app;
                        tracing::warn!(app, "cannot start an instance in advance (instances.ready): {why}");
                        return;
                    }
                }
                pool.queue.notify_freed();
            }
        });
    }

    /// Whether an instance may serve another request. For who leaks much, to start anew soon costs little.
    fn may_serve_again(&self, instance: &mut SoloInstance) -> bool {
        instance.uses < self.max_uses && !instance.store.data_mut().limits.are_near(10)
    }
}

/// What runs one request.
struct RequestTask {
    shared: Arc<SoloState>,
    shard: ShardHandle,
    exchange: Arc<Exchange>,
}

impl RequestTask {
    async fn run(
        self,
        checkout: Checkout,
        request: Box<http::Request<BoundaryBody>>,
        sender: oneshot::Sender<GuestResult>,
    ) -> Result<(), CallError> {
        let exchange = &self.exchange;
        let run = async {
            let mut instance = match checkout {
                Checkout::Warm(instance) => instance,
                Checkout::New(place) => {
                    Box::new(self.shared.start(place).await.map_err(|error| not_started(&error))?)
                }
            };
            instance.handle(exchange, request, sender).await?;
            Ok(instance)
        };
        let mut instance = tokio::select! {
            served = run => served?,
            () = overdue(exchange) => {
                tracing::warn!(app = exchange.app(), request = %exchange.id, "guest stopped: it continued to run after its request had ended");
                return Err(CallError::Trapped);
            }
        };
        if self.shared.may_serve_again(&mut instance)
            && let Some(warm) = self.shared.warm.get(self.shard.index)
        {
            warm.put(*instance, &self.shard);
            self.shared.queue.notify_freed();
        }
        Ok(())
    }
}

impl SoloInstance {
    async fn handle(
        &mut self,
        exchange: &Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
        sender: oneshot::Sender<GuestResult>,
    ) -> Result<(), CallError> {
        self.uses += 1;
        let store = &mut self.store;
        store.data_mut().requests.set_sole(exchange.clone());
        store.data_mut().outgoing.work_for(Some(exchange.clone()));
        let mut http = store.data_mut().http();
        let request =
            http.new_incoming_request(Scheme::Http, *request).map_err(|error| not_started(&error))?;
        let out = http.new_response_outparam(sender).map_err(|error| not_started(&error))?;
        let _until_it_ends = GuestCall(exchange.clone());
        let call = self.proxy.wasi_http_incoming_handler().call_handle(store, request, out);
        if let Err(error) = self.meter.watch(call).await {
            // Before the store goes, and the body with it.
            exchange.mark_failed();
            let (app, request) = (exchange.app(), exchange.id);
            exchange.generation.metrics.traps.inc();
            tracing::error!(app, request = %request, "guest {}", end(&error));
            return Err(CallError::Trapped);
        }
        Ok(())
    }
}

/// Waits until a request has ended, and its guest has had its time.
async fn overdue(exchange: &Exchange) {
    if exchange.on_disconnect() == OnDisconnect::Cancel {
        exchange.wait_ended().await;
    } else {
        exchange.wait_overdue().await;
    }
}
