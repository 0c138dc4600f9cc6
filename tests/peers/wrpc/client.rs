//! Does what a script says, with the functions that bindgen has made.
use crate::bindings;
use crate::bindings::test::vec::{api, echo, types};
use crate::bindings::wrpc::blobstore::blobstore as blob;
use crate::bindings::wrpc::http::{incoming_handler, outgoing_handler, types as http};
use crate::bindings::wrpc::keyvalue::{atomics, batch, store, watcher};
use crate::script::{
    later, source, take, take_bytes, take_future, without_stream, Answer, Case, PATTERN,
};
use anyhow::{bail, Context as _};
use bytes::Bytes;
use futures::StreamExt as _;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::join;
use wrpc_transport::{Invoke, ResourceBorrow};

const DEADLINE: Duration = Duration::from_secs(15);

/// A function without streams: its parameters as they are decoded, and as it takes them.
macro_rules! sync {
    ($c:ident, $w:ident, $cx:ident, $f:path, ($($p:ident: $t:ty),*) $($arg:expr),*) => {{
        let ($($p,)*) = $c.params::<($($t,)*)>()?;
        Answer::of($f($w, $cx.clone(), $($arg),*).await?)
    }};
}

/// Sends the async parameters while the async results come.
async fn with_io<T>(
    io: Option<impl Future<Output = anyhow::Result<()>>>,
    rest: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let io = async {
        match io {
            Some(io) => io.await,
            None => Ok(()),
        }
    };
    let (io, rest) = join!(io, rest);
    io.map(|()| rest)
}

type RequestHead =
    (u8, u8, http::Method, Option<String>, Option<http::Scheme>, Option<String>, http::Fields);

fn request(c: &Case, head: RequestHead) -> anyhow::Result<http::Request> {
    let (_, _, method, path_with_query, scheme, authority, headers) = head;
    let (body, trailers) = (c.bytes("0.0")?, c.future("0.1")?);
    Ok(http::Request { body, trailers, method, path_with_query, scheme, authority, headers })
}

