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

use linger_base::limit::{Limit, Share};
use linger_config::OnDisconnect;
use linger_exchange::{Call, Exchange};

use super::app::Factory;
use super::engine::one_line;
use super::meter::{Meter, end};
use super::queue::Queue;
use super::replay::Replay;
use super::state::State;
use super::{Body, CallError, Hold, Lane, not_started};
use warm::Warm;

type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The instances of an app.
pub(super) struct Instances(Arc<Shared>);

struct Shared {
    pre: ProxyPre<State>,
    factory: Factory,
    /// Requests that an instance is used for.
    max_uses: u64,
    /// Instances that there may be.
    places: Arc<Limit>,
    queue: Queue,
    /// For each lane, those that have no request.
    warm: Box<[Arc<Warm>]>,
}

/// An instance, once it has started.
struct Instance {
    store: Store<State>,
    proxy: Proxy,
    meter: Meter,
    uses: u64,
    _place: Place,
}

/// Room for an instance, or the instance that is there.
enum Seat {
    New(Place),
    Warm(Box<Instance>),
}

/// Room for an instance, until it is dropped.
struct Place {
    share: Option<Share>,
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // First the place: who waits for one looks then.
        self.share = None;
        self.shared.queue.freed();
    }
}

impl Instances {
    pub(super) fn new(pre: ProxyPre<State>, factory: Factory, max_uses: u64, lanes: usize) -> Self {
        let limits = &factory.config.instances;
        let queue = Queue::new(limits);
        let places = Limit::new(limits.max);
        let warm = (0..lanes).map(|_| Warm::new(limits.ready)).collect();
        Self(Arc::new(Shared { pre, factory, max_uses, places, queue, warm }))
    }

