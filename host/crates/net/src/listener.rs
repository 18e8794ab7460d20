//! Listeners: TCP, a Unix socket, or a socket that systemd has opened.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use linger_config::{ListenAddress, SilenceTimeouts};

use super::options;
use super::stream::SocketStream;

/// An open listener. Its connections may be served by any runtime.
#[derive(Debug)]
pub struct BoundListener {
    socket: ListenerKind,
    address: ListenAddress,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection that is not registered with a runtime yet.
#[derive(Debug)]
pub struct AcceptedSocket {
    socket: Socket,
    /// The address of the peer. None for a Unix socket.
    pub from: Option<SocketAddr>,
}

/// A socket's file, removed with its listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Who removed it before wanted the same.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl BoundListener {
    /// Opens what is at an address: several listeners only if systemd has several sockets of that name. The file of a
    /// Unix socket gets `mode`; one that nobody listens at any more is replaced. To be called in a runtime, the one that
    /// accepts.
    pub fn open(address: &ListenAddress, mode: u32, silence: &SilenceTimeouts) -> io::Result<Vec<Self>> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::from_std(options::listen(*address, silence)?)?;
                let address = ListenAddress::Tcp(listener.local_addr()?);
                Ok(vec![Self { socket: ListenerKind::Tcp(listener), address, _file: None }])
            }
            ListenAddress::Unix(path) => {
                let listener = UnixListener::from_std(bind(path, mode)?.into())?;
                let file = Some(SocketFile(path.clone()));
                Ok(vec![Self { socket: ListenerKind::Unix(listener), address: address.clone(), _file: file }])
            }
            ListenAddress::Systemd(name) => passed(name)?
                .into_iter()
                .map(|socket| {
                    let socket = adopt(socket, silence)?;
                    Ok(Self { socket, address: address.clone(), _file: None })
                })
                .collect(),
        }
    }

    /// Its address, with the actual port.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Waits for a connection. Cancel-safe.
    pub async fn accept(&self) -> io::Result<AcceptedSocket> {
        match &self.socket {
            ListenerKind::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok(AcceptedSocket { socket: stream.into_std()?.into(), from: Some(from) })
            }
            ListenerKind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(AcceptedSocket { socket: OwnedFd::from(stream.into_std()?).into(), from: None })
            }
        }
    }
}

impl AcceptedSocket {
    /// The stream, for the runtime in which this is called.
    pub fn stream(self) -> io::Result<SocketStream> {
        Ok(match self.from {
            Some(_) => TcpStream::from_std(self.socket.into())?.into(),
            None => UnixStream::from_std(self.socket.into())?.into(),
        })
    }
}

/// A Unix socket that listens, with its file.
fn bind(path: &Path, mode: u32) -> io::Result<Socket> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: until then nobody connects.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(options::BACKLOG)?;
    Ok(socket)
}

/// The sockets that systemd has opened under a name (`FileDescriptorName=`; without it, the name of the `.socket` unit).
fn passed(name: &str) -> io::Result<Vec<Socket>> {
    let passed: Vec<_> = sd_notify::listen_fds_with_names()?.collect();
    let wanted: Vec<_> = passed.iter().filter(|(_, other)| other == name).map(|&(fd, _)| fd).collect();
    if wanted.is_empty() {
        let names: Vec<_> = passed.iter().map(|(_, name)| format!("`{name}`")).collect();
        let what = if names.is_empty() { "no sockets".to_owned() } else { names.join(", ") };
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("systemd passed {what}")));
    }
    wanted.into_iter().map(duplicate).collect()
}

/// A socket of our own for one that was passed, which stays open.
#[expect(unsafe_code, reason = "a descriptor that was passed is a number")]
fn duplicate(passed: RawFd) -> io::Result<Socket> {
    // SAFETY: that it is open was checked when it was set to be closed on `exec`, and nobody here closes it. The one
    // that owns it here is forgotten.
    let socket = std::mem::ManuallyDrop::new(unsafe { Socket::from_raw_fd(passed) });
    socket.try_clone()
}

/// Takes a socket that was opened elsewhere.
fn adopt(socket: Socket, silence: &SilenceTimeouts) -> io::Result<ListenerKind> {
    let unfit = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    if socket.r#type()? != Type::STREAM || !SockRef::from(&socket).is_listener()? {
        return Err(unfit("it is not a listening stream socket; use `ListenStream=` with `Accept=no`"));
    }
    socket.set_nonblocking(true)?;
    if socket.local_addr()?.is_unix() {
        return Ok(ListenerKind::Unix(UnixListener::from_std(socket.into())?));
    }
    options::set(silence, &socket)?;
    Ok(ListenerKind::Tcp(TcpListener::from_std(socket.into())?))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn socket_nobody_listens_at_is_replaced_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let address = ListenAddress::Unix(folder.path().join("socket"));
        let open = || BoundListener::open(&address, 0o640, &SilenceTimeouts::default());
        let listener = open().unwrap();
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let ListenAddress::Unix(path) = &address else { unreachable!() };
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
        drop(listener);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(path.exists());
        drop(open().unwrap());
        std::fs::write(path, "mine").unwrap();
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[tokio::test]
    async fn each_kind_accepts() {
        let folder = tempfile::tempdir().unwrap();
        for address in ["127.0.0.1:0".parse().unwrap(), ListenAddress::Unix(folder.path().join("socket"))] {
            let listener =
                BoundListener::open(&address, 0o600, &SilenceTimeouts::default()).unwrap().remove(0);
            match listener.address() {
                ListenAddress::Tcp(address) => drop(std::net::TcpStream::connect(address).unwrap()),
                ListenAddress::Unix(path) => drop(std::os::unix::net::UnixStream::connect(path).unwrap()),
                ListenAddress::Systemd(_) => unreachable!(),
            }
            let accepted = listener.accept().await.unwrap();
            assert_eq!(accepted.from.is_some(), matches!(address, ListenAddress::Tcp(_)));
            let ended = match accepted.stream().unwrap() {
                SocketStream::Tcp(mut stream) => stream.read_u8().await,
                SocketStream::Unix(mut stream) => stream.read_u8().await,
            };
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn socket_systemd_has_not_passed_is_an_error() {
        let error =
            BoundListener::open(&ListenAddress::Systemd("web".to_owned()), 0, &SilenceTimeouts::default())
                .unwrap_err();
        assert!(error.to_string().contains("no sockets"), "{error}");
    }
}
