//! Whether the clients here keep up: wrk, which is known to cost little, takes turns with them on one server.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load::{self, CONNECTIONS, LoadWork};
use crate::peers;
use crate::summary::{median, quartiles};

const TURNS: usize = 8;
/// Wrk knows whole seconds only.
const ROUND: Duration = Duration::from_secs(1);

/// Both have one thread.
pub(crate) async fn measure() -> anyhow::Result<()> {
    println!("client: greetings of bare hyper a second, {CONNECTIONS} connections, medians of {TURNS} turns");
    if !peers::installed("wrk", "wrk", "--version") {
        return Ok(());
    }
    let server = peers::bare()?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for step in 0..2 {
            if (turn + step) % 2 == 0 {
                own.push(load::round(server.address(), LoadWork::Hello, ROUND).await?.rate());
            } else {
                other.push(wrk(server.address())?);
            }
        }
    }
    let ratios: Vec<_> = own.iter().zip(&other).map(|(own, other)| own / other).collect();
    let (middle, [low, high]) = (median(&ratios), quartiles(&ratios));
    println!(
        "client: ours {:.0}, wrk {:.0}; ours / wrk {middle:.2}, half of the turns in {low:.2} to {high:.2}",
        median(&own),
        median(&other)
    );
    Ok(())
}

fn wrk(address: SocketAddr) -> anyhow::Result<f64> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", ROUND.as_secs())])
        .arg(format!("http://{address}/"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "wrk failed");
    let text = String::from_utf8(output.stdout)?;
    let rate =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk says no rate")?;
    Ok(rate.trim().parse()?)
}