    /// Runs a request. If its instance trapped, and had served others before, it runs once more in a fresh one.
    pub(super) async fn call(
        &self,
        lane: &Lane,
        exchange: Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<(http::Response<Body>, Hold), CallError> {
        let seat = self.0.wait_for_seat(lane).await?;
        let replay = match &seat {
            Seat::Warm(instance) if instance.uses > 0 => Replay::of(&request),
            Seat::Warm(_) | Seat::New(_) => None,
        };
        let result = self.attempt(lane, seat, &exchange, request).await;
        let response = match (result, replay) {
            (Err(CallError::Trapped), Some(replay)) if exchange.begin_again() => {
                let seat = self.0.queue.wait(|| self.0.fresh_seat()).await?;
                self.attempt(lane, seat, &exchange, replay.request()).await
            }
            (result, _) => result,
        }?;
        Ok((response, Hold::nothing()))
    }

    pub(super) fn component(&self) -> &Component {
        self.0.pre.instance_pre().component()
    }

    pub(super) fn count(&self) -> usize {
        self.0.places.taken()
    }

    /// The same once, if there is room for it at once.
    pub(super) async fn call_apart(
        &self,
        lane: &Lane,
        exchange: Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<(http::Response<Body>, Hold), CallError> {
        let seat = self.0.seat(lane).ok_or(CallError::Busy)?;
        let response = self.attempt(lane, seat, &exchange, request).await?;
        Ok((response, Hold::nothing()))
    }

    /// Starts an instance, and drops it.
    pub(super) async fn try_start(&self) -> Result<(), CallError> {
        let place = self.0.place().ok_or(CallError::Busy)?;
        self.0.start(place).await.map(drop).map_err(|error| not_started(&error))
    }

    async fn attempt(
        &self,
        lane: &Lane,
        seat: Seat,
        exchange: &Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<http::Response<Body>, CallError> {
        exchange.hand_over();
        let (sender, answer) = oneshot::channel();
        let task = Task { shared: self.0.clone(), lane: lane.clone(), exchange: exchange.clone() };
        // A task of its own: the guest runs on while its body is sent, and for its grace when the client left.
        let guest = lane.tasks.spawn(task.run(seat, request, sender));
        self.0.make_ready(lane);
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

impl Drop for Instances {
    fn drop(&mut self) {
        self.0.warm.iter().for_each(|warm| warm.close());
    }
}

impl Shared {
    async fn wait_for_seat(self: &Arc<Self>, lane: &Lane) -> Result<Seat, CallError> {
        match self.seat(lane) {
            Some(seat) => Ok(seat),
            None => self.queue.wait(|| self.seat(lane)).await,
        }
    }

    /// A warm instance of the lane, or room for a new one, or a warm one of another lane.
    fn seat(self: &Arc<Self>, lane: &Lane) -> Option<Seat> {
        let warm = |warm: &Arc<Warm>| warm.take().map(|instance| Seat::Warm(Box::new(instance)));
        self.warm
            .get(lane.core)
            .and_then(warm)
            .or_else(|| self.place().map(Seat::New))
            .or_else(|| self.warm.iter().find_map(warm))
    }

    /// Room for an instance, or one that has served nobody yet. For that, one that waits for its next request has to go.
    fn fresh_seat(self: &Arc<Self>) -> Option<Seat> {
        let fresh = |warm: &Arc<Warm>| warm.take_fresh().map(|instance| Seat::Warm(Box::new(instance)));
        self.place().map(Seat::New).or_else(|| self.warm.iter().find_map(fresh)).or_else(|| {
            drop(self.warm.iter().find_map(|warm| warm.take())?);
            self.place().map(Seat::New)
        })
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        let share = self.places.try_take()?;
        Some(Place { share: Some(share), shared: self.clone() })
    }

    async fn start(&self, place: Place) -> wasmtime::Result<Instance> {
        let meter = Meter::default();
        let mut store = self.factory.store(&meter, &Arc::default(), self.factory.budget(|| ()))?;
        let proxy = meter.watch(self.pre.instantiate_async(&mut store)).await?;
        self.factory.metrics.started.inc();
        Ok(Instance { store, proxy, meter, uses: 0, _place: place })
    }

    /// Starts an instance for which nobody waits.
    async fn start_in_time(&self, place: Place) -> Result<Instance, String> {
        /// Longer than any runtime of a language takes.
        const LIMIT: Duration = Duration::from_secs(10);
        match tokio::time::timeout(LIMIT, self.start(place)).await {
            Ok(started) => started.map_err(|error| one_line(&error)),
            Err(_) => Err(format!("it took longer than {LIMIT:?}")),
        }
    }

    /// Starts what should be ready for the next requests, after what runs now.
    fn make_ready(self: &Arc<Self>, lane: &Lane) {
        let Some(warm) = self.warm.get(lane.core) else { return };
        let Some(starting) = warm.begin() else { return };
        let (shared, warm, here) = (self.clone(), warm.clone(), lane.clone());
        lane.tasks.spawn(async move {
            let _only = starting;
            // Who waits for a place comes first.
            while warm.lacks()
                && !shared.queue.is_waited_in()
                && let Some(place) = shared.place()
            {
                match shared.start_in_time(place).await {
                    Ok(instance) => warm.put(instance, &here),
                    Err(why) => {
                        let app = &*shared.factory.app;
                        tracing::warn!(app, "cannot start an instance in advance (instances.ready): {why}");
                        return;
                    }
                }
                shared.queue.freed();
            }
        });
    }

    /// Whether an instance may serve another request. For who leaks much, to start anew soon costs little.
    fn may_serve_again(&self, instance: &mut Instance) -> bool {
        instance.uses < self.max_uses && !instance.store.data_mut().limits.are_near(10)
    }
}

/// What runs one request.
struct Task {
    shared: Arc<Shared>,
    lane: Lane,
    exchange: Arc<Exchange>,
}

impl Task {
    async fn run(
        self,
        seat: Seat,
        request: Box<http::Request<Body>>,
        sender: oneshot::Sender<Answer>,
    ) -> Result<(), CallError> {
        let exchange = &self.exchange;
        let run = async {
            let mut instance = match seat {
                Seat::Warm(instance) => instance,
                Seat::New(place) => {
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
            && let Some(warm) = self.shared.warm.get(self.lane.core)
        {
            warm.put(*instance, &self.lane);
            self.shared.queue.freed();
        }
        Ok(())
    }
}

impl Instance {
    async fn handle(
        &mut self,
        exchange: &Arc<Exchange>,
        request: Box<http::Request<Body>>,
        sender: oneshot::Sender<Answer>,
    ) -> Result<(), CallError> {
        self.uses += 1;
        let store = &mut self.store;
        store.data_mut().requests.set_sole(exchange.clone());
        store.data_mut().outgoing.work_for(Some(exchange.clone()));
        let mut http = store.data_mut().http();
        let request =
            http.new_incoming_request(Scheme::Http, *request).map_err(|error| not_started(&error))?;
        let out = http.new_response_outparam(sender).map_err(|error| not_started(&error))?;
        let _until_it_ends = Call(exchange.clone());
        let call = self.proxy.wasi_http_incoming_handler().call_handle(store, request, out);
        if let Err(error) = self.meter.watch(call).await {
            // Before the store goes, and the body with it.
            exchange.fail();
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
        exchange.ended().await;
    } else {
        exchange.overdue().await;
    }
}
