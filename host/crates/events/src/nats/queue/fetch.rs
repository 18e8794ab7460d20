//! Fetching events for waiting consumers.
//!
//! However many wait at a queue of a host, there is one request for events at NATS, for as many as wait and not more than
//! some. It ends when they leave. So nothing is fetched for nobody, but for what was on its way then, which goes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use linger_base::Name;

use crate::nats::NatsContext;
use crate::nats::client::{NatsError, pause};
use crate::nats::names::StreamKind;
use crate::nats::queue::pull::{MAX_BATCH, PullRequest, PullResult};

/// How long the subscription for a queue's events stays when nobody waits there. Who has taken one event mostly takes another
/// soon; and the one that came reaches its taker before anything else is sent to NATS.
const LINGER: Duration = Duration::from_secs(1);

/// Fetches events for a queue for as long as somebody waits there.
pub(crate) async fn fetch(shared: Arc<NatsContext>, queue: Name) {
    let Some(line) = shared.line(&queue) else { return };
    let mut connections = shared.link.connections();
    let (mut pull, mut tries, mut told) = (None::<PullRequest>, 0, false);
    loop {
        let wanted = shared.wanted(&queue).min(MAX_BATCH);
        let was_lost = shared.was_lost(&queue);
        if let Some(current) = pull.take_if(|current| was_lost || current.left > wanted) {
            shared.all_arrived(&queue, current.epoch, current.take_back(&shared.link).await);
            continue;
        }
        if wanted == 0 {
            tokio::select! {
                () = line.notified() => {}
                _ = connections.changed() => pull = None,
                () = sleep(LINGER) => if shared.has_done_fetching(&queue) { return },
            }
            continue;
        }
        let current = match asked(&shared, &queue, &mut pull, wanted).await {
            Ok(current) => current,
            Err(NatsError::Lasting(error)) => {
                shared.give_up(&queue, &error);
                continue;
            }
            Err(trouble) => {
                pull = None;
                match trouble.warning(tries) {
                    Some(warning) if !std::mem::replace(&mut told, true) => {
                        tracing::warn!(
                            "queue {queue}: cannot fetch events; parked requests stay parked: {warning}"
                        );
                    }
                    _ => tracing::debug!("queue {queue}: cannot request events from NATS: {trouble:?}"),
                }
                tokio::select! {
                    () = sleep(pause(tries)) => {}
                    () = line.notified() => {}
                }
                tries += 1;
                continue;
            }
        };
        tokio::select! {
            got = current.next() => match got {
                PullResult::Event(message) => {
                    (tries, told) = (0, false);
                    let epoch = current.epoch;
                    shared.arrived(&queue, epoch, message);
                }
                PullResult::Nothing => (tries, told) = (0, false),
                PullResult::Lost(why) => {
                    tracing::debug!("queue {queue}: the request for events is lost: {why}");
                    pull = None;
                    // The stream or its consumer may have gone.
                    shared.streams.doubt(StreamKind::Queue, &queue);
                    shared.suspect(&queue);
                    sleep(pause(tries)).await;
                    tries += 1;
                }
            },
            () = line.notified() => {}
            _ = connections.changed() => {
                // Requests went with the connection. All hosts find that at the same time, and should not ask at once.
                if let Some(moved) = pull.take() {
                    shared.all_arrived(&queue, moved.epoch, moved.take_back_moved(&shared.link).await);
                }
            }
        }
    }
}

/// The request that is there, or another one.
async fn asked<'a>(
    shared: &Arc<NatsContext>,
    queue: &Name,
    pull: &'a mut Option<PullRequest>,
    wanted: usize,
) -> Result<&'a mut PullRequest, NatsError> {
    let is_over = pull.as_ref().is_none_or(|pull| pull.left == 0);
    let epoch = if is_over { Some(shared.ensure_queue(queue).await?) } else { None };
    match (pull, epoch) {
        (Some(pull), None) => Ok(pull),
        (Some(pull), Some(epoch)) => {
            pull.epoch = epoch;
            pull.ask(shared, wanted).await.map_err(NatsError::Passing)?;
            Ok(pull)
        }
        (pull, epoch) => {
            let started = PullRequest::start(shared, queue, epoch.unwrap_or_default(), wanted).await;
            Ok(pull.insert(started.map_err(NatsError::Passing)?))
        }
    }
}
