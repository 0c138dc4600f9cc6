//! The component of the tests: HTTP in, key-value out.
//!
//! | request | answer |
//! |---|---|
//! | `GET/POST /echo` | the request's body, streamed |
//! | `GET /bytes/N?seed=S` | N bytes: byte i is the top byte of `(S ^ i) * 2654435761` in 32 bits |
//! | `GET /kv/KEY` | the value; 404 if there is none |
//! | `POST /kv/KEY` | sets the body as value |
//! | `DELETE /kv/KEY` | deletes |
//! | `GET /exists/KEY` | `true` or `false` |
//! | `GET /keys?cursor=N` | the next cursor or an empty line, then one key per line |
//! | `POST /incr/KEY?by=N` | the new value |
//! | `POST /batch` | sets many: lines `KEY HEX` |
//! | `GET /batch?keys=A,B` | gets many: lines `KEY HEX`, or `-` for a key without value |
//! | `DELETE /batch?keys=A,B` | deletes many |
//!
//! `/echo` and `/bytes` take `get=KEY`: that key is read first, and its value comes back in hex in
//! the header `x-value` (`-` if there is none). All key-value routes take `bucket=NAME` and
//! `link=NAME`. Keys are used as they stand in the URL. An error from the key-value store is
//! answered as 502 with its text.

use std::io::Read;
use wasmcloud_component::http::{
    self, ErrorCode, IncomingBody, IncomingRequest, OutgoingBody, Response,
};
use wasmcloud_component::wasi::http::types::OutgoingBody as WasiBody;
use wasmcloud_component::wasi::io::streams::OutputStream;
use wasmcloud_component::wasi::keyvalue::{atomics, batch, store};
use wasmcloud_component::wasmcloud::bus::lattice;

struct Component;
http::export!(Component);

enum Body {
    Whole(Vec<u8>),
    Echo(IncomingBody),
}

impl OutgoingBody for Body {
    fn write(self, body: WasiBody, stream: OutputStream) -> std::io::Result<()> {
        match self {
            Body::Whole(bytes) => bytes.write(body, stream),
            Body::Echo(incoming) => incoming.write(body, stream),
        }
    }
}

/// What goes wrong in a route: a status and a text for the answer.
struct Failure(u16, String);

type Answer = Result<Response<Body>, Failure>;

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let text = match error {
            store::Error::NoSuchStore => "no-such-store".to_string(),
            store::Error::AccessDenied => "access-denied".to_string(),
            store::Error::Other(text) => format!("other: {text}"),
        };
        Failure(502, text)
    }
}

impl http::Server for Component {
    fn handle(request: IncomingRequest) -> Result<Response<impl OutgoingBody>, ErrorCode> {
        Ok(route(request).unwrap_or_else(|Failure(status, text)| whole(status, text + "\n")))
    }
}

fn route(request: IncomingRequest) -> Answer {
    let (head, body) = request.into_parts();
    let query = Query(head.uri.query().unwrap_or(""));
    let path: Vec<&str> = head.uri.path()[1..].splitn(2, '/').collect();

    match (head.method.as_str(), path.as_slice()) {
        ("GET" | "POST", ["echo"]) => with_value(&query, Body::Echo(body)),
        ("GET", ["bytes", n]) => {
            let pattern = pattern(number(n)?, number(query.get("seed").unwrap_or("0"))?);
            with_value(&query, Body::Whole(pattern))
        }
        ("GET", ["kv", key]) => match open(&query)?.get(key)? {
            Some(value) => Ok(whole(200, value)),
            None => Err(Failure(404, "no such key".into())),
        },
        ("POST", ["kv", key]) => {
            let value = read(body)?;
            open(&query)?.set(key, &value)?;
            Ok(whole(200, ""))
        }
        ("DELETE", ["kv", key]) => {
            open(&query)?.delete(key)?;
            Ok(whole(200, ""))
        }
        ("GET", ["exists", key]) => Ok(whole(200, open(&query)?.exists(key)?.to_string())),
        ("GET", ["keys"]) => {
            let cursor = query.get("cursor").map(number).transpose()?;
            let found = open(&query)?.list_keys(cursor)?;
            let next = found.cursor.map(|c| c.to_string()).unwrap_or_default();
            Ok(whole(200, [vec![next], found.keys].concat().join("\n")))
        }
        ("POST", ["incr", key]) => {
            let by = number(query.get("by").unwrap_or("1"))?;
            let value = atomics::increment(&open(&query)?, key, by)?;
            Ok(whole(200, value.to_string()))
        }
        ("POST", ["batch"]) => {
            let pairs = parse_pairs(read(body)?)?;
            batch::set_many(&open(&query)?, &pairs)?;
            Ok(whole(200, ""))
        }
        ("GET", ["batch"]) => {
            let found = batch::get_many(&open(&query)?, &query.keys())?;
            let lines = found.into_iter().map(|pair| match pair {
                Some((key, value)) => format!("{key} {}", hex(&value)),
                None => "-".into(),
            });
            Ok(whole(200, lines.collect::<Vec<_>>().join("\n")))
        }
        ("DELETE", ["batch"]) => {
            batch::delete_many(&open(&query)?, &query.keys())?;
            Ok(whole(200, ""))
        }
        (method, _) => Err(Failure(404, format!("no route for {method} {}", head.uri.path()))),
    }
}

fn whole(status: u16, body: impl Into<Vec<u8>>) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("status is a constant");
    response
}

/// `body` as the answer, with the value of the key in `get=KEY`, if that is asked for, in a header.
fn with_value(query: &Query, body: Body) -> Answer {
    let mut response = Response::new(body);
    if let Some(key) = query.get("get") {
        let value = open(query)?.get(key)?;
        let text = value.map_or("-".into(), |v| hex(&v));
        let value = text.parse().expect("hex makes a valid header");
        response.headers_mut().insert("x-value", value);
    }
    Ok(response)
}

fn open(query: &Query) -> Result<store::Bucket, Failure> {
    // Always: a 1.9 host keeps the name that was set for the calls that come after this one.
    let interfaces = ["store", "atomics", "batch"]
        .map(|name| lattice::CallTargetInterface::new("wasi", "keyvalue", name))
        .into();
    let link = query.get("link").unwrap_or("default");
    lattice::set_link_name(link, interfaces).map_err(|text| Failure(502, text))?;
    Ok(store::open(query.get("bucket").unwrap_or(""))?)
}

fn read(mut body: IncomingBody) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match body.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure(400, format!("request body: {error}"))),
    }
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let byte = |i: u32| ((seed ^ i).wrapping_mul(2654435761) >> 24) as u8;
    (0..len as u32).map(byte).collect()
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Failure> {
    text.parse().map_err(|_| Failure(400, format!("{text} is not a number in range")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |i| text.get(i..i + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
    (0..text.len()).step_by(2).map(digits).collect()
}

fn parse_pairs(body: Vec<u8>) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let text = String::from_utf8_lossy(&body);
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_string(), unhex(value)?))
    };
    let pairs: Option<_> = text.lines().map(pair).collect();
    pairs.ok_or(Failure(400, "the body must be lines of KEY HEX".into()))
}

/// `a=b&c=d`, taken literally.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn keys(&self) -> Vec<String> {
        let list = self.get("keys").unwrap_or("");
        list.split(',').filter(|key| !key.is_empty()).map(String::from).collect()
    }
}
