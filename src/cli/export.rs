//! Every view's contents as one Parquet file named after the view.

use crate::app::Runtime;
use crate::query::Error;
use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Writes all views at one epoch. Files of the same names are replaced.
pub async fn views(runtime: &Runtime, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let infos = runtime.views.list();
    let names: Vec<&str> = infos.iter().map(|info| info.name).collect();
    let contents = runtime.query.whole(&names).await?;
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    for (info, batches) in infos.iter().zip(contents) {
        let path = folder.join(format!("{}.parquet", info.name));
        let written = write(&path, &info.schema, properties.clone(), batches).await;
        written.with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

async fn write(
    path: &Path,
    schema: &SchemaRef,
    properties: WriterProperties,
    mut batches: BoxStream<'static, Result<RecordBatch, Error>>,
) -> anyhow::Result<()> {
    let mut writer =
        ArrowWriter::try_new(File::create(path)?, Arc::clone(schema), Some(properties))?;
    while let Some(batch) = batches.next().await {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
