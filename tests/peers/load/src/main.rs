//! load: many HTTP requests to the test component, each answer compared byte for byte.
//!
//! `load ADDRESS REQUESTS IN_FLIGHT KEY HEX` sends REQUESTS requests over IN_FLIGHT keep-alive
//! connections: GET /bytes and POST /echo in turn, with bodies of 0, 100 and 100,000 bytes that
//! differ from request to request; half of them also read KEY, whose value must come back as HEX.
//! An answer that is late, wrong or missing is a failure. Exit code 0 when there were none.
//!
//! One thread per connection, and blocking sockets: with 8 in flight nothing else is needed.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(10);
const SIZES: [usize; 3] = [0, 100, 100_000];
/// After so many failures the rest is not worth the wait.
const MAX_FAILURES: usize = 20;

type Result<T> = std::result::Result<T, String>;

struct Plan {
    address: String,
    requests: usize,
    key: String,
    value: String,
}

struct Request {
    number: usize,
    post: bool,
    size: usize,
    key_value: bool,
}

impl Request {
    /// The twelve kinds in turn.
    fn new(number: usize) -> Request {
        Request {
            number,
            post: number % 2 == 1,
            size: SIZES[number / 2 % 3],
            key_value: number / 6 % 2 == 1,
        }
    }

    /// Head and body as they are sent.
    fn bytes(&self, plan: &Plan, content: &[u8]) -> (String, Vec<u8>) {
        let host = &plan.address;
        let get = if self.key_value { format!("get={}", plan.key) } else { String::new() };
        if self.post {
            let head = format!(
                "POST /echo?{get} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
                self.size
            );
            return (head, content.to_vec());
        }
        let Request { number, size, .. } = self;
        let head =
            format!("GET /bytes/{size}?seed={number}&{get} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        (head, Vec::new())
    }
}

/// The same bytes as the component's /bytes makes.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: u32| ((seed as u32 ^ i).wrapping_mul(2654435761) >> 24) as u8;
    (0..len as u32).map(byte).collect()
}

/// Bytes to read with a deadline for the whole answer: a socket's own time limit is per read.
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        (&mut self.stream).read(buf).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Error::new(ErrorKind::TimedOut, "nothing more within 10 s"),
            _ => error,
        })
    }
}

struct Answer {
    status: String,
    value: Option<String>,
    body: Vec<u8>,
    close: bool,
}

fn line(from: &mut impl BufRead, what: &str) -> Result<String> {
    let mut text = String::new();
    from.read_line(&mut text).map_err(|e| format!("{what}: {e}"))?;
    match text.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_string()),
        None => Err(format!("{what}: the connection ended after {} bytes of a line", text.len())),
    }
}

fn take(from: &mut impl Read, len: usize, into: &mut Vec<u8>) -> Result<()> {
    let had = into.len();
    into.resize(had + len, 0);
    from.read_exact(&mut into[had..])
        .map_err(|e| format!("body, in {len} bytes that begin at byte {had}: {e}"))
}

fn receive(stream: &TcpStream, until: Instant) -> Result<Answer> {
    // A buffer per answer is safe: nothing comes after an answer until the next request.
    let mut from = BufReader::with_capacity(65536, Timed { stream, until });
    let status = line(&mut from, "status line")?;
    let mut answer = Answer { status, value: None, body: Vec::new(), close: false };
    let mut length = None;
    let mut chunked = false;
    loop {
        let header = line(&mut from, "headers")?;
        let Some((name, value)) = header.split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", n) => length = n.parse().ok(),
            ("transfer-encoding", coding) => chunked = coding.eq_ignore_ascii_case("chunked"),
            ("connection", option) => answer.close = option.eq_ignore_ascii_case("close"),
            ("x-value", value) => answer.value = Some(value.to_string()),
            _ => {}
        }
    }
    match length {
        Some(len) => take(&mut from, len, &mut answer.body)?,
        None if chunked => loop {
            let size = line(&mut from, "chunk size")?;
            let len = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk size {size}"))?;
            take(&mut from, len, &mut answer.body)?;
            let end = line(&mut from, "end of chunk")?;
            if len == 0 {
                break;
            }
            if !end.is_empty() {
                return Err(format!("chunk of {len} bytes is followed by {end:?}"));
            }
        },
        None => return Err(format!("{}: neither length nor chunks", answer.status)),
    }
    match from.buffer() {
        [] => Ok(answer),
        rest => Err(format!("{} bytes came after the answer's end", rest.len())),
    }
}

