//! Serves every function of tests/wit: echoes, or an answer that the caller can work out. What each
//! does is told once, in tests/wrpc/cases.py.
use crate::bindings::exports::test::vec::{api, echo};
use crate::bindings::exports::wrpc::blobstore::blobstore as blob;
use crate::bindings::exports::wrpc::http::{incoming_handler, outgoing_handler};
use crate::bindings::exports::wrpc::keyvalue::{atomics, batch, store, watcher};
use crate::bindings::wrpc::http::types as http;
use crate::bindings::{serve, Handler, Pong};
use crate::script::{later, matching, source, ByteStream, FutureOf, StreamOf, PATTERN, ZEROS};
use anyhow::bail;
use bytes::Bytes;
use futures::stream::{iter, select_all, StreamExt as _};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use wrpc_transport::{ResourceBorrow, ResourceOwn, Serve};

type Answer<T, E> = anyhow::Result<Result<T, E>>;

#[derive(Clone, Default)]
struct Peer {
    counters: Arc<Mutex<HashMap<Bytes, u32>>>,
}

impl Peer {
    fn counter(&self, start: u32) -> ResourceOwn<api::Counter> {
        let mut counters = self.counters.lock().unwrap();
        let handle = Bytes::from(format!("counter {}", counters.len()));
        counters.insert(handle.clone(), start);
        ResourceOwn::from(handle)
    }

    fn count(&self, handle: ResourceBorrow<api::Counter>, by: u32) -> anyhow::Result<u32> {
        match self.counters.lock().unwrap().get_mut(&Bytes::from(handle)) {
            Some(n) => {
                *n += by;
                Ok(*n)
            }
            None => bail!("no such counter"),
        }
    }
}

impl<C: Send> api::HandlerCounter<C> for Peer {
    async fn new(&self, _: C, start: u32) -> anyhow::Result<ResourceOwn<api::Counter>> {
        Ok(self.counter(start))
    }
    async fn incr(&self, _: C, c: ResourceBorrow<api::Counter>, by: u32) -> anyhow::Result<u32> {
        self.count(c, by)
    }
    async fn make(&self, _: C, start: u32) -> anyhow::Result<ResourceOwn<api::Counter>> {
        Ok(self.counter(start))
    }
}

impl<C: Send> api::Handler<C> for Peer {
    async fn add(&self, _: C, a: u32, b: u32) -> anyhow::Result<u32> {
        Ok(a.wrapping_add(b))
    }
    async fn describe(
        &self,
        _: C,
        name: String,
        p: api::Point,
        loud: bool,
    ) -> Answer<String, String> {
        let end = if loud { "!" } else { "" };
        let answer = format!("{name} at {},{}{end}", p.x, p.y);
        Ok((!name.is_empty()).then_some(answer).ok_or("no name".into()))
    }
    async fn nothing(&self, _: C) -> anyhow::Result<()> {
        Ok(())
    }
    async fn one_way(&self, _: C, _: u32) -> anyhow::Result<()> {
        Ok(())
    }
    async fn blob_len(&self, _: C, data: Bytes) -> anyhow::Result<u64> {
        Ok(data.len() as u64)
    }
    async fn big_result(&self, _: C, n: u32) -> anyhow::Result<Bytes> {
        Ok(vec![0; n as usize].into())
    }
    async fn upload(&self, _: C, _: String, data: ByteStream) -> anyhow::Result<u64> {
        Ok(data.fold(0, |n, chunk| async move { n + chunk.len() as u64 }).await)
    }
    async fn download(&self, _: C, _: String, n: u32) -> anyhow::Result<ByteStream> {
        Ok(source(n as usize, ZEROS))
    }
    async fn pipe(&self, _: C, data: ByteStream) -> anyhow::Result<ByteStream> {
        Ok(data)
    }
    async fn delay(&self, _: C, v: FutureOf<u32>) -> anyhow::Result<FutureOf<String>> {
        Ok(Box::pin(async { format!("#{}", v.await) }))
    }
    async fn nums(&self, _: C, s: StreamOf<u32>) -> anyhow::Result<StreamOf<String>> {
        Ok(Box::pin(s.map(|chunk| chunk.iter().map(|n| format!("#{n}")).collect())))
    }
    async fn take_rec(&self, _: C, r: api::Rec) -> anyhow::Result<(u32, ByteStream)> {
        Ok((r.b, r.a))
    }
    async fn fail(&self, _: C, _: u32) -> anyhow::Result<u32> {
        bail!("as asked")
    }
    async fn fail_late(&self, _: C, n: u32) -> anyhow::Result<ByteStream> {
        let breaks = futures::stream::once(async { panic!("as asked") });
        Ok(Box::pin(source(n as usize, ZEROS).chain(breaks)))
    }
    async fn not_served(&self, _: C, _: u32) -> anyhow::Result<u32> {
        bail!("this is never served")
    }
    async fn use_counter(&self, _: C, c: ResourceBorrow<api::Counter>) -> anyhow::Result<u32> {
        self.count(c, 0)
    }
    async fn many(&self, _: C, mut v: StreamOf<FutureOf<u32>>) -> anyhow::Result<u32> {
        let mut sum = 0;
        while let Some(chunk) = v.next().await {
            for future in chunk {
                sum += future.await;
            }
        }
        Ok(sum)
    }
    async fn fail_void(&self, _: C, _: u32) -> anyhow::Result<()> {
        bail!("as asked")
    }
}

