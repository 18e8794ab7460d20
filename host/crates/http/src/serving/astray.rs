//! Clients that use HTTP without TLS at a TLS address: they get a readable error response.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::connection::{ClientMonitor, Connection};
use crate::request::refusal::Refusal;
use crate::{ShardContext, error_response};

/// How long such a client has to close after its answer, and how much of what it sends meanwhile is read: while something
/// lies unread, closing would destroy the answer.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST: u64 = 64 * 1024;

const TEXT: &str = "this address requires TLS; use https";

/// Waits for the first byte of a client. Whether it is one of a method and not of TLS; what comes stays where it is.
pub(crate) async fn speaks_plainly(link: &ClientMonitor) -> bool {
    let first = link.peek(&mut [0; 1], |bytes| bytes.first().map(u8::is_ascii_uppercase)).await;
    matches!(first, Ok(Some(true)))
}

/// Answers one, whatever it asks for.
pub(crate) async fn answer(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    connection: &Connection,
    context: &ShardContext,
) {
    let refusal = Refusal { status: StatusCode::BAD_REQUEST, client: connection.peer().address() };
    let id = refusal.tell(context, None);
    tracing::debug!(request = %id, "{TEXT}");
    let answer = error_response::plain(refusal.status, TEXT, id, None);
    let told = async {
        socket.write_all(&answer).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(MOST), &mut tokio::io::sink()).await
    };
    // Whether it listens is its business.
    let _ = tokio::time::timeout(PATIENCE, told).await;
}