/// One request and its answer. True when the connection can be used again.
fn exchange(stream: &TcpStream, plan: &Plan, request: &Request) -> Result<bool> {
    let until = Instant::now() + DEADLINE;
    let content = pattern(request.size, request.number);
    let (head, body) = request.bytes(plan, &content);

    // The echo comes back while we send, so both must go on at the same time when it is long.
    let mut out = stream;
    let answer = if body.len() > 1000 {
        thread::scope(|scope| {
            let sent = scope.spawn(move || {
                out.write_all(head.as_bytes())?;
                out.write_all(&body)
            });
            let answer = receive(stream, until);
            if answer.is_err() {
                let _ = stream.shutdown(std::net::Shutdown::Both); // or the sender could wait on
            }
            match sent.join().expect("the sender does not panic") {
                Err(error) if answer.is_ok() => Err(format!("sending: {error}")),
                _ => answer,
            }
        })?
    } else {
        let whole = [head.as_bytes(), &body].concat();
        out.write_all(&whole).map_err(|e| format!("sending: {e}"))?;
        receive(stream, until)?
    };

    let expected = request.key_value.then_some(&plan.value);
    if !answer.status.starts_with("HTTP/1.1 200") {
        let text = String::from_utf8_lossy(&answer.body);
        return Err(format!("{}: {:.200}", answer.status, text.trim().escape_debug().to_string()));
    }
    if answer.value.as_ref() != expected {
        return Err(format!("value {:?}, expected {expected:?}", answer.value));
    }
    if answer.body != content {
        let (got, want) = (answer.body.len(), content.len());
        let same = content.iter().zip(&answer.body).take_while(|(a, b)| a == b).count();
        return Err(format!("body of {got} bytes, expected {want}, differs from byte {same} on"));
    }
    Ok(!answer.close)
}

#[derive(Default)]
struct Totals {
    micros: Vec<u32>,
    failures: usize,
    connections: usize,
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).map_err(|e| format!("connecting: {e}"))?;
    stream.set_nodelay(true).map_err(|e| format!("connecting: {e}"))?;
    stream.set_write_timeout(Some(DEADLINE)).map_err(|e| format!("connecting: {e}"))?;
    Ok(stream)
}

/// Takes request numbers until there are none left.
fn work(plan: &Plan, next: &AtomicUsize, totals: &Mutex<Totals>) {
    let mut kept: Option<TcpStream> = None;
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= plan.requests || totals.lock().unwrap().failures >= MAX_FAILURES {
            return;
        }
        let request = Request::new(number);
        let started = Instant::now();
        let fresh = kept.is_none();
        let result = kept.take().map_or_else(|| connect(&plan.address), Ok).and_then(|stream| {
            let keep = exchange(&stream, plan, &request)?;
            kept = keep.then_some(stream);
            Ok(())
        });
        let took = started.elapsed();

        let mut totals = totals.lock().unwrap();
        totals.connections += fresh as usize;
        match result {
            Ok(()) => totals.micros.push(took.as_micros() as u32),
            Err(why) => {
                totals.failures += 1;
                let method = if request.post { "POST" } else { "GET" };
                let with = if request.key_value { "with" } else { "without" };
                println!(
                    "load: request {number} ({method}, {} bytes, {with} key-value) failed \
                     after {} ms: {why}",
                    request.size,
                    took.as_millis()
                );
            }
        }
        let done = totals.micros.len() + totals.failures;
        if done % (plan.requests / 10).max(1) == 0 {
            println!("load: {done} of {} done, {} failed", plan.requests, totals.failures);
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let parse = |text: &String| text.parse::<usize>().ok().filter(|n| *n > 0);
    let (plan, in_flight) = match args.as_slice() {
        [address, requests, in_flight, key, value] => match (parse(requests), parse(in_flight)) {
            (Some(requests), Some(in_flight)) => {
                let [address, key, value] = [address, key, value].map(String::clone);
                (Plan { address, requests, key, value }, in_flight)
            }
            _ => {
                eprintln!("load: REQUESTS and IN_FLIGHT must be numbers above 0");
                return ExitCode::from(2);
            }
        },
        _ => {
            eprintln!("usage: load ADDRESS REQUESTS IN_FLIGHT KEY HEX");
            return ExitCode::from(2);
        }
    };

    let next = AtomicUsize::new(0);
    let totals = Mutex::new(Totals::default());
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..in_flight {
            scope.spawn(|| work(&plan, &next, &totals));
        }
    });
    let seconds = started.elapsed().as_secs_f64();

    let Totals { mut micros, failures, connections } = totals.into_inner().unwrap();
    micros.sort_unstable();
    let millis = |share: f64| match micros.len() {
        0 => 0.0,
        n => micros[((n - 1) as f64 * share) as usize] as f64 / 1000.0,
    };
    println!(
        "load: {} requests, {failures} failed, {} not sent, {connections} connections, \
         {seconds:.1} s, {:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms",
        micros.len() + failures,
        plan.requests - micros.len() - failures,
        micros.len() as f64 / seconds,
        millis(0.5),
        millis(0.99),
        millis(1.0)
    );
    ExitCode::from((failures > 0) as u8)
}
