//! Cancellation: the client has disconnected, or the host asks the guest to stop.

use crate::bindings::linger::host::cancellation as host;
use crate::look::others_first;
use std::fmt;
use std::rc::Rc;

/// Why a request was cancelled. The first reason wins and never changes.
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
    /// The client closed the connection, or its stream.
    Closed,
    /// The client reset the connection or the stream.
    Reset,
    /// The client no longer answers the network.
    Unresponsive,
    /// The route's deadline is over. The client is still connected.
    Deadline,
    /// The server shuts down. The client is still connected.
    Shutdown,
    /// A newer generation of this app serves now. The client is still connected.
    Replaced,
    /// The response has ended: nothing is left to do for this client.
    Completed,
}

impl Reason {
    /// Whether the client still waits, so that a response reaches it.
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

    /// The name that the host uses for it, for example in its log.
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

/// Asks a handler to stop, once, with one [`Reason`]. Made by [`cancellation()`]; dropping it cancels nothing.
///
/// After the cancellation, the host waits for the route's `grace`, and then stops the handler. If
/// [`Reason::client_waits`], the handler's response is still sent.
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

/// The cancellation of the current request. Does not block.
///
/// Outside a request, it is already `completed`.
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
    /// Waits until the request is cancelled, and returns the reason: at once if there is one already.
    ///
    /// It always returns: with [`Reason::Completed`] when the response has ended and no other reason came first.
    /// Cancel-safe: the future can be dropped at any time, and another one made.
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

    /// The reason, or none while the work should go on. Does not block: ask it now and then in long computations.
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
