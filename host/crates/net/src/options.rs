//! Socket options: how soon a silent client is noticed.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, TcpKeepalive, Type};

use linger_config::{KeepaliveProbes, SilenceTimeouts};

/// Connections that may wait to be accepted: as many as the kernel allows (`net.core.somaxconn`). Of those beyond it the
/// kernel drops the first packet, and their clients try again after a second at the earliest.
pub(super) const BACKLOG: i32 = i32::MAX;

/// Gives a socket what its connections need: each has it from its listener.
pub(super) fn set(silence: &SilenceTimeouts, socket: &Socket) -> io::Result<()> {
    // Without it, an answer in two writes waits for the client's delayed acknowledgement: 40 ms.
    socket.set_tcp_nodelay(true)?;
    if let Some(KeepaliveProbes { idle, interval, probes }) = silence.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// Listens, with what connections need set before the first can come.
pub(super) fn listen(address: SocketAddr, silence: &SilenceTimeouts) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set(silence, &socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    fn accepted(silence: SilenceTimeouts) -> TcpStream {
        let listener = listen(([127, 0, 0, 1], 0).into(), &silence).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap().0
    }

    #[test]
    fn options_reach_the_kernel() {
        let keepalive =
            KeepaliveProbes { idle: Duration::from_secs(10), interval: Duration::from_secs(5), probes: 3 };
        let stream = accepted(SilenceTimeouts { keepalive: Some(keepalive) });
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), keepalive.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), keepalive.probes);
    }

    #[test]
    fn without_a_setting_the_kernel_waits() {
        let stream = accepted(SilenceTimeouts::default());
        assert!(!SockRef::from(&stream).keepalive().unwrap());
    }
}
