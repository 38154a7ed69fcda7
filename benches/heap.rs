//! The heap that an idle peer holds, by wire: after it has only joined a room, after a whole
//! negotiation, and what is left when all are gone: twice, since what is left must not add up.
//!
//! ```text
//! cargo build --release --all-features --example load
//! cargo bench --all-features --bench heap             # 1,000 peers
//! cargo bench --all-features --bench heap -- 10000
//! ```
//!
//! Every allocation of this process is counted, and only the server runs in it: the clients are a
//! process of their own, the load generator, on real sockets. So what is counted for a peer is all
//! that it holds outside of the kernel: its session, task, table entries, its share of the rooms,
//! and what the framework keeps for its connection. Before the peers come, a few others have come
//! and gone, so that what threads and tables keep for good counts as empty. Bytes are those that
//! were asked for; resident memory, which the allocator rounds up, is in `benches/README.md`.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use axum::Router;
use peak_alloc::PeakAlloc;
use peer_data_server::{PeerData, PeerDataLayer, actix};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

type Failure = Box<dyn Error + Send + Sync>;

/// How many peers there are, unless told otherwise.
const PEERS: usize = 1_000;

/// Those who come first.
const FORERUNNERS: usize = 50;

/// For so long nothing may be allocated or freed until the heap counts as settled: longer than a turn
/// of the server's timer, at which it gives up what it kept of those who have gone. And so long it
/// has for that.
/// In looks, not in time: in a process that does not get its turn nothing changes either.
const SETTLED: usize = 130;
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// What a peer may hold on a websocket, where nothing of it is the framework's.
const WEBSOCKET: usize = 3_000;

/// What the two threads that serve may keep for their work beyond what the forerunners made them
/// keep: for each, one long write.
const SCRATCH: usize = 2 * (16 << 10);

/// What is measured, each in a process of its own: the heap that is counted is the process's.
const ROWS: [(Door, &str); 8] = [
    (Door::Axum, "eio3"),
    (Door::Axum, "eio4"),
    (Door::Axum, "json"),
    (Door::Axum, "polling3"),
    (Door::Axum, "polling4"),
    (Door::Actix, "eio3"),
    (Door::Actix, "eio4"),
    (Door::Actix, "json"),
];

/// Has such a process measure the row of that number.
const ROW: &str = "--row";

fn main() -> Result<(), Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [ROW, number, peers] = arguments.iter().map(|a| &**a).collect::<Vec<_>>()[..] {
        let (door, wire) = ROWS[number.parse::<usize>()?];
        return row(door, wire, peers.parse()?);
    }
    let given = arguments.iter().find_map(|argument| argument.parse().ok());
    table(given.unwrap_or(PEERS))
}

/// Measures all rows at once, since most of the time they wait for the heap to settle.
fn table(peers: usize) -> Result<(), Failure> {
    println!("Heap of {peers} idle peers, two to a room:\n");
    println!(
        "| server | wire | silent, bytes each | after talking, bytes each | ratio | empty, KB | when the first have left, KB | when the second have left, KB |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    let own = std::env::current_exe()?;
    let measure = |number: usize| {
        Command::new(&own)
            .args([ROW, &number.to_string(), &peers.to_string()])
            .stdout(Stdio::piped())
            .spawn()
    };
    let rows: Vec<_> = (0..ROWS.len()).map(measure).collect();
    let mut failed = Vec::new();
    for (row, (door, wire)) in rows.into_iter().zip(ROWS) {
        let done = row?.wait_with_output()?;
        print!("{}", String::from_utf8_lossy(&done.stdout));
        if !done.status.success() {
            failed.push(format!("{} with {wire}", door.name()));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

/// Measures one wire.
fn row(door: Door, wire: &str, peers: usize) -> Result<(), Failure> {
    let site = door.open()?;
    site.visit(wire, FORERUNNERS, true)?;
    let empty = settled();
    let (silent, first) = site.visit(wire, peers, false)?;
    let (talked, second) = site.visit(wire, peers, true)?;
    let each = |held: usize| held.saturating_sub(empty) / peers;
    let (silent, talked) = (each(silent), each(talked));
    if matches!(door, Door::Axum) && !wire.starts_with("polling") && silent > WEBSOCKET {
        return Err(format!("{wire}: {silent} bytes each").into());
    }
    if talked > silent + silent / 10 {
        return Err(format!("{wire}: {silent} bytes while silent, {talked} after talking").into());
    }
    for left in [first, second] {
        if left > empty + empty / 20 + SCRATCH {
            return Err(
                format!("{wire}: {empty} bytes while empty, {left} when all are gone").into(),
            );
        }
    }
    println!(
        "| {} | {wire} | {silent} | {talked} | {}.{:02} | {} | {} | {} |",
        door.name(),
        talked / silent.max(1),
        talked * 100 / silent.max(1) % 100,
        empty / 1_000,
        first / 1_000,
        second / 1_000
    );
    Ok(())
}

/// What the server is mounted in.
#[derive(Clone, Copy)]
enum Door {
    Axum,
    Actix,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Self::Axum => "axum",
            Self::Actix => "actix",
        }
    }

    /// A server that listens, for as long as this process lives.
    fn open(self) -> Result<Site, Failure> {
        let server = PeerData::new();
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let mounted = server.clone();
        match self {
            Self::Axum => {
                listener.set_nonblocking(true)?;
                thread::spawn(move || serve_axum(listener, mounted));
            }
            Self::Actix => {
                thread::spawn(move || serve_actix(listener, mounted));
            }
        }
        Ok(Site { server, address })
    }
}

fn serve_axum(listener: TcpListener, server: PeerData) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = Router::new().layer(PeerDataLayer::from(server));
        Ok(axum::serve(listener, app).await?)
    })
}

