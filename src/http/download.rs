//! Stored files as responses: whole or in part, from the store to the socket piece by piece.

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::header::{
        self, ByteRangeSpec, ContentEncoding, EntityTag, Header as _, IfNoneMatch, IfRange, Range,
    },
};

use crate::{
    error::{Error, Result},
    files::Files,
};

/// A file, and what a client is told of it.
pub struct Download<'a> {
    /// Its name in the store.
    pub stored: &'a str,
    /// Its name for whoever saves it: ASCII, without quotes.
    pub name: &'a str,
    /// Its length.
    pub size: u64,
    /// What changes when its bytes change.
    pub tag: String,
    /// What it is.
    pub media_type: &'static str,
}

/// Answers with a file, or with the part that the client asks for.
///
/// # Errors
/// When the part lies outside of it, or the store does not have it.
pub async fn respond(req: &HttpRequest, files: &Files, it: Download<'_>) -> Result<HttpResponse> {
    let tag = EntityTag::new_strong(it.tag);
    if is_known(req, &tag) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, tag.to_string())).finish());
    }
    let range = wanted(req, &tag, it.size)?;
    let mut response = if range.is_some() { HttpResponse::PartialContent() } else { HttpResponse::Ok() };
    if let Some((first, last)) = range {
        response.insert_header((header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", it.size)));
    }
    let part = range.map_or(0..it.size, |(first, last)| first..last + 1);
    let length = part.end - part.start;
    response
        .content_type(it.media_type)
        .insert_header((header::ETAG, tag.to_string()))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", it.name)))
        .insert_header((header::CACHE_CONTROL, "private, no-transform"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // It is compressed already, and a compressed part would be part of nothing.
        .insert_header(ContentEncoding::Identity);
    Ok(response.body(SizedStream::new(length, files.read(it.stored, part).await?)))
}

fn is_known(req: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(req) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

/// The first and the last byte that are wanted, unless it is all of them: several ranges at once are answered with
/// everything, as is a range of a file that has changed since (RFC 9110, 13.1.5 and 14.2).
fn wanted(req: &HttpRequest, tag: &EntityTag, size: u64) -> Result<Option<(u64, u64)>> {
    if req.headers().contains_key(header::IF_RANGE) {
        match IfRange::parse(req) {
            Ok(IfRange::EntityTag(known)) if known.strong_eq(tag) => {}
            _ => return Ok(None),
        }
    }
    let Ok(Range::Bytes(ranges)) = Range::parse(req) else { return Ok(None) };
    let [range] = ranges.as_slice() else { return Ok(None) };
    let found: Option<(u64, u64)> = ByteRangeSpec::to_satisfiable_range(range, size);
    found.map(Some).ok_or(Error::RangeNotSatisfiable { size })
}
