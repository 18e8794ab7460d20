//! What Linger adds to the time of one request, when there is nothing else to do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::awake::Awake;
use crate::client::{request, whole};
use crate::peers;
use crate::summary::{Goal, Times, median, quartiles};

const TURNS: usize = 60;
const REQUESTS: usize = 1_000;

/// As the machine is, and with processors that do not sleep.
pub(crate) fn measure() -> anyhow::Result<()> {
    println!("latency: one connection, one greeting at a time; medians of {TURNS} turns of {REQUESTS} each");
    compare("")?;
    if let Some(_awake) = Awake::keep()? {
        compare(" where processors do not sleep")?;
    }
    Ok(())
}

/// One connection to Linger and one to bare hyper, which take turns.
fn compare(how: &str) -> anyhow::Result<()> {
    let (linger, bare) = (peers::linger("hello.wasm")?, peers::bare()?);
    let mut medians = [Vec::new(), Vec::new()];
    for process in [&linger, &bare] {
        // To be warm.
        round(process.address())?;
    }
    for turn in 0..TURNS {
        for step in 0..2 {
            let number = (turn + step) % 2;
            let address = if number == 0 { linger.address() } else { bare.address() };
            medians[number].push(round(address)?);
        }
    }
    let [own, without] = medians;
    println!("  linger {:.1} us, bare hyper {:.1} us", median(&own), median(&without));
    let added: Vec<_> = own.iter().zip(&without).map(|(own, without)| own - without).collect();
    let (middle, [low, high]) = (median(&added), quartiles(&added));
    println!(
        "latency: added{how} {middle:.1} us, half of the turns in {low:.1} to {high:.1}; {}",
        Goal::at_most(30.0, 8.0).judge(middle)
    );
    Ok(())
}

/// The median in microseconds. The thread waits in the kernel for each answer, with no runtime between.
fn round(address: SocketAddr) -> anyhow::Result<f64> {
    let hello = request("GET", "/", "");
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let start = Instant::now();
        stream.write_all(hello.as_bytes())?;
        let status = answer(&mut stream)?;
        times.push(start.elapsed());
        ensure!(status == 200, "{status}");
    }
    Ok(micros(Times::new(times).permille(500)))
}

fn answer(stream: &mut TcpStream) -> anyhow::Result<u16> {
    let (mut received, mut length) = ([0; 1024], 0);
    loop {
        let read = stream.read(&mut received[length..])?;
        ensure!(read != 0, "the server has closed the connection");
        length += read;
        if let Some(status) = whole(&received[..length])? {
            return Ok(status);
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