impl<C: Send> Handler<C> for Peer {
    async fn ping(&self, _: C, p: Pong) -> anyhow::Result<u32> {
        Ok(p.v)
    }
}

type Pairs = Vec<(String, Option<Option<u32>>)>;

impl<C: Send> echo::Handler<C> for Peer {
    async fn echo_nested(&self, _: C, v: echo::Nested) -> anyhow::Result<echo::Nested> {
        Ok(v)
    }
    async fn echo_shape(&self, _: C, v: echo::Shape) -> Answer<echo::Shape, ()> {
        Ok(if matches!(v, echo::Shape::None) { Err(()) } else { Ok(v) })
    }
    async fn echo_all(&self, _: C, v: echo::All) -> Answer<echo::All, echo::Color> {
        Ok(if v.b { Ok(v) } else { Err(echo::Color::Green) })
    }
    async fn echo_flags(&self, _: C, v: echo::Fl70) -> anyhow::Result<echo::Fl70> {
        Ok(v)
    }
    async fn echo_list(&self, _: C, v: Pairs) -> anyhow::Result<Pairs> {
        Ok(v)
    }
    async fn echo_spot(&self, _: C, v: echo::Spot) -> anyhow::Result<echo::Spot> {
        Ok(v)
    }
    async fn echo_outcome(&self, _: C, v: echo::Outcome) -> anyhow::Result<echo::Outcome> {
        Ok(v)
    }
    async fn echo_async(
        &self,
        _: C,
        v: echo::Withfuts,
        w: echo::Vs,
    ) -> anyhow::Result<(echo::Withfuts, echo::Vs)> {
        Ok((v, w))
    }
    async fn echo_words(
        &self,
        _: C,
        call: echo::Words,
        l: echo::Tags,
        done: echo::Matrix,
        ctx: u8,
    ) -> anyhow::Result<echo::Words> {
        let default = match l {
            echo::Tags::Tag(n) => n.to_string(),
            echo::Tags::Enum => call.default,
            echo::Tags::New(text) => text,
        };
        let sum: f64 = done.iter().flatten().sum();
        Ok(echo::Words { default, class: sum as u8, errno: ctx, ..call })
    }
    async fn echo_stream(
        &self,
        _: C,
        v: StreamOf<(u8, String)>,
    ) -> anyhow::Result<StreamOf<(u8, String)>> {
        Ok(v)
    }
    async fn echo_moment(
        &self,
        _: C,
        v: FutureOf<()>,
    ) -> anyhow::Result<FutureOf<Result<(), String>>> {
        Ok(Box::pin(async {
            v.await;
            Ok(())
        }))
    }
    async fn check(&self, _: C, v: u32) -> Answer<(), ()> {
        Ok(if v == 0 { Err(()) } else { Ok(()) })
    }
}