fn serve_actix(listener: TcpListener, server: PeerData) -> Result<(), Failure> {
    let application = move || App::new().configure(actix::mount(server.clone()));
    let http = HttpServer::new(application)
        .workers(2)
        .disable_signals()
        .listen(listener)?;
    actix_web::rt::System::new().block_on(http.run())?;
    Ok(())
}

struct Site {
    server: PeerData,
    address: SocketAddr,
}

impl Site {
    /// Lets peers come, and go; the heap while they idle, and when all are gone.
    fn visit(&self, wire: &str, peers: usize, talk: bool) -> Result<(usize, usize), Failure> {
        let mut crowd = Crowd::start(self.address, wire, peers, talk)?;
        let there = self.server.peer_count();
        if there != peers {
            return Err(format!("{there} peers and not {peers}").into());
        }
        let held = settled();
        crowd.leave()?;
        let began = Instant::now();
        while self.server.peer_count() > 0 {
            if began.elapsed() > PATIENCE {
                return Err("some peers stay".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok((held, settled()))
    }
}

/// The load generator, while its clients are connected.
struct Crowd {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Crowd {
    /// Returns once all are in their rooms and have said what they had to say.
    fn start(address: SocketAddr, wire: &str, peers: usize, talk: bool) -> Result<Self, Failure> {
        let mut child = Command::new(load()?)
            .args(["idle", "--wire", wire, "--pause", "yes", "--hold", "0"])
            .args(["--output", "json", "--url", &format!("http://{address}")])
            .args(["--server-pid", &std::process::id().to_string()])
            .args(["--conns", &peers.to_string()])
            .args(["--talk", if talk { "yes" } else { "no" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stdout = stdout.ok_or("no standard output")?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.trim() != "held" {
            return Err(format!("the load generator says {line:?}").into());
        }
        Ok(Self { child, stdout })
    }

    /// Ends it; an error if it found something wrong.
    fn leave(&mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let mut report = String::new();
        self.stdout.read_to_string(&mut report)?;
        if self.child.wait()?.success() {
            Ok(())
        } else {
            Err(format!("the load generator fails: {report}").into())
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts it.
fn load() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let profile = own
        .ancestors()
        .nth(2)
        .ok_or("not in target/<profile>/deps")?;
    let load = profile.join("examples/load");
    if load.exists() {
        Ok(load)
    } else {
        Err("build the example `load` first, with the same profile and features".into())
    }
}

/// The live heap, once nothing is allocated or freed any more.
fn settled() -> usize {
    let began = Instant::now();
    let (mut last, mut quiet) = (HEAP.current_usage(), 0);
    while quiet < SETTLED && began.elapsed() < PATIENCE {
        thread::sleep(LOOK);
        let now = HEAP.current_usage();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    last
}