async fn response(
    r: Result<http::Response, http::ErrorCode>,
    io: Option<impl Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<Answer> {
    match r {
        Ok(r) => {
            let taken = async { join!(take_bytes("0.0", r.body), take_future("0.1", r.trailers)) };
            let (body, trailers) = with_io(io, taken).await?;
            let head = Answer::of(Ok::<_, http::ErrorCode>((0u8, 0u8, r.status, r.headers)));
            Ok(head?.with(body).with(trailers))
        }
        Err(e) => Answer::of(Err::<(), _>(e)),
    }
}

fn strs(v: &[String]) -> Vec<&str> {
    v.iter().map(String::as_str).collect()
}

type Counter = ResourceBorrow<api::Counter>;

async fn call_sync<W: Invoke>(c: &Case, w: &W, cx: &W::Context) -> anyhow::Result<Answer>
where
    W::Context: Clone,
{
    match c.what.as_str() {
        "api.counter" => sync!(c, w, cx, api::Counter::new, (start: u32) start),
        "api.counter.incr" => sync!(c, w, cx, api::Counter::incr, (s: Counter, by: u32) &s, by),
        "api.counter.make" => sync!(c, w, cx, api::Counter::make, (start: u32) start),
        "api.use-counter" => sync!(c, w, cx, api::use_counter, (s: Counter) &s),
        "api.add" => sync!(c, w, cx, api::add, (a: u32, b: u32) a, b),
        "api.describe" => {
            sync!(c, w, cx, api::describe, (n: String, p: types::Point, l: bool) &n, &p, l)
        }
        "api.nothing" => sync!(c, w, cx, api::nothing, ()),
        "api.one-way" => sync!(c, w, cx, api::one_way, (x: u32) x),
        "api.blob-len" => sync!(c, w, cx, api::blob_len, (data: Bytes) &data),
        "api.big-result" => sync!(c, w, cx, api::big_result, (n: u32) n),
        "api.fail" => sync!(c, w, cx, api::fail, (x: u32) x),
        "api.fail-void" => sync!(c, w, cx, api::fail_void, (x: u32) x),
        "api.not-served" => sync!(c, w, cx, api::not_served, (x: u32) x),
        "tests.ping" => sync!(c, w, cx, bindings::ping, (p: bindings::Pong) &p),
        "echo.echo-nested" => sync!(c, w, cx, echo::echo_nested, (v: echo::Nested) &v),
        "echo.echo-shape" => sync!(c, w, cx, echo::echo_shape, (v: echo::Shape) &v),
        "echo.echo-all" => sync!(c, w, cx, echo::echo_all, (v: echo::All) &v),
        "echo.echo-flags" => sync!(c, w, cx, echo::echo_flags, (v: echo::Fl70) &v),
        "echo.echo-list" => {
            sync!(c, w, cx, echo::echo_list, (v: Vec<(String, Option<Option<u32>>)>)
            &v.iter().map(|(s, o)| (s.as_str(), *o)).collect::<Vec<_>>())
        }
        "echo.echo-spot" => sync!(c, w, cx, echo::echo_spot, (v: echo::Spot) v),
        "echo.echo-outcome" => sync!(c, w, cx, echo::echo_outcome, (v: echo::Outcome) &v),
        "echo.echo-words" => sync!(c, w, cx, echo::echo_words,
            (call: echo::Words, l: echo::Tags, done: echo::Matrix, ctx: u8)
            &call, &l, &done.iter().map(Vec::as_slice).collect::<Vec<_>>(), ctx),
        "echo.check" => sync!(c, w, cx, echo::check, (v: u32) v),
        "store.get" => sync!(c, w, cx, store::get, (b: String, k: String) &b, &k),
        "store.set" => sync!(c, w, cx, store::set, (b: String, k: String, v: Bytes) &b, &k, &v),
        "store.delete" => sync!(c, w, cx, store::delete, (b: String, k: String) &b, &k),
        "store.exists" => sync!(c, w, cx, store::exists, (b: String, k: String) &b, &k),
        "store.list-keys" => sync!(c, w, cx, store::list_keys, (b: String, at: Option<u64>) &b, at),
        "atomics.increment" => {
            sync!(c, w, cx, atomics::increment, (b: String, k: String, n: u64) &b, &k, n)
        }
        "batch.get-many" => {
            sync!(c, w, cx, batch::get_many, (b: String, k: Vec<String>) &b, &strs(&k))
        }
        "batch.set-many" => sync!(c, w, cx, batch::set_many, (b: String, k: Vec<(String, Bytes)>)
            &b, &k.iter().map(|(k, v)| (k.as_str(), v)).collect::<Vec<_>>()),
        "batch.delete-many" => {
            sync!(c, w, cx, batch::delete_many, (b: String, k: Vec<String>) &b, &strs(&k))
        }
        "watcher.on-set" => {
            sync!(c, w, cx, watcher::on_set, (b: String, k: String, v: Bytes) &b, &k, &v)
        }
        "watcher.on-delete" => sync!(c, w, cx, watcher::on_delete, (b: String, k: String) &b, &k),
        "blobstore.clear-container" => sync!(c, w, cx, blob::clear_container, (n: String) &n),
        "blobstore.container-exists" => sync!(c, w, cx, blob::container_exists, (n: String) &n),
        "blobstore.create-container" => sync!(c, w, cx, blob::create_container, (n: String) &n),
        "blobstore.delete-container" => sync!(c, w, cx, blob::delete_container, (n: String) &n),
        "blobstore.get-container-info" => sync!(c, w, cx, blob::get_container_info, (n: String) &n),
        "blobstore.copy-object" => {
            sync!(c, w, cx, blob::copy_object, (a: blob::ObjectId, b: blob::ObjectId) &a, &b)
        }
        "blobstore.move-object" => {
            sync!(c, w, cx, blob::move_object, (a: blob::ObjectId, b: blob::ObjectId) &a, &b)
        }
        "blobstore.delete-object" => sync!(c, w, cx, blob::delete_object, (o: blob::ObjectId) &o),
        "blobstore.delete-objects" => {
            sync!(c, w, cx, blob::delete_objects, (n: String, o: Vec<String>) &n, &strs(&o))
        }
        "blobstore.get-object-info" => {
            sync!(c, w, cx, blob::get_object_info, (o: blob::ObjectId) &o)
        }
        "blobstore.has-object" => sync!(c, w, cx, blob::has_object, (o: blob::ObjectId) &o),
        _ => call_async(c, w, cx).await,
    }
}

async fn call_async<W: Invoke>(c: &Case, w: &W, cx: &W::Context) -> anyhow::Result<Answer>
where
    W::Context: Clone,
{
    let cx = cx.clone();
    match c.what.as_str() {
        "api.upload" => {
            let (name, _) = c.params::<(String, u8)>()?;
            let (r, io) = api::upload(w, cx, &name, c.bytes("1")?).await?;
            Answer::of(with_io(io, async { r }).await?)
        }
        "api.download" => {
            let (name, n) = c.params::<(String, u32)>()?;
            let (r, io) = api::download(w, cx, &name, n).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take_bytes("0", r)).await?))
        }
        "api.pipe" => {
            let (r, io) = api::pipe(w, cx, c.bytes("0")?).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take_bytes("0", r)).await?))
        }
        "api.delay" => {
            let (r, io) = api::delay(w, cx, c.future("0")?).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take_future("0", r)).await?))
        }
        "api.nums" => {
            let (r, io) = api::nums(w, cx, c.stream("0")?).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take("0", r)).await?))
        }
        "api.take-rec" => {
            let (_, b) = c.params::<(u8, u32)>()?;
            let ((n, r), io) = api::take_rec(w, cx, api::Rec { a: c.bytes("0.0")?, b }).await?;
            Ok(Answer::of((n, 0u8))?.with(with_io(io, take_bytes("0.1", r)).await?))
        }
        "api.fail-late" => {
            let (r, io) = api::fail_late(w, cx, c.params::<u32>()?).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take_bytes("0", r)).await?))
        }
        "api.many" => {
            let n = c.items::<u8>("0")?.len();
            let futures: anyhow::Result<_> = (0..n).map(|k| c.future(&format!("0.{k}"))).collect();
            let stream = Box::pin(futures::stream::iter([futures?]));
            let (r, io) = api::many(w, cx, stream).await?;
            Answer::of(with_io(io, async { r }).await?)
        }
        "echo.echo-async" => {
            let (_, _, _, n, b) = c.params::<(u8, u8, u8, u8, Option<(u8, u32)>)>()?;
            let (f, s, t) = (c.future("0.0")?, c.stream("0.1")?, c.future("0.2")?);
            let vs = match b {
                Some((_, b)) => types::Vs::Data(types::Withstream { a: c.bytes("1.0")?, b }),
                None => types::Vs::None,
            };
            let ((r, vs), io) = echo::echo_async(w, cx, echo::Withfuts { f, s, t, n }, vs).await?;
            let answer = Answer::of((0u8, 0u8, 0u8, r.n, without_stream(&vs)))?;
            let a = match vs {
                types::Vs::Data(d) => d.a,
                types::Vs::None => Box::pin(futures::stream::empty()),
            };
            let taken = async {
                join!(
                    take_future("0.0.0", r.f),
                    take("0.0.1", r.s),
                    take_future("0.0.2", r.t),
                    take_bytes("0.1.0", a)
                )
            };
            let (f, s, t, a) = with_io(io, taken).await?;
            Ok(answer.with(f).with(s).with(t).with(a))
        }
        "echo.echo-stream" => {
            let (r, io) = echo::echo_stream(w, cx, c.stream("0")?).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take("0", r)).await?))
        }
        "echo.echo-moment" => {
            let (r, io) = echo::echo_moment(w, cx, later(())).await?;
            Ok(Answer::of(0u8)?.with(with_io(io, take_future("0", r)).await?))
        }
        "incoming-handler.handle" => {
            let request = request(c, c.params()?)?;
            let (r, io) = incoming_handler::handle(w, cx, request).await?;
            response(r, io).await
        }
        "outgoing-handler.handle" => {
            let (head, options) = c.params()?;
            let (r, io) = outgoing_handler::handle(w, cx, request(c, head)?, options).await?;
            response(r, io).await
        }
        "blobstore.list-container-objects" => {
            let (name, limit, offset) = c.params::<(String, _, _)>()?;
            let (r, io) = blob::list_container_objects(w, cx, &name, limit, offset).await?;
            match r {
                Ok((names, end)) => {
                    let taken = async { join!(take("0.0", names), take_future("0.1", end)) };
                    let (names, end) = with_io(io, taken).await?;
                    Ok(Answer::of(Ok::<_, String>((0u8, 0u8)))?.with(names).with(end))
                }
                Err(e) => Answer::of(Err::<(), _>(e)),
            }
        }
        "blobstore.get-container-data" => {
            let (id, start, end) = c.params::<(blob::ObjectId, u64, u64)>()?;
            let (r, io) = blob::get_container_data(w, cx, &id, start, end).await?;
            match r {
                Ok((data, end)) => {
                    let taken = async { join!(take_bytes("0.0", data), take_future("0.1", end)) };
                    let (data, end) = with_io(io, taken).await?;
                    Ok(Answer::of(Ok::<_, String>((0u8, 0u8)))?.with(data).with(end))
                }
                Err(e) => Answer::of(Err::<(), _>(e)),
            }
        }
        "blobstore.write-container-data" => {
            let (id, _) = c.params::<(blob::ObjectId, u8)>()?;
            let (r, io) = blob::write_container_data(w, cx, &id, c.bytes("1")?).await?;
            match r {
                Ok(end) => {
                    let end = with_io(io, take_future("0", end)).await?;
                    Ok(Answer::of(Ok::<_, String>(0u8))?.with(end))
                }
                Err(e) => Answer::of(Err::<(), _>(e)),
            }
        }
        what => bail!("no such function: {what}"),
    }
}

