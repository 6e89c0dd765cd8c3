//! Export as a stream: one file after the other, each in pieces, never more than one in memory.

use super::{Control, partition_filter, span};
use crate::writer::with_causes;
use isotherm_proto::control::v1::{
    ExportFormat as WireFormat, ExportParquetResponse, ExportRequest, ExportResponse,
};
use isotherm_store::{ExportFile, ExportFormat, ExportQuery, Span, VIEWS, View};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of a file in one message.
const PIECE_BYTES: usize = 1 << 20;

/// Messages that wait for the reader.
const PIECES: usize = 4;

type Pieces<T> = mpsc::Sender<Result<T, Status>>;

/// A message of a stream of files.
trait Piece: Send + Sized + 'static {
    /// What comes before the files, if anything does.
    fn first(rows_at_most: u64) -> Option<Self>;
    /// A piece of a file.
    fn of(file: &ExportFile, position: Position, data: Vec<u8>) -> Self;
}

/// Where in its file a piece is.
#[derive(Clone, Copy)]
struct Position {
    first: bool,
    last: bool,
}

impl Piece for ExportParquetResponse {
    fn first(_: u64) -> Option<Self> {
        None
    }

    fn of(file: &ExportFile, position: Position, data: Vec<u8>) -> Self {
        let (path, rows) = if position.first { (file.path.clone(), file.rows) } else { Default::default() };
        Self { path, data, rows }
    }
}

impl Piece for ExportResponse {
    fn first(rows_at_most: u64) -> Option<Self> {
        Some(Self { rows_at_most, ..Self::default() })
    }

    fn of(file: &ExportFile, position: Position, data: Vec<u8>) -> Self {
        let head = if position.first {
            let end_ms = file.end.map_or(0, isotherm_model::Timestamp::as_ms);
            Self { path: file.path.clone(), rows: file.rows, end_ms, ..Self::default() }
        } else {
            Self::default()
        };
        Self { data, last: position.last, ..head }
    }
}

/// What a request asks for.
pub(super) fn query(request: ExportRequest) -> Result<ExportQuery, Status> {
    let view = match request.table.as_str() {
        "" => None,
        name => Some(View::from_name(name).ok_or_else(|| {
            let tables = VIEWS.map(View::name).join(", ");
            Status::invalid_argument(format!("there is no table {name}; the tables are {tables}"))
        })?),
    };
    let format = match WireFormat::try_from(request.format) {
        Ok(WireFormat::Parquet | WireFormat::Unspecified) => ExportFormat::Parquet,
        Ok(WireFormat::Csv) => ExportFormat::Csv,
        Err(_) => return Err(Status::invalid_argument(format!("{} is no format", request.format))),
    };
    Ok(ExportQuery {
        span: span(request.since_ms, request.until_ms)?,
        view,
        partition: partition_filter(&request.partition),
        format,
        first_part: request.first_part,
    })
}

/// Begins an export of all rows, as Parquet.
pub(super) fn start_parquet(
    control: Control,
    span: Span,
) -> ReceiverStream<Result<ExportParquetResponse, Status>> {
    begin(control, ExportQuery::everything(span))
}

/// Begins an export.
pub(super) fn start(control: Control, query: ExportQuery) -> ReceiverStream<Result<ExportResponse, Status>> {
    begin(control, query)
}

/// It ends when the reader goes away or the analyzer stops.
fn begin<T: Piece>(control: Control, query: ExportQuery) -> ReceiverStream<Result<T, Status>> {
    let (pieces, stream) = mpsc::channel(PIECES);
    let streams = control.streams.clone();
    streams.spawn(async move {
        let ended = tokio::select! {
            biased;
            () = control.stop.cancelled() => Err(Status::unavailable("the analyzer is shutting down")),
            ended = export(&control, &query, &pieces) => ended,
        };
        if let Err(status) = ended {
            tracing::debug!(error = %with_causes(&status), "export ended");
            // An end without the last pieces must not look like success, so this waits for room.
            let _ = pieces.send(Err(status)).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn export<T: Piece>(control: &Control, query: &ExportQuery, pieces: &Pieces<T>) -> Result<(), Status> {
    let asked = query.clone();
    let parts = control.ask(move |reader, _| {
        let parts = reader.export_parts(&asked)?;
        Ok((reader.export_rows_at_most(&asked)?, parts))
    });
    let (rows_at_most, parts) = parts.await?;
    if let Some(first) = T::first(rows_at_most)
        && pieces.send(Ok(first)).await.is_err()
    {
        return Ok(());
    }
    for part in parts {
        let asked = query.clone();
        for slice in control.ask(move |reader, _| reader.export_slices(&asked, part)).await? {
            let asked = query.clone();
            let file = control.ask(move |reader, _| reader.export_file(&asked, &slice)).await?;
            if let Some(file) = file
                && !send(&file, pieces).await
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether the reader is still there.
async fn send<T: Piece>(file: &ExportFile, pieces: &Pieces<T>) -> bool {
    let count = file.data.len().div_ceil(PIECE_BYTES);
    for (index, piece) in file.data.chunks(PIECE_BYTES).enumerate() {
        let position = Position { first: index == 0, last: index + 1 == count };
        if pieces.send(Ok(T::of(file, position, piece.to_vec()))).await.is_err() {
            return false;
        }
    }
    true
}