/// The key-value store knows every key but "missing", with its name as the value.
fn open(bucket: &str) -> Result<(), store::Error> {
    match bucket {
        "nowhere" => Err(store::Error::NoSuchStore),
        "locked" => Err(store::Error::AccessDenied),
        "broken" => Err(store::Error::Other("it is broken".into())),
        _ => Ok(()),
    }
}

fn value(key: &str) -> Option<Bytes> {
    (key != "missing").then(|| Bytes::copy_from_slice(key.as_bytes()))
}

impl<C: Send> store::Handler<C> for Peer {
    async fn get(&self, _: C, b: String, key: String) -> Answer<Option<Bytes>, store::Error> {
        Ok(open(&b).map(|()| value(&key)))
    }
    async fn set(&self, _: C, b: String, key: String, v: Bytes) -> Answer<(), store::Error> {
        let same = Some(v) == value(&key);
        Ok(open(&b).and_then(|()| same.then_some(()).ok_or(store::Error::Other(key))))
    }
    async fn delete(&self, _: C, b: String, _: String) -> Answer<(), store::Error> {
        Ok(open(&b))
    }
    async fn exists(&self, _: C, b: String, key: String) -> Answer<bool, store::Error> {
        Ok(open(&b).map(|()| value(&key).is_some()))
    }
    async fn list_keys(
        &self,
        _: C,
        b: String,
        cursor: Option<u64>,
    ) -> Answer<store::KeyResponse, store::Error> {
        let keys = vec![b.clone(), cursor.unwrap_or(0).to_string()];
        Ok(open(&b).map(|()| store::KeyResponse { keys, cursor: cursor.map(|at| at + 1) }))
    }
}

impl<C: Send> atomics::Handler<C> for Peer {
    async fn increment(&self, _: C, b: String, key: String, by: u64) -> Answer<u64, store::Error> {
        Ok(open(&b).map(|()| by.wrapping_add(key.len() as u64)))
    }
}

impl<C: Send> batch::Handler<C> for Peer {
    async fn get_many(
        &self,
        _: C,
        b: String,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Bytes)>>, store::Error> {
        let pair = |key: String| value(&key).map(|v| (key, v));
        Ok(open(&b).map(|()| keys.into_iter().map(pair).collect()))
    }
    async fn set_many(
        &self,
        _: C,
        b: String,
        all: Vec<(String, Bytes)>,
    ) -> Answer<(), store::Error> {
        let wrong = all.into_iter().find(|(key, v)| value(key).as_ref() != Some(v));
        Ok(open(&b).and_then(|()| wrong.map_or(Ok(()), |(key, _)| Err(store::Error::Other(key)))))
    }
    async fn delete_many(&self, _: C, b: String, _: Vec<String>) -> Answer<(), store::Error> {
        Ok(open(&b))
    }
}

