//! Socket options: how soon a client that has died in silence is noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Sets what each accepted connection needs.
///
/// Within `client_timeout` the kernel gives up a client that does not answer: with nothing in flight by
/// keepalive probes, with bytes unacknowledged (to which keepalive does not apply) by `TCP_USER_TIMEOUT`.
/// The shares are those with which the kernel's own rounding stays within the whole: a first probe after a
/// third, further ones at sixths, and the end at five sixths.
pub fn set_options(stream: &TcpStream, client_timeout: Option<Duration>) -> io::Result<()> {
    // Without it, an answer in two writes waits for the client's delayed acknowledgement: 40 ms.
    stream.set_nodelay(true)?;
    let Some(timeout) = client_timeout else { return Ok(()) };
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(timeout / 3).with_interval(timeout / 6).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(timeout * 5 / 6))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_stay_within_the_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_options(&stream, Some(Duration::from_secs(30))).unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert!(socket.tcp_keepalive_time().unwrap() + probes <= Duration::from_secs(30));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(25)));
    }

    #[tokio::test]
    async fn without_a_timeout_the_kernel_waits() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_options(&stream, None).unwrap();
        assert!(!SockRef::from(&stream).keepalive().unwrap());
    }
}
