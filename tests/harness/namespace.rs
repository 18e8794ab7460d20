//! A network of its own, whose wire can be cut without a word. Needs root and `ip`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;

/// A network namespace, joined to the machine by a pair of interfaces. Dropped, it is gone.
pub(crate) struct Namespace {
    name: String,
    inner: String,
    outer: Ipv4Addr,
}

impl Namespace {
    /// `None`, with a line that says so, where the test may not make one.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let process = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lg{process}n{number}");
        let (outer_end, inner) = (format!("lo{process}n{number}"), format!("li{process}n{number}"));
        // Of the block for benchmarks (RFC 2544), which nobody routes.
        let [.., high, low] = process.to_be_bytes();
        let address = |last: u8| Ipv4Addr::new(198, 18 + (high & 1), low, number * 4 + last);
        let namespace = Self { name: name.clone(), inner: inner.clone(), outer: address(1) };
        let made = ip(&["netns", "add", &name])
            && ip(&["link", "add", &outer_end, "type", "veth", "peer", "name", &inner, "netns", &name])
            && ip(&["addr", "add", &format!("{}/30", address(1)), "dev", &outer_end])
            && ip(&["link", "set", &outer_end, "up"])
            && ip(&["-n", &name, "addr", "add", &format!("{}/30", address(2)), "dev", &inner])
            && ip(&["-n", &name, "link", "set", &inner, "up"]);
        if !made {
            eprintln!("skipped: no network namespace can be made here (it takes root, and `ip netns`)");
        }
        made.then_some(namespace)
    }

    /// Where the machine is reached from inside.
    pub(crate) fn outer(&self) -> Ipv4Addr {
        self.outer
    }

    /// Connects from inside.
    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let address = SocketAddr::from((self.outer, port));
        // A thread is moved, not the process; a socket stays where it was made.
        let connected = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            std::net::TcpStream::connect(address).unwrap()
        });
        let stream = connected.join().unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    /// From now on nothing comes out. What goes in is received.
    pub(crate) fn cut(&self) {
        assert!(ip(&["-n", &self.name, "route", "add", "blackhole", &format!("{}/32", self.outer)]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the pair goes with it, and so does the other.
        ip(&["-n", &self.name, "link", "del", &self.inner]);
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}