impl<C: Send> watcher::Handler<C> for Peer {
    async fn on_set(&self, _: C, _: String, _: String, _: Bytes) -> anyhow::Result<()> {
        Ok(())
    }
    async fn on_delete(&self, _: C, _: String, _: String) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The request comes back as the response.
fn respond(r: http::Request, status: u16) -> Result<http::Response, http::ErrorCode> {
    if r.path_with_query.as_deref() == Some("/error") {
        return Err(http::ErrorCode::InternalError(r.path_with_query));
    }
    let http::Request { body, trailers, headers, .. } = r;
    Ok(http::Response { body, trailers, status, headers })
}

impl<C: Send> incoming_handler::Handler<C> for Peer {
    async fn handle(&self, _: C, r: http::Request) -> Answer<http::Response, http::ErrorCode> {
        let status = match &r.method {
            http::Method::Get => 200,
            http::Method::Post => 201,
            http::Method::Other(name) => 400 + name.len() as u16,
            _ => 405,
        };
        Ok(respond(r, status))
    }
}

impl<C: Send> outgoing_handler::Handler<C> for Peer {
    async fn handle(
        &self,
        _: C,
        r: http::Request,
        options: Option<http::RequestOptions>,
    ) -> Answer<http::Response, http::ErrorCode> {
        Ok(respond(r, options.and_then(|o| o.connect_timeout).unwrap_or(204) as u16))
    }
}

/// Containers and objects are there, unless they are called "missing"; "bad" ones are errors.
fn good(name: &str) -> Result<(), String> {
    (name != "bad").then_some(()).ok_or(format!("{name} is bad"))
}

impl<C: Send> blob::Handler<C> for Peer {
    async fn clear_container(&self, _: C, name: String) -> Answer<(), String> {
        Ok(good(&name))
    }
    async fn container_exists(&self, _: C, name: String) -> Answer<bool, String> {
        Ok(good(&name).map(|()| name != "missing"))
    }
    async fn create_container(&self, _: C, name: String) -> Answer<(), String> {
        Ok(good(&name))
    }
    async fn delete_container(&self, _: C, name: String) -> Answer<(), String> {
        Ok(good(&name))
    }
    async fn get_container_info(
        &self,
        _: C,
        name: String,
    ) -> Answer<blob::ContainerMetadata, String> {
        Ok(good(&name).map(|()| blob::ContainerMetadata { created_at: name.len() as u64 }))
    }
    async fn list_container_objects(
        &self,
        _: C,
        name: String,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Answer<(StreamOf<String>, FutureOf<Result<(), String>>), String> {
        Ok(good(&name).map(|()| {
            let offset = offset.unwrap_or(0);
            let names =
                (offset..offset + limit.unwrap_or(3)).map(move |i| vec![format!("{name}-{i}")]);
            (Box::pin(iter(names)) as StreamOf<String>, later(Ok(())))
        }))
    }
    async fn copy_object(&self, _: C, a: blob::ObjectId, b: blob::ObjectId) -> Answer<(), String> {
        Ok(good(&a.object).and(good(&b.object)))
    }
    async fn delete_object(&self, _: C, id: blob::ObjectId) -> Answer<(), String> {
        Ok(good(&id.object))
    }
    async fn delete_objects(&self, _: C, _: String, all: Vec<String>) -> Answer<(), String> {
        Ok(all.iter().try_for_each(|name| good(name)))
    }
    async fn get_container_data(
        &self,
        _: C,
        id: blob::ObjectId,
        start: u64,
        end: u64,
    ) -> Answer<(ByteStream, FutureOf<Result<(), String>>), String> {
        let data = source((end - start) as usize, PATTERN);
        Ok(good(&id.container).map(|()| (data, later(good(&id.object)))))
    }
    async fn get_object_info(
        &self,
        _: C,
        id: blob::ObjectId,
    ) -> Answer<blob::ObjectMetadata, String> {
        let (created_at, size) = (id.container.len() as u64, id.object.len() as u64);
        Ok(good(&id.object).map(|()| blob::ObjectMetadata { created_at, size }))
    }
    async fn has_object(&self, _: C, id: blob::ObjectId) -> Answer<bool, String> {
        Ok(good(&id.object).map(|()| id.object != "missing"))
    }
    async fn move_object(&self, _: C, a: blob::ObjectId, b: blob::ObjectId) -> Answer<(), String> {
        Ok(good(&a.object).and(good(&b.object)))
    }
    /// The future tells in an error how many bytes were right.
    async fn write_container_data(
        &self,
        _: C,
        id: blob::ObjectId,
        data: ByteStream,
    ) -> Answer<FutureOf<Result<(), String>>, String> {
        Ok(good(&id.container).map(|()| -> FutureOf<Result<(), String>> {
            Box::pin(async move { good(&id.object).or(Err(matching(data).await.to_string())) })
        }))
    }
}

/// Serves until the subscriptions end; says "ready" after `flushed`.
pub async fn run<S: Serve>(
    srv: &S,
    flushed: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()>
where
    S::Context: Send + 'static,
{
    let functions = serve(srv, Peer::default()).await?;
    let served = functions.into_iter().filter(|(_, name, _)| *name != "not-served");
    let mut calls = select_all(served.map(|(_, _, calls)| calls));
    flushed.await?;
    println!("ready");
    while let Some(call) = calls.next().await {
        match call {
            Ok(call) => drop(tokio::spawn(async {
                if let Err(err) = call.await {
                    eprintln!("a call failed: {err:#}");
                }
            })),
            Err(err) => eprintln!("a call was not taken: {err:#}"),
        }
    }
    bail!("the subscriptions have ended")
}
