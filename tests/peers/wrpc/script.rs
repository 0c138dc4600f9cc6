//! The lines that a client is told to do, and what it says about each.
//!
//!     CASE INTERFACE.FUNCTION PARAMS [PATH=DATA]...
//!     CASE load CALLS INFLIGHT
//!
//! PARAMS are the encoded parameters in hex, 00 where a stream or future is; {CASE} in them stands for
//! the result of a former case. DATA are the encoded elements for the channel PATH, in hex, or
//! pattern:N for N bytes (in answers zeros:N too); "now:" before it is for callers who can send such data along with the
//! parameters. The answer has the result in the same form:
//!
//!     {"case": CASE, "result": HEX, "PATH": DATA, ...}    {"case": CASE, "error": TEXT}
use crate::bindings::test::vec::types::Vs;
use anyhow::{ensure, Context as _};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use tokio_util::codec::{Decoder as _, Encoder as _};
use wrpc_transport::frame::{Incoming, Outgoing};
use wrpc_transport::{Decode, Encode};

pub type ByteStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;
pub type StreamOf<T> = Pin<Box<dyn Stream<Item = Vec<T>> + Send>>;
pub type FutureOf<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Large values repeat one of these 256 bytes: so that they are made and compared quickly, even
/// where nothing is optimised.
pub type Period = [u8; 256];
pub const ZEROS: Period = [0; 256];
pub const PATTERN: Period = {
    let mut bytes = ZEROS;
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i * 31 + 7) as u8;
        i += 1;
    }
    bytes
};

/// n bytes, a chunk at a time.
pub fn source(n: usize, period: Period) -> ByteStream {
    let chunk = Bytes::from(period.repeat(240));
    let starts = (0..n).step_by(chunk.len());
    Box::pin(futures::stream::iter(starts.map(move |at| chunk.slice(..chunk.len().min(n - at)))))
}

fn repeats(data: &[u8], period: Period) -> bool {
    data.len() > 64 && data.chunks(period.len()).all(|part| *part == period[..part.len()])
}

/// How many bytes are as the pattern has them, up to the first that is not.
pub async fn matching(mut data: ByteStream) -> usize {
    let (mut n, mut good) = (0, true);
    while let Some(chunk) = data.next().await {
        for byte in chunk {
            good = good && byte == PATTERN[n % PATTERN.len()];
            n += good as usize;
        }
    }
    n
}

fn hex(data: &[u8]) -> String {
    let mut text = String::with_capacity(2 * data.len());
    for byte in data {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap());
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap());
    }
    text
}

fn unhex(text: &str) -> anyhow::Result<BytesMut> {
    ensure!(text.is_ascii() && text.len() % 2 == 0, "odd hex");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).context("no hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn decode<T: Decode<Incoming>>(from: &mut BytesMut) -> anyhow::Result<T> {
    let decoded = T::Decoder::default().decode(from);
    decoded.ok().flatten().context("no such value")
}

fn encode<T: Encode<Outgoing>>(value: T) -> anyhow::Result<BytesMut> {
    let mut to = BytesMut::new();
    let encoded = T::Encoder::default().encode(value, &mut to);
    ensure!(encoded.is_ok(), "the result cannot be encoded");
    Ok(to)
}

#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub what: String,
    pub params: String,
    pub rest: Vec<String>,
}

impl Case {
    pub fn read(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace().map(String::from);
        let mut word = || words.next().context(format!("too few words: {line}"));
        let (name, what, params) = (word()?, word()?, word()?);
        Ok(Self {
            name,
            what,
            params: params.trim_start_matches('-').into(),
            rest: words.collect(),
        })
    }

    pub fn params<T: Decode<Incoming>>(&self) -> anyhow::Result<T> {
        let mut data = unhex(&self.params)?;
        let value = decode(&mut data).context(format!("params: {}", self.params))?;
        ensure!(data.is_empty(), "params: {} bytes too many", data.len());
        Ok(value)
    }

    fn data(&self, path: &str) -> &str {
        let found = self.rest.iter().find_map(|word| word.strip_prefix(path)?.strip_prefix('='));
        found.unwrap_or_default().trim_start_matches("now:")
    }

    pub fn items<T: Decode<Incoming>>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let mut data = unhex(self.data(path))?;
        let mut items = Vec::new();
        while !data.is_empty() {
            items.push(decode(&mut data)?);
        }
        Ok(items)
    }

    pub fn bytes(&self, path: &str) -> anyhow::Result<ByteStream> {
        if let Some(n) = self.data(path).strip_prefix("pattern:") {
            return Ok(source(n.parse()?, PATTERN));
        }
        let data = unhex(self.data(path))?.freeze();
        let chunks: Vec<_> = data.chunks(5).map(Bytes::copy_from_slice).collect();
        Ok(Box::pin(futures::stream::iter(chunks)))
    }

    /// Chunks of one and of two elements, in turn.
    pub fn stream<T>(&self, path: &str) -> anyhow::Result<StreamOf<T>>
    where
        T: Decode<Incoming> + Send + 'static,
    {
        let mut items = self.items(path)?.into_iter();
        let mut chunks = Vec::new();
        loop {
            let chunk: Vec<T> = items.by_ref().take(1 + chunks.len() % 2).collect();
            if chunk.is_empty() {
                return Ok(Box::pin(futures::stream::iter(chunks)));
            }
            chunks.push(chunk);
        }
    }

    /// Ready a little later than the rest.
    pub fn future<T>(&self, path: &str) -> anyhow::Result<FutureOf<T>>
    where
        T: Decode<Incoming> + Send + 'static,
    {
        let value = self.items(path)?.pop().context(format!("nothing for {path}"))?;
        Ok(later(value))
    }
}

pub fn later<T: Send + 'static>(value: T) -> FutureOf<T> {
    Box::pin(async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        value
    })
}

/// What a call has brought: the result, and what came on the channels.
#[derive(Default)]
pub struct Answer {
    pub result: String,
    pub channels: BTreeMap<&'static str, String>,
}

impl Answer {
    pub fn of<T: Encode<Outgoing>>(value: T) -> anyhow::Result<Self> {
        Ok(Self { result: hex(&encode(value)?), ..Self::default() })
    }

    pub fn with(mut self, channel: (&'static str, String)) -> Self {
        self.channels.insert(channel.0, channel.1);
        self
    }
}

pub async fn take_bytes(path: &'static str, mut data: ByteStream) -> (&'static str, String) {
    let mut all = BytesMut::new();
    while let Some(chunk) = data.next().await {
        all.extend_from_slice(&chunk);
    }
    let data = match all.len() {
        n if repeats(&all, PATTERN) => format!("pattern:{n}"),
        n if repeats(&all, ZEROS) => format!("zeros:{n}"),
        _ => hex(&all),
    };
    (path, data)
}

pub async fn take<T: Encode<Outgoing>>(
    path: &'static str,
    mut data: StreamOf<T>,
) -> (&'static str, String) {
    let mut all = String::new();
    while let Some(chunk) = data.next().await {
        for item in chunk {
            all += &encode(item).map_or_else(|err| err.to_string(), |data| hex(&data));
        }
    }
    (path, all)
}

pub async fn take_future<T: Encode<Outgoing> + Send + 'static>(
    path: &'static str,
    data: FutureOf<T>,
) -> (&'static str, String) {
    take(path, Box::pin(futures::stream::once(async { vec![data.await] }))).await
}

/// A variant with a stream in it: what its sync bytes say, without the stream.
pub fn without_stream(v: &Vs) -> Option<(u8, u32)> {
    match v {
        Vs::None => None,
        Vs::Data(d) => Some((0, d.b)),
    }
}
