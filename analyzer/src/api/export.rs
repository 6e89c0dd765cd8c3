//! Export as a stream: one file after the other, each in pieces, never more than one in memory.

use super::Control;
use crate::writer::with_causes;
use isotherm_proto::control::v1::ExportParquetResponse;
use isotherm_store::{ExportFile, Span};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of a file in one message.
const PIECE_BYTES: usize = 1 << 20;

/// Messages that wait for the reader.
const PIECES: usize = 4;

type Pieces = mpsc::Sender<Result<ExportParquetResponse, Status>>;

/// Begins an export. It ends when the reader goes away or the analyzer stops.
pub(super) fn start(control: Control, span: Span) -> ReceiverStream<Result<ExportParquetResponse, Status>> {
    let (pieces, stream) = mpsc::channel(PIECES);
    let streams = control.streams.clone();
    streams.spawn(async move {
        let ended = tokio::select! {
            biased;
            () = control.stop.cancelled() => Err(Status::unavailable("the analyzer is shutting down")),
            ended = export(&control, span, &pieces) => ended,
        };
        if let Err(status) = ended {
            tracing::debug!(error = %with_causes(&status), "export ended");
            // An end without the last pieces must not look like success, so this waits for room.
            let _ = pieces.send(Err(status)).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn export(control: &Control, span: Span, pieces: &Pieces) -> Result<(), Status> {
    for hour in control.ask(move |reader, _| reader.export_hours(span)).await? {
        for slice in control.ask(move |reader, _| reader.export_slices(span, hour)).await? {
            let file = control.ask(move |reader, _| reader.export_file(&slice)).await?;
            if let Some(file) = file
                && !send(file, pieces).await
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether the reader is still there.
async fn send(file: ExportFile, pieces: &Pieces) -> bool {
    let mut head = Some((file.path, file.rows));
    for piece in file.data.chunks(PIECE_BYTES) {
        let (path, rows) = head.take().unwrap_or_default();
        let message = ExportParquetResponse { path, data: piece.to_vec(), rows };
        if pieces.send(Ok(message)).await.is_err() {
            return false;
        }
    }
    true
}
