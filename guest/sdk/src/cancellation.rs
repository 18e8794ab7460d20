//! Learning that nobody waits for the answer any more.

use crate::bindings::linger::host::cancellation as host;
use crate::look::others_first;
use std::fmt;
use std::rc::Rc;

/// Why the work for a request should stop. The first reason wins and never changes.
///
/// ```
/// use linger_guest::{Reason, Response};
///
/// fn farewell(reason: Reason) -> Response {
///     match reason {
///         Reason::Shutdown => Response::new(503), // ask again: another server may be up
///         _ => Response::empty(),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client closed the connection, or its stream, in order.
    Closed,
    /// The client reset the connection or the stream.
    Reset,
    /// The client stopped answering the network.
    Unresponsive,
    /// The request ran out of the time that its route allows. The client is still there.
    Deadline,
    /// The server is stopping. The client is still there.
    Shutdown,
    /// A newer generation of this app serves now. The client is still there.
    Replaced,
    /// The exchange ended in order: nothing is left to do for this client.
    Completed,
}

impl Reason {
    /// Whether the client still waits, so that an answer reaches it.
    ///
    /// ```
    /// use linger_guest::Reason;
    ///
    /// assert!(Reason::Shutdown.client_waits());
    /// assert!(!Reason::Closed.client_waits());
    /// ```
    pub fn client_waits(self) -> bool {
        matches!(self, Self::Deadline | Self::Shutdown | Self::Replaced)
    }

    /// The name that the host uses for it, in its log for example.
    ///
    /// ```
    /// assert_eq!(linger_guest::Reason::Closed.as_str(), "closed");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Unresponsive => "unresponsive",
            Self::Deadline => "deadline",
            Self::Shutdown => "shutdown",
            Self::Replaced => "replaced",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<host::Reason> for Reason {
    fn from(reason: host::Reason) -> Self {
        match reason {
            host::Reason::Closed => Self::Closed,
            host::Reason::Reset => Self::Reset,
            host::Reason::Unresponsive => Self::Unresponsive,
            host::Reason::Deadline => Self::Deadline,
            host::Reason::Shutdown => Self::Shutdown,
            host::Reason::Replaced => Self::Replaced,
            host::Reason::Completed => Self::Completed,
        }
    }
}

/// Tells a handler to stop, once, with one [`Reason`]. [`cancellation()`] gives it; dropping it cancels nothing.
///
/// The reason comes first; the host waits a while for the handler to end, and only then ends it. Where
/// [`Reason::client_waits`], what the handler answers is still sent.
///
/// ```no_run
/// use linger_guest::{Cancellation, Response};
///
/// async fn hold(cancellation: &Cancellation) -> Response {
///     let reason = cancellation.cancelled().await;
///     Response::text(format!("{reason}\n")).status(503)
/// }
/// ```
#[derive(Debug)]
pub struct Cancellation(Rc<host::Cancellation>);

/// The cancellation of the request that the calling handler works for. Does not block.
///
/// Outside of any request it gives a cancellation that is `completed` already.
///
/// ```no_run
/// # use linger_guest::{cancellation, select, sleep};
/// # async fn doc() {
/// select! {
///     reason = cancellation().cancelled() => println!("{reason}: stop"),
///     () = sleep(std::time::Duration::from_secs(1)) => println!("go on"),
/// }
/// # }
/// ```
pub fn cancellation() -> Cancellation {
    Cancellation(Rc::new(host::current()))
}

impl Cancellation {
    /// Waits until the work should stop, and gives the reason: at once if there is one already.
    ///
    /// It always ends: with [`Reason::Completed`] when the response has ended in order and nothing else came
    /// first. Cancel-safe: the future can be dropped, and another asked for, at any time.
    ///
    /// ```no_run
    /// use linger_guest::{cancellation, spawn};
    ///
    /// async fn note_the_end() {
    ///     spawn(async {
    ///         println!("{}", cancellation().cancelled().await);
    ///     });
    /// }
    /// ```
    pub fn cancelled(&self) -> impl Future<Output = Reason> + use<> {
        let cancellation = self.0.clone();
        async move {
            if let Some(reason) = cancellation.reason() {
                return reason.into();
            }
            others_first().await;
            cancellation.cancelled().await.into()
        }
    }

    /// The reason, or none while the work should go on. Does not block: for long computations, to be asked
    /// now and then.
    ///
    /// ```no_run
    /// # fn doc(work: Vec<u32>) -> u32 {
    /// let cancellation = linger_guest::cancellation();
    /// work.iter().take_while(|_| cancellation.reason().is_none()).sum()
    /// # }
    /// ```
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason().map(Reason::from)
    }
}