/// Small calls, every fourth with a stream both ways, so many at a time.
async fn load<W: Invoke>(c: &Case, w: &W, cx: &W::Context) -> anyhow::Result<Answer>
where
    W::Context: Clone,
{
    let (calls, inflight) = (c.params.parse()?, c.rest.first().context("in flight?")?.parse()?);
    let one = |i: u32| async move {
        let right = async {
            anyhow::Ok(if i % 4 == 3 {
                let (r, io) = api::pipe(w, cx.clone(), source(20_000, PATTERN)).await?;
                with_io(io, take_bytes("0", r)).await?.1 == "pattern:20000"
            } else {
                api::add(w, cx.clone(), i, 1).await? == i + 1
            })
        };
        let outcome = match tokio::time::timeout(DEADLINE, right).await {
            Ok(Ok(true)) => "right",
            Ok(Ok(false)) => "wrong",
            Ok(Err(_)) => "failed",
            Err(_) => "hung",
        };
        (i % 4 == 3, outcome)
    };
    let calls = futures::stream::iter((0..calls).map(one)).buffer_unordered(inflight);
    let outcomes: Vec<(bool, &str)> = calls.collect().await;
    let counts = |streams| {
        let count = |what| outcomes.iter().filter(|o| **o == (streams, what)).count();
        ["right", "wrong", "failed", "hung"].map(|o| format!("{} {o}", count(o))).join(", ")
    };
    let answer = Answer { result: counts(false), ..Answer::default() };
    Ok(answer.with(("streams", counts(true))))
}

