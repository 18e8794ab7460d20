//! What a request has of what may be in progress: of all, of its client, of its app; and what keeps its connection open.

use std::sync::Arc;

use http::{Response, Version};

use linger_base::ClientAddress;
use linger_base::permits::Permit;
use linger_telemetry::Reached;
use linger_wasm::BoundaryBody;

use crate::connection::clients::{ClientPermit, ClientQuota};
use crate::connection::{Connection, InProgress};
use crate::{HttpSettings, RouteTarget, ShardContext, error_response};

/// Given back when the request has ended.
pub(crate) struct RequestPermits {
    _server: Permit,
    _client: Option<ClientPermit>,
    _app: Permit,
    _connection: InProgress,
}

impl RequestPermits {
    /// Those of a new request. An error is what its client is told where there is no room for one more.
    pub(crate) fn take(
        context: &ShardContext,
        (settings, target): (&HttpSettings, &RouteTarget),
        (connection, in_progress): (&Arc<Connection>, InProgress),
        client: Option<ClientAddress>,
        version: Version,
    ) -> Result<Self, Box<Response<BoundaryBody>>> {
        let streams = usize::try_from(settings.limits.max_streams_per_connection).unwrap_or(usize::MAX);
        if version == Version::HTTP_2 && connection.requests.len() >= streams {
            // Its client waits with the next one.
            context.metrics.reached_by(Reached::Streams, client);
        }
        // First: who has too many of its own need not know how many others have.
        let of_client = match client.and_then(|client| connection.place_of(client, &context.clients)) {
            Some(place) => Some(place.try_take(ClientQuota::Request).ok_or_else(|| {
                context.metrics.reached_by(Reached::RequestsPerClient, client);
                error_response::too_many_of_client()
            })?),
            None => None,
        };
        let of_server = settings.requests.try_take().ok_or_else(|| {
            context.metrics.record_reached(Reached::Requests);
            error_response::overloaded()
        })?;
        let of_app = target.slot.requests.try_take().ok_or_else(|| {
            target.slot.record_reached(Reached::AppRequests);
            error_response::overloaded()
        })?;
        Ok(Self { _server: of_server, _client: of_client, _app: of_app, _connection: in_progress })
    }

    /// Those of a request that nothing bounds.
    #[cfg(test)]
    pub(crate) fn free(connection: &Arc<Connection>) -> Self {
        let share = || linger_base::permits::Permits::new(1).try_take().expect("one is free");
        Self { _server: share(), _client: None, _app: share(), _connection: connection.request() }
    }
}
