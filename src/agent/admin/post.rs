//! What the control socket takes by POST: JSON in, JSON out, and the desk in between.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Board;
use super::route::{JSON, response};
use crate::desk::{DeskError, Trouble};

/// Longest body of a request: an edited event of a MiB, each of whose bytes is written as two.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Answers one request. Reads at most [`BODY_BYTES_MAX`].
pub(super) async fn answer<B>(path: &str, body: B, board: &Board) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(invalid(format!("the request cannot be read: {error}"))),
    };
    let Some(desk) = board.desk() else { return refuse(DeskError::NotReady) };
    match path {
        "/letters" => match read(&body) {
            Ok(request) => tell(desk.letters(request).await),
            Err(error) => refuse(error),
        },
        "/claims" => match read(&body) {
            Ok(request) => tell(desk.claim(request).await),
            Err(error) => refuse(error),
        },
        "/flush" => match read(&body) {
            Ok(request) => tell(desk.flush(request).await),
            Err(error) => refuse(error),
        },
        "/books" => tell(desk.books().await),
        _ => {
            let message =
                format!("nothing is posted to {path}; there are /letters, /claims, /flush and /books");
            problem(StatusCode::NOT_FOUND, &invalid(message).into())
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DeskError> {
    serde_json::from_slice(body).map_err(|error| {
        invalid(format!("the request makes no sense to this agent; is it of another version? {error}"))
    })
}

fn invalid(message: String) -> DeskError {
    DeskError::Invalid { field: None, message }
}

fn tell<T: Serialize>(answer: Result<T, DeskError>) -> Response<Full<Bytes>> {
    match answer {
        Ok(answer) => response(StatusCode::OK, JSON, serde_json::to_string(&answer).unwrap_or_default()),
        Err(error) => refuse(error),
    }
}

fn refuse(error: DeskError) -> Response<Full<Bytes>> {
    let status = match &error {
        DeskError::Invalid { .. } => StatusCode::BAD_REQUEST,
        DeskError::NoLetter(_) => StatusCode::NOT_FOUND,
        DeskError::Unchanged | DeskError::ClaimedOtherwise { .. } | DeskError::TooManyClaims(_) => {
            StatusCode::CONFLICT
        }
        DeskError::NotReady | DeskError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        DeskError::Log(_) | DeskError::NotDurable => StatusCode::INSUFFICIENT_STORAGE,
    };
    problem(status, &error.into())
}

fn problem(status: StatusCode, trouble: &Trouble) -> Response<Full<Bytes>> {
    response(status, JSON, serde_json::to_string(trouble).unwrap_or_default())
}