pub async fn run<W: Invoke>(w: &W, cx: &W::Context, script: &str) -> anyhow::Result<()>
where
    W::Context: Clone,
{
    let mut results: HashMap<String, String> = HashMap::new();
    for line in std::fs::read_to_string(script)?.lines() {
        let mut c = Case::read(line)?;
        if let Some((_, name)) = c.params.split_once('{') {
            let name = name.split('}').next().unwrap_or_default();
            let result = results.get(name).context(format!("no such result: {name}"))?;
            c.params = c.params.replace(&format!("{{{name}}}"), result);
        }
        let answer = if c.what == "load" {
            load(&c, w, cx).await
        } else {
            let called = tokio::time::timeout(DEADLINE, call_sync(&c, w, cx)).await;
            called.unwrap_or_else(|_| bail!("hung"))
        };
        match answer {
            Ok(answer) => {
                let channels: String = answer
                    .channels
                    .iter()
                    .map(|(path, data)| format!(", {path:?}: {data:?}"))
                    .collect();
                println!("{{\"case\": {:?}, \"result\": {:?}{channels}}}", c.name, answer.result);
                results.insert(c.name, answer.result);
            }
            Err(err) => {
                let text = format!("{err:#}").replace(['"', '\\', '\''], "`");
                println!("{{\"case\": {:?}, \"error\": {text:?}}}", c.name);
            }
        }
    }
    Ok(())
}
