//! From the database to an archive, in memory that does not grow: pages of snippets come in on one side of a thread
//! that compresses, pieces of the archive go to the store on the other, and each side waits for the next.

use std::{
    io::{self, Write},
    task::Poll,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::{
    ExportFilter,
    manifest::{Entry, ManifestWriter},
    names::file_name,
};
use crate::{
    accounts::Profile,
    app::App,
    archive::Writer,
    clock::Timestamp,
    db::within,
    error::{Error, Result},
    jobs::{Job, LEASE, Meter, Pace},
    snippets::{self, Content, Filter, SnippetSummary, Sort},
};

/// How many snippets one read of the database takes, and how many wait to be packed: 8 MiB at the very most.
const PAGE: u32 = 16;
/// How many bytes of an archive make a piece.
const PIECE: usize = 64 << 10;
/// How many pieces wait to be stored.
const PIECES: usize = 8;

/// Something, or nothing as the sign that all has come. A line that ends without that sign has broken.
type Line<T> = mpsc::Sender<Option<T>>;

/// Packs the snippets of a job's owner.
pub(super) async fn pack(app: &App, job: &Job, filter: &ExportFilter, meter: &Meter) -> Result<()> {
    let (snippets, to_pack) = mpsc::channel(PAGE as usize);
    let (pieces, to_store) = mpsc::channel(PIECES);
    let (owner, at) = (job.owner.clone(), app.clock.now());
    let (directory, manifest) = (app.files.scratch()?, app.files.scratch()?);
    let packing = tokio::task::spawn_blocking(move || {
        let writer = Writer::new(Pieces::new(pieces), directory);
        write(to_pack, writer, ManifestWriter::new(manifest, &owner, at)?, at)
    });
    let name = job.file();
    let storing = app.files.write(&name, whole(to_store, meter));
    let (fed, stored, packed) =
        tokio::join!(feed(app, &job.owner, filter, snippets, meter), storing, packing);
    fed?;
    // Told by whichever side it stopped; the other only knows that it was left.
    if matches!(stored, Err(Error::StorageFull)) {
        return Err(Error::StorageFull);
    }
    packed.map_err(|error| Error::Internal(error.to_string()))??;
    stored?;
    Ok(())
}

/// Reads the snippets page by page.
async fn feed(
    app: &App,
    owner: &Profile,
    filter: &ExportFilter,
    line: Line<SnippetSummary>,
    meter: &Meter,
) -> Result<()> {
    let filter = Filter {
        owner: Some(owner.id),
        language: filter.language.clone(),
        tag: filter.tag.clone(),
        updated_since: filter.updated_since,
        sort: Sort::Oldest,
        with_content: true,
    };
    meter.expect(within(LEASE, Box::pin(snippets::count_all_of(app, &filter))).await?);
    let (mut after, mut count, mut pace) = (None, 0, Pace::new(app.settings.job_rate));
    loop {
        let page = within(LEASE, Box::pin(snippets::list_all_of(app, &filter, after, PAGE))).await?;
        for snippet in page.snippets {
            pace.spend(snippet.content.as_ref().map_or(0, |content| content.as_str().len())).await;
            if line.send(Some(snippet)).await.is_err() {
                return Ok(()); // The other side has failed, and says why.
            }
            count += 1;
            meter.reach(count);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    meter.expect(count);
    let _ = line.send(None).await; // As above.
    Ok(())
}

/// Packs what comes in. Runs on a thread of its own.
fn write(
    mut line: mpsc::Receiver<Option<SnippetSummary>>,
    mut archive: Writer<Pieces>,
    mut manifest: ManifestWriter,
    at: Timestamp,
) -> io::Result<()> {
    let mut number = 0;
    loop {
        let Some(next) = line.blocking_recv() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let Some(snippet) = next else { break };
        number += 1;
        let file = file_name(number, &snippet.title, &snippet.language);
        let content = snippet.content.as_ref().map(Content::as_str).unwrap_or_default();
        archive.add(&file, snippet.updated_at, content.as_bytes())?;
        manifest.add(&Entry::of(file, &snippet))?;
    }
    manifest.finish(&mut archive, at)?;
    archive.finish()?.finish()
}

/// The end of the packing thread from which the pieces go to the store.
struct Pieces {
    line: Line<Bytes>,
    piece: Vec<u8>,
}

impl Pieces {
    fn new(line: Line<Bytes>) -> Self {
        Self { line, piece: Vec::with_capacity(PIECE) }
    }

    fn send(&mut self, piece: Option<Bytes>) -> io::Result<()> {
        self.line.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(mut self) -> io::Result<()> {
        let last = std::mem::take(&mut self.piece);
        self.send(Some(last.into()))?;
        self.send(None)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
            self.send(Some(piece.into()))?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces of an archive, which fail when they end before its end.
fn whole(
    mut line: mpsc::Receiver<Option<Bytes>>,
    meter: &Meter,
) -> impl Stream<Item = Result<Bytes>> + Unpin + '_ {
    let mut bytes = 0;
    let mut is_over = false;
    stream::poll_fn(move |cx| {
        if is_over {
            return Poll::Ready(None);
        }
        line.poll_recv(cx).map(|next| match next {
            Some(Some(piece)) => {
                bytes += i64::try_from(piece.len()).unwrap_or_default();
                meter.fill(bytes);
                Some(Ok(piece))
            }
            Some(None) => {
                is_over = true;
                None
            }
            None => {
                is_over = true;
                Some(Err(Error::Internal("the archive was not finished".into())))
            }
        })
    })
}
